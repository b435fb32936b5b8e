"""Objects in images, as a data set annotates them. It needs no torch, so a plan can count them and refuse bad ones."""

import math
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from bigbatch.data.image_files.decode import MAX_PIXELS
from bigbatch.errors import InputError

OUTSIDE: Final = 1.0  # pixels that a box may reach out of its image, by rounding; it is cut there
LEAST_SIDE: Final = 0.1  # pixels; a thinner box has no area: an annotator's slip

Box = tuple[float, float, float, float]
Segmentation = tuple["array[float]", ...] | Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Annotation:
    """One object of an image.

    Attributes:
        label: its category, from 1: 0 is the background.
        box: (x, y, width, height) in pixels of the image.
        area: in pixels, of its mask where it has one.
        is_crowd: whether it is neither trained on nor counted as missed: a crowd, or an object that is too difficult.
        segmentation: polygons (x, y, x, y, ...), or a run-length code as COCO has it; None if it is not wanted.
    """

    label: int
    box: Box
    area: float
    is_crowd: bool
    segmentation: Segmentation | None = None

    @property
    def has_area(self) -> bool:
        """Whether its box is more than a line or a point."""
        return min(self.box[2:]) >= LEAST_SIDE


@dataclass(frozen=True, slots=True)
class AnnotatedImage:
    """An image and what is in it.

    Attributes:
        path: its file.
        image_id: its number in the data set.
        width, height: in pixels, as its annotations say.
        annotations: of its objects; there may be none.
    """

    path: Path
    image_id: int
    width: int
    height: int
    annotations: tuple[Annotation, ...]


@dataclass(frozen=True)
class AnnotatedSplit:
    """One half of a data set.

    Attributes:
        source: the file that lists it.
        categories: their names; label i is the i-th, counted from 1.
        images: in the order of the file.
        digest: SHA-256 of the files that hold the annotations.
    """

    source: Path
    categories: tuple[str, ...]
    images: tuple[AnnotatedImage, ...]
    digest: str

    def notes(self) -> list[str]:
        """Return a line on the boxes that are left out of a training because they have no area."""
        thin = [image for image in self.images for one in image.annotations if not (one.has_area or one.is_crowd)]
        if not thin:
            return []
        count = "one box" if len(thin) == 1 else f"{len(thin)} boxes"
        return [f"{self.source}: {count} without area left out of the training, such as in {thin[0].path.name}"]


def check_image_size(width: int, height: int, place: str) -> None:
    """Refuse the size of an image that no image can have.

    Raises:
        InputError: names the place, and the size.
    """
    if min(width, height) < 1 or width * height > MAX_PIXELS:
        msg = f"{place}: an image of {width}x{height} pixels is none; it has 1 to {MAX_PIXELS:,} pixels"
        raise InputError(msg)


def check_box(box: Box, width: int, height: int, place: str) -> Box:
    """Return a box that is one, and lies in its image.

    Args:
        box: (x, y, width, height) in pixels.
        width: of the image.
        height: of the image.
        place: names the box in errors.

    Raises:
        InputError: it is not finite, negative in size, or reaches out of the image by more than a pixel.
    """
    x, y, w, h = box
    if not all(map(math.isfinite, box)) or w < 0 or h < 0:
        msg = f"{place}: the box x={x:g} y={y:g} width={w:g} height={h:g} is none; mend or remove it"
        raise InputError(msg)
    if min(x, y) < -OUTSIDE or x + w > width + OUTSIDE or y + h > height + OUTSIDE:
        msg = (
            f"{place}: the box x={x:g} y={y:g} width={w:g} height={h:g} lies outside its image of {width}x{height} "
            "pixels; mend or remove it"
        )
        raise InputError(msg)
    return box


def check_size(size: tuple[int, int], annotated: AnnotatedImage) -> None:
    """Refuse an image that is not what was annotated.

    Raises:
        InputError: names it, and both sizes.
    """
    if size != (annotated.width, annotated.height):
        msg = (
            f"the image {annotated.path} has {size[0]}x{size[1]} pixels, but its annotations are of "
            f"{annotated.width}x{annotated.height}; mend the annotations, or replace the image"
        )
        raise InputError(msg)


def check_splits(train: AnnotatedSplit, validation: AnnotatedSplit) -> None:
    """Refuse splits without an image, or that differ in their categories.

    Raises:
        InputError: names the files.
    """
    for split in (train, validation):
        if not split.images:
            msg = f"{split.source} lists no image; a split needs at least one"
            raise InputError(msg)
    if train.categories != validation.categories:
        only = sorted(set(train.categories) ^ set(validation.categories)) or ["the same names in another order"]
        msg = f"{train.source} and {validation.source} differ in their categories: {', '.join(only[:5])}"
        raise InputError(msg)


def fingerprint(*splits: AnnotatedSplit) -> str:
    """Return the SHA-256 over each split's annotations, and every image's name and size in bytes."""
    digest = sha256()
    for split in splits:
        digest.update(split.digest.encode())
        for image in split.images:
            name = f"{image.path.name}\0{image.path.stat().st_size}\0"
            digest.update(name.encode(errors="surrogateescape"))
    return digest.hexdigest()
