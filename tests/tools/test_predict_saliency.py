"""``tools/predict.py`` on detectors of red."""

import csv
import io
import os
import re
import shutil
import struct
import sys
import threading
import time

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from tests.tools.saliency import BOXES, SIZES, write_detector, write_images

pytest.importorskip('mmseg')
pytest.importorskip('py_sod_metrics')

from rescaps_plugin.cli.errors import UserError  # noqa: E402
from rescaps_plugin.saliency import predict_command  # noqa: E402
from rescaps_plugin.saliency.inference import PictureReader  # noqa: E402


@pytest.fixture
def data(tmp_path):
    write_images(tmp_path / 'data')
    return tmp_path / 'data'


@pytest.fixture
def detector(tmp_path, data, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return write_detector(tmp_path, data)


@pytest.fixture
def predict(load_tool, tmp_path, detector):
    def call(*arguments, model=detector):
        load_tool('predict').main([*model, *map(str, arguments), '--device', 'cpu', '--out-dir', 'out'])
        return read_rows(tmp_path)

    return call


def read_rows(tmp_path):
    with (tmp_path / 'out' / 'predictions.csv').open() as file:
        return list(csv.DictReader(file))


def overlap(path, name):
    """Intersection over union of a saved map and the box of an image."""
    saved = Image.open(path)
    assert saved.mode == 'L' and saved.size == SIZES[name][::-1]
    top, left, bottom, right = BOXES[name]
    mask = np.zeros(SIZES[name], bool)
    mask[top:bottom, left:right] = True
    found = np.asarray(saved) > 127
    return (found & mask).sum() / (found | mask).sum()


def test_folder_as_a_user_types_it(detector, data, run_tool, repository, tmp_path):
    path = f'{repository}{os.pathsep}{tmp_path}'
    result = run_tool(
        'predict', *detector, data / 'images', '--overlay', '--cutout', '--out-dir', 'out', PYTHONPATH=path
    )
    assert result.returncode == 0, result.stderr
    rows = read_rows(tmp_path)
    assert [row['map'] for row in rows] == ['maps/a.png', 'maps/b.png', 'maps/c.png']
    for row, name in zip(rows, SIZES, strict=True):
        assert overlap(tmp_path / 'out' / row['map'], name) > 0.85
        image = np.asarray(Image.open(data / 'images' / f'{name}.png'))
        cut = Image.open(tmp_path / 'out' / row['cutout'])
        assert cut.mode == 'RGBA'
        np.testing.assert_array_equal(np.asarray(cut)[..., :3], image)
        np.testing.assert_array_equal(np.asarray(cut)[..., 3], np.asarray(Image.open(tmp_path / 'out' / row['map'])))
        tinted = np.asarray(Image.open(tmp_path / 'out' / row['overlay']))
        assert tinted.shape == image.shape and not np.array_equal(tinted, image)
        # Pixels far from the box are unchanged.
        np.testing.assert_array_equal(tinted[:2, :2], image[:2, :2])
    assert 'maps/a.png' in result.stdout and (tmp_path / 'out' / 'predictions.png').is_file()


@pytest.mark.parametrize(('form', 'suffix'), [('onnx', '.onnx'), ('openvino', '.xml')])
def test_exported_file(predict, detector, data, load_tool, tmp_path, monkeypatch, form, suffix):
    """Same maps, overlays and cut-outs as the model's, of the file and of the model in the runtime."""
    pytest.importorskip(form, reason="needs pip install '.[openvino]'")
    monkeypatch.setattr(torch.hub, '_hub_dir', str(tmp_path / 'hub'))
    load_tool('export').main([*detector, '--format', form, '--out', f'model{suffix}', '--dynamic-batch'])
    options, folders = ['--overlay', '--cutout'], ('maps', 'overlays', 'cutouts')
    rows = predict(data / 'images', *options)
    expected = {folder: {row['image']: read(tmp_path / 'out', folder, row) for row in rows} for folder in folders}
    for model, others in (([f'model{suffix}'], ['--batch-size', '2']), (detector, ['--runtime', form])):
        shutil.rmtree('out')
        rows = predict(data / 'images', *options, *others, model=model)
        for folder, images in expected.items():
            for row in rows:
                difference = abs(read(tmp_path / 'out', folder, row) - images[row['image']])
                assert difference.max() <= 1  # of rounding to 8 bits


def read(folder, kind, row):
    return np.asarray(Image.open(folder / row[kind.removesuffix('s')])).astype(int)


def test_test_set_beside_its_masks(predict, capsys, tmp_path):
    rows = predict()
    picture = np.asarray(Image.open(tmp_path / 'out/predictions.png').convert('RGB')).astype(int)
    found = {color: (abs(picture - color).max(axis=2) < 6).sum() for color in [(240, 30, 30), (30, 30, 240)]}
    assert found[240, 30, 30] > 1000 and found[30, 30, 240] == 0
    assert [row['map'] for row in rows] == [f'maps/Boxes/{name}.png' for name in SIZES]
    assert all(float(row['MAE']) < 0.1 and float(row['maxF']) > 0.85 for row in rows)
    mean = np.mean([float(row['MAE']) for row in rows])
    assert f'mean MAE of 3 images: {mean:.4f}' in capsys.readouterr().out


@pytest.fixture
def ffmpeg():
    return pytest.importorskip('imageio_ffmpeg', reason="needs pip install '.[video]'")


def write_clip(ffmpeg, path, size):
    """Write a video of 5 frames: a red box that moves on grey."""
    # OpenCV's own writer leaves out odd rows and columns.
    options = dict(codec='ffv1', pix_fmt_in='bgr24', pix_fmt_out='bgr0', fps=12, macro_block_size=1, quality=None)
    video = ffmpeg.write_frames(path, size, **options)
    video.send(None)
    for number in range(5):
        frame = np.full((size[1], size[0], 3), 40, np.uint8)
        frame[10:30, 5 * number : 5 * number + 15] = (20, 20, 240)
        video.send(frame.tobytes())
    video.close()


@pytest.mark.parametrize('encoder', ['imageio_ffmpeg', 'OpenCV'])
@pytest.mark.parametrize('size', [(64, 48), (37, 51)])
def test_video(predict, tmp_path, monkeypatch, ffmpeg, size, encoder):
    """Every frame gives a map, and the overlays are a video again, in a codec that browsers play."""
    write_clip(ffmpeg, tmp_path / 'clip.avi', size)
    name, codecs = 'clip.mp4', ('avc1', 'h264')
    if encoder == 'OpenCV':
        monkeypatch.setitem(sys.modules, 'imageio_ffmpeg', None)
        name, codecs = 'clip.webm', ('VP80',)
    rows = predict(tmp_path / 'clip.avi', '--overlay')
    assert [row['map'] for row in rows] == [f'maps/clip/{number:06d}.png' for number in range(5)]
    for number, row in enumerate(rows):
        saliency = np.asarray(Image.open(tmp_path / 'out' / row['map']))
        assert saliency.shape == size[::-1]
        columns = np.flatnonzero((saliency > 127).any(axis=0))
        assert abs(columns.mean() - (5 * number + 7)) < 2
        assert row['overlay'] == f'overlays/{name}'
    tinted = cv2.VideoCapture(str(tmp_path / 'out' / 'overlays' / name))
    found = int(tinted.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, 'little').decode()
    assert found in codecs
    frames = []
    while (read := tinted.read())[0]:
        frames.append(read[1])
    assert len(frames) == 5 and tinted.get(cv2.CAP_PROP_FPS) == pytest.approx(12)
    # An odd last row or column is repeated.
    assert frames[0].shape[1::-1] == tuple(side + side % 2 for side in size)
    assert abs(frames[0][-1, -1].astype(int) - 40).max() < 12


@pytest.mark.parametrize('size', [1, 2])
def test_stages_that_overlap_have_the_same_results(predict, data, tmp_path, monkeypatch, size):
    """Bit for bit those of stages in turn: rows, maps, and the videos of overlays and cut-outs."""
    write_video(tmp_path / 'clip.avi', frames=12)
    results = []
    for predict_in in (predict_command.predict_ahead, predict_command.predict_pictures):
        monkeypatch.setattr(predict_command, 'predict_ahead', predict_in)
        options = ['--overlay', '--cutout', '--batch-size', size]
        rows = predict(tmp_path / 'clip.avi', data / 'images', *options)
        files = sorted(path for path in (tmp_path / 'out').rglob('*') if path.suffix in ('.png', '.mp4', '.webm'))
        contents = [path.read_bytes() for path in files if path.suffix == '.png']
        frames = [frame for path in files if path.suffix != '.png' for frame in read_frames(path)]
        results.append((rows, [path.name for path in files], contents, frames))
        shutil.rmtree(tmp_path / 'out')
    assert results[0][:3] == results[1][:3] and len(results[0][0]) == 15 and len(results[0][3]) >= 12
    for one, other in zip(results[0][3], results[1][3], strict=True):
        np.testing.assert_array_equal(one, other)


def read_frames(path):
    video = cv2.VideoCapture(str(path))
    while (read := video.read())[0]:
        yield read[1]


@pytest.mark.parametrize(
    ('owner', 'method', 'error', 'message'),
    [
        ('PictureReader', 'pack_image', UserError('no frame'), 'error: no frame'),
        ('SaliencyPredictor', 'predict_maps', UserError('no map'), 'error: no map'),
        ('MapWriter', 'write', OSError(28, 'No space left on device'), r'error: \[Errno 28\] No space'),
        ('MapWriter', 'write', KeyboardInterrupt(), '130'),
    ],
)
def test_a_run_that_ends_early_leaves_no_partial_file(predict, tmp_path, monkeypatch, owner, method, error, message):
    """Whichever stage fails, and on Ctrl-C: maps of the frames before are complete, videos are not there."""
    write_video(tmp_path / 'clip.avi', frames=12)
    owner, calls = getattr(predict_command, owner, PictureReader), []
    call = getattr(owner, method)

    def fail(*args):
        calls.append(args)
        if len(calls) > 4:
            raise error
        return call(*args)

    threads = threading.active_count()
    monkeypatch.setattr(owner, method, fail)
    with pytest.raises(SystemExit) as stop:
        predict(tmp_path / 'clip.avi', '--overlay')
    assert re.match(message, str(stop.value.code))
    names = sorted(path.name for path in (tmp_path / 'out').rglob('*') if path.is_file())
    assert names == [f'{number:06d}.png' for number in range(4)]
    assert threading.active_count() == threads


def test_few_frames_are_in_memory(predict, tmp_path, monkeypatch):
    write_video(tmp_path / 'clip.avi', frames=40)
    read, written, ahead = [], [], []
    pack, write = PictureReader.pack_image, predict_command.MapWriter.write

    def watch_pack(self, *args):
        read.append(args)
        ahead.append(len(read) - len(written))
        return pack(self, *args)

    def watch_write(self, *args):
        written.append(args)
        time.sleep(0.01)  # the slowest stage
        return write(self, *args)

    monkeypatch.setattr(PictureReader, 'pack_image', watch_pack)
    monkeypatch.setattr(predict_command.MapWriter, 'write', watch_write)
    predict(tmp_path / 'clip.avi')
    # As many before the network and before the writer, and one in each stage.
    assert len(written) == 40 and 4 < max(ahead) <= 2 * predict_command.PICTURES_AHEAD + 3


def read_rgba(ffmpeg, path):
    """Decode the frames of a WebM video with their alpha channel, which FFmpeg's default decoder drops."""
    frames = ffmpeg.read_frames(path, pix_fmt='rgba', bits_per_pixel=32, input_params=['-c:v', 'libvpx-vp9'])
    width, height = next(frames)['size']
    return [np.frombuffer(frame, np.uint8).reshape(height, width, 4) for frame in frames]


@pytest.mark.parametrize('size', [(64, 48), (37, 51)])
def test_cutouts_of_a_video(predict, tmp_path, monkeypatch, ffmpeg, size):
    """They are a video with an alpha channel; PNG files where nothing encodes it; or a video on a background."""
    write_clip(ffmpeg, tmp_path / 'clip.avi', size)
    assert {row['cutout'] for row in predict(tmp_path / 'clip.avi', '--cutout')} == {'cutouts/clip.webm'}
    frames = read_rgba(ffmpeg, tmp_path / 'out' / 'cutouts' / 'clip.webm')
    assert len(frames) == 5 and frames[0].shape[1::-1] == tuple(side + side % 2 for side in size)
    for number, frame in enumerate(frames):
        saliency = np.asarray(Image.open(tmp_path / 'out' / 'maps' / 'clip' / f'{number:06d}.png'))
        assert abs(frame[: size[1], : size[0], 3].astype(int) - saliency).mean() < 4
        inside = frame[14:26, 5 * number + 4 : 5 * number + 11]
        assert (inside[..., 3] > 240).all() and abs(inside[..., :3].astype(int) - (240, 20, 20)).mean() < 20
        assert (frame[36:46, :, 3] < 8).all()

    rows = predict(tmp_path / 'clip.avi', '--cutout', '--background', 'lime')
    assert {row['cutout'] for row in rows} == {'cutouts/clip.mp4'}
    video = cv2.VideoCapture(str(tmp_path / 'out' / 'cutouts' / 'clip.mp4'))
    frame = video.read()[1][..., ::-1].astype(int)
    assert abs(frame[36:46] - (0, 255, 0)).max() < 25 and abs(frame[14:26, 4:11] - (240, 20, 20)).mean() < 25

    monkeypatch.setitem(sys.modules, 'imageio_ffmpeg', None)
    rows = predict(tmp_path / 'clip.avi', '--cutout')
    assert [row['cutout'] for row in rows] == [f'cutouts/clip/{number:06d}.png' for number in range(5)]
    assert Image.open(tmp_path / 'out' / rows[0]['cutout']).mode == 'RGBA'


def test_refined_cutouts_on_a_background(predict, data, tmp_path):
    pytest.importorskip('pymatting', reason="needs pip install '.[cutout]'")
    # Ten times the size of the network's input, whose pixels the edge of its map follows.
    image = Image.open(data / 'images' / 'a.png')
    image.resize((320, 240), Image.Resampling.NEAREST).save(tmp_path / 'large.png')
    mask = np.zeros((240, 320), bool)
    mask[40:160, 80:240] = True
    errors = []
    for options in ([], ['--refine']):
        (row,) = predict(tmp_path / 'large.png', '--cutout', *options)
        errors.append(abs(np.asarray(Image.open(tmp_path / 'out' / row['cutout']))[..., 3] / 255 - mask).mean())
    assert errors[1] < errors[0] / 2
    for background, level in ((['--background', '#00b140'], (0, 177, 64)), (['--background', 'black'], (0, 0, 0))):
        (row,) = predict(tmp_path / 'large.png', '--cutout', '--refine', *background)
        cut = Image.open(tmp_path / 'out' / row['cutout'])
        assert cut.mode == 'RGB'
        assert (np.asarray(cut)[:20] == level).all()
        assert abs(np.asarray(cut)[60:140, 100:220].astype(int) - (240, 30, 30)).max() <= 1


def test_refining_names_the_missing_package(predict, data, monkeypatch):
    monkeypatch.setitem(sys.modules, 'pymatting', None)
    with pytest.raises(SystemExit, match=r"pymatting is not installed: pip install '\.\[cutout\]'"):
        predict(data / 'images', '--cutout', '--refine')


def test_standard_input_as_a_user_types_it(detector, data, run_tool, repository, tmp_path):
    """The opacity of the image is read from the same stream."""
    image = Image.open(data / 'images' / 'a.png').convert('RGBA')
    image.putalpha(102)
    content = io.BytesIO()
    image.save(content, 'PNG')
    reader, writer = os.pipe()
    os.write(writer, content.getvalue())
    os.close(writer)
    path = f'{repository}{os.pathsep}{tmp_path}'
    result = run_tool('predict', *detector, '-', '--cutout', '--out-dir', 'out', stdin=reader, PYTHONPATH=path)
    os.close(reader)
    assert result.returncode == 0, result.stderr
    (row,) = read_rows(tmp_path)
    assert (row['image'], row['map'], row['cutout']) == ('/dev/stdin', 'maps/stdin.png', 'cutouts/stdin.png')
    assert overlap(tmp_path / 'out' / row['map'], 'a') > 0.85
    saliency, cut = (np.asarray(Image.open(tmp_path / 'out' / row[kind])) for kind in ('map', 'cutout'))
    np.testing.assert_allclose(cut[..., 3], saliency * 0.4, atol=0.5)


@pytest.fixture
def type_in(monkeypatch):
    def call(content):
        monkeypatch.setattr(sys, 'stdin', None if content is None else io.TextIOWrapper(io.BytesIO(content)))

    return call


def test_standard_input_beside_files(predict, data, tmp_path, type_in):
    type_in((data / 'images' / 'b.png').read_bytes())
    rows = predict('-', data / 'images' / 'b.png')
    maps = [np.asarray(Image.open(tmp_path / 'out' / row['map'])) for row in rows]
    assert len(maps) == 2 and rows[0]['map'] != rows[1]['map']
    np.testing.assert_array_equal(*maps)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'', 'the file is empty'),
        (b'text', 'not an image'),
        (b'\x89PNG\r\n\x1a\n', 'truncated'),
        (None, 'standard input is closed'),
    ],
)
def test_unreadable_standard_input(predict, type_in, content, message):
    type_in(content)
    with pytest.raises(SystemExit, match=f'/dev/stdin: {message}'):
        predict('-')


def test_cutouts_keep_the_opacity_of_the_input(predict, tmp_path):
    """For RGBA, grey with alpha, a palette with a transparent colour, and an image with EXIF orientation."""
    folder = tmp_path / 'clear'
    folder.mkdir()
    image = Image.new('RGBA', (12, 8), (250, 0, 0, 255))
    image.paste((250, 0, 0, 0), (0, 0, 6, 8))
    image.paste((250, 0, 0, 100), (6, 0, 9, 8))
    image.save(folder / 'rgba.png')
    Image.merge('LA', [Image.new('L', (12, 8), 255), image.getchannel('A')]).save(folder / 'grey.png')
    palette = Image.fromarray(np.repeat([[0] * 6 + [1] * 6], 8, axis=0).astype(np.uint8), 'P')
    palette.putpalette([250, 0, 0, 251, 0, 0])
    palette.save(folder / 'palette.png', transparency=0)
    exif = image.getexif()
    exif[274] = 6
    image.save(folder / 'turned.webp', lossless=True, exif=exif)
    Image.new('RGB', (12, 8), (250, 0, 0)).save(folder / 'whole.png')
    predict(folder, '--cutout')
    cut = {path.stem: np.asarray(Image.open(path))[..., 3] for path in (tmp_path / 'out' / 'cutouts').iterdir()}
    for name in ('rgba', 'grey'):
        assert cut[name][4, [0, 7, 11]].tolist() == [0, 100, 255]
    assert cut['palette'][4, [0, 11]].tolist() == [0, 255]
    assert cut['turned'].shape == (12, 8) and cut['turned'][[0, 7, 11], 4].tolist() == [0, 100, 255]
    assert (cut['whole'] == 255).all()


def write_video(path, frames=40, code='MJPG', size=(64, 48)):
    video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*code), 12, size)
    for number in range(frames):
        frame = np.random.RandomState(number).randint(0, 255, (size[1], size[0], 3)).astype(np.uint8)
        video.write(frame)
    video.release()
    return path


@pytest.mark.parametrize('name', ['clip.avi', 'clip.mkv'])
def test_a_video_that_ends_early_is_named(predict, tmp_path, name):
    path = write_video(tmp_path / name)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(SystemExit, match=rf'{name}: truncated video, of which \d+ frames can be read'):
        predict(path)
    assert 10 < len(read_rows(tmp_path)) < 30


def box(kind, content, large=False):
    if large:
        return struct.pack('>I4sQ', 1, kind, 16 + len(content)) + content
    return struct.pack('>I4s', 8 + len(content), kind) + content


@pytest.mark.parametrize(
    ('content', 'expected'),
    [
        (box(b'ftyp', b'isom') + box(b'moov', bytes(50)) + box(b'mdat', bytes(500)), False),
        (box(b'ftyp', b'isom') + box(b'moov', bytes(50)) + box(b'mdat', bytes(500))[:-1], True),
        (box(b'ftyp', b'isom') + box(b'mdat', bytes(500), large=True), False),
        (box(b'ftyp', b'isom') + box(b'mdat', bytes(500), large=True)[:-1], True),
        (box(b'ftyp', b'isom') + struct.pack('>I4s', 0, b'mdat') + bytes(50), False),  # extends to the end of the file
        (box(b'ftyp', b'isom') + box(b'mdat', bytes(50)) + b'\xff' * 20, False),  # trailing data
        (b'RIFF' + struct.pack('<I', 100) + b'AVI '.ljust(100) + b'RIFF' + struct.pack('<I', 9) + b'AVIX12345', False),
        (b'RIFF' + struct.pack('<I', 100) + b'AVI '.ljust(100) + b'RIFF' + struct.pack('<I', 9) + b'AVIX1234', True),
        (b'RIFF' + struct.pack('<I', 0) + b'AVI '.ljust(100), False),
        (b'\x1a\x45\xdf\xa3\x82xx\x18\x53\x80\x67\x40\x64' + bytes(100), False),
        (b'\x1a\x45\xdf\xa3\x82xx\x18\x53\x80\x67\x40\x64' + bytes(99), True),
        (b'\x1a\x45\xdf\xa3\x82xx\x18\x53\x80\x67\x01' + b'\xff' * 7 + bytes(9), False),  # a live recording
        (b'\0\0\1\xba' + bytes(100), False),
        (b'', False),
    ],
)
def test_parts_of_a_video_that_go_beyond_its_end(tmp_path, content, expected):
    from rescaps_plugin.saliency.inference import is_truncated

    (tmp_path / 'clip').write_bytes(content)
    assert is_truncated(tmp_path / 'clip') is expected


@pytest.mark.parametrize(('name', 'code'), [('clip.avi', 'MJPG'), ('clip.mp4', 'mp4v'), ('clip.mkv', 'MJPG')])
def test_whole_videos_are_whole(predict, tmp_path, name, code):
    assert len(predict(write_video(tmp_path / name, 14, code))) == 14


def test_playlists_are_refused(predict, tmp_path):
    """FFmpeg reads them whatever their suffix, and opens the files that they list."""
    write_video(tmp_path / 'secret.avi')
    (tmp_path / 'a.mp4').write_text('ffconcat version 1.0\nfile secret.avi\n')
    (tmp_path / 'b.mp4').write_text('#EXTM3U\n#EXTINF:1,\nsecret.avi\n#EXT-X-ENDLIST\n')
    (tmp_path / 'c.mp4').write_bytes(b'GIF89a' + bytes(200))
    with pytest.raises(SystemExit) as stop:
        predict(*(tmp_path / f'{name}.mp4' for name in 'abc'))
    assert stop.value.code.count('it is not an AVI, Matroska, MPEG, MP4 or WebM file') == 3


def test_frames_beyond_the_limit_are_refused(predict, tmp_path, monkeypatch):
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 64 * 48 // 2 - 1)
    with pytest.raises(SystemExit, match=r'clip\.avi: its frames of 64 x 48 pixels exceed the size limit'):
        predict(write_video(tmp_path / 'clip.avi', 3))


def test_special_names(predict, data, tmp_path):
    """Dollar signs, invalid UTF-8, spreadsheet formulas, and names that contain other names."""
    folder = tmp_path / 'names'
    folder.mkdir()
    names = ['price_$5.png', '=1+1.png', os.fsdecode(b'\xff.png'), 'a.jpg.png', 'a.png', 'a.jpg', '图.png']
    for name in names:
        with Image.open(data / 'images' / 'a.png') as image:
            image.convert('RGB').save(folder / name)
    rows = predict(folder, '--overlay')
    assert {row['map'] for row in rows} == {
        f'maps/{name}.png' for name in ('price_$5', '=1+1', r'\xff', 'a.jpg.png', 'a.png', 'a.jpg', '图')
    }
    assert len(list((tmp_path / 'out' / 'maps').iterdir())) == len(names)
    assert (tmp_path / 'out' / 'predictions.png').is_file()


def test_sets_of_one_name_keep_their_maps(predict, detector, data, tmp_path):
    """Images with the same stem in two folders of a test set."""
    config = tmp_path / 'both.py'
    sets = {name: dict(type='SODDataset', name='Boxes', data_root=str(data), img_suffix='.png') for name in 'ab'}
    config.write_text(
        f"_base_ = '{detector[0]}'\n"
        f"test_dataloader = dict(dataset=dict(_delete_=True, type='SODBenchmark', sets={sets}, pipeline=["
        "dict(type='LoadImageFromFile'), dict(type='LoadSaliencyMask'), {{_base_.pack}}]))\n"
    )
    rows = predict(model=(str(config), detector[1]))
    assert len({row['map'] for row in rows}) == 6
    assert all((tmp_path / 'out' / row['map']).is_file() for row in rows)


def test_max_images_are_spread(predict, tmp_path, data):
    assert [row['image'] for row in predict(data / 'images', '--max-images', 2)] == [
        str(data / 'images' / name) for name in ('a.png', 'b.png')
    ]


def test_files_of_one_name_stay_apart(predict, data, tmp_path):
    (data / 'images' / 'more').mkdir()
    with Image.open(data / 'images' / 'a.png') as image:
        image.save(data / 'images' / 'a.bmp')
        image.save(data / 'images' / 'more' / 'a.png')
    rows = predict(data / 'images')
    names = {'maps/a.bmp.png', 'maps/a.png.png', 'maps/b.png', 'maps/c.png', 'maps/more/a.png'}
    assert {row['map'] for row in rows} == names
    assert all((tmp_path / 'out' / name).is_file() for name in names)


def test_grey_deep_and_tiny_images(predict, tmp_path):
    """Every readable image gets a map of its size."""
    folder = tmp_path / 'odd'
    folder.mkdir()
    Image.fromarray(np.full((9, 7), 200, np.uint8)).save(folder / 'grey.png')
    Image.fromarray(np.full((9, 7), 60000, np.uint16)).save(folder / 'deep.png')
    Image.new('RGB', (1, 1), (250, 0, 0)).save(folder / 'pixel.png')
    rows = {row['map']: row for row in predict(folder, '--cutout')}
    assert [rows[f'maps/{name}.png']['salient'] for name in ('grey', 'deep', 'pixel')] == ['1.0'] * 3
    assert Image.open(tmp_path / 'out' / 'maps' / 'pixel.png').size == (1, 1)


def test_broken_files_are_named_and_the_others_predicted(predict, data, tmp_path):
    content = (data / 'images' / 'b.png').read_bytes()
    (data / 'images' / 'b.png').write_bytes(content[: len(content) // 2])
    (data / 'images' / 'clip.mp4').write_text('no video')
    with pytest.raises(SystemExit) as stop:
        predict(data / 'images')
    message = str(stop.value.code)
    assert '2 inputs could not be read' in message
    assert 'b.png: truncated' in message and 'clip.mp4: no frame of this video can be read' in message
    assert [row['map'] for row in read_rows(tmp_path)] == ['maps/a.png', 'maps/c.png']


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['nowhere'], 'INPUT nowhere does not exist'),
        (['--cfg-options', 'default_scope=mmengine', '--overlay'], '--overlay, .* are of saliency maps'),
        (['--cfg-options', 'default_scope=mmengine', '--refine'], '--refine and --background are of saliency maps'),
        (['--refine'], '--refine is of cut-outs; it needs --cutout'),
        (['--overlay', '--background', 'white'], '--background is of cut-outs; it needs --cutout'),
        (
            ['--cfg-options', 'model.decode_head.out_channels=19', 'model.decode_head.num_classes=19'],
            '1 or 2 out_channels, it is EncoderDecoder with 19',
        ),
        (
            ['data/images', '--batch-size', 2, '--cfg-options', 'model.data_preprocessor.test_size=None'],
            'images of a batch differ in size.*--batch-size 1',
        ),
    ],
)
def test_mistakes(predict, options, message):
    with pytest.raises(SystemExit, match=message):
        predict(*options)


def test_mmsegs_own_inferencer(detector, data):
    from mmseg.apis import MMSegInferencer

    config, checkpoint = detector
    inferencer = MMSegInferencer(model=config, weights=checkpoint, device='cpu')
    found = inferencer(str(data / 'images' / 'b.png'))['predictions']
    top, left, bottom, right = BOXES['b']
    assert found.shape == SIZES['b']
    assert found[top + 2 : bottom - 2, left + 2 : right - 2].all() and not found[:top].any()
