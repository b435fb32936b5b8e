"""A small U-Net (Ronneberger et al. 2015, arXiv 1505.04597), with batch normalisation."""

import torch
from torch import nn


def convolutions(in_channels, out_channels):
    """Return two convolutions, each with a normalisation."""
    layers = []
    for channels in (in_channels, out_channels):
        layers += [nn.Conv2d(channels, out_channels, 3, padding=1, bias=False), nn.BatchNorm2d(out_channels), nn.ReLU()]
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """Half as large and twice as wide at each level, then back, with what was left on the way down.

    The sides of the images must be divisible by 2 ** (levels - 1).
    """

    def __init__(self, num_classes=4, width=16, levels=3):
        super().__init__()
        widths = [width * 2**level for level in range(levels)]
        self.down = nn.ModuleList(map(convolutions, [3, *widths[:-1]], widths))
        pairs = list(zip(widths[:0:-1], widths[-2::-1], strict=True))  # from the widest
        self.larger = nn.ModuleList(nn.ConvTranspose2d(wide, narrow, 2, stride=2) for wide, narrow in pairs)
        self.up = nn.ModuleList(convolutions(2 * narrow, narrow) for _, narrow in pairs)
        self.head = nn.Conv2d(width, num_classes, 1)

    def forward(self, images):
        """Map images (n, 3, height, width) to logits (n, classes, height, width)."""
        left = []
        x = self.down[0](images)
        for layer in self.down[1:]:
            left.append(x)
            x = layer(nn.functional.max_pool2d(x, 2))
        for larger, layer in zip(self.larger, self.up, strict=True):
            x = layer(torch.cat([larger(x), left.pop()], 1))
        return self.head(x)
