"""Read files of weights without running code from them, and refuse damaged files.

Every tool reads weights with :func:`read_weights`. PyTorch unpickles with ``weights_only=True``: tensors and plain
Python data, nothing that names a class. PyTorch does not compare the checksums that ``torch.save`` writes, so that a
file with a flipped bit would load as other weights: :func:`read_weights` compares them.
"""

import hashlib
import io
import os
import pickle
import re
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlparse

import torch

from rescaps_plugin.cli.errors import UserError

# Bounds on plain data: a pickle of a few hundred bytes can nest and repeat lists without end.
_MAX_DEPTH = 64
_MAX_VALUES = 10**7
# Names of published files end with the first digits of their SHA-256.
_HASHED = re.compile(r'-([0-9a-f]{8,})\.\w+$')
_trusted: set[str] = set()


class CheckpointError(UserError):
    """A checkpoint that is missing, damaged, unsafe to load, or of another model."""


class UntrustedCheckpointError(CheckpointError):
    """An undamaged checkpoint that holds Python objects and is not trusted by the user."""


def _identify(name: str | Path) -> str:
    """Return the identity of a file: a URL unchanged, a path resolved."""
    return str(name) if '://' in str(name) else str(Path(name).expanduser().resolve())


@contextmanager
def trust_checkpoint(filename: str | Path) -> Iterator[None]:
    """Allow one file to be loaded with the full unpickler, which may run code from the file.

    Args:
        filename: The path or URL from which the checkpoint will be loaded. Any other file is still read with
            ``weights_only=True``.
    """
    name = _identify(filename)
    _trusted.add(name)
    try:
        yield
    finally:
        _trusted.discard(name)


def read_weights(
    file: str | Path | io.BytesIO, map_location: Any = None, *, name: str | None = None, mmap: bool = False
) -> Any:
    """Read a file that ``torch.save`` or safetensors wrote.

    Args:
        file: Path of the file, or its contents.
        map_location: As in :func:`torch.load`.
        name: Path or URL that the user gave, for messages and :func:`trust_checkpoint`. Defaults to ``file``.
        mmap: Whether to leave tensors on the disk until they are used. Their checksums are not compared then. Defaults
            to False.

    Returns:
        The contents.

    Raises:
        UntrustedCheckpointError: The file holds objects and is not trusted.
        CheckpointError: It is missing or damaged, or its data exceed the limits on nesting.
    """
    name = str(file) if name is None else name
    if not isinstance(file, io.BytesIO):
        file = Path(file).expanduser()
        if not file.is_file():
            raise CheckpointError(f'checkpoint {name} does not exist.')
    try:
        if Path(urlparse(name).path).suffix == '.safetensors':
            contents = _read_safetensors(file)
        else:
            if not mmap and (damage := find_damage(file)):
                raise CheckpointError(f'checkpoint {name} cannot be read: it {damage}.')
            options = dict(mmap=True) if mmap else {}
            if isinstance(file, io.BytesIO):
                file.seek(0)
            trusted = _identify(name) in _trusted
            contents = torch.load(file, map_location=map_location, weights_only=not trusted, **options)
        _check_nesting(contents, name)
        return contents
    except pickle.UnpicklingError as error:
        found = re.search(r'GLOBAL ([\w.]+)', str(error))
        kind = UntrustedCheckpointError if found else CheckpointError
        what = f'more than weights and plain data ({found[1]})' if found else 'other than weights and plain data'
        raise kind(
            f'checkpoint {name} holds {what}. Loading Python objects can run any code, so it was refused. If you trust '
            'whoever made this file, add --trust-checkpoint to the command line (in Python: load it inside '
            f'{__name__}.trust_checkpoint(name)); checkpoints saved from then on are plain.'
        ) from error
    except CheckpointError:
        raise
    except Exception as error:  # a damaged file can fail the unpickler in any way
        reason = str(error).splitlines()[0].partition('. ')[0] if str(error) else ''
        raise CheckpointError(f'checkpoint {name} cannot be read: {type(error).__name__}: {reason}') from error


def _read_safetensors(file: Path | io.BytesIO) -> dict[str, torch.Tensor]:
    from safetensors.torch import load, load_file

    return load(file.getvalue()) if isinstance(file, io.BytesIO) else load_file(file)


def find_damage(file: Path | io.BytesIO) -> str | None:
    """Check a file that ``torch.save`` wrote by the checksums of its parts.

    Files of PyTorch before 1.6 have no checksums and are not checked.

    Args:
        file: Path of the file, or its contents.

    Returns:
        The damage, as the predicate of a sentence; None if the file is whole.
    """
    with nullcontext(file) if isinstance(file, io.BytesIO) else file.open('rb') as opened:
        opened.seek(0)
        signature = opened.read(4)
        size = opened.seek(0, os.SEEK_END)
        if signature != b'PK\x03\x04' and not zipfile.is_zipfile(opened):
            return None
        try:
            with zipfile.ZipFile(opened) as archive:
                entries = archive.infolist()
                # torch.save compresses nothing; what is compressed or shared can unpack to any size.
                if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
                    return 'is compressed, which torch.save never does'
                if sum(entry.file_size for entry in entries) > size:
                    return 'says that it unpacks to more than it holds'
                damaged = archive.testzip()
        except Exception as error:  # wrong headers fail in many ways
            return f'is torn ({error})'
    return None if damaged is None else f'is damaged ({damaged})'


def _check_nesting(contents: Any, name: str) -> None:
    """Raise :class:`CheckpointError` if plain data are nested too deeply or repeat parts of themselves too often.

    Lists that repeatedly hold the same list twice have exponentially many paths, which could never be traversed.
    """
    known: dict[int, int] = {}

    def count(value: Any, depth: int) -> int:
        """Return the number of values that a traversal of the value visits."""
        if isinstance(value, dict):
            parts = value.values()
        elif isinstance(value, (list, tuple, set)):
            parts = value
        else:
            return 1
        if id(value) not in known:
            if depth == _MAX_DEPTH:
                raise CheckpointError(f'checkpoint {name} nests its data more than {_MAX_DEPTH} levels deep.')
            known[id(value)] = 1 + sum(count(part, depth + 1) for part in parts)
        return known[id(value)]

    if count(contents, 0) > _MAX_VALUES:
        raise CheckpointError(f'checkpoint {name} repeats its data more than {_MAX_VALUES} times within itself.')


def download(url: str, *, expect_hash: bool = False) -> Path:
    """Download a file into the cache of ``torch.hub``, unless it is there.

    Args:
        url: An http or https URL.
        expect_hash: Whether to compare the SHA-256 of the file with the digits at the end of its name. Defaults to
            False.

    Returns:
        Path of the file.

    Raises:
        CheckpointError: It cannot be downloaded, or was not downloaded whole.
    """
    name = Path(urlparse(url).path).name
    folder = Path(torch.hub.get_dir(), 'checkpoints')
    hashed = _HASHED.search(name)
    if not hashed:
        # Many sites have files of the same name.
        folder /= hashlib.sha256(url.encode()).hexdigest()[:16]
    path = folder / (name or 'index')
    if path.is_file():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    try:
        prefix = hashed[1] if expect_hash and hashed else None
        torch.hub.download_url_to_file(url, str(path), hash_prefix=prefix, progress=sys.stderr.isatty())
    except (URLError, RuntimeError, ValueError) as error:
        reason = getattr(error, 'reason', error)
        raise CheckpointError(f'checkpoint {url} could not be downloaded: {reason}') from error
    if damage := find_damage(path):
        path.unlink()
        raise CheckpointError(f'checkpoint {url} was not downloaded whole: it {damage}.')
    return path
