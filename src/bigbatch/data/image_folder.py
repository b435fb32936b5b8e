"""Folders of JPEG and PNG images, one a class: `train/CLASS/*`, `val/CLASS/*` (the layout of ImageNet)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bigbatch.data.augmentation import CROP_WORDS, Box, random_resized_crop
from bigbatch.data.dataset import Splits
from bigbatch.data.image_file import describe_decoder, open_image
from bigbatch.data.kept_listing import fingerprint, open_split
from bigbatch.data.listing import Listing, find_split
from bigbatch.data.presence import IMAGE_FOLDER, VALIDATION_NAMES
from bigbatch.errors import InputError
from bigbatch.recipe import Data
from bigbatch.rules.randomness.keyed import below, distinct, random_words

# Means and standard deviations of the ImageNet training pixels, as every ImageNet recipe uses them.
MEAN: Final = (0.485, 0.456, 0.406)
STD: Final = (0.229, 0.224, 0.225)
EVALUATION_RESIZE: Final = 256 / 224


def load_image_folder(recipe: Data) -> Splits:
    """List both splits under `path`.

    Raises:
        InputError: a folder is missing or empty, or the splits disagree about their classes.
    """
    train, validation = list_both(recipe.path)
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
        engine=describe_decoder(train.path, len(train)),
    )


def list_both(
    path: str, *, train: str = "train", validation: Sequence[str] = VALIDATION_NAMES
) -> tuple[Listing, Listing]:
    """List the training and the validation split, which must have the same classes."""
    if not path:
        raise InputError(IMAGE_FOLDER)
    root = Path(path)
    first, second = open_split(find_split(root, (train,))), open_split(find_split(root, validation))
    if first.classes != second.classes:
        only = sorted(set(first.classes) ^ set(second.classes))
        msg = f"{root}: the splits differ in their classes; only one of them has {', '.join(only[:5])}"
        raise InputError(msg)
    return first, second


@dataclass(frozen=True)
class ImageFolder:
    """Images decoded as they are read: cut to a square, flipped, normalised.

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

    def read_batch(self, indices: NDArray[np.int64], key: int) -> tuple[Tensor, Tensor]:
        """Return float images (n, 3, size, size) and labels (n,).

        Raises:
            InputError: an image cannot be decoded; the message names it.
        """
        words = random_words(key, distinct(indices), CROP_WORDS + 1)
        pixels = np.stack([self._decode(index, row) for index, row in zip(indices.tolist(), words, strict=True)])
        labels = torch.tensor([self.listing.label(index) for index in indices.tolist()])
        return normalised(pixels), labels

    def _decode(self, index: int, words: NDArray[np.uint64]) -> NDArray[np.uint8]:
        from PIL.Image import Resampling

        path = self.listing.path(index)
        _check_size(path, int(self.listing.sizes[index]))
        image = open_image(path)
        box = self._box(image.width, image.height, words[:CROP_WORDS])
        pixels = np.asarray(image.resize((self.size, self.size), Resampling.BILINEAR, box=box))
        mirrored = "flip" in self.augmentation and below(words[CROP_WORDS:], 2)[0] == 1
        return pixels[:, ::-1] if mirrored else pixels

    def _box(self, width: int, height: int, words: NDArray[np.uint64]) -> Box:
        if "random-resized-crop" in self.augmentation:
            return random_resized_crop(width, height, words)
        return _centre(width, height, max(1, round(min(width, height) / EVALUATION_RESIZE)))


def _check_size(path: Path, expected: int) -> None:
    try:
        found = path.stat().st_size
    except OSError:
        return  # to open it says more
    if found != expected:
        msg = (
            f"{path} has {found:,} bytes, and had {expected:,} when its folder was listed: put it back, or go on with "
            f"the new one in a new run, after touch {path.parent}"
        )
        raise InputError(msg)


def normalised(pixels: NDArray[np.uint8]) -> Tensor:
    """Return images (n, height, width, 3) as floats (n, 3, height, width), normalised as ImageNet's."""
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div_(255)
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    return images.sub_(mean).div_(std).contiguous()


def _centre(width: int, height: int, side: int) -> Box:
    left, upper = (width - side) // 2, (height - side) // 2
    return left, upper, left + side, upper + side
