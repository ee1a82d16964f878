"""Images in memory against files of them."""

import numpy as np
import pytest
import torch
from mmengine.registry import TRANSFORMS
from PIL import Image

from rescaps_plugin.data.images import ImageError, read_alpha
from rescaps_plugin.data.memory_images import load_image, to_pixels
from rescaps_plugin.data.transforms import LoadCheckedImageFromFile

RANDOM = np.random.RandomState(0)
COLORS = RANDOM.randint(0, 256, (9, 14, 3)).astype(np.uint8)
OPAQUE = np.dstack([COLORS, RANDOM.randint(0, 256, (9, 14)).astype(np.uint8)])
GREY = OPAQUE[..., 3]
DEEP = RANDOM.randint(0, 65536, (9, 14)).astype(np.uint16)


def palette(transparent):
    image = Image.fromarray(COLORS).quantize(20)
    if transparent:
        image.info['transparency'] = 3
    return image


# Images of every mode that PNG files have.
PICTURES = {
    'RGB': lambda: Image.fromarray(COLORS),
    'RGBA': lambda: Image.fromarray(OPAQUE),
    'L': lambda: Image.fromarray(GREY),
    'LA': lambda: Image.fromarray(np.dstack([GREY, COLORS[..., 0]])),
    'P': lambda: palette(False),
    'P, transparent': lambda: palette(True),
    '1': lambda: Image.fromarray(GREY > 127),
    'I;16': lambda: Image.fromarray(DEEP),
}


def loader(**options):
    return TRANSFORMS.build(dict(type=LoadCheckedImageFromFile, **options))


def assert_equals_file(image, path, **options):
    load = loader(**options)
    ours, theirs = load_image(image, 'inputs', load), load({'img_path': str(path)})
    assert ours['img'].dtype == theirs['img'].dtype and ours['img'].flags.c_contiguous
    np.testing.assert_array_equal(ours['img'], theirs['img'])
    assert all(ours[key] == theirs[key] for key in ('img_shape', 'ori_shape'))
    return ours


@pytest.mark.parametrize('color_type', ['color', 'grayscale'])
@pytest.mark.parametrize('kind', PICTURES)
def test_images_of_pillow_are_read_as_their_files(tmp_path, kind, color_type):
    path = tmp_path / 'image.png'
    PICTURES[kind]().save(path)
    opened = Image.open(path)
    assert opened.mode == kind.split(',')[0]
    alpha = assert_equals_file(opened, path, color_type=color_type)['alpha']
    expected = read_alpha(path)
    assert (alpha is None) == (expected is None)
    if alpha is not None:
        np.testing.assert_array_equal(alpha, expected)


@pytest.mark.parametrize('suffix', ['png', 'tif', 'gif', 'webp'])
@pytest.mark.parametrize('kind', ['RGBA', 'LA', 'P, transparent'])
def test_alpha_does_not_change_the_colours_of_a_file(tmp_path, kind, suffix):
    path = tmp_path / f'image.{suffix}'
    PICTURES[kind]().save(path, **(dict(lossless=True, exact=True) if suffix == 'webp' else {}))
    assert_equals_file(Image.open(path), path)


@pytest.mark.parametrize('color_type', ['color', 'grayscale', 'color_ignore_orientation', 'unchanged'])
@pytest.mark.parametrize('orientation', [1, 3, 6])
def test_orientation_of_images_of_pillow(tmp_path, orientation, color_type):
    path = tmp_path / 'image.png'
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(COLORS).save(path, exif=exif)
    assert_equals_file(Image.open(path), path, color_type=color_type)


def test_image_of_a_jpeg_file(tmp_path):
    path = tmp_path / 'image.jpg'
    Image.fromarray(COLORS).save(path)
    assert_equals_file(Image.open(path), path)


@pytest.mark.parametrize(
    'options', [{}, {'color_type': 'grayscale'}, {'color_type': 'unchanged'}, {'to_float32': True}]
)
@pytest.mark.parametrize('pixels', [COLORS, OPAQUE, GREY], ids=['RGB', 'RGBA', 'grey'])
def test_arrays_and_tensors_are_read_as_files(tmp_path, pixels, options):
    path = tmp_path / 'image.png'
    Image.fromarray(pixels).save(path)
    tensor = torch.from_numpy(np.atleast_3d(pixels)).permute(2, 0, 1)
    floats = tensor / 255
    given = [pixels, pixels[:, ::-1][:, ::-1], np.atleast_3d(pixels), tensor, floats, floats.half(), floats.double()]
    for image in [*given, floats.clone().requires_grad_()]:
        assert_equals_file(image, path, **options)


@pytest.mark.parametrize(
    ('image', 'message'),
    [
        (COLORS / 255, r'inputs\[2\]: an array must be uint8 .*RGB or RGBA.*, got float64 \[9, 14, 3\]'),
        (COLORS.transpose(2, 0, 1), r'an array must be .*, got uint8 \[3, 9, 14\]'),
        (COLORS[None], r'an array must be .*, got uint8 \[1, 9, 14, 3\]'),
        (COLORS[:0], r'an array must be .*, got uint8 \[0, 14, 3\]'),
        (torch.rand(9, 14), r'a tensor must be \[1, 3 or 4, height, width\].*, got float32 \[9, 14\]'),
        (torch.rand(9, 14, 3), r'a tensor must be .*, got float32 \[9, 14, 3\]'),
        (torch.rand(3, 0, 3), r'a tensor must be .*, got float32 \[3, 0, 3\]'),
        (torch.zeros(3, 9, 14).long(), r'a tensor must be uint8, or floating point .*, got int64 \[3, 9, 14\]'),
        (torch.full((3, 9, 14), 1.5), 'must be from 0 to 1, got 1.5 to 1.5'),
        (torch.full((3, 9, 14), float('nan')), 'must be from 0 to 1, got nan to nan'),
        (Image.new('F', (4, 4)), r'a PIL.Image must have pixels, of any mode but F, got mode F, 4 x 4 pixels'),
        (Image.new('RGB', (0, 4)), r'must have pixels.*, got mode RGB, 0 x 4 pixels'),
        (Image.new('I', (4, 4), 70000), 'mode I must have levels from 0 to 65535, got 70000 to 70000'),
        (Image.fromarray(GREY).convert('I'), 'mode I has levels of 16 bits, and this has none above 2.*: pass mode L'),
        (7, 'an image must be a path, a PIL.Image, an array or a tensor, got int'),
        (None, 'got NoneType'),
    ],
)
def test_mistakes(image, message):
    with pytest.raises(ImageError, match=message):
        to_pixels(image, 'inputs[2]')


def test_truncated_image_of_pillow(tmp_path):
    path = tmp_path / 'image.png'
    Image.fromarray(RANDOM.randint(0, 256, (90, 90, 3)).astype(np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(ImageError, match='inputs: the PIL.Image cannot be decoded'):
        to_pixels(Image.open(path), 'inputs')
