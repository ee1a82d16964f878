"""Write videos in formats that browsers play."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np

from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.cli.extras import describe_install


def has_ffmpeg() -> bool:
    """Return whether imageio-ffmpeg is installed, whose encoders include H.264, and VP9 with an alpha channel."""
    return find_spec('imageio_ffmpeg') is not None


class VideoFile:
    """Frame-by-frame video writer.

    With imageio-ffmpeg, frames are encoded as H.264 in MP4, and those with an alpha channel as VP9 in WebM; else as VP8
    in WebM by OpenCV, whose wheels have no encoder for H.264 or alpha channels. All formats subsample colours and need
    even sides: an odd last row or column is repeated. The file appears when it is closed.

    Args:
        stem: Path of the file without its suffix, ``.mp4`` or ``.webm``; its folder must exist.
        rate: Frames per second.
        shape: Height and width of the frames, in pixels, and 3 or, with an alpha channel, 4.

    Raises:
        UserError: No encoder is available.
    """

    def __init__(self, stem: Path, rate: float, shape: tuple[int, int, int]) -> None:
        self.odd = [side % 2 for side in shape[:2]]
        height, width = (side + odd for side, odd in zip(shape, self.odd, strict=False))
        self.frames = self.writer = None
        self.written = 0
        suffix = '.mp4' if has_ffmpeg() and shape[2] == 3 else '.webm'
        self.path = stem.with_name(f'{stem.name}{suffix}')
        # The suffix tells encoders the format.
        self.draft = self.path.with_name(f'.{stem.name}.part{suffix}')
        if has_ffmpeg():
            import imageio_ffmpeg

            if shape[2] == 4:
                formats = dict(pix_fmt_in='bgra', pix_fmt_out='yuva420p', codec='libvpx-vp9')
                # Constant quality; alternate reference frames cannot have an alpha channel.
                options = ['-crf', '24', '-b:v', '0', '-auto-alt-ref', '0', '-row-mt', '1', '-cpu-used', '4']
            else:
                formats = dict(pix_fmt_in='bgr24', codec='libx264')
                # High quality; faststart puts the index first, so that players can start before the download ends.
                options = ['-crf', '18', '-movflags', '+faststart']
            self.frames = imageio_ffmpeg.write_frames(
                str(self.draft.resolve()),
                (width, height),
                fps=rate,
                macro_block_size=2,
                quality=None,
                output_params=options,
                **formats,
            )
            self.frames.send(None)
        else:
            self.writer = cv2.VideoWriter(str(self.draft), cv2.VideoWriter_fourcc(*'VP80'), rate, (width, height))
            if not self.writer.isOpened():
                raise UserError(
                    f'OpenCV cannot write the video {self.path}: {describe_install("video")} brings an encoder; or '
                    'leave --overlay and --background out.'
                )

    def write(self, frame: np.ndarray) -> None:
        """Write a frame, uint8 ``[height, width, 3]``, BGR, or ``[height, width, 4]`` with an alpha channel."""
        bottom, right = self.odd
        frame = cv2.copyMakeBorder(frame, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
        self.written += 1
        if self.frames is None:
            self.writer.write(frame)
            return
        try:
            self.frames.send(frame.tobytes())
        except OSError as error:
            raise UserError(f'the video {self.path} cannot be written: {error}') from error

    def close(self, keep: bool = True) -> None:
        """Finish the file.

        Args:
            keep: Whether it is kept, or removed as incomplete. Defaults to True.

        Raises:
            UserError: The encoder could not finish the file, for instance since the disk is full; it is removed.
        """
        if self.frames is None:
            self.writer.release()
        else:
            self.frames.close()
        if keep and self._is_complete():
            self.draft.replace(self.path)
            return
        self.draft.unlink(missing_ok=True)
        if keep:
            raise UserError(f'the video {self.path} cannot be written: its encoder stopped early; is the disk full?')

    def _is_complete(self) -> bool:
        """Return whether the draft can be read and has all frames: encoders do not report what they could not write."""
        video = cv2.VideoCapture(str(self.draft))
        try:
            # WebM has no number of frames, but a duration in milliseconds.
            return video.read()[0] and video.get(cv2.CAP_PROP_FRAME_COUNT) >= self.written - 1
        finally:
            video.release()
