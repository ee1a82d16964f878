"""The convolutions of a deployed ResCaps alone, as the reference of its speed."""

from torch import nn

from rescaps_plugin.layers.fusion import StridedConv2d


class ConvStack(nn.Module):
    """Convolutions of the shapes of ``LiteralResCaps``; those with the same input are joined.

    As in :class:`~rescaps_plugin.layers.ResidualPoseBlocks`, the last layer of a block computes in evaluation the
    positions that the next block reads.
    """

    def __init__(self, types=(32, 32, 32, 8), classes=10, in_chans=3):
        super().__init__()
        self.stem = nn.Conv2d(in_chans, 32, 5, padding=2)
        self.blocks = nn.ModuleList()
        channels = 32
        for number in types:
            poses = 16 * number
            self.blocks.append(nn.ModuleList([StridedConv2d(channels, poses, 1, stride=2)]))
            for channels in (poses, 17 * number):
                shared = StridedConv2d(poses, channels + 9 * number, 3, padding=1)
                self.blocks[-1].extend([shared, nn.Conv2d(9 * number, channels, 1)])
        self.head = nn.Sequential(nn.Conv2d(4 * channels, 16 * classes, 1), nn.Conv2d(16 * classes, classes, 1))

    def forward(self, x):
        x = self.stem(x)
        for index, (primary, *routings) in enumerate(self.blocks):
            poses = primary(x, 2 if index == 0 or self.training else 1)
            for shared, mix in zip(routings[::2], routings[1::2], strict=True):
                read = shared is routings[-2] and index < len(self.blocks) - 1 and not self.training
                x = mix(shared(poses, 2 if read else 1)[:, -mix.in_channels :])
                poses = x[:, : primary.out_channels]
        return self.head(x.reshape(len(x), -1, 1, 1)).flatten(1)
