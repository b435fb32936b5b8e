"""Images with a class each: in folders (`train/CLASS/*`, `val/CLASS/*`, as ImageNet has them), tar files or packs."""

from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bigbatch.data.augmentation import CROP_WORDS, Box, random_resized_crop
from bigbatch.data.byte_images import ByteImages
from bigbatch.data.dataset import Splits
from bigbatch.data.image_files.decode import describe_decoder
from bigbatch.data.image_files.kept_listing import fingerprint
from bigbatch.data.image_files.listing import Listing
from bigbatch.data.image_files.splits import open_both
from bigbatch.data.presence import IMAGE_FOLDER
from bigbatch.data.resizing import bilinear
from bigbatch.errors import InputError
from bigbatch.recipe import Data
from bigbatch.rules.randomness.keyed import below, distinct, random_words

EVALUATION_RESIZE: Final = 256 / 224


def load_image_folder(recipe: Data) -> Splits:
    """List both splits under `path`.

    Raises:
        InputError: a split is missing or empty, or the splits disagree about their classes.
    """
    if not recipe.path:
        raise InputError(IMAGE_FOLDER)
    train, validation = open_both(recipe.path)
    unknown = set(recipe.augmentation) - {"random-resized-crop", "flip"}
    if unknown:
        msg = f"augmentation '{unknown.pop()}' is for small images; an image-folder takes random-resized-crop and flip"
        raise InputError(msg)
    size = recipe.image_size
    return Splits(
        train=ImageFolder(train, size, recipe.augmentation),
        validation=ImageFolder(validation, size, ()),
        num_classes=len(train.classes),
        in_channels=3,
        fingerprint=fingerprint(train, validation),
        engine=describe_decoder(lambda index: train.cut(index, _whole), len(train), reads_regions=True),
    )


@dataclass(frozen=True)
class ImageFolder(ByteImages):
    """Images decoded as they are read: cut to a square, flipped, and normalised.

    Attributes:
        listing: the split's classes and files.
        size: pixels of the square.
        augmentation: "random-resized-crop" and "flip"; without the first, resize by 256/224 and cut the centre.
    """

    listing: Listing
    size: int
    augmentation: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.listing)

    def read_bytes(self, indices: NDArray[np.int64], key: int) -> tuple[Tensor, Tensor]:
        """Return images of uint8 (n, size, size, 3) and labels (n,).

        Raises:
            InputError: an image cannot be decoded; the message names it.
        """
        words = random_words(key, distinct(indices), CROP_WORDS + 1)
        pixels = np.stack([self._decode(index, row) for index, row in zip(indices.tolist(), words, strict=True)])
        labels = torch.tensor([self.listing.label(index) for index in indices.tolist()])
        return torch.from_numpy(pixels), labels

    def _decode(self, index: int, words: NDArray[np.uint64]) -> NDArray[np.uint8]:
        part = self.listing.cut(index, partial(self._box, words=words[:CROP_WORDS]))
        pixels = bilinear(part, self.size, self.size)
        mirrored = "flip" in self.augmentation and below(words[CROP_WORDS:], 2)[0] == 1
        return pixels[:, ::-1] if mirrored else pixels

    def _box(self, width: int, height: int, words: NDArray[np.uint64]) -> Box:
        if "random-resized-crop" in self.augmentation:
            return random_resized_crop(width, height, words)
        return _centre(width, height, max(1, round(min(width, height) / EVALUATION_RESIZE)))


def _whole(width: int, height: int) -> Box:
    return 0, 0, width, height


def _centre(width: int, height: int, side: int) -> Box:
    left, upper = (width - side) // 2, (height - side) // 2
    return left, upper, left + side, upper + side
