"""Bases of the capsule networks as timm models."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from timm.models import checkpoint_seq
from timm.models._features import feature_take_indices
from timm.models._input import update_model_input_size
from torch import Tensor, nn

from rescaps_plugin.layers.capsule_map import split_capsules
from rescaps_plugin.models.checkpoints import ReadsCheckpoints

OUTPUTS = ('activation', 'logit')
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


def resample_positions(weight: Tensor, size: tuple[int, int]) -> Tensor:
    """Resample weights per position, ``[..., h, w]``, bilinearly to other positions, ``[..., *size]``."""
    flat = weight.float().flatten(0, -3)[None]
    return F.interpolate(flat, size, mode='bilinear', antialias=True)[0].unflatten(0, weight.shape[:-2]).to(weight)


class CapsuleNetwork(ReadsCheckpoints):
    """A network of feature levels, each of which reads the one before it.

    Subclasses set ``feature_info``, ``stem`` and, where there are classes, ``head``, and implement ``capsule_levels``.
    """

    num_classes = 0
    grad_checkpointing = False
    if TYPE_CHECKING:  # each network has its own class of these modules
        stem: Any
        head: Any
        feature_info: list[dict[str, Any]]

    @torch.jit.ignore
    def levels(self) -> list[nn.Module]:
        """Return the modules of ``feature_info``: each reads the one before it."""
        return [self.get_submodule(level['module']) for level in self.feature_info]

    @torch.jit.ignore
    def capsule_levels(self) -> list[CapsuleLevel]:
        """The modules after the stem that return capsule maps, each reading the one before it, and their layout."""
        raise NotImplementedError

    @torch.jit.ignore
    def run_block(self, block: nn.Module, x: Tensor) -> Tensor:
        """Run a level after the first, with gradient checkpointing where that is set."""
        return checkpoint_seq([block], x) if self.grad_checkpointing else block(x)

    @torch.jit.ignore
    def like_network(self, part: nn.Module) -> nn.Module:
        """Move a part that was built for the network to its device, dtype and mode, and return it."""
        return part.to(next(self.parameters())).train(self.training)

    @torch.jit.ignore
    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute blocks or capsule layers in the backward pass to save memory."""
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
        """Return the final features and the outputs of the feature levels.

        Args:
            x: Images ``[b, in_chans, h, w]``.
            indices: Levels of ``feature_info``: the last ``n`` for an int, all for None.
            norm: Ignored; there is no final normalisation.
            stop_early: Whether to stop at the last requested level.
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
        """Return poses and activations of every block or capsule layer, and finally of the class capsules.

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
        kept = [f'{level["module"]}.' for level in self.feature_info]
        for name, types, pose_size in self.capsule_levels():
            if any(level.startswith(f'{name}.') for level in kept):
                x = self.run_block(self.get_submodule(name), x)
                capsules.append(Capsules(name, *split_capsules(x, types, pose_size)))
        if self.num_classes > 0:
            capsules.append(Capsules('head', *self.head.forward_capsules(x)))
        return capsules


class CapsuleClassifierNetwork(CapsuleNetwork):
    """A capsule network with a head of class capsules.

    Subclasses implement ``forward_features`` and ``feature_size_of``, and end their ``__init__`` with
    :meth:`build_head`.
    """

    def build_head(
        self,
        head: Callable[..., nn.Module],
        num_classes: int,
        img_size: int | tuple[int, int],
        global_pool: str,
        drop_path_rate: float,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
    ) -> None:
        """Build the head, and move the network to ``device`` and ``dtype``.

        Args:
            head: Function of ``num_classes``, ``feature_size`` and ``global_pool`` that builds it, with ``resize``.
            num_classes: Number of classes; 0 for features.
            img_size: Image height and width, in pixels.
            global_pool: How the head reads the last map.
            drop_path_rate: Must be 0: there is no stochastic depth. timm's scripts set it for every model.
            device: Device of the parameters; None leaves them where they are.
            dtype: Data type of the parameters; None leaves it as it is.
        """
        if drop_path_rate != 0:
            raise ValueError(
                f'drop_path_rate must be 0 for {type(self).__name__}, which has no stochastic depth, got '
                f'{drop_path_rate}; drop_rate is the dropout before the class capsules'
            )
        self.feature_size = self.feature_size_of(img_size)
        self._build_head = head
        self._set_head(num_classes, global_pool)
        if device is not None or dtype is not None:
            self.to(device=device, dtype=dtype)

    def _set_head(self, num_classes: int, global_pool: str) -> None:
        self.head = self._build_head(num_classes, feature_size=self.feature_size, global_pool=global_pool)
        self.num_classes = num_classes
        self.head_hidden_size = self.head.num_features

    @torch.jit.ignore
    def feature_size_of(self, img_size: int | tuple[int, int]) -> tuple[int, int]:
        """Return the height and width of the last capsule map for images of a size; raise if they are too small."""
        raise NotImplementedError

    @torch.jit.ignore
    def get_classifier(self) -> nn.Module:
        """Return the head: all parameters that :meth:`reset_classifier` replaces."""
        return self.head

    @torch.jit.ignore
    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the head by a new one for ``num_classes`` (0: none)."""
        self._set_head(num_classes, self.head.global_pool if global_pool is None else global_pool)
        self.like_network(self.head)

    @torch.jit.ignore
    def set_input_size(self, img_size: int | tuple[int, int]) -> None:
        """Change the size of the images that the network reads, in place.

        Weights of the head that belong to positions of the last map are resampled bilinearly, the others kept. All
        parameters are still the same objects, frozen ones too.

        Args:
            img_size: Image height and width, in pixels.

        Raises:
            ValueError: If the image is too small for the layers.
            RuntimeError: If the head is in its deploy form.
        """
        if any(getattr(module, 'deployed', False) for module in self.head.modules()):
            raise RuntimeError(
                'set_input_size needs a network in its training form, before it is turned into the deploy form'
            )
        self.feature_size = self.feature_size_of(img_size)
        self.head.resize(self.feature_size)
        self.head.zero_grad()
        self.head_hidden_size = self.head.num_features
        update_model_input_size(self, img_size)

    @torch.jit.ignore
    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Drop what the feature levels in ``indices`` do not need, in place.

        Args:
            indices: Levels of ``feature_info``: the last ``n`` for an int. Defaults to 1.
            prune_norm: Ignored; there is no final normalisation. Defaults to False.
            prune_head: Whether to drop the head too. It is dropped with the last level in any case, which it reads.
                Defaults to True.

        Returns:
            The indices of the levels, counted from the first.
        """
        take_indices, max_index = feature_take_indices(len(self.feature_info), indices)
        dropped = self.feature_info[max_index + 1 :]
        self.feature_info = self.feature_info[: max_index + 1]
        for level in dropped:
            parent_name, _, name = level['module'].rpartition('.')
            parent = self.get_submodule(parent_name)
            if isinstance(parent, nn.Sequential):
                delattr(parent, name)
            else:
                setattr(parent, name, nn.Identity())
        if prune_head or dropped:
            self.reset_classifier(0, '')
        if dropped:
            self.num_features = self.head_hidden_size = self.feature_info[-1]['num_chs']
        return take_indices

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the last capsule map, ``[b, num_features, h, w]``."""
        raise NotImplementedError

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Return class outputs ``[b, num_classes]`` of the last capsule map, or with ``pre_logits`` the pooled map."""
        return self.head(x, pre_logits=pre_logits)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))
