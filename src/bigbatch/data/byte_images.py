"""Images that are read as bytes, and normalised on the device: a quarter of the floats are handed over and copied."""

from abc import ABC, abstractmethod
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Means and standard deviations of the ImageNet training pixels, as every ImageNet recipe uses them.
MEAN: Final = (0.485, 0.456, 0.406)
STD: Final = (0.229, 0.224, 0.225)

ByteBatch = tuple[Tensor, Any]  # images (n, height, width, 3) of uint8, and their targets


class ByteImages(ABC):
    """A data set of images, read batch by batch."""

    @abstractmethod
    def read_bytes(self, indices: NDArray[np.int64], key: int) -> ByteBatch:
        """Return images of uint8 (n, height, width, 3) and their targets, random by (key, sample) alone.

        Raises:
            InputError: an image cannot be decoded; the message names it.
        """

    def finish(self, batch: ByteBatch) -> tuple[Tensor, Any]:
        """Return images of float32 (n, 3, height, width), normalised as ImageNet's, and their targets."""
        images, targets = batch
        return normalised(images), targets

    def read_batch(self, indices: NDArray[np.int64], key: int) -> tuple[Tensor, Any]:
        """Return images of float32 (n, 3, height, width), normalised as ImageNet's, and their targets.

        Raises:
            InputError: an image cannot be decoded; the message names it.
        """
        return self.finish(self.read_bytes(indices, key))


def normalised(pixels: Tensor) -> Tensor:
    """Return images (n, height, width, 3) of uint8 as floats (n, 3, height, width), normalised as ImageNet's.

    Each value is rounded alone, so a device changes no bit. On the CPU, an image's floats stay in the core's cache.
    """
    mean, std = (torch.tensor(values, device=pixels.device).view(3, 1, 1) for values in (MEAN, STD))
    images = torch.empty(len(pixels), 3, *pixels.shape[1:3], device=pixels.device)
    pieces = zip(images, pixels, strict=True) if pixels.device.type == "cpu" else [(images, pixels)]
    for floats, read in pieces:
        floats.copy_(read.movedim(-1, -3)).div_(255).sub_(mean).div_(std)
    return images
