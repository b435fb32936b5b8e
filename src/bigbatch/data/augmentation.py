"""Augmentation whose randomness is a function of (seed, epoch, sample): arrays of random words in, images out."""

import math
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bigbatch.rules.randomness.keyed import Words, below, uniform

CROP_PADDING_OF_SIDE: Final = 8  # 4 of 32 pixels, as He et al. pad CIFAR
CROP_ATTEMPTS: Final = 10
CROP_WORDS: Final = 4 * CROP_ATTEMPTS
CROP_AREA: Final = (0.08, 1.0)
CROP_LOG_RATIO: Final = (math.log(3 / 4), math.log(4 / 3))

Box = tuple[int, int, int, int]


def flip(images: Tensor, words: Words) -> Tensor:
    """Mirror each image with probability 1/2: images (n, channels, height, width), words (n,)."""
    mirrored = torch.from_numpy(below(words, 2) == 1)
    return torch.where(mirrored[:, None, None, None], images.flip(3), images)


def padded_crop(images: Tensor, words: Words) -> Tensor:
    """Pad with zeros and cut the original size at a random place (He et al. 2016a, section 4.2); words (n, 2).

    The padding is an eighth of the side: 4 for CIFAR's 32 pixels.
    """
    height, width = images.shape[2:]
    padding = height // CROP_PADDING_OF_SIDE
    padded = torch.nn.functional.pad(images, (padding,) * 4)
    offsets = torch.from_numpy(below(words, 2 * padding + 1))
    rows = (offsets[:, 0, None] + torch.arange(height))[:, None, :, None]
    columns = (offsets[:, 1, None] + torch.arange(width))[:, None, None, :]
    samples = torch.arange(len(images))[:, None, None, None]
    channels = torch.arange(images.shape[1])[:, None, None]
    return padded[samples, channels, rows, columns]


def random_resized_crop(width: int, height: int, words: Words) -> Box:
    """Choose a box (left, upper, right, lower) of 8-100 % of the area and aspect ratio 3/4-4/3 (Szegedy et al. 2015).

    Ten attempts, then the largest central box of an allowed ratio, as everybody does it; words (CROP_WORDS,).
    """
    draws: NDArray[np.float64] = uniform(words).reshape(CROP_ATTEMPTS, 4)
    for area_draw, ratio_draw, x_draw, y_draw in draws.tolist():
        area = width * height * (CROP_AREA[0] + (CROP_AREA[1] - CROP_AREA[0]) * area_draw)
        ratio = math.exp(CROP_LOG_RATIO[0] + (CROP_LOG_RATIO[1] - CROP_LOG_RATIO[0]) * ratio_draw)
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, upper = int(x_draw * (width - w + 1)), int(y_draw * (height - h + 1))
            return left, upper, left + w, upper + h
    ratio = min(max(width / height, 3 / 4), 4 / 3)
    w, h = min(width, round(height * ratio)), min(height, round(width / ratio))
    left, upper = (width - w) // 2, (height - h) // 2
    return left, upper, left + w, upper + h
