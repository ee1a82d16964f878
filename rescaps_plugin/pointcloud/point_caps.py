"""Point capsule autoencoder.

Zhao, Birdal, Deng, Tombari, *3D Point Capsule Networks*, CVPR 2019, with its dynamic routing or with one block of
residual pose routing (Liu et al. 2024, Sec. V-D).

Letters: ``b`` cloud of the batch, ``n`` point, ``c`` feature, ``p`` primary capsule, ``i`` its entries, ``l`` latent
capsule, ``d`` its entries, ``o`` output channel, ``g`` point generator.
"""

import math

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from rescaps_plugin.layers import DynamicRouting, ResidualPoseBlock
from rescaps_plugin.layers.capsule_map import split_channels
from rescaps_plugin.layers.dynamic import squash
from rescaps_plugin.layers.fusion import Deployable, norm_scale_shift
from rescaps_plugin.pointcloud.autoencoder import PointAutoencoder, pointwise_network

# Number of products computed at a time when searching the maxima. On a CPU they fit into the cache.
CPU_SCORES = 2**21
GPU_SCORES = 2**27


class LargestProducts(torch.autograd.Function):
    """Maximum over the points of a cloud of their product with every row of a matrix; minimum where the sign is -1.

    Products with all points are computed in chunks and not stored: the backward pass needs only the index of the
    maximum.
    """

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, sign: Tensor) -> Tensor:
        """Compute products ``[b, o]`` of ``x`` [b, n, c] and ``weight`` [o, c]; ``sign`` [o] is 1 or -1."""
        rows = max(1, (CPU_SCORES if x.device.type == 'cpu' else GPU_SCORES) // x.shape[1])
        chunks = (sign[:, None] * weight).split(rows)
        largest = [(chunk @ cloud.T).max(dim=1) for cloud in x for chunk in chunks]
        score, index = (torch.cat(parts).view(len(x), -1) for parts in zip(*largest, strict=True))
        ctx.save_for_backward(x, weight, index)
        return sign * score.to(x.dtype)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        """Compute the gradients of ``x`` and ``weight``."""
        x, weight, index = ctx.saved_tensors
        grad_x, grad_weight = torch.zeros_like(x), torch.zeros_like(weight)
        for cloud, winner, grad_cloud, grad_product in zip(x, index, grad_x, grad[:, :, None], strict=True):
            grad_weight.addcmul_(grad_product, cloud[winner])
            grad_cloud.index_add_(0, winner, grad_product * weight)
        return grad_x, grad_weight, None


class PrimaryPointCaps(nn.Module):
    """Primary point capsules: linear map, batch normalisation and max-pooling over points, then squash.

    A capsule of ``i`` entries is ``squash(max_n BN(linear(x_n)))``. Zhao et al. compute it by ``i`` separate
    convolutions, each with batch normalisation and pooling; here they are one product. Only the maximum over points is
    needed of the products, and their mean and variance follow from those of ``x``: ``mean(W x) = W mean(x)``,
    ``cov(W x) = W cov(x) W'``. Therefore the products are not stored, and the backward pass visits one point per entry
    instead of ``n``. The result is mathematically the same.

    ``norm`` holds the parameters and is not called: statistics are those of this process, also where batch
    normalisation is synchronised over processes.

    Args:
        in_channels: Features of a point.
        capsules: Number of capsules.
        capsule_dim: Entries of a capsule.

    Shape:
        - input: ``[b, n, in_channels]``
        - output: ``[b, capsules, capsule_dim]``, of length below 1
    """

    def __init__(self, in_channels: int, capsules: int, capsule_dim: int) -> None:
        super().__init__()
        self.capsule_dim = capsule_dim
        self.linear = nn.Linear(in_channels, capsules * capsule_dim)
        self.norm = nn.BatchNorm1d(capsules * capsule_dim)

    def forward(self, x: Tensor) -> Tensor:
        norm, linear = self.norm, self.linear
        x = x.to(linear.weight.dtype)
        # With a negative scale, the maximum after normalisation is the minimum before.
        sign = torch.where(norm.weight < 0, -1.0, 1.0).to(x.dtype)
        if torch.compiler.is_exporting() or torch.jit.is_tracing():
            # Exported graphs cannot contain the custom function, which loops over clouds.
            product = sign * F.linear(x, sign[:, None] * linear.weight).amax(dim=1)
        else:
            product = LargestProducts.apply(x, linear.weight, sign)
        with torch.autocast(x.device.type, enabled=False):
            mean, variance = self._statistics(x)
            entry = (product + linear.bias - mean) * torch.rsqrt(variance + norm.eps) * norm.weight + norm.bias
            return squash(entry.unflatten(1, (-1, self.capsule_dim)))[0]

    def _statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and variance ``[o]`` of the products; in training those of the batch, with running updates."""
        norm, linear = self.norm, self.linear
        if not self.training:
            return norm.running_mean, norm.running_var
        x = x.flatten(0, 1)
        mean = x.mean(dim=0)
        centred = x - mean
        covariance = centred.T @ centred / len(x)
        variance = ((linear.weight @ covariance) * linear.weight).sum(dim=1)
        mean = F.linear(mean, linear.weight, linear.bias)
        with torch.no_grad():
            norm.running_mean.lerp_(mean, norm.momentum)
            norm.running_var.lerp_(variance * (len(x) / (len(x) - 1)), norm.momentum)
            norm.num_batches_tracked.add_(1)
        return mean, variance


class DynamicLatentCaps(nn.Module):
    """Latent capsules by routing by agreement (Zhao et al. 2019): dynamic routing over a 1x1 map.

    Every pair of primary and latent capsules has its own vote matrix. Gradients flow only through the last iteration.

    Args:
        primary_capsules: Number of primary capsules.
        primary_dim: Entries of a primary capsule.
        latent_capsules: Number of latent capsules.
        latent_dim: Entries of a latent capsule.
        iterations: Iterations of the routing. Defaults to 3.

    Shape:
        - input: ``[b, primary_capsules, primary_dim]``
        - output: ``[b, latent_capsules, latent_dim]``, of length below 1
    """

    def __init__(
        self, primary_capsules: int, primary_dim: int, latent_capsules: int, latent_dim: int, iterations: int = 3
    ) -> None:
        super().__init__()
        self.shape = latent_capsules, latent_dim
        self.routing = DynamicRouting(
            primary_capsules,
            latent_capsules,
            kernel_size=1,
            iterations=iterations,
            in_dim=primary_dim,
            out_dim=latent_dim,
            coupling_grad=False,
        )
        nn.init.normal_(self.routing.weight, std=0.01)

    def forward(self, x: Tensor) -> Tensor:
        pose, _ = split_channels(self.routing(x.flatten(1)[:, :, None, None]), self.shape[0] * self.shape[1])
        return pose.reshape(-1, *self.shape)


class ResidualPoseLatentCaps(nn.Module):
    """Latent capsules by one block of residual pose routing (Liu et al. 2024, Sec. V-D).

    The entries of the primary capsules are the channels of a 1x1 map, which goes through the block's primary capsules
    and ResP layers; a linear map of poses and activations computes the latent capsules.

    Args:
        primary_capsules: Number of primary capsules.
        primary_dim: Entries of a primary capsule, a square number (a pose matrix).
        latent_capsules: Number of latent capsules.
        latent_dim: Entries of a latent capsule.
        capsule_types: Capsule types of the block. Defaults to 32.
        **block: Other arguments of :class:`~rescaps_plugin.layers.ResidualPoseBlock`: ``num_layers``, ``residual``, ...

    Shape:
        - input: ``[b, primary_capsules, primary_dim]``
        - output: ``[b, latent_capsules, latent_dim]``

    Raises:
        ValueError: ``primary_dim`` is not a square number, or a training batch has only one cloud.
    """

    def __init__(
        self,
        primary_capsules: int,
        primary_dim: int,
        latent_capsules: int,
        latent_dim: int,
        capsule_types: int = 32,
        **block,
    ) -> None:
        super().__init__()
        pose_size = math.isqrt(primary_dim)
        if pose_size**2 != primary_dim:
            raise ValueError(f"primary_dim must be a square with routing='rpr', a pose matrix; got {primary_dim}")
        self.latent_dim = latent_dim
        self.block = ResidualPoseBlock(
            primary_capsules * primary_dim,
            capsule_types,
            primary_stride=1,
            kernel_size=1,
            pose_size=pose_size,
            **block,
        )
        self.linear = nn.Linear(self.block.out_channels, latent_capsules * latent_dim)

    def forward(self, x: Tensor) -> Tensor:
        if self.training and len(x) < 2:
            raise ValueError(
                'residual pose routing normalises over the clouds of a batch: in training it takes 2 or more, got 1; '
                'set train_dataloader.batch_size and drop_last=True'
            )
        x = self.block(x.flatten(1)[:, :, None, None])
        return self.linear(x.flatten(1)).unflatten(1, (-1, self.latent_dim))


LATENT_CAPS = {'rpr': ResidualPoseLatentCaps, 'dynamic': DynamicLatentCaps}


class PointGenerators(Deployable):
    """Decoder: point generators, each of which maps every latent capsule and a grid coordinate to one point.

    A generator is a pointwise network ``d + 2 -> d + 2 -> (d + 2) / 2 -> (d + 2) / 4 -> 3`` with batch normalisation
    and ReLU, and tanh at the end (Zhao et al. 2019). All generators run at once as grouped convolutions over latent
    capsules and clouds; their common input, the latent capsules, is read by one dense product.

    Args:
        latent_capsules: Number of latent capsules.
        latent_dim: Entries of a latent capsule.
        num_points: Points of a cloud. There are ``num_points / latent_capsules`` generators, rounded up; surplus points
            are dropped.

    Shape:
        - latent: ``[b, latent_capsules, latent_dim]``
        - grid: ``[b, generators, latent_capsules, 2]``, in [0, 1)
        - output: ``[b, num_points, 3]``, in (-1, 1); point ``g * latent_capsules + l`` belongs to capsule ``l``
    """

    def __init__(self, latent_capsules: int, latent_dim: int, num_points: int) -> None:
        super().__init__()
        self.num_points = num_points
        self.latent_capsules = latent_capsules
        self.generators = groups = -(-num_points // latent_capsules)
        width = latent_dim + 2
        sizes = (width, width, width // 2, width // 4, 3)
        self.convs = nn.ModuleList(
            nn.Conv1d(groups * size, groups * next_size, 1, groups=groups)
            for size, next_size in zip(sizes, sizes[1:], strict=False)
        )
        self.norms = nn.ModuleList(nn.BatchNorm1d(groups * size) for size in sizes[1:-1])

    def forward(self, latent: Tensor, grid: Tensor) -> Tensor:
        batch = latent.shape[0]
        # Clouds and latent capsules form one axis: grouped convolutions are faster on one long row than on many short.
        latent = latent.permute(2, 0, 1).reshape(1, latent.shape[2], -1)
        grid = grid.permute(1, 3, 0, 2).reshape(1, 2 * self.generators, -1)
        first, *others = self.convs
        x = F.conv1d(grid, first.weight[:, :2], groups=self.generators)
        x = x + F.conv1d(latent, first.weight[:, 2:], first.bias)
        for norm, conv in zip(self.norms, others, strict=True):
            x = conv(F.relu(norm(x)))
        points = torch.tanh(x).reshape(self.generators, 3, batch, self.latent_capsules)
        return points.permute(2, 0, 3, 1).flatten(1, 2)[:, : self.num_points]

    def _fold(self) -> None:
        for conv, norm in zip(self.convs, self.norms, strict=False):
            scale, shift = norm_scale_shift(norm)
            conv.weight = nn.Parameter(conv.weight * scale[:, None, None])
            conv.bias = nn.Parameter(conv.bias * scale + shift)
        self.norms = nn.ModuleList(nn.Identity() for _ in self.norms)


@MODELS.register_module()
class PointCapsAE(PointAutoencoder):
    """Point capsule autoencoder (Zhao et al. 2019) with routing by agreement or residual pose routing.

    A pointwise network, primary point capsules and latent capsules encode a cloud, and point generators decode it.
    Decoding uses random grid coordinates: drawn in every training step from PyTorch's generator, and fixed by
    ``grid_seed`` in evaluation.

    Args:
        num_points: Points of a reconstructed cloud; input clouds may have any number. Defaults to 2048.
        channels: Features of a point after each layer of the pointwise network. Defaults to (64, 128).
        primary_capsules: Number of primary capsules. Defaults to 1024.
        primary_dim: Entries of a primary capsule, a square number for ``'rpr'``. Defaults to 16.
        latent_capsules: Number of latent capsules. Defaults to 64.
        latent_dim: Entries of a latent capsule. Defaults to 64.
        routing: Routing of the latent capsules: ``'rpr'``, residual pose routing, or ``'dynamic'``, routing by
            agreement. Defaults to ``'rpr'``.
        routing_cfg: Further arguments of :class:`~rescaps_plugin.pointcloud.point_caps.ResidualPoseLatentCaps`
            (``capsule_types``, ``num_layers``, ...) or of
            :class:`~rescaps_plugin.pointcloud.point_caps.DynamicLatentCaps` (``iterations``). Defaults to None.
        grid_seed: Seed of the grid coordinates in evaluation. Defaults to 0.
        loss: Loss between the reconstructed and the input cloud. Defaults to ``dict(type='ChamferLoss')``.
        data_preprocessor: As in :class:`mmengine.model.BaseModel`. Defaults to None.
        init_cfg: mmengine's initialisation. Defaults to None.

    Raises:
        ValueError: ``routing`` is unknown or a size is too small.

    Example:
        >>> model = PointCapsAE(num_points=96, primary_capsules=8, latent_capsules=32, latent_dim=14)
        >>> model(torch.rand(2, 50, 3)).shape
        torch.Size([2, 96, 3])
    """

    def __init__(
        self,
        num_points: int = 2048,
        channels: tuple[int, ...] = (64, 128),
        primary_capsules: int = 1024,
        primary_dim: int = 16,
        latent_capsules: int = 64,
        latent_dim: int = 64,
        routing: str = 'rpr',
        routing_cfg: dict | None = None,
        grid_seed: int = 0,
        loss: dict | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(loss, data_preprocessor, init_cfg)
        if routing not in LATENT_CAPS:
            raise ValueError(f'routing must be one of {tuple(LATENT_CAPS)}, got {routing!r}')
        sizes = dict(
            num_points=num_points,
            primary_capsules=primary_capsules,
            primary_dim=primary_dim,
            latent_capsules=latent_capsules,
            latent_dim=latent_dim,
        )
        for name, value in sizes.items():
            least = 2 if name == 'latent_dim' else 1
            if not isinstance(value, int) or value < least:
                raise ValueError(f'{name} must be an integer of at least {least}, got {value!r}')
        self.routing = routing
        self.pointwise = pointwise_network(channels)
        self.primary = PrimaryPointCaps((3, *channels)[-1], primary_capsules, primary_dim)
        self.latent = LATENT_CAPS[routing](
            primary_capsules, primary_dim, latent_capsules, latent_dim, **(routing_cfg or {})
        )
        self.decoder = PointGenerators(latent_capsules, latent_dim, num_points)
        grid = torch.rand(
            1, self.decoder.generators, latent_capsules, 2, generator=torch.Generator().manual_seed(grid_seed)
        )
        self.register_buffer('grid', grid, persistent=False)

    def encode_points(self, features: Tensor) -> Tensor:
        """Encode the features ``[b, n, c]`` of points as latent capsules ``[b, latent_capsules, latent_dim]``."""
        return self.latent(self.primary(features))

    def decode(self, latent: Tensor) -> Tensor:
        """Decode latent capsules ``[b, latent_capsules, latent_dim]`` to clouds ``[b, num_points, 3]``."""
        shape = (latent.shape[0], *self.grid.shape[1:])
        grid = torch.rand(shape, device=self.grid.device) if self.training else self.grid.expand(shape)
        return self.decoder(latent, grid)
