"""Base of the capsule networks as timm models."""

from typing import NamedTuple

import torch
from timm.models._features import feature_take_indices
from torch import Tensor, nn

from rescaps_plugin.layers.capsule_map import split_capsules

# Name of the module, capsule types, and pose size as split_capsules takes it.
CapsuleLevel = tuple[str, int, int | tuple[int, ...]]


class Capsules(NamedTuple):
    """Poses and activations of the capsules of one level of a network.

    Args:
        name: Name of the module that computes them: ``'blocks.0'``, ..., and ``'head'`` for the class capsules.
        poses: Matrices ``[b, n, p, p, h, w]``, or vectors ``[b, n, d, h, w]`` with dynamic routing. Class capsules have
            one position: ``[b, classes, p, p]`` or ``[b, classes, d]``. None where class capsules have no poses: with
            self-routing.
        activations: ``[b, n, h, w]``, of class capsules ``[b, classes]``. Their range depends on the layer, see
            :mod:`rescaps_plugin.layers.capsule_map`.
    """

    name: str
    poses: Tensor | None
    activations: Tensor


class CapsuleNetwork(nn.Module):
    """A network of feature levels, each of which reads the one before it.

    Subclasses set ``feature_info``, ``stem`` and, where there are classes, ``head``, and implement ``levels`` and
    ``capsule_levels``.
    """

    num_classes = 0

    @torch.jit.ignore
    def levels(self) -> list[nn.Module]:
        """The modules behind ``feature_info``: each reads the one before it."""
        raise NotImplementedError

    @torch.jit.ignore
    def capsule_levels(self) -> list[CapsuleLevel]:
        """The modules behind the stem that return capsule maps, each reading the one before it, and their layout."""
        raise NotImplementedError

    @torch.jit.ignore
    def run_block(self, block: nn.Module, x: Tensor) -> Tensor:
        """Run a level behind the first."""
        return block(x)

    @torch.jit.ignore
    def like_network(self, part: nn.Module) -> nn.Module:
        """Move a part that was built for the network to its device, dtype and mode, and return it."""
        return part.to(next(self.parameters())).train(self.training)

    @torch.jit.ignore
    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute blocks or capsule layers in the backward pass, for less memory."""
        self.grad_checkpointing = enable

    @torch.jit.ignore
    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = 'NCHW',
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Give the outputs of the feature levels.

        Args:
            x: Images ``[b, in_chans, h, w]``.
            indices: Levels of ``feature_info``: the last ``n`` for an int, all for None.
            norm: Without effect; there is no last normalisation.
            stop_early: Whether to stop at the last level asked for.
            output_fmt: ``'NCHW'``.
            intermediates_only: Whether to leave the final features out.
        """
        if output_fmt != 'NCHW':
            raise ValueError(f"output_fmt must be 'NCHW', got {output_fmt!r}")
        levels = self.levels()
        take_indices, max_index = feature_take_indices(len(levels), indices)
        intermediates = []
        for index, level in enumerate(levels[: max_index + 1] if stop_early else levels):
            x = self.run_block(level, x) if index > 0 else level(x)
            if index in take_indices:
                intermediates.append(x)
        return intermediates if intermediates_only else (x, intermediates)

    @torch.jit.ignore
    def forward_capsules(self, x: Tensor) -> list[Capsules]:
        """Return poses and activations of every block or capsule layer, and at last of the class capsules.

        The training form and the deploy form have the same capsules. A network with ``num_classes=0`` has no class
        capsules.

        Args:
            x: Images ``[b, in_chans, h, w]``.

        Example:
            >>> import rescaps_plugin, timm
            >>> model = timm.create_model('rescaps_tiny').eval()
            >>> *blocks, classes = model.forward_capsules(torch.zeros(2, 3, 32, 32))
            >>> blocks[0].name, blocks[0].poses.shape, blocks[0].activations.shape
            ('blocks.0', torch.Size([2, 4, 4, 4, 16, 16]), torch.Size([2, 4, 16, 16]))
            >>> classes.name, classes.poses.shape, classes.activations.shape
            ('head', torch.Size([2, 10, 4, 4]), torch.Size([2, 10]))
        """
        x = self.stem(x)
        capsules = []
        for name, types, pose_size in self.capsule_levels():
            x = self.run_block(self.get_submodule(name), x)
            capsules.append(Capsules(name, *split_capsules(x, types, pose_size)))
        if self.num_classes > 0:
            capsules.append(Capsules('head', *self.head.forward_capsules(x)))
        return capsules
