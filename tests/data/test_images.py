"""Image files: supported formats and their pixel values, and errors of invalid files."""

import io
import os
import struct
import sys
import zlib

import cv2
import numpy as np
import pytest

pytest.importorskip('mmcv')

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from mmengine.dataset import Compose
from PIL import Image

from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.data.images import STANDARD_INPUT, ImageError, check_image, read_image, read_size
from rescaps_plugin.data.transforms import LoadCheckedImageFromFile

Y, X = np.mgrid[:40, :60]
# Smooth, so that JPEG preserves it; asymmetric, so that rotated or mirrored images differ.
COLORS = np.stack([4 * X, 6 * Y, 2 * (X + Y)], -1).astype(np.uint8)
PICTURE = Image.fromarray(COLORS)
GREY = COLORS[:, :, 0]
OPACITY = Image.fromarray(GREY)


def encode(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def opencv(image, suffix):
    return cv2.imencode(suffix, image)[1].tobytes()


def with_opacity(mode):
    image = PICTURE.convert(mode)
    image.putalpha(OPACITY)
    return image


def turned(kind, **options):
    """An image with the EXIF orientation of a quarter turn clockwise."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return encode(PICTURE.transpose(Image.Transpose.ROTATE_90), kind, exif=exif, **options)


def animated(kind, **options):
    others = [Image.fromarray(255 - COLORS), Image.fromarray(COLORS[::-1].copy())]
    return encode(PICTURE, kind, save_all=True, append_images=others, **options)


def png_claiming(width, height):
    """A PNG of 70 bytes whose header declares a size, with incomplete pixel data."""

    def chunk(name, data):
        return struct.pack('>I', len(data)) + name + data + struct.pack('>I', zlib.crc32(name + data))

    header = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(100))
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + chunk(b'IDAT', data) + chunk(b'IEND', b'')


def bmp_claiming(width, height):
    return b'BM' + struct.pack('<IHHI', 154, 0, 0, 54) + struct.pack('<IiiHHIIiiII', 40, width, height, 1, 24, *[0] * 6)


def with_last_chunk_claiming(length):
    """A PNG with complete pixels, followed by a chunk that declares a large length: Pillow reads it."""
    start = PNG.index(b'IDAT') - 4
    return PNG[:start] + struct.pack('>I', length) + PNG[start + 4 : -16]


JPEG = encode(PICTURE, 'jpeg', quality=95)
PNG = encode(PICTURE, 'png')
# A JPEG segment that contains the start and end markers of another image.
THUMBNAIL = b'\xff\xe1\0\x06\xff\xd8\xff\xd9'

# File, and tolerance of its colours.
READ = {
    'jpeg': (JPEG, 6),
    'jpeg, progressive': (encode(PICTURE, 'jpeg', quality=95, progressive=True), 6),
    'jpeg, bytes after its end': (JPEG + b'\0' * 100, 6),
    'png': (PNG, 0),
    'png, animated': (animated('png'), 0),
    'bmp': (encode(PICTURE, 'bmp'), 0),
    'tiff': (encode(PICTURE, 'tiff'), 0),
    'tiff, of three pages': (animated('tiff'), 0),
    'ppm': (encode(PICTURE, 'ppm'), 0),
    'webp': (encode(PICTURE, 'webp', lossless=True), 0),
    'webp, animated': (animated('webp', lossless=True), 0),
    'avif': (encode(PICTURE, 'avif', quality=95), 8),
    'avif, animated': (animated('avif', quality=95), 8),
    'avif, opacity': (encode(with_opacity('RGB'), 'avif', quality=95), 8),
    'gif': (encode(PICTURE.quantize(64), 'gif'), 30),
    'gif, animated': (animated('gif'), 30),
    'cmyk jpeg': (encode(PICTURE.convert('CMYK'), 'jpeg', quality=95), 6),
    'cmyk tiff': (encode(PICTURE.convert('CMYK'), 'tiff'), 0),
    'palette': (encode(PICTURE.quantize(64), 'png'), 30),
    'palette with a transparent entry': (encode(PICTURE.quantize(64), 'png', transparency=3), 30),
    'opacity': (encode(with_opacity('RGB'), 'png'), 0),
    '16-bit colours, png': (opencv(COLORS[:, :, ::-1] * np.uint16(257), '.png'), 0),
    '16-bit colours, tiff': (opencv(COLORS[:, :, ::-1] * np.uint16(257), '.tiff'), 0),
    'ppm of other levels': (b'P6\n%d %d\n85\n' % COLORS.shape[1::-1] + (COLORS // 3).tobytes(), 2),
    'exif, jpeg': (turned('jpeg', quality=95), 8),
    'exif, png': (turned('png'), 0),
    'exif, tiff': (turned('tiff'), 0),
    'exif, avif': (turned('avif', quality=95), 8),
    'exif, webp': (turned('webp', lossless=True), 0),
}
READ_GREY = {
    'png': encode(Image.fromarray(GREY), 'png'),
    'opacity': encode(Image.merge('LA', [Image.fromarray(GREY), OPACITY]), 'png'),
    '16-bit png': opencv(GREY * np.uint16(257), '.png'),
    '16-bit pgm': opencv(GREY * np.uint16(257), '.pgm'),
    'pgm of other levels': b'P5\n%d %d\n510\n' % GREY.shape[::-1] + (GREY * np.uint16(2)).astype('>u2').tobytes(),
    '16-bit tiff': encode(Image.fromarray(GREY * np.uint16(257)), 'tiff'),
}
REFUSED = {
    'no bytes': (b'', 'the file is empty'),
    'zeros': (bytes(5000), 'not an image in a supported format: AVIF, BMP, GIF, JPEG'),
    'text': (b'not an image, whatever its name\n' * 9, 'not an image'),
    'html instead of a download': (b'<!DOCTYPE html><html><body>404</body></html>', 'not an image'),
    'postscript': (b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%touch /tmp/x) (w) file\n', 'not an image'),
    'svg': (b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>', 'not an image'),
    'jpeg, start alone': (JPEG[:2], 'not an image|truncated'),
    'jpeg, half': (JPEG[: len(JPEG) // 2], 'truncated or damaged image file'),
    'jpeg, all but its end': (JPEG[:-2], 'truncated or damaged image file'),
    'jpeg with a thumbnail, half': (
        JPEG[:2] + b'\xff\xe1\0\x06\xff\xd8\xff\xd9' + JPEG[2:700],
        'truncated or damaged image file',
    ),
    'png, half': (PNG[: len(PNG) // 2], 'truncated or damaged'),
    'png, all but its last chunk': (PNG[:-12], 'truncated or damaged image file .it ends without an IEND'),
    'png, a chunk of 2 GB': (with_last_chunk_claiming(2**31 - 1), 'a chunk of 2147483647 bytes goes beyond its end'),
    'avif, half': (encode(PICTURE, 'avif')[:200], 'not an image|truncated or damaged'),
    'png, a bit turned': (PNG[:60] + bytes([PNG[60] ^ 1]) + PNG[61:], 'truncated or damaged'),
    'bmp, half': (encode(PICTURE, 'bmp')[:4000], 'truncated or damaged'),
    'tiff, half': (encode(PICTURE, 'tiff')[:4000], 'not an image|truncated or damaged'),
    'gif, half': (encode(PICTURE.quantize(64), 'gif')[:600], 'truncated or damaged'),
    'webp, half': (encode(PICTURE, 'webp')[:60], 'not an image|truncated or damaged'),
    'png, 100000 x 100000': (png_claiming(100000, 100000), r'too large to decode: .*\(10000000000 pixels\)'),
    'png, 2^31 x 2^31': (png_claiming(2**31 - 1, 2**31 - 1), 'too large to decode: '),
    'bmp, 100000 x 100000': (bmp_claiming(100000, 100000), 'too large to decode: '),
    'ppm, 100000 x 100000': (b'P6\n100000 100000\n255\n\0\0\0', 'too large to decode: '),
    'pgm, 10^18 x 1': (b'P5\n1000000000000000000 1\n255\n', 'truncated or damaged'),
    'no width': (png_claiming(0, 9), 'truncated or damaged|not an image|cannot decode'),
    'pfm': (b'Pf\n4 4\n-1.0\n' + bytes(64), 'cannot decode it, pixels of mode F'),
    '32-bit floats': (encode(Image.fromarray(GREY.astype(np.float32)), 'tiff'), 'cannot decode it, pixels of mode F'),
    '32-bit integers': (encode(Image.fromarray(GREY.astype(np.int32)), 'tiff'), 'cannot decode it, pixels of mode I'),
}


@pytest.fixture
def save(tmp_path):
    """Write a file with a name without suffix and return its path."""

    def write(content):
        path = tmp_path / 'picture.jpg'
        path.write_bytes(content)
        return path

    return write


@pytest.mark.parametrize('backend', ['cv2', 'pillow'])
@pytest.mark.parametrize('case', READ)
def test_read(save, case, backend):
    content, tolerance = READ[case]
    image = read_image(save(content), channel_order='rgb', backend=backend)
    assert image.dtype == np.uint8 and image.shape == COLORS.shape
    assert np.abs(image.astype(int) - COLORS).max() <= tolerance


# With Pillow, MMCV blends grey images with alpha onto a background.
@pytest.mark.parametrize(
    ('case', 'backend'),
    [
        (case, backend)
        for case in READ_GREY
        for backend in ('cv2', 'pillow')
        if (case, backend) != ('opacity', 'pillow')
    ],
)
def test_grey_values_are_scaled_not_clipped(save, case, backend):
    path = save(READ_GREY[case])
    np.testing.assert_array_equal(read_image(path, 'grayscale', backend=backend), GREY)
    np.testing.assert_array_equal(read_image(path, 'color', backend=backend), GREY[:, :, None].repeat(3, 2))


@pytest.mark.parametrize('case', REFUSED)
def test_refused(save, case):
    content, message = REFUSED[case]
    path = save(content)
    for read in (read_image, lambda path: read_image(path, 'grayscale')):
        with pytest.raises(UserError, match=f'^{path}: .*({message})') as error:
            read(path)
        assert '\n' not in str(error.value)


def test_orientation_can_be_ignored(save):
    image = read_image(save(turned('png')), 'color_ignore_orientation')[:, :, ::-1]
    np.testing.assert_array_equal(image, np.rot90(COLORS))


def test_limit_is_pillows(monkeypatch):
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 40 * 60 // 2)
    assert check_image(PNG, 'a') == ('PNG', 'RGB')
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 40 * 60 // 2 - 1)
    with pytest.raises(ImageError, match=r'a: too large to decode: .*\(2400 pixels\) exceeds limit of 2398 pixels'):
        check_image(PNG, 'a')


def test_decompression_bomb_is_not_decoded(tmp_path):
    resource = pytest.importorskip('resource')
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for content in (
        png_claiming(100000, 100000),
        bmp_claiming(100000, 100000),
        b'P6\n100000 100000\n255\n',
        with_last_chunk_claiming(2**31 - 1),
    ):
        (tmp_path / 'a').write_bytes(content)
        with pytest.raises(ImageError):
            read_image(tmp_path / 'a')
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kilobytes; the first would need 30 GB


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'none\.png'):
        read_image(tmp_path / 'none.png')
    with pytest.raises(OSError, match=str(tmp_path)):
        read_image(tmp_path)


def test_standard_input_is_limited(monkeypatch):
    monkeypatch.setattr(sys, 'stdin', io.TextIOWrapper(io.BytesIO(b'12345')))
    monkeypatch.setattr('rescaps_plugin.data.images.MAX_FILE_BYTES', 4)
    with pytest.raises(ImageError, match='/dev/stdin: image files are limited to 4 bytes'):
        read_image(STANDARD_INPUT)


def test_large_files_and_pipes(tmp_path):
    with (tmp_path / 'sparse.png').open('wb') as file:
        file.truncate(2**40)
    with pytest.raises(
        ImageError, match=r'sparse\.png: image files are limited to 1073741824 bytes, found 1099511627776'
    ):
        read_image(tmp_path / 'sparse.png')
    os.mkfifo(tmp_path / 'pipe.png')
    with pytest.raises(ImageError, match=r'pipe\.png: not a file, but a pipe or a device'):
        read_image(tmp_path / 'pipe.png')


class TestTransform:
    def test_loads_as_mmcvs_own(self, save):
        from mmcv.transforms import LoadImageFromFile

        for content in (JPEG, turned('jpeg'), READ['16-bit colours, png'][0]):
            for arguments in ({}, {'color_type': 'grayscale', 'to_float32': True}, {'color_type': 'unchanged'}):
                results = {'img_path': str(save(content))}
                expected = LoadImageFromFile(**arguments)(dict(results))
                found = LoadCheckedImageFromFile(**arguments)(dict(results))
                assert found.keys() == expected.keys()
                assert found['img'].dtype == expected['img'].dtype
                np.testing.assert_array_equal(found['img'], expected['img'])
                assert found['img_shape'] == expected['img_shape'] == found['ori_shape']

    def test_raw_data_are_checked(self, save):
        load = LoadCheckedImageFromFile(color_type='unchanged')
        with pytest.raises(ImageError, match='truncated or damaged'):
            load({'img_path': str(save(PNG[:-20]))})
        assert LoadCheckedImageFromFile(color_type='unchanged', ignore_empty=True)({'img_path': 'none'}) is None

    def test_ignore_empty(self, save, tmp_path):
        load = LoadCheckedImageFromFile(ignore_empty=True)
        assert load({'img_path': str(save(JPEG[:-2]))}) is None
        assert load({'img_path': str(tmp_path / 'none')}) is None
        with pytest.raises(ImageError):
            LoadCheckedImageFromFile()({'img_path': str(save(JPEG[:-2]))})

    def test_sample_that_has_its_image_passes(self):
        """MMPretrain's inferencers load files themselves and know only MMCV's transform to leave out."""
        results = dict(img=np.zeros((2, 2, 3), np.uint8), img_shape=(2, 2))
        assert LoadCheckedImageFromFile()(dict(results)) == results

    def test_folders_of_images_are_checked(self, tmp_path):
        """In the pipeline of a config, with a data set of class folders."""
        pytest.importorskip('mmpretrain')
        from mmpretrain.datasets import CustomDataset

        import rescaps_plugin.classification  # noqa: F401

        for name, content in (('a/1.png', PNG), ('b/1.jpg', JPEG[:600])):
            (tmp_path / name).parent.mkdir()
            (tmp_path / name).write_bytes(content)
        dataset = CustomDataset(
            str(tmp_path), pipeline=[dict(type='LoadCheckedImageFromFile'), dict(type='PackInputs')]
        )
        assert dataset[0]['inputs'].shape == (3, 40, 60)
        with pytest.raises(ImageError, match=r'b/1\.jpg: truncated or damaged'):
            dataset[1]
        assert isinstance(dataset.pipeline, Compose)


sources = st.sampled_from([content for content, _ in READ.values()] + list(READ_GREY.values()))


@st.composite
def mutated(draw):
    """A truncated or extended file, or one with replaced bytes."""
    content = bytearray(draw(sources))
    for position, value in draw(st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)), max_size=8)):
        content[position] = value
    return bytes(content[: draw(st.integers(0, len(content)))]) + draw(st.binary(max_size=8))


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(mutated() | st.binary(max_size=200))
@example(READ['tiff'][0][:8])
def test_damaged_files_are_read_or_refused(save, content):
    try:
        image = read_image(save(content))
    except ImageError:
        return
    assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and image.size


@pytest.mark.parametrize('suffix', ['.jpg', '.png', '.webp', '.tif', '.avif'])
@pytest.mark.parametrize('orientation', [1, 3, 6])
def test_read_size_equals_the_size_of_the_image(tmp_path, suffix, orientation):
    image = Image.new('RGB', (40, 24), (200, 30, 60))
    exif = image.getexif()
    exif[274] = orientation
    path = tmp_path / f'turned{suffix}'
    image.save(path, exif=exif)
    assert read_size(path) == read_image(path).shape[1::-1] == ((24, 40) if orientation == 6 else (40, 24))


def test_size_of_invalid_images(tmp_path):
    path = tmp_path / 'a.png'
    path.touch()
    with pytest.raises(ImageError, match=r'a\.png: the file is empty'):
        read_size(path)
    path.write_text('no image')
    with pytest.raises(ImageError, match=r'a\.png: not an image'):
        read_size(path)
    PICTURE.save(path)
    path.write_bytes(path.read_bytes()[:100])  # the size is in the header
    assert read_size(path) == PICTURE.size
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(ImageError, match=r'a\.png: '):
        read_size(path)
    os.mkfifo(tmp_path / 'pipe.png')
    with pytest.raises(ImageError, match='not a file, but a pipe'):
        read_size(tmp_path / 'pipe.png')
