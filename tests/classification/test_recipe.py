import re

import pytest

pytest.importorskip('mmpretrain')

from rescaps_plugin.classification.recipe import describe_pipeline  # noqa: E402

DECODE = 'decode the file to {} of 8 bits, rotate it as its EXIF orientation says, and drop its opacity'


@pytest.mark.parametrize(
    ('steps', 'channels', 'expected'),
    [
        ([dict(type='Grayscale'), dict(type='Resize', scale=28)], 1, ['width 28 and height 28, .* bilinear by cv2']),
        (
            [
                dict(type='LoadCheckedImageFromFile'),
                dict(type='Grayscale'),
                dict(type='ResizeEdge', scale=9, edge='long'),
            ],
            1,
            ['grey: 0.299 red', 'the longer side is 9;'],
        ),
        (
            [dict(type='Resize', scale=(40, 30), backend='pillow'), dict(type='CenterCrop', crop_size=(20, 10))],
            3,
            ['width 40 and height 30, .* by pillow', 'crop width 20 and height 10', 'channels as channel_order says'],
        ),
        ([dict(type='Resize', scale=(40, 30), keep_ratio=True)], 1, [r"apply Resize .*'keep_ratio': True"]),
        ([dict(type='Standardize'), dict(type='Own', a=3)], 1, ['standard deviation', r"apply Own .* \{'a': 3\}"]),
    ],
)
def test_steps(steps, channels, expected):
    described = describe_pipeline([*steps, dict(type='PackInputs')], channels)
    color = channels == 3 or steps[0]['type'] == 'LoadCheckedImageFromFile'
    assert described[0] == DECODE.format('colours' if color else 'grey values')
    assert len(described) == 1 + len(expected)
    for step, pattern in zip(described[1:], expected, strict=True):
        assert re.search(pattern, step), step
