"""Write videos in formats that browsers play."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np

from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.cli.extras import describe_install


class VideoFile:
    """Frame-by-frame video writer: H.264 in MP4 by imageio-ffmpeg if it is installed, else VP8 in WebM by OpenCV.

    OpenCV's wheels have no H.264 encoder. Both formats subsample colours and need even sides: an odd last row or
    column is repeated.

    Args:
        stem: Path of the file without its suffix, ``.mp4`` or ``.webm``; its folder must exist.
        rate: Frames per second.
        size: Height and width of the frames, in pixels.

    Raises:
        UserError: No encoder is available.
    """

    def __init__(self, stem: Path, rate: float, size: tuple[int, int]) -> None:
        self.odd = [side % 2 for side in size]
        height, width = (side + odd for side, odd in zip(size, self.odd, strict=True))
        self.frames = self.writer = None
        if find_spec('imageio_ffmpeg') is not None:
            import imageio_ffmpeg

            self.path = stem.with_name(f'{stem.name}.mp4')
            self.frames = imageio_ffmpeg.write_frames(
                str(self.path.resolve()),
                (width, height),
                pix_fmt_in='bgr24',
                fps=rate,
                codec='libx264',
                macro_block_size=2,
                quality=None,
                # High quality; faststart puts the index first, so that players can start before the download ends.
                output_params=['-crf', '18', '-movflags', '+faststart'],
            )
            self.frames.send(None)
        else:
            self.path = stem.with_name(f'{stem.name}.webm')
            self.writer = cv2.VideoWriter(str(self.path), cv2.VideoWriter_fourcc(*'VP80'), rate, (width, height))
            if not self.writer.isOpened():
                raise UserError(
                    f'OpenCV cannot write the video {self.path}: {describe_install("video")} brings an encoder; or '
                    'leave --overlay out.'
                )

    def write(self, frame: np.ndarray) -> None:
        """Write a frame, uint8 ``[height, width, 3]``, BGR."""
        bottom, right = self.odd
        frame = cv2.copyMakeBorder(frame, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
        if self.frames is None:
            self.writer.write(frame)
            return
        try:
            self.frames.send(frame.tobytes())
        except OSError as error:
            raise UserError(f'the video {self.path} cannot be written: {error}') from error

    def close(self) -> None:
        """Finish the file."""
        if self.frames is None:
            self.writer.release()
        else:
            self.frames.close()
