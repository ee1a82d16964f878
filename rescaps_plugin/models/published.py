"""Published weights: the index of the zoo, and its files of weights.

The index, ``rescaps_plugin/zoo/index.json``, has one entry per model and is written by ``tools/publish.py``. The
weights are safetensors files in ``rescaps_plugin/zoo/weights``, with the names of the trained model's state dict.
Weights of two or more dimensions are stored in 16 or 8 bits, all others, such as biases and statistics of
normalisation, as they are.
"""

import difflib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

ZOO = Path(__file__).parents[1] / 'zoo'
SCHEME = 'rescaps://'


class PublishedWeightsError(RuntimeError):
    """A published model that does not exist, or whose file of weights is missing or was changed."""


@dataclass(frozen=True)
class PublishedModel:
    """An entry of the index.

    Args:
        name: Name of the model, such as ``'rescaps-small_mnist'``.
        task: ``'classification'``, ``'saliency'`` or ``'pointcloud'``.
        config: Path of its config from the root of the repository, such as ``'configs/rescaps/mnist_small.py'``.
        sha256: Hash of the file of weights.
        bytes: Size of that file.
        dtype: How it stores weights of two or more dimensions: ``'float32'``, ``'float16'`` or ``'int8'``.
        parameters: Number of parameters.
        data: Data set of training and test.
        data_license: Its licence.
        train: What of the data the model was trained on.
        test: What it was tested on.
        metric: Name of the main one of ``metrics``.
        metrics: Results of the file on the whole test set, as ``tools/test.py`` computes them.
        metrics_trained: The same of the weights as they were trained, before they were stored.
        samples: Number of test samples.
        subset: Number of evenly spaced test samples, and the results on them.
        command: Command of the training.
        seed: Its seed.
        commit: Commit of this project that it was run at.
        time: Its duration, in words.
        machine: Its hardware, in words.
        version: Version of this package that published the model.
        tags: Kind of the network, as tags of its card, such as ``'capsule-network'``.
        limits: What the model is not good for: a sentence each.
        labels: Names of the classes; none but for classification.
        timm: For networks of timm, their name with tag, ``'rescaps_small.mnist'``, as ``name``, and entries of their
            ``pretrained_cfg``; else empty.
    """

    name: str
    task: str
    config: str
    sha256: str
    bytes: int
    dtype: str
    parameters: int
    data: str
    data_license: str
    train: str
    test: str
    metric: str
    metrics: Mapping[str, float]
    metrics_trained: Mapping[str, float]
    samples: int
    subset: Mapping[str, Any]
    command: str
    seed: int
    commit: str
    time: str
    machine: str
    version: str
    tags: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    timm: Mapping[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """Path of the file of weights."""
        return ZOO / 'weights' / f'{self.name}.safetensors'

    @property
    def arguments(self) -> tuple[str, str]:
        """Config and checkpoint for the tools: ``rescaps::FAMILY/CONFIG.py`` and ``rescaps://NAME``."""
        return f'rescaps::{self.config.removeprefix("configs/")}', SCHEME + self.name


@cache
def read_index() -> tuple[PublishedModel, ...]:
    """Return the published models, in the order of the index.

    Raises:
        PublishedWeightsError: The index is missing or damaged, or is that of another version of the package.
    """
    path = ZOO / 'index.json'
    try:
        entries = json.loads(path.read_text(encoding='utf-8'))
        # Tuples, as everywhere in timm's configs.
        return tuple(PublishedModel(**{key: _freeze(value) for key, value in entry.items()}) for entry in entries)
    except (AttributeError, OSError, TypeError, ValueError) as error:
        raise PublishedWeightsError(
            f'the index of published models, {path}, cannot be read ({error}). Install the package again.'
        ) from error


def _freeze(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(map(_freeze, value))
    return {key: _freeze(inner) for key, inner in value.items()} if isinstance(value, dict) else value


def list_networks(network: str) -> list[PublishedModel]:
    """Return the published models that are one network of timm, named without a tag, such as ``'rescaps_small'``."""
    return [each for each in read_index() if each.timm and each.timm['name'].startswith(f'{network}.')]


def find_published(name: str) -> PublishedModel:
    """Return the published model of a name, or of a name in timm.

    Args:
        name: Such as ``'rescaps-small_mnist'``, also after ``rescaps://``, or ``'rescaps_small.mnist'``; case does not
            matter.

    Raises:
        PublishedWeightsError: There is no such model; names similar ones.
    """
    known = {each.name.lower(): each for each in read_index()}
    known |= {each.timm['name'].lower(): each for each in read_index() if each.timm}
    wanted = name.lower().removeprefix(SCHEME)
    if wanted in known:
        return known[wanted]
    close = difflib.get_close_matches(wanted, known) or [each for each in known if wanted and wanted in each]
    hint = f'Close: {", ".join(close)}.' if close else 'rescaps zoo lists the names.'
    raise PublishedWeightsError(f'no published model is named {name!r}. {hint}')


def read_published(model: PublishedModel) -> dict[str, Tensor]:
    """Read the weights of a published model as a state dict, in float32.

    Raises:
        PublishedWeightsError: The file is missing, or is not the one that was published.
    """
    from safetensors.torch import load

    return unpack_weights(load(read_file(model)))


def read_file(model: PublishedModel) -> bytes:
    """Read the file of weights of a published model.

    Raises:
        PublishedWeightsError: The file is missing, or is not the one that was published.
    """
    try:
        contents = model.path.read_bytes()
    except FileNotFoundError as error:
        raise PublishedWeightsError(
            f'the weights of {model.name} are missing: there is no {model.path}. Install the package again.'
        ) from error
    if hashlib.sha256(contents).hexdigest() != model.sha256:
        raise PublishedWeightsError(
            f'the weights of {model.name} are damaged: {model.path} is not the file that was published (its SHA-256 '
            'differs). Install the package again.'
        )
    return contents


_SCALE = ':scale'


def pack_weights(state_dict: Mapping[str, Tensor], dtype: str) -> dict[str, Tensor]:
    """Store weights of two or more dimensions in fewer bits.

    Args:
        state_dict: State dict of a model.
        dtype: ``'float32'``, ``'float16'``, or ``'int8'``: symmetric integers of 8 bits with one float32 scale for
            every index of the first dimension, in an entry of its own.

    Returns:
        The state dict to write.

    Raises:
        ValueError: A weight exceeds the range of float16.
    """
    packed = {}
    for name, value in state_dict.items():
        value = value.detach().cpu().contiguous()
        if dtype == 'float32' or value.dim() < 2 or not value.is_floating_point():
            packed[name] = value
        elif dtype == 'float16':
            packed[name] = value.half()
            if packed[name].isinf().any():
                raise ValueError(f'{name} exceeds the range of float16')
        else:
            largest = value.abs().flatten(1).amax(dim=1)
            scale = (largest / 127).clamp_min(torch.finfo(torch.float32).tiny).view(-1, *[1] * (value.dim() - 1))
            packed[name] = (value / scale).round().to(torch.int8)
            packed[name + _SCALE] = scale
    return packed


def is_packed(state_dict: Mapping[str, Tensor]) -> bool:
    """Return whether a state dict has weights that :func:`pack_weights` stored as integers."""
    return any(name + _SCALE in state_dict for name in state_dict)


def unpack_weights(packed: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the float32 state dict that :func:`pack_weights` stored; entries of other types are returned unchanged."""
    state_dict = {}
    for name, value in packed.items():
        if name + _SCALE in packed:
            state_dict[name] = value.float() * packed[name + _SCALE]
        elif name.removesuffix(_SCALE) not in packed or not name.endswith(_SCALE):
            state_dict[name] = value.float() if value.dtype == torch.float16 else value
    return state_dict
