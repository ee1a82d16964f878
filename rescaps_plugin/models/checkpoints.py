"""Load checkpoints into timm models: parameter names of other trainers, and heads for other numbers of classes."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from rescaps_plugin.models.published import is_packed, unpack_weights
from rescaps_plugin.models.release import is_release_state_dict, map_release_state_dict

_logger = logging.getLogger(__name__)


def convert_state_dict(state_dict: Mapping[str, Tensor], model: nn.Module) -> Mapping[str, Tensor]:
    """Map a state dict onto the model's own names; one that has these is returned unchanged.

    Supported names are those of mmpretrain's ``ImageClassifier``, as ``tools/train.py`` saves them, and those of the
    authors' release. Published weights are unpacked. mmpretrain's wrappers of timm models, such as
    ``TimmCapsuleClassifier``, save the names of the timm model.

    Raises:
        ValueError: If keys of the release are unknown or missing; it names them.
    """
    if is_packed(state_dict):
        state_dict = unpack_weights(state_dict)
    if is_release_state_dict(state_dict):
        return map_release_state_dict(state_dict, model)
    if any(name.startswith('backbone.') for name in state_dict):
        return {
            name.removeprefix('backbone.').replace('head.caps.', 'head.'): value
            for name, value in state_dict.items()
            if not name.startswith('data_preprocessor.')
        }
    return state_dict


class ReadsCheckpoints(nn.Module):
    """Mixin of models that load the checkpoints of :func:`convert_state_dict`, as ``checkpoint_path`` of timm does."""

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load a state dict of this model, or of one that was trained in OpenMMLab or released by the authors."""
        return super().load_state_dict(convert_state_dict(state_dict, self), strict, assign)


def checkpoint_filter_fn(
    state_dict: Mapping[str, Tensor], model: nn.Module, features_only: bool = False
) -> dict[str, Tensor]:
    """Prepare a checkpoint for timm's ``load_pretrained``, which drops only a classifier's ``weight`` and ``bias``.

    A head that fits is kept whole, and ``model.pretrained_cfg['num_classes']`` is set to its number of classes. If the
    model has another number of classes than that, the head is dropped whole, with a warning.

    Args:
        state_dict: State dict of the file; names as in :func:`convert_state_dict`.
        model: The model that timm built, with its ``pretrained_cfg``.
        features_only: Whether timm will discard the model's head. Defaults to False.

    Raises:
        ValueError: If weights before the head are missing, the head is for images of another size, or keys of the
            release are unknown or missing; it names them.
    """
    cfg, num_classes = model.pretrained_cfg, model.num_classes
    assert isinstance(cfg, dict) and isinstance(num_classes, int)
    # In float32, in which timm adapts the weights of the first convolution to other channels.
    state_dict = unpack_weights(convert_state_dict(state_dict, model))
    classifiers = (cfg['classifier'],) if isinstance(cfg['classifier'], str) else cfg['classifier']
    parts = (*(f'{name.partition(".")[0]}.' for name in classifiers), 'decoder.')
    own = model.state_dict()
    missing = [name for name in own if name not in state_dict and not name.startswith(parts)]
    if missing:
        deployed = any(getattr(module, 'deployed', False) for module in model.modules())
        hint = 'build it without deploy=True, then call timm.utils.reparameterize_model; ' if deployed else ''
        raise ValueError(f'the checkpoint is not one of {type(model).__name__} as built here: {hint}it lacks {missing}')

    positions: dict[str, tuple[int, ...]] = getattr(getattr(model, 'head', None), 'position_dims', dict)()
    free = {f'head.{name}': dims for name, dims in positions.items()}

    def head(state: Mapping[str, Tensor], free: Mapping[str, Sequence[int]] | None = None) -> dict[str, list[int]]:
        shapes = {name: [*value.shape] for name, value in state.items() if name.startswith(parts)}
        for name, dims in (free or {}).items():
            shapes[name] = [size for dim, size in enumerate(shapes.get(name, [])) if dim not in dims]
        return shapes

    # timm's train.py requests a new head by a negative number of classes.
    if head(state_dict) == head(own) and cfg['num_classes'] >= 0:
        cfg['num_classes'] = num_classes
    elif features_only:
        return {name: value for name, value in state_dict.items() if not name.startswith(parts)}
    elif free and head(state_dict, free) == head(own, free) and cfg['num_classes'] >= 0:
        name = next(iter(free))
        raise ValueError(
            f'the head of the checkpoint is for images of another size than this {type(model).__name__}: {name} is '
            f'{list(state_dict[name].shape)} there and {list(own[name].shape)} here. Build the network with the '
            'img_size of its training, then call model.set_input_size'
        )
    # If the number of classes is the expected one, load_state_dict names the entries that do not fit.
    elif num_classes != cfg['num_classes']:
        if num_classes > 0:
            _logger.warning(
                f'None of the head of the checkpoint is loaded: this {type(model).__name__} starts with a fresh one of '
                f'{num_classes} classes, which must be trained.'
            )
        return {name: value for name, value in state_dict.items() if not name.startswith(parts)}
    return state_dict
