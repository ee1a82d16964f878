"""Composition of pose transforms and convolutions into one kernel.

Liu, Cheng, Zhang, Xu, Han, *Capsule Networks With Residual Pose Routing*, IEEE TNNLS 2024, Sec. III-IV.

Residual pose routing multiplies poses by learned matrices, ``p' = p (1 + w)`` (eqs. 8, 9), and convolves the result.
Both steps are linear, so together they *are* one convolution of ``p``, whose kernel is composed from ``w`` and the
convolution's own weights. The composition costs the same whatever the batch and image size, and no transformed pose is
ever stored. Gradients flow through the composition to the parameters of the equations. An evaluation without gradients
on a CPU composes once, until parameters change (:class:`PoseKernel`).

Letters: ``b`` batch, ``n`` capsule type, ``i j m`` pose rows and columns, ``d e`` flattened pose entries, ``k`` offset
in the convolution window (row by row), ``o`` output channel, ``g`` group, ``h w`` space.
"""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from rescaps_plugin.layers.checks import check_choice, check_positive
from rescaps_plugin.layers.fusion import Deployable
from rescaps_plugin.layers.memory_format import is_channels_last

ROUTINGS = ('window', 'pointwise')
RESIDUALS = ('identity', 'ones', 'none')


def pose_transform(weight: Tensor, one: Tensor, rows: Tensor) -> Tensor:
    """Return the matrices of ``p -> p (1 + w)`` on flattened poses.

    They are block-diagonal, one block per pose row. Composing with them takes ``p`` times the multiplications of
    composing row by row, and a seventh of the time: products of 4x4 matrices are too small for a BLAS.

    Args:
        weight: ``w``, ``[k, n, p, p]``; a single offset is used for all.
        one: The ``1``, ``[p, p]``.
        rows: The identity matrix, ``[p, p]``.

    Returns:
        Matrices ``[k, n, d, e]``, from the entries ``e`` of ``p`` to those of ``p (1 + w)``.
    """
    # rows[i, r] (1 + w)[k, n, m, j] at [k, n, i, j, r, m]
    matrices = (one + weight).transpose(2, 3)[:, :, None, :, None, :]
    return (rows[:, None, :, None] * matrices).flatten(4, 5).flatten(2, 3)


@torch.fx.wrap
def compose_kernel(
    weight: Tensor, transform: Tensor, kernel_size: tuple[int, int], groups: int = 1, x: Tensor | None = None
) -> Tensor:
    """Compose the kernel that reads ``p`` from the one that reads ``p (1 + w)``.

    Args:
        weight: Weights on transformed poses, ``[k, n, o / groups, d]``: each type has those of its own group's outputs.
        transform: The matrices that :func:`pose_transform` returns.
        kernel_size: Height and width of the window.
        groups: Groups of the types and of the outputs that read them. Defaults to 1.
        x: Map that the kernel is applied to. On a GPU the kernel has its memory format; on a CPU it is always
            channels-last, which takes half the time because the products have that layout and convolutions are faster
            in it. Defaults to None: channels-last.

    Returns:
        Kernel ``[o, n * e / groups, height, width]``.
    """
    products = torch.bmm(weight.flatten(0, 1), transform.expand(weight.shape[0], -1, -1, -1).flatten(0, 1))
    kernel = products.unflatten(0, (weight.shape[0], groups, -1))
    if weight.device.type == 'cpu' or x is None or is_channels_last(x):
        kernel = kernel.permute(1, 3, 0, 2, 4).flatten(3, 4).flatten(0, 1)
        return kernel.unflatten(1, kernel_size).permute(0, 3, 1, 2)
    return kernel.permute(1, 3, 2, 4, 0).flatten(2, 3).flatten(0, 1).unflatten(2, kernel_size)


class _Composed(NamedTuple):
    """Kernels, and what they were composed from.

    Args:
        sources: The parameters, views of their memory, which keep it from being used again, and their versions.
        autocast: Type that autocast computed in, if any.
        kernels: The kernels.
    """

    sources: tuple[tuple[nn.Parameter, Tensor, int], ...]
    autocast: torch.dtype | None
    kernels: list[Tensor]

    def is_of(self, sources: Sequence[Tensor], autocast: torch.dtype | None) -> bool:
        """Return whether the kernels were composed from these parameters, and none has changed since."""
        return self.autocast == autocast and all(
            new is old and new._version == version and new.is_set_to(view)
            for new, (old, view, version) in zip(sources, self.sources, strict=True)
        )


class PoseKernel(Deployable):
    """Base of the layers whose convolutions read transformed poses.

    It holds ``w`` and the weights that read activations from transformed poses, and composes kernels with them. A
    subclass calls :meth:`_build_poses` in its constructor, implements ``_transform`` on its ``w``, composes its other
    weights by :meth:`_compose`, and returns all kernels from ``_compose_kernels``; ``composed`` names the parameters
    that it reads there.

    In evaluation mode on a CPU, without gradients, kernels are kept until a parameter changes, the mode is set, or the
    layer is called in training mode or with gradients. A change is whatever PyTorch counts in the version of a tensor,
    and any replacement of a parameter, or of its ``data`` by other memory. Not counted are writes *into* ``data``
    (MMEngine's ``EMAHook``) or by NumPy or another process, ``vector_to_parameters`` of a vector that was given before
    and then changed, and fused optimizers, if the layer was last called without gradients or in a compiled graph: call
    ``eval()`` after them.
    """

    _kept = None  # type: _Composed | None

    if TYPE_CHECKING:  # TorchScript reads the annotations that there are at run time
        one: Tensor
        rows: Tensor
        own: Tensor | None
        activation_weight: nn.Parameter
        composed: tuple[str, ...]

    def _build_poses(
        self,
        capsule_types: int,
        window: tuple[int, int],
        pose_size: int,
        routing: str,
        residual: str = 'identity',
        groups: int = 1,
        activation: bool = True,
        name: str = 'weight',
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        """Add the parameters, uninitialised, and the buffers of their composition.

        Args:
            capsule_types: Capsule types of the input; 0 for a layer without capsules, which has none of the parameters.
            window: Height and width of the window.
            pose_size: Side ``p`` of a pose matrix.
            routing: ``'window'``: ``w`` and activations for each offset of the window and type, each activation read
                from all types of its group. ``'pointwise'``: one for each type, read from that type alone.
            residual: The ``1`` of eq. 8: ``'identity'``, ``'ones'`` or ``'none'``. Defaults to ``'identity'``.
            groups: Groups of the types. Defaults to 1.
            activation: Whether to add the weights of the activations. Defaults to True.
            name: Name of ``w`` among the parameters. Defaults to ``'weight'``.
            device: Where to put the parameters. Defaults to None.
            dtype: Type of the parameters. Defaults to None.
        """
        check_choice('routing', routing, ROUTINGS)
        check_choice('residual', residual, RESIDUALS)
        check_positive(pose_size=pose_size)
        factory: dict[str, Any] = dict(device=device, dtype=dtype)
        offsets = math.prod(window)
        per_window = routing == 'window'
        self.capsule_types = capsule_types
        self.window = window
        self.pose_size = pose_size
        self.routing = routing
        self.residual = residual
        self.groups = groups
        self.activation_channels = capsule_types * (offsets if per_window else 1) if activation else 0

        def parameter(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(*shape, **factory))

        if not capsule_types:
            return
        self.register_buffer('one', None, persistent=False)
        self.register_buffer('rows', None, persistent=False)
        self.register_parameter(name, parameter(offsets if per_window else 1, capsule_types, pose_size, pose_size))
        if self.activation_channels:
            read = self.activation_channels // groups if per_window else 1
            self.activation_weight = parameter(offsets, capsule_types, read, pose_size**2)
            self.register_buffer('own', None, persistent=False)
        self.init_non_persistent_buffers()

    def init_non_persistent_buffers(self) -> None:
        """Compute the buffers, where the parameters are; for timm, after a network was built on the meta device."""
        if self.deployed or not self.capsule_types:
            return
        parameter = next(self.parameters(recurse=False))
        rows = torch.eye(self.pose_size, device=parameter.device, dtype=parameter.dtype)
        self.rows = rows
        self.one = {'identity': torch.clone, 'ones': torch.ones_like, 'none': torch.zeros_like}[self.residual](rows)
        group_types = self.capsule_types // self.groups
        if self.activation_channels and self.routing == 'pointwise' and group_types > 1:
            self.own = torch.eye(group_types).to(rows)[:, :, None].repeat(self.groups, 1, 1)

    def _activation_fan_in(self) -> int:
        """Return the number of pose entries that an activation is read from."""
        types = self.capsule_types // self.groups if self.routing == 'window' else 1
        return math.prod(self.window) * types * self.pose_size**2

    def _transform(self) -> Tensor:
        raise NotImplementedError

    def _compose(self, weight: Tensor, transform: Tensor, x: Tensor | None = None) -> Tensor:
        """Compose weights ``[k, n, o / groups, d]`` with the transform into a kernel for the map ``x``."""
        return compose_kernel(weight, transform, self.window, self.groups, x)

    def _compose_kernels(self, x: Tensor | None = None) -> list[Tensor]:
        raise NotImplementedError

    def _kernels(self, x: Tensor) -> list[Tensor]:
        """Return the kernels for the map ``x``."""
        if torch.jit.is_scripting():
            return self._compose_kernels(x)
        else:
            return self._keep_kernels(x)

    @torch.jit.unused
    def _keep_kernels(self, x: Tensor) -> list[Tensor]:
        """Return the kernels for the map ``x``, composed in an earlier call where they must be the same.

        Whoever differentiates, transforms, traces or counts the operations sees the composition. On a GPU, whose
        streams and graphs do not wait for each other's kernels, it is part of every call.
        """
        if torch.compiler.is_compiling():
            return self._compose_kernels(x)
        if self.training or torch.is_grad_enabled():
            # A fused optimizer may follow: it changes parameters, and their versions stay.
            self._kept = None
            return self._compose_kernels(x)
        if (
            torch.jit.is_tracing()
            or torch._C._functorch.peek_interpreter_stack() is not None
            or torch._C._len_torch_dispatch_stack()
        ):
            return self._compose_kernels(x)
        sources = [source for name in self.composed if (source := getattr(self, name, None)) is not None]
        # Others are proxies of torch.fx, or computed from parameters, as by a parametrisation.
        if any(type(each) is not nn.Parameter or each.device.type != 'cpu' or each.is_inference() for each in sources):
            return self._compose_kernels(x)
        autocast = torch.get_autocast_dtype('cpu') if torch.is_autocast_enabled('cpu') else None
        kept = self._kept
        if kept is None or not kept.is_of(sources, autocast):
            # Versions are read first, in case that another thread changes a parameter meanwhile.
            read = tuple((source, source.detach(), source._version) for source in sources)
            kept = self._kept = _Composed(read, autocast, self._compose_kernels(x))
        return kept.kernels

    def train(self, mode: bool = True):
        """Set training or evaluation mode; kernels that were kept are composed again."""
        self._kept = None
        return super().train(mode)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True):
        self._kept = None
        return super()._apply(fn, recurse)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != '_kept'}

    def _activation_kernel(self, transform: Tensor, x: Tensor | None = None) -> Tensor:
        """Compose the kernel that reads the activations.

        With ``'pointwise'``, weights of all types but an activation's own are zero. In a ResP layer the dense
        convolution that this makes adds a seventeenth to that of the poses, and takes half to nine tenths of the time
        of one in groups of a single output each.
        """
        weight = self.activation_weight if self.own is None else self.activation_weight * self.own
        return self._compose(weight, transform, x)


def reset_uniform(weight: Tensor, fan_in: int) -> None:
    """Draw a weight or bias as ``nn.Conv2d`` draws its own: uniformly within ``1 / sqrt(fan_in)``."""
    bound = 1 / math.sqrt(fan_in)
    nn.init.uniform_(weight, -bound, bound)
