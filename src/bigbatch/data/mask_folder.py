"""Images and masks of one name: `train/images/NAME.jpg` and `train/masks/NAME.png`, and the same in `val/`.

A mask is a grey or palette PNG of class numbers; 0 is the background, and 255 is void.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from bigbatch.data.dataset import Splits
from bigbatch.data.image_files.decode import decode, describe_decoder, open_image
from bigbatch.data.labelled_pixels import VOID, LabelledPixels
from bigbatch.data.mask_listing import MaskListing, fingerprint, list_masks, read_class_names
from bigbatch.errors import InputError
from bigbatch.recipe import Data

if TYPE_CHECKING:
    from pathlib import Path

    from PIL.Image import Image

VOID_NUMBER: Final = 255
MODES: Final = ("1", "L", "P", "I", "I;16")
BINARY: Final = 2


def load_mask_folder(recipe: Data) -> Splits:
    """List both splits under `path`, and see how many classes there are.

    Raises:
        InputError: a file is missing or damaged, or the splits do not fit; the message names the file.
    """
    train, validation = list_masks(recipe.path, is_training=True), list_masks(recipe.path, is_training=False)
    num_classes = len(read_class_names(recipe.path)) or _count_classes(train, validation)
    return Splits(
        train=LabelledPixels(MaskFolder(train, num_classes), recipe.image_size, recipe.augmentation),
        validation=LabelledPixels(MaskFolder(validation, num_classes), recipe.image_size, ()),
        num_classes=num_classes,
        in_channels=3,
        fingerprint=fingerprint(train, validation),
        engine=describe_decoder(lambda index: open_image(train.samples[index][0]), len(train.samples)),
    )


def _count_classes(train: MaskListing, validation: MaskListing) -> int:
    """Return the largest class number of the training, plus one; every mask is read for it."""
    known = {number for _, mask in train.samples for number in _numbers(mask)}
    for _, mask in validation.samples:
        if unknown := _numbers(mask) - known:
            msg = f"{mask} has the class {min(unknown)}, which no mask of the training has; mend one of the splits"
            raise InputError(msg)
    count = 1 + max(known, default=0)
    if count < BINARY:
        msg = (
            f"the masks in {train.folder} hold no class but 0 and {VOID_NUMBER}, and {VOID_NUMBER} is void; write 1 "
            "for the class of the foreground"
        )
        raise InputError(msg)
    return count


def _numbers(mask: "Path") -> set[int]:
    return set(np.unique(read_mask(mask)).tolist()) - {VOID}


@dataclass(frozen=True)
class MaskFolder:
    """Images and their masks, decoded as they are read.

    Attributes:
        listing: the split's files.
        num_classes: a mask's numbers are below it.
    """

    listing: MaskListing
    num_classes: int

    def __len__(self) -> int:
        return len(self.listing.samples)

    def read(self, index: int) -> tuple["Image", NDArray[np.int64]]:
        """Return an image, and its classes.

        Raises:
            InputError: a file cannot be decoded, the mask is of another size, or has a number that is no class.
        """
        path, mask = self.listing.samples[index]
        image, classes = open_image(path), read_mask(mask)
        height, width = classes.shape
        if image.size != (width, height):
            msg = f"the mask {mask} has {width}x{height} pixels, but its image has {image.width}x{image.height}"
            raise InputError(msg)
        if classes.max() >= self.num_classes:
            msg = f"the mask {mask} has the class {classes.max()}, but the classes are 0 to {self.num_classes - 1}"
            raise InputError(msg)
        return image, classes


def read_mask(path: "Path") -> NDArray[np.int64]:
    """Return the class of each pixel, -100 where it is void.

    Raises:
        InputError: it cannot be decoded, or holds colours.
    """
    numbers = decode(path, _class_numbers)
    return np.where(numbers == VOID_NUMBER, VOID, numbers)


def _class_numbers(image: "Image") -> NDArray[np.int64]:
    if image.format != "PNG" or image.mode not in MODES:
        msg = f"a mask of class numbers is a grey or palette PNG, and this one is a {image.format} in {image.mode}"
        raise ValueError(msg)
    return np.asarray(image).astype(np.int64)
