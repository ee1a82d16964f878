"""Residual pose routing implemented step by step from the paper's equations, as the reference of the layers.

Windows are unfolded, every pose of every window is multiplied by its matrix, and 1x1 convolutions read the result.
Names and channel orders are those of the authors' release, so that ``LiteralResCaps`` has state dicts of the release.
"""

import torch
import torch.nn.functional as F
from torch import nn

ONE = {'identity': torch.eye, 'ones': lambda p: torch.ones(p, p), 'none': lambda p: torch.zeros(p, p)}


class ConvNorm(nn.Module):
    def __init__(self, *args, **kwargs):
        super().__init__()
        self.conv1 = nn.Conv2d(*args, bias=False, **kwargs)
        self.bn = nn.BatchNorm2d(self.conv1.out_channels)

    def forward(self, x):
        return self.bn(self.conv1(x))


class LiteralWindow(nn.Module):
    """ResP as in the release; ``integrate=False`` is ResPC."""

    def __init__(
        self, types, out_types=None, kernel=3, stride=1, padding=None, pose=4, residual='identity', integrate=True
    ):
        super().__init__()
        self.types, self.kernel, self.stride, self.pose = types, kernel, stride, pose
        self.padding = kernel // 2 if padding is None else padding
        self.integrate = integrate
        self.register_buffer('one', ONE[residual](pose), persistent=False)
        window = kernel**2 * types
        self.weights = nn.Parameter(torch.randn(1, window, pose, pose))
        self.conv1 = ConvNorm(window * pose**2, window, 1)
        self.conv2 = ConvNorm(window * (pose**2 + 1), (out_types or types) * (pose**2 + 1), 1) if integrate else None

    def forward(self, x):
        batch, _, height, width = x.shape
        poses = x[:, : self.types * self.pose**2]
        windows = F.unfold(poses, self.kernel, padding=self.padding, stride=self.stride)
        out_height, out_width = ((size + 2 * self.padding - self.kernel) // self.stride + 1 for size in (height, width))
        # channel, offset, position -> position, offset, type, row, column
        windows = windows.reshape(batch, self.types, self.pose, self.pose, self.kernel**2, -1).permute(0, 5, 4, 1, 2, 3)
        transform = (self.one + self.weights).reshape(self.kernel**2, self.types, self.pose, self.pose)
        transformed = torch.matmul(windows, transform)  # eqs. 8, 9
        transformed = transformed.reshape(batch, out_height, out_width, -1).permute(0, 3, 1, 2)
        activation = torch.sigmoid(self.conv1(transformed))  # eqs. 10, 11
        if not self.integrate:
            return activation.flatten(1)
        return torch.relu(self.conv2(torch.cat([transformed, activation], dim=1)))  # eqs. 12, 13


class LiteralPointwise(nn.Module):
    """ResP as in the formulas: one ``w`` per type, convolutions on the transformed poses."""

    def __init__(self, types, out_types=None, kernel=3, stride=1, padding=None, pose=4, residual='identity'):
        super().__init__()
        self.types, self.pose = types, pose
        self.register_buffer('one', ONE[residual](pose), persistent=False)
        self.weights = nn.Parameter(torch.randn(1, types, pose, pose))
        padding = kernel // 2 if padding is None else padding
        self.conv1 = ConvNorm(types * pose**2, types, kernel, padding=kernel // 2, groups=types)
        channels = types * (pose**2 + 1)
        self.conv2 = ConvNorm(channels, (out_types or types) * (pose**2 + 1), kernel, stride=stride, padding=padding)

    def forward(self, x):
        batch, _, height, width = x.shape
        poses = x[:, : self.types * self.pose**2].reshape(batch, self.types, self.pose, self.pose, height, width)
        poses = poses.permute(0, 4, 5, 1, 2, 3) @ (self.one + self.weights[0])  # eqs. 8, 9
        poses = poses.permute(0, 3, 4, 5, 1, 2).reshape(batch, -1, height, width)
        activation = torch.sigmoid(self.conv1(poses))  # eqs. 10, 11
        return torch.relu(self.conv2(torch.cat([poses, activation], dim=1)))  # eqs. 12, 13


class LiteralPrimary(nn.Module):
    def __init__(self, in_channels, types, stride):
        super().__init__()
        self.pose = nn.Conv2d(in_channels, types * 16, 1, stride)
        self.a = nn.Conv2d(in_channels, types, 1, stride)

    def forward(self, x):
        return torch.cat([self.pose(x), torch.sigmoid(self.a(x))], dim=1)


class LiteralResCaps(nn.Module):
    """The release's network for 32x32 images, with its parameter names and some of the modules that it never calls."""

    def __init__(self, types=(32, 32, 32, 8), classes=10, in_chans=3, residual='ones'):
        super().__init__()
        self.conv1 = nn.Conv2d(in_chans, 32, 5, padding=2)
        self.bn1 = nn.BatchNorm2d(32, eps=0.001)
        channels = 32
        for block, number in enumerate(types, 1):
            setattr(self, f'primary_caps{block}', LiteralPrimary(channels, number, 2))
            for layer in (1, 2):
                setattr(self, f'conv_caps{block}_{layer}', LiteralWindow(number, residual=residual))
            channels = number * 17
            setattr(self, f'bn{block + 1}', nn.BatchNorm2d(channels, eps=0.001))
        self.primary_caps5 = LiteralPrimary(channels * 4, classes, 1)
        self.class_caps = LiteralWindow(classes, kernel=1, residual=residual, integrate=False)
        self.bn6 = nn.BatchNorm2d(8 * 17)
        self.conv_caps1_1.beta_u = nn.Parameter(torch.zeros(32))
        self.conv_caps1_1.conv1.conv2 = nn.Conv2d(4, 4, 1, bias=False)
        self.class_caps.conv2 = ConvNorm(4, 4, 1)
        self.blocks = len(types)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        for block in range(1, self.blocks + 1):
            x = getattr(self, f'primary_caps{block}')(x)
            for layer in (1, 2):
                x = getattr(self, f'conv_caps{block}_{layer}')(x)
            x = getattr(self, f'bn{block + 1}')(x)
        x = self.primary_caps5(x.reshape(len(x), -1, 1, 1))
        return self.class_caps(x)
