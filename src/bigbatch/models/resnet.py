"""Residual networks as the paper builds them (arXiv 1706.02677, section 5.1).

Two families share one class: the ImageNet networks (depth 18, 34, 50, 101; He et al. 2016a, table 1) and the
CIFAR networks (depth 6n+2; He et al. 2016a, section 4.2), which also take the small grey images of the MNIST kind.
"""

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor, nn

# A block maps (channels in, channels of the 3x3 convolution, stride) to a module.
BlockFactory = Callable[[int, int, int], "Residual"]

IMAGENET_STAGES: Final = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
BASIC_DEPTHS: Final = (18, 34)


def imagenet_resnet(
    depth: int,
    *,
    num_classes: int = 1000,
    in_channels: int = 3,
    width: int = 64,
    zero_gamma: bool = True,
    dropout: float = 0.0,
) -> "ResNet":
    """Build ResNet-18, 34, 50 or 101 for images of about 224 px, shape (n, in_channels, height, width).

    The stride of a bottleneck is in its 3x3 convolution, not in the 1x1 (the paper's footnote to section 5.1).

    Raises:
        ValueError: the depth is not one of the four.

    >>> sum(p.numel() for p in imagenet_resnet(50).parameters())
    25557032
    """
    if depth not in IMAGENET_STAGES:
        msg = f"an ImageNet ResNet has depth 18, 34, 50 or 101, not {depth}"
        raise ValueError(msg)
    stem = nn.Sequential(
        nn.Conv2d(in_channels, width, 7, stride=2, padding=3, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, stride=2, padding=1),
    )
    block = basic_block if depth in BASIC_DEPTHS else bottleneck_block
    net = ResNet(stem, block, IMAGENET_STAGES[depth], width, num_classes, dropout)
    return initialize(net, zero_gamma=zero_gamma)


def cifar_resnet(
    depth: int,
    *,
    num_classes: int = 10,
    in_channels: int = 3,
    width: int = 16,
    stem_pool: bool = False,
    zero_gamma: bool = True,
    dropout: float = 0.0,
) -> "ResNet":
    """Build a ResNet of depth 6n+2 (8, 14, 20, 32, ...) for small images, shape (n, in_channels, height, width).

    Shortcuts that change shape are 1x1 convolutions (option B). `stem_pool` halves the image after the stem with a
    2x2 max-pool: a quarter of the arithmetic, for images such as 28x28 whose detail is coarse.

    Raises:
        ValueError: the depth is not 6n+2 with n >= 1.

    >>> cifar_resnet(20, in_channels=1)(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    """
    if depth < 8 or (depth - 2) % 6:  # noqa: PLR2004 - 8 is 6*1+2, the smallest of the family
        msg = f"a CIFAR ResNet has depth 6n+2 (8, 14, 20, 26, 32, ...), not {depth}"
        raise ValueError(msg)
    stem = nn.Sequential(
        nn.Conv2d(in_channels, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2) if stem_pool else nn.Identity(),
    )
    net = ResNet(stem, basic_block, ((depth - 2) // 6,) * 3, width, num_classes, dropout)
    return initialize(net, zero_gamma=zero_gamma)


class ResNet(nn.Module):
    """Stem, stages of residual blocks, linear classifier; each stage halves the image and doubles the width."""

    def __init__(
        self,
        stem: nn.Module,
        block: BlockFactory,
        blocks_per_stage: tuple[int, ...],
        width: int,
        num_classes: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.stem = stem
        stages = []
        channels = width
        for stage, num_blocks in enumerate(blocks_per_stage):
            blocks = []
            for position in range(num_blocks):
                stride = 2 if stage > 0 and position == 0 else 1
                residual = block(channels, width * 2**stage, stride)
                channels = residual.out_channels
                blocks.append(residual)
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (n, channels, height, width) to logits (n, num_classes)."""
        features = self.stages(self.stem(images))
        pooled = torch.flatten(nn.functional.adaptive_avg_pool2d(features, 1), 1)
        logits: Tensor = self.fc(self.dropout(pooled))
        return logits


class Residual(nn.Module):
    """relu(branch(x) + shortcut(x)); `last_norm` is the batch normalisation that ends the branch."""

    def __init__(self, branch: nn.Sequential, last_norm: nn.BatchNorm2d, in_channels: int, stride: int) -> None:
        super().__init__()
        self.branch = branch
        self.last_norm = last_norm
        self.out_channels = last_norm.num_features
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != self.out_channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, self.out_channels, 1, stride=stride, bias=False),
                nn.BatchNorm2d(self.out_channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape (n, out_channels, height / stride, width / stride)."""
        return torch.relu_(self.last_norm(self.branch(x)) + self.shortcut(x))


def basic_block(in_channels: int, channels: int, stride: int) -> Residual:
    """Two 3x3 convolutions."""
    branch = nn.Sequential(*conv_norm_relu(in_channels, channels, 3, stride), conv(channels, channels, 3))
    return Residual(branch, nn.BatchNorm2d(channels), in_channels, stride)


def bottleneck_block(in_channels: int, channels: int, stride: int) -> Residual:
    """1x1, 3x3 with the stride, 1x1 to four times the channels."""
    branch = nn.Sequential(
        *conv_norm_relu(in_channels, channels, 1, 1),
        *conv_norm_relu(channels, channels, 3, stride),
        conv(channels, 4 * channels, 1),
    )
    return Residual(branch, nn.BatchNorm2d(4 * channels), in_channels, stride)


def conv_norm_relu(in_channels: int, channels: int, kernel_size: int, stride: int) -> tuple[nn.Module, ...]:
    """Convolution, batch normalisation, ReLU."""
    return (
        conv(in_channels, channels, kernel_size, stride),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    )


def conv(in_channels: int, channels: int, kernel_size: int, stride: int = 1) -> nn.Conv2d:
    """Convolution without a bias (the normalisation has one), keeping the size at stride 1."""
    return nn.Conv2d(in_channels, channels, kernel_size, stride=stride, padding=kernel_size // 2, bias=False)


def initialize(net: ResNet, *, zero_gamma: bool) -> ResNet:
    """Initialise as section 5.1 does: He for convolutions, N(0, 0.01) for fc, gamma 0 in each block's last norm."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01)
            nn.init.zeros_(module.bias)
        elif isinstance(module, Residual) and zero_gamma:
            nn.init.zeros_(module.last_norm.weight)
    return net
