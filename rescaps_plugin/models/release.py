"""Convert checkpoints of the authors' release of ResCaps (https://github.com/liuyi1989/ResCaps).

The release stores one 1x1 convolution over an unfolded window where our layers hold the weights per window offset and
capsule type, computes activations that are never read, and contains many modules that its forward pass never calls.
"""

import re
from collections.abc import Mapping

from torch import Tensor, nn

# Entries of the release's network that its forward pass never uses.
_UNUSED = re.compile(
    r'bn6\.|convd\.|primary_caps\d\.a\.|(conv_caps\d_\d|class_caps)\.(beta_[ua]$|conv[12]\.(conv[234]|conv_cat|convd)\.)'
    r'|class_caps\.conv2\.'
)


def is_release_state_dict(state_dict: Mapping[str, Tensor]) -> bool:
    """Whether a state dict has the release's names."""
    return any(name.removeprefix('module.').startswith('primary_caps1.') for name in state_dict)


def map_release_state_dict(state_dict: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Map a state dict of the release onto a :class:`~rescaps_plugin.models.ResCaps`.

    The network must have the release's form: ``routing='window'``, ``residual='ones'``, its ``capsule_types``.

    Raises:
        ValueError: If a key is missing, or is neither used nor known to be unused, or has a shape that does not fit.
    """
    source = {name.removeprefix('module.'): value for name, value in state_dict.items()}
    target = model.state_dict()
    mapped = {}

    def take(name: str) -> Tensor:
        if name not in source:
            raise ValueError(f'the release checkpoint lacks {name!r}, which {type(model).__name__} needs')
        return source.pop(name)

    def put(name: str, value: Tensor) -> None:
        if name not in target:
            raise ValueError(
                f'the release checkpoint holds weights for {name!r}, which the model lacks: see capsule_types'
            )
        if value.numel() != target[name].numel():
            raise ValueError(
                f'the release checkpoint has {name!r} of shape {tuple(value.shape)}, the model has '
                f'{tuple(target[name].shape)}: build it with its capsule_types, num_classes and img_size'
            )
        mapped[name] = value.reshape(target[name].shape)

    def move_conv(old: str, new: str) -> None:
        for entry in ('weight', 'bias'):
            put(f'{new}.{entry}', take(f'{old}.{entry}'))

    def move_norm(old: str, new: str) -> None:
        for entry in ('weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked'):
            value = take(f'{old}.{entry}')
            # A layer that feeds a ResP layer has no activations in its output here.
            put(f'{new}.{entry}', value[: target[f'{new}.{entry}'].numel()] if value.dim() else value)

    def split_types(weight: Tensor, window: int, types: int) -> Tensor:
        """[o, (k n d), 1, 1] -> [k, n, o, d]."""
        return weight.reshape(len(weight), window, types, -1).permute(1, 2, 0, 3)

    def move_routing(old: str, new: str) -> None:
        window, types, pose_size, _ = target[f'{new}.weight'].shape
        put(f'{new}.weight', take(f'{old}.weights'))
        put(f'{new}.activation_weight', split_types(take(f'{old}.conv1.conv1.weight'), window, types))
        move_norm(f'{old}.conv1.bn', f'{new}.activation_norm')
        if f'{new}.pose_weight' in target:
            outputs = target[f'{new}.pose_weight'].shape[2]
            poses = window * types * pose_size**2
            weight = take(f'{old}.conv2.conv1.weight')[:outputs]
            put(f'{new}.pose_weight', split_types(weight[:, :poses], window, types))
            put(f'{new}.mix.weight', weight[:, poses:])
            move_norm(f'{old}.conv2.bn', f'{new}.norm')

    move_conv('conv1', 'stem.conv')
    move_norm('bn1', 'stem.norm')
    blocks = list(model.get_submodule('blocks').children())
    for block, layers in enumerate(blocks):
        move_conv(f'primary_caps{block + 1}.pose', f'blocks.{block}.primary.pose')
        if block > 0:
            move_norm(f'bn{block + 1}', f'blocks.{block}.primary.norm')
        for layer in range(1, len(list(layers.children()))):
            move_routing(f'conv_caps{block + 1}_{layer}', f'blocks.{block}.routing{layer}')
    last = len(blocks) + 1
    move_norm(f'bn{last}', 'head.primary.norm')
    move_conv(f'primary_caps{last}.pose', 'head.primary.pose')
    move_routing('class_caps', 'head.routing')

    unknown = [name for name in source if not _UNUSED.match(name)]
    if unknown:
        raise ValueError(f'the release checkpoint has keys that this model does not know: {unknown}')
    missing = [name for name in target if name not in mapped]
    if missing:
        raise ValueError(f'the release checkpoint has nothing for {missing}')
    return mapped
