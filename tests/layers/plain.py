"""The convolutions of a deployed ResCaps alone, as the reference of its speed."""

from torch import nn


class ConvStack(nn.Module):
    """Convolutions of the shapes of ``LiteralResCaps``; those with the same input are joined."""

    def __init__(self, types=(32, 32, 32, 8), classes=10, in_chans=3):
        super().__init__()
        self.stem = nn.Conv2d(in_chans, 32, 5, padding=2)
        self.blocks = nn.ModuleList()
        channels = 32
        for number in types:
            poses = 16 * number
            self.blocks.append(nn.ModuleList([nn.Conv2d(channels, poses, 1, stride=2)]))
            for channels in (poses, 17 * number):
                shared = nn.Conv2d(poses, channels + 9 * number, 3, padding=1)
                self.blocks[-1].extend([shared, nn.Conv2d(9 * number, channels, 1)])
        self.head = nn.Sequential(nn.Conv2d(4 * channels, 16 * classes, 1), nn.Conv2d(16 * classes, classes, 1))

    def forward(self, x):
        x = self.stem(x)
        for primary, *routings in self.blocks:
            poses = primary(x)
            for shared, mix in zip(routings[::2], routings[1::2], strict=True):
                x = mix(shared(poses)[:, -mix.in_channels :])
                poses = x[:, : primary.out_channels]
        return self.head(x.reshape(len(x), -1, 1, 1)).flatten(1)
