"""A class for each pixel, of COCO's instances: for semantic segmentation without masks of its own."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bigbatch.data.annotated_splits import list_both
from bigbatch.data.annotations import AnnotatedImage, AnnotatedSplit, check_size, fingerprint
from bigbatch.data.dataset import Splits
from bigbatch.data.image_files.decode import describe_decoder, open_image
from bigbatch.data.labelled_pixels import VOID, LabelledPixels
from bigbatch.data.masks import coco_masks, decode_masks
from bigbatch.recipe import Data

if TYPE_CHECKING:
    from PIL.Image import Image


def load_coco_pixels(recipe: Data) -> Splits:
    """List both splits of coco data.

    Raises:
        InputError: files are missing or damaged, or the splits do not fit; the message names the file.
    """
    train, validation = list_both(recipe)
    coco_masks()  # if it is missing, it is better said before the model is built
    return Splits(
        train=LabelledPixels(CocoPixels(train), recipe.image_size, recipe.augmentation),
        validation=LabelledPixels(CocoPixels(validation), recipe.image_size, ()),
        num_classes=1 + len(train.categories),
        in_channels=3,
        fingerprint=fingerprint(train, validation),
        engine=describe_decoder(lambda index: open_image(train.images[index].path), len(train.images)),
    )


@dataclass(frozen=True)
class CocoPixels:
    """Images whose pixels have the class of the object that they belong to.

    Attributes:
        split: the images and their annotations.
    """

    split: AnnotatedSplit

    def __len__(self) -> int:
        return len(self.split.images)

    def read(self, index: int) -> tuple["Image", NDArray[np.int64]]:
        """Return an image, and its classes.

        Raises:
            InputError: it cannot be decoded, or has another size than its annotations.
        """
        annotated = self.split.images[index]
        image = open_image(annotated.path)
        check_size(image.size, annotated)
        return image, classes_of(annotated)


def classes_of(image: AnnotatedImage) -> NDArray[np.int64]:
    """Return the class of each pixel (height, width): 0 for the background, -100 in a crowd.

    Where objects of several categories overlap, nobody knows which one is in front: -100, too.
    """
    crowds, objects = ([one for one in image.annotations if one.is_crowd is crowd] for crowd in (True, False))
    classes = np.where(decode_masks(crowds, image).any(axis=0), VOID, 0)
    for label in sorted({one.label for one in objects}):
        inside = decode_masks([one for one in objects if one.label == label], image).any(axis=0)
        classes = np.where(inside, np.where(classes > 0, VOID, label), classes)
    return classes.astype(np.int64)
