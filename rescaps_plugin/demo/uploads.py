"""Limits on the pictures that a user of the page may upload."""

from __future__ import annotations

from os import PathLike

from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.data.images import read_size

# Largest picture, in megapixels: those of today's phones.
MAX_MEGAPIXELS = 50


def check_size(path: str | PathLike) -> None:
    """Check that a file is an image of at most :data:`MAX_MEGAPIXELS`, by its header.

    Raises:
        UserError: It is not.
    """
    width, height = read_size(path)
    if width * height > 1e6 * MAX_MEGAPIXELS:
        raise UserError(
            f'{path}: {width} x {height} pixels are {width * height / 1e6:.0f} megapixels; up to {MAX_MEGAPIXELS} are '
            'taken. Make the picture smaller first.'
        )
