"""Point capsules as Zhao et al. write them down: a loop over entries, over routing iterations and over generators.

The classes of ``__all__`` are what ``tools/benchmark.py`` compares.
"""

import torch
import torch.nn.functional as F
from torch import nn

from rescaps_plugin.pointcloud.point_caps import PointCapsAE, PointGenerators

__all__ = ['GroupedDecoder', 'LiteralDecoder', 'LiteralPointCaps', 'PointCapsAE']


class LiteralPrimaryPointCaps(nn.Module):
    """A convolution, a batch normalisation and a pooling over points for every entry of the capsules."""

    def __init__(self, in_channels, capsules, capsule_dim):
        super().__init__()
        self.entries = nn.ModuleList(
            nn.Sequential(nn.Conv1d(in_channels, capsules, 1), nn.BatchNorm1d(capsules), nn.AdaptiveMaxPool1d(1))
            for _ in range(capsule_dim)
        )

    def forward(self, x):
        x = x.transpose(1, 2)
        return literal_squash(torch.stack([entry(x)[:, :, 0] for entry in self.entries], dim=2))

    def parameters_as_one(self, grad=False):
        """Parameters and statistics in the order of the one product: the capsule first, then the entry."""

        def one(values):
            values = [value.grad if grad else value.detach() for value in values]
            return torch.stack(values, dim=1).flatten(0, 1)

        parts = {
            'linear.weight': [conv.weight for conv, _, _ in self.entries],
            'linear.bias': [conv.bias for conv, _, _ in self.entries],
            'norm.weight': [norm.weight for _, norm, _ in self.entries],
            'norm.bias': [norm.bias for _, norm, _ in self.entries],
        }
        if not grad:
            parts['norm.running_mean'] = [norm.running_mean for _, norm, _ in self.entries]
            parts['norm.running_var'] = [norm.running_var for _, norm, _ in self.entries]
        return {name: one(values).squeeze(-1) for name, values in parts.items()}


class LiteralGenerator(nn.Module):
    """One point generator."""

    def __init__(self, width):
        super().__init__()
        sizes = (width, width, width // 2, width // 4, 3)
        self.convs = nn.ModuleList(nn.Conv1d(a, b, 1) for a, b in zip(sizes, sizes[1:], strict=False))
        self.norms = nn.ModuleList(nn.BatchNorm1d(size) for size in sizes[1:-1])

    def forward(self, x):
        for conv, norm in zip(self.convs, self.norms, strict=False):
            x = F.relu(norm(conv(x)))
        return torch.tanh(self.convs[-1](x))


def literal_decode(generators, latent, grid):
    """Run the generators one after another on the same latent capsules, each with its own places of the grid."""
    clouds = []
    for number, generator in enumerate(generators):
        x = torch.cat([grid[:, number].transpose(1, 2), latent.transpose(1, 2)], dim=1)
        clouds.append(generator(x).transpose(1, 2))
    return torch.cat(clouds, dim=1)


def literal_squash(x):
    square = (x**2).sum(dim=-1, keepdim=True)
    return square / (1 + square) * x / square.sqrt()


def literal_dynamic_routing(x, weight, iterations):
    """Route ``[b, p, i]`` by ``weight`` [p, l, d, i]; couplings are constants of the backward pass."""
    votes = torch.einsum('bpi,pldi->bpld', x, weight)
    logits = torch.zeros_like(votes[..., 0])
    for iteration in range(iterations):
        coupling = logits.softmax(dim=2)
        heard = votes if iteration == iterations - 1 else votes.detach()
        parents = literal_squash((coupling[..., None] * heard).sum(dim=1))
        if iteration < iterations - 1:
            logits = logits + (parents[:, None] * heard).sum(dim=-1)
    return parents


class LiteralDecoder(nn.Module):
    """The loop over generators, from latent capsules alone."""

    def __init__(self, latent_capsules=64, latent_dim=64, num_points=2048):
        super().__init__()
        self.generators = nn.ModuleList(LiteralGenerator(latent_dim + 2) for _ in range(num_points // latent_capsules))

    def forward(self, latent):
        grid = torch.rand(len(latent), len(self.generators), latent.shape[1], 2, device=latent.device)
        return literal_decode(self.generators, latent, grid)


class GroupedDecoder(PointGenerators):
    """The generators at once, from latent capsules alone."""

    def __init__(self, latent_capsules=64, latent_dim=64, num_points=2048):
        super().__init__(latent_capsules, latent_dim, num_points)

    def forward(self, latent):
        grid = torch.rand(len(latent), self.generators, self.latent_capsules, 2, device=latent.device)
        return super().forward(latent, grid)


class LiteralPointCaps(nn.Module):
    """The whole autoencoder with dynamic routing, as written down."""

    def __init__(
        self, num_points=2048, primary_capsules=1024, primary_dim=16, latent_capsules=64, latent_dim=64, iterations=3
    ):
        super().__init__()
        self.iterations = iterations
        self.pointwise = nn.Sequential(
            nn.Conv1d(3, 64, 1), nn.BatchNorm1d(64), nn.ReLU(), nn.Conv1d(64, 128, 1), nn.BatchNorm1d(128), nn.ReLU()
        )
        self.primary = LiteralPrimaryPointCaps(128, primary_capsules, primary_dim)
        self.weight = nn.Parameter(0.01 * torch.randn(primary_capsules, latent_capsules, latent_dim, primary_dim))
        self.decoder = LiteralDecoder(latent_capsules, latent_dim, num_points)

    def forward(self, x):
        x = self.primary(self.pointwise(x.transpose(1, 2)).transpose(1, 2))
        return self.decoder(literal_dynamic_routing(x, self.weight, self.iterations))
