"""Images with a class for each pixel, cut or resized to a square, flipped, normalised: semantic segmentation."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bigbatch.data.augmentation import CROP_WORDS, random_resized_crop
from bigbatch.data.byte_images import ByteImages
from bigbatch.data.resizing import bilinear, nearest
from bigbatch.rules.randomness.keyed import Words, below, distinct, random_words

if TYPE_CHECKING:
    from PIL.Image import Image

VOID: Final = -100  # a pixel that is neither trained on nor judged, as torch's losses have it


class PixelSource(Protocol):
    """Images, and the classes of their pixels."""

    def __len__(self) -> int:
        """Return the number of images."""
        ...

    def read(self, index: int) -> tuple["Image", NDArray[np.int64]]:
        """Return an image in RGB and its classes (height, width), of the same size."""
        ...


@dataclass(frozen=True)
class LabelledPixels(ByteImages):
    """A split whose images are read as squares.

    Attributes:
        source: of the images and classes.
        size: pixels of the square's side.
        augmentation: "random-resized-crop" and "flip"; without the first, the whole image is resized to the square.
    """

    source: PixelSource
    size: int
    augmentation: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.source)

    def read_bytes(self, indices: NDArray[np.int64], key: int) -> tuple[Tensor, Tensor]:
        """Return images of uint8 (n, size, size, 3) and int64 classes (n, size, size), -100 where there is none.

        Raises:
            InputError: an image or its mask cannot be decoded, or they do not fit; the message names it.
        """
        words = random_words(key, distinct(indices), CROP_WORDS + 1)
        read = [self._read(index, row) for index, row in zip(indices.tolist(), words, strict=True)]
        pixels, classes = (np.stack(part) for part in zip(*read, strict=True))
        return torch.from_numpy(pixels), torch.from_numpy(classes)

    def _read(self, index: int, words: Words) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        image, classes = self.source.read(index)
        box = (0, 0, *image.size)
        if "random-resized-crop" in self.augmentation:
            box = random_resized_crop(*image.size, words[:CROP_WORDS])
        left, upper, right, lower = box
        pixels = bilinear(np.asarray(image)[upper:lower, left:right], self.size, self.size)
        classes = nearest(classes, box, self.size, self.size)
        if "flip" in self.augmentation and below(words[CROP_WORDS:], 2)[0] == 1:
            return pixels[:, ::-1], classes[:, ::-1]
        return pixels, classes
