"""Routings by name."""

from torch import nn

from rescaps_plugin.layers.dynamic import DynamicRouting
from rescaps_plugin.layers.em import EMRouting
from rescaps_plugin.layers.residual_pose import ResidualPoseRouting
from rescaps_plugin.layers.self_routing import SelfRouting

ROUTING_LAYERS = {'rpr': ResidualPoseRouting, 'em': EMRouting, 'dynamic': DynamicRouting, 'self': SelfRouting}


def create_routing(name: str, in_types: int, out_types: int | None = None, **kwargs) -> nn.Module:
    """Build a capsule layer by the name of its routing.

    Args:
        name: ``'rpr'``, ``'em'``, ``'dynamic'`` or ``'self'``.
        in_types: Capsule types of the input.
        out_types: Capsule types of the output. Defaults to ``in_types``.
        **kwargs: Arguments of the layer: ``kernel_size``, ``stride``, ``padding``, ``pose_size``, and its own.

    Raises:
        ValueError: If there is no routing of that name.

    Example:
        >>> create_routing('em', 4, 8, stride=2).out_channels
        136
    """
    if name not in ROUTING_LAYERS:
        raise ValueError(f'routing must be one of {tuple(ROUTING_LAYERS)}, got {name!r}')
    return ROUTING_LAYERS[name](in_types, out_types, **kwargs)
