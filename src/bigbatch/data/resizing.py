"""Resize images and masks, and the sizes of detectors' images: a shorter side, unless the longer one gets too long."""

from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

Number = TypeVar("Number", bound=np.integer)


def resized(width: int, height: int, *, short_side: int, long_side: int) -> tuple[int, int]:
    """Return the new (width, height) of an image; its shape stays, to half a pixel (Lin et al. 2017, section 4).

    Args:
        width: in pixels.
        height: in pixels.
        short_side: what the shorter side becomes, in pixels.
        long_side: the most that the longer side becomes, in pixels.

    >>> resized(640, 480, short_side=800, long_side=1333), resized(1000, 200, short_side=800, long_side=1333)
    ((1067, 800), (1333, 267))
    """
    scale = min(short_side / min(width, height), long_side / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def bilinear(pixels: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Resize pixels (height, width, channels): each new one is a mean of those around it, by a triangle.

    It is what Pillow calls bilinear, but by torch, which is faster: within one level of Pillow's. The sums are of
    integers: all CPUs with AVX2 have the same bits.

    >>> bilinear(np.array([[[0], [100], [200]]], np.uint8), 6, 1).ravel().tolist()
    [0, 25, 75, 125, 175, 200]
    """
    image = torch.from_numpy(pixels if pixels.flags.writeable else pixels.copy()).permute(2, 0, 1)[None]
    new = torch.nn.functional.interpolate(image, size=(height, width), mode="bilinear", antialias=True)
    return new[0].permute(1, 2, 0).numpy()


def nearest(masks: NDArray[Number], box: tuple[int, int, int, int], width: int, height: int) -> NDArray[Number]:
    """Cut a box (left, upper, right, lower) out of masks (..., height, width), and resize it to a width and a height.

    Each new pixel is the one that its centre falls into, as Pillow's nearest has it.

    >>> nearest(np.array([[1, 2, 3, 4]]), (1, 0, 4, 1), 6, 1).tolist()
    [[2, 2, 3, 3, 4, 4]]
    """
    left, upper, right, lower = box
    rows = upper + ((np.arange(height) + 0.5) * ((lower - upper) / height)).astype(np.int64)
    columns = left + ((np.arange(width) + 0.5) * ((right - left) / width)).astype(np.int64)
    return masks[..., rows[:, None], columns]
