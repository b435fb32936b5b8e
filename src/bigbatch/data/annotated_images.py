"""Images with their objects, as torchvision's detectors take them: a list of images, and a list of targets."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bigbatch.data.annotated_splits import list_both
from bigbatch.data.annotations import AnnotatedImage, AnnotatedSplit, Annotation, check_size, fingerprint
from bigbatch.data.dataset import Splits
from bigbatch.data.image_files.decode import describe_decoder, open_image
from bigbatch.data.masks import coco_masks, decode_masks, run_length_code
from bigbatch.data.resizing import bilinear, nearest, resized
from bigbatch.recipe import Data
from bigbatch.recipe.sections.data import MASKS
from bigbatch.rules.randomness.keyed import Words, below, distinct, random_words

FLIP_WORD: Final = 0
SIDE_WORD: Final = 1
NUM_WORDS: Final = 2

Target = dict[str, Any]


def load_annotated_images(recipe: Data) -> Splits:
    """List both splits of coco or voc data.

    Raises:
        InputError: files are missing or damaged, or the splits do not fit; the message names the file.
    """
    train, validation = list_both(recipe)
    if recipe.labels == MASKS:
        coco_masks()  # if it is missing, it is better said before the model is built
    return Splits(
        train=AnnotatedImages(train, recipe, is_training=True),
        validation=AnnotatedImages(validation, recipe, is_training=False),
        num_classes=1 + len(train.categories),
        in_channels=3,
        fingerprint=fingerprint(train, validation),
        notes=tuple(train.notes()),
        engine=describe_decoder(lambda index: open_image(train.images[index].path), len(train.images)),
    )


@dataclass(frozen=True)
class AnnotatedImages:
    """Images decoded as they are read: resized, flipped, their objects with them.

    Attributes:
        split: the images and their annotations.
        recipe: how they are resized, flipped and labelled.
        is_training: whether randomness applies; if not, targets have the ground truth as COCO's metrics want it.
    """

    split: AnnotatedSplit
    recipe: Data
    is_training: bool

    def __len__(self) -> int:
        return len(self.split.images)

    @property
    def num_objects(self) -> int:
        """How many objects there are, without crowds."""
        return sum(not one.is_crowd for image in self.split.images for one in image.annotations)

    def read_batch(self, indices: NDArray[np.int64], key: int) -> tuple[list[Tensor], list[Target]]:
        """Return float images (3, height, width) from 0 to 1, each of its own size, and a target for each.

        A target has `boxes` (m, 4) as x, y, x, y in pixels of that image, `labels` (m,) from 1, `area` (m,) and
        `iscrowd` (m,), `image_id`, its `size` and `orig_size` as (height, width), and `masks` (m, height, width) if
        the labels are masks. For the validation it has `annotations`: a list of COCO's dictionaries, in the frame of
        the image's file.

        Raises:
            InputError: an image cannot be decoded, or has another size than its annotations; the message names it.
        """
        words = random_words(key, distinct(indices), NUM_WORDS)
        read = [self._read(self.split.images[i], row) for i, row in zip(indices.tolist(), words, strict=True)]
        return [image for image, _ in read], [target for _, target in read]

    def _read(self, annotated: AnnotatedImage, words: Words) -> tuple[Tensor, Target]:
        image = open_image(annotated.path)
        check_size(image.size, annotated)
        width, height = self._new_size(annotated, words)
        pixels = bilinear(np.asarray(image), width, height)
        mirrored = self.is_training and "flip" in self.recipe.augmentation and below(words[FLIP_WORD], 2) == 1
        if mirrored:
            pixels = pixels[:, ::-1]
        tensor = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))).float().div_(255)
        return tensor, self._target(annotated, width, height, mirrored=bool(mirrored))

    def _new_size(self, annotated: AnnotatedImage, words: Words) -> tuple[int, int]:
        sides = self.recipe.short_sides
        if not sides:
            return annotated.width, annotated.height
        side = sides[int(below(words[SIDE_WORD], len(sides)))] if self.is_training else sides[-1]
        return resized(annotated.width, annotated.height, short_side=side, long_side=self.recipe.long_side)

    def _target(self, image: AnnotatedImage, width: int, height: int, *, mirrored: bool) -> Target:
        objects = [one for one in image.annotations if one.has_area and not one.is_crowd]
        scale = width / image.width, height / image.height
        target: Target = {
            "boxes": torch.from_numpy(_boxes(objects, image, scale, mirrored=mirrored)).float(),
            "labels": torch.tensor([one.label for one in objects], dtype=torch.int64),
            "image_id": image.image_id,
            "area": torch.tensor([one.area * scale[0] * scale[1] for one in objects], dtype=torch.float32),
            "iscrowd": torch.zeros(len(objects), dtype=torch.int64),
            "size": torch.tensor([height, width]),
            "orig_size": torch.tensor([image.height, image.width]),
        }
        if self.recipe.labels == MASKS:
            target["masks"] = torch.from_numpy(_masks(objects, image, width, height, mirrored=mirrored))
        if not self.is_training:
            target["annotations"] = [self._as_coco(one, image) for one in image.annotations]
        return target

    def _as_coco(self, one: Annotation, image: AnnotatedImage) -> dict[str, Any]:
        shape = {"segmentation": run_length_code(one, image)} if self.recipe.labels == MASKS else {}
        return {
            "bbox": list(one.box),
            "category_id": one.label,
            "area": one.area,
            "iscrowd": int(one.is_crowd),
            **shape,
        }


def _boxes(
    objects: list[Annotation], image: AnnotatedImage, scale: tuple[float, float], *, mirrored: bool
) -> NDArray[np.float64]:
    """Return the boxes' corners (m, 4) in the new image, cut at its border."""
    found = np.array([one.box for one in objects], np.float64).reshape(-1, 4)
    corners = np.concatenate([found[:, :2], found[:, :2] + found[:, 2:]], axis=1)
    border = np.array([image.width, image.height] * 2, np.float64)
    corners = np.clip(corners, 0, border)
    if mirrored:
        corners[:, [0, 2]] = image.width - corners[:, [2, 0]]
    scaled: NDArray[np.float64] = corners * np.array(scale * 2)
    return scaled


def _masks(
    objects: list[Annotation], image: AnnotatedImage, width: int, height: int, *, mirrored: bool
) -> NDArray[np.uint8]:
    masks = nearest(decode_masks(objects, image), (0, 0, image.width, image.height), width, height)
    return np.ascontiguousarray(masks[:, :, ::-1] if mirrored else masks)
