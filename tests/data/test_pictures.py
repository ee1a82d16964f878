"""Pictures of network inputs have correct colours for every channel order and range of values."""

import numpy as np
import pytest
import torch

from rescaps_plugin.data.pictures import leaves_bgr, to_picture

LOAD = dict(type='LoadImageFromFile')


@pytest.mark.parametrize('bgr', [False, True])
@pytest.mark.parametrize('kind', ['bytes', 'standardised', 'array'])
def test_red_is_red(kind, bgr):
    red = np.zeros((4, 5, 3), np.uint8)
    red[..., 2 if bgr else 0] = 220
    red[0, 0] = 255  # white
    image = torch.from_numpy(red).permute(2, 0, 1)
    if kind == 'standardised':
        image = (image - 120.0) / 60
    shown = to_picture(red if kind == 'array' else image, bgr)
    assert shown.dtype == np.uint8 and shown.shape == (4, 5, 3)
    assert shown[2, 2].tolist() == [220, 0, 0] and shown[0, 0].tolist() == [255, 255, 255]


@pytest.mark.parametrize('channels', [1, 2])
def test_other_channels_show_the_first_as_grey(channels):
    image = torch.arange(channels * 6, dtype=torch.uint8).reshape(channels, 2, 3)
    assert (to_picture(image, bgr=True) == np.arange(6).reshape(2, 3, 1)).all()
    assert (to_picture(image[0].numpy(), bgr=True) == np.arange(6).reshape(2, 3, 1)).all()


def test_constant_values_are_black():
    assert (to_picture(torch.full((3, 2, 2), -1.5), bgr=False) == 0).all()


@pytest.mark.parametrize(
    ('pipeline', 'to_rgb', 'bgr'),
    [
        ([LOAD], True, True),
        ([LOAD], False, True),  # a network with BGR input
        ([], False, False),
        ([], True, True),
        ([LOAD, dict(type='NumpyToPIL', to_rgb=True)], False, False),
        ([LOAD, dict(type='NumpyToPIL', to_rgb=True), dict(type='PILToNumpy', to_bgr=True)], True, True),
    ],
)
def test_channel_order_of_a_pipeline(pipeline, to_rgb, bgr):
    assert leaves_bgr(pipeline, to_rgb) is bgr
