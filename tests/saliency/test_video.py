"""Videos are complete, or not written."""

import signal

import cv2
import numpy as np
import pytest

from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.saliency import video
from rescaps_plugin.saliency.video import VideoFile

resource = pytest.importorskip('resource')
NOISE = np.random.RandomState(0).randint(256, size=(12, 271, 480, 4), dtype=np.uint8)


@pytest.fixture(params=['H.264', 'VP9', 'VP8'])
def frames(request, monkeypatch):
    if request.param == 'VP8':
        monkeypatch.setattr(video, 'has_ffmpeg', lambda: False)
    else:
        pytest.importorskip('imageio_ffmpeg')
    return NOISE if request.param == 'VP9' else np.ascontiguousarray(NOISE[..., :3])


@pytest.fixture
def full_disk():
    """Limit files to 100 kB, for this process and those that it starts."""
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.getsignal(signal.SIGXFSZ)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize('count', [1, 12])
def test_all_frames_are_written(frames, tmp_path, count):
    file = VideoFile(tmp_path / 'clip', 29.97, frames.shape[1:])
    for frame in frames[:count]:
        file.write(frame)
    file.close()
    assert [*tmp_path.iterdir()] == [file.path]
    reader = cv2.VideoCapture(str(file.path))
    assert sum(iter(lambda: reader.read()[0], False)) == count


def test_a_video_that_cannot_be_finished_is_an_error(frames, tmp_path, full_disk):
    file = VideoFile(tmp_path / 'clip', 25, frames.shape[1:])
    file.path.write_bytes(b'before')
    with pytest.raises(UserError, match='clip.* cannot be written'):
        for frame in frames:
            file.write(frame)
        file.close()
    file.close(keep=False)
    assert [*tmp_path.iterdir()] == [file.path] and file.path.read_bytes() == b'before'
