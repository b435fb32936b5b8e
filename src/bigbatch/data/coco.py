"""COCO's layout (Lin et al. 2014, cocodataset.org/#format-data): objects of many images in one JSON file.

`annotations/instances_train*.json` is for the images in `train*/`, and so is `val`. A flat export is read, too:
`train/_annotations.coco.json` and `valid/_annotations.coco.json`, beside their images.
"""

import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from bigbatch.data.annotations import AnnotatedImage, AnnotatedSplit, Annotation, Box, check_box, check_image_size
from bigbatch.data.segmentation import read_segmentation
from bigbatch.errors import InputError, first_line
from bigbatch.paths import is_file, is_folder

FLAT: Final = "_annotations.coco.json"
LAYOUT: Final = (
    "coco data is annotations/instances_train*.json and instances_val*.json with the images in train*/ and val*/, "
    f"or train/{FLAT} and valid/{FLAT}"
)
BOX_NUMBERS: Final = 4
MAX_INT64: Final = 2**63 - 1
SIZE: Final = ("width", "height")


def list_coco(path: str, names: Sequence[str], *, with_masks: bool = False) -> AnnotatedSplit:
    """Read the annotations of a split.

    Args:
        path: the data set's folder.
        names: what the split may be called; the first that is there is read.
        with_masks: whether segmentations are wanted.

    Raises:
        InputError: a file is missing or damaged, or an annotation is wrong; the message names it.
    """
    file, images = find_coco(path, names)
    return _Reader(file, images, with_masks=with_masks).read()


def find_coco(path: str, names: Sequence[str]) -> tuple[Path, Path]:
    """Return a split's JSON file and its folder of images.

    Raises:
        InputError: neither layout is there, or one file of several would have to be chosen.
    """
    root = Path(path)
    if not (path and is_folder(root)):
        msg = f"there is no data folder '{path}': set data.path; {LAYOUT}"
        raise InputError(msg)
    for name in names:
        found = sorted((root / "annotations").glob(f"instances_{name}*.json"))
        if len(found) > 1:
            msg = f"{root}/annotations holds {', '.join(file.name for file in found)}; leave one of them there"
            raise InputError(msg)
        if found:
            return found[0], _image_folder(root / found[0].stem.removeprefix("instances_"), found[0])
        if is_file(root / name / FLAT):
            return root / name / FLAT, root / name
    msg = f"{root} has no annotations for {' or '.join(names)}; {LAYOUT}"
    raise InputError(msg)


def _image_folder(folder: Path, file: Path) -> Path:
    if not is_folder(folder):
        msg = f"there is no folder {folder} with the images of {file.name}"
        raise InputError(msg)
    return folder


@dataclass(frozen=True)
class _Reader:
    """Reads one JSON file; each error names the file and the entry."""

    file: Path
    folder: Path
    with_masks: bool

    def read(self) -> AnnotatedSplit:
        content = self._content()
        table = self._table(content)
        labels, names = self._categories(table)
        images = self._images(table)
        objects = self._objects(table, images, labels)
        found = tuple(
            AnnotatedImage(self.folder / name, image_id, width, height, tuple(objects[image_id]))
            for image_id, (name, width, height) in images.items()
        )
        return AnnotatedSplit(self.file, names, found, sha256(content).hexdigest())

    def _content(self) -> bytes:
        try:
            return self.file.read_bytes()
        except OSError as error:
            msg = f"cannot read {self.file}: {error.strerror}"
            raise InputError(msg) from error

    def _table(self, content: bytes) -> dict[str, Any]:
        try:
            table = json.loads(content)
        except (ValueError, RecursionError) as error:
            msg = f"{self.file} is no JSON ({first_line(error)}); mend or replace it"
            raise InputError(msg) from error
        if not isinstance(table, dict):
            msg = f"{self.file} holds no table with images, annotations and categories; {LAYOUT}"
            raise InputError(msg)
        return table

    def _entries(self, table: Mapping[str, Any], name: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the entries of one list, each with its place in the file."""
        entries = table.get(name)
        if not isinstance(entries, list):
            msg = f"{self.file} has no list '{name}', which COCO's instances have; {LAYOUT}"
            raise InputError(msg)
        for i, entry in enumerate(entries):
            place = f"{self.file}: {name}[{i}]"
            if not isinstance(entry, dict):
                msg = f"{place} is no table"
                raise InputError(msg)
            yield place, entry

    def _categories(self, table: Mapping[str, Any]) -> tuple[dict[int, int], tuple[str, ...]]:
        """Return the label of each category's id, from 1, and the names in that order."""
        names: dict[int, str] = {}
        for place, entry in self._entries(table, "categories"):
            _add_once(names, _whole(entry, "id", place), _text(entry, "name", place), place)
        if not names:
            msg = f"{self.file} has no category, so nothing can be found"
            raise InputError(msg)
        ids = sorted(names)
        return {number: label for label, number in enumerate(ids, 1)}, tuple(f"{names[i]} ({i})" for i in ids)

    def _images(self, table: Mapping[str, Any]) -> dict[int, tuple[str, int, int]]:
        """Return each image's file name and size by its id."""
        images: dict[int, tuple[str, int, int]] = {}
        for place, entry in self._entries(table, "images"):
            name, (width, height) = _text(entry, "file_name", place), (_whole(entry, k, place) for k in SIZE)
            check_image_size(width, height, place)
            _add_once(images, _whole(entry, "id", place), (name, width, height), place)
        missing = [name for name, *_ in images.values() if not is_file(self.folder / name)]
        if missing:
            msg = f"{self.folder} lacks {len(missing)} of the images that {self.file} lists, such as {missing[0]}"
            raise InputError(msg)
        return images

    def _objects(
        self, table: Mapping[str, Any], images: Mapping[int, tuple[str, int, int]], labels: Mapping[int, int]
    ) -> defaultdict[int, list[Annotation]]:
        """Return the annotations of each image's id."""
        objects: defaultdict[int, list[Annotation]] = defaultdict(list)
        ids: dict[int, None] = {}
        for place, entry in self._entries(table, "annotations"):
            _add_once(ids, _whole(entry, "id", place), None, place)
            image_id, category = _whole(entry, "image_id", place), _whole(entry, "category_id", place)
            if image_id not in images:
                msg = f"{place} is of image {image_id}, which is not listed; add the image, or remove the annotation"
                raise InputError(msg)
            if category not in labels:
                msg = f"{place} has the unknown category {category}; list it in categories, or remove the annotation"
                raise InputError(msg)
            objects[image_id].append(self._annotation(entry, labels[category], images[image_id], place))
        return objects

    def _annotation(self, entry: Mapping[str, Any], label: int, image: tuple[str, int, int], place: str) -> Annotation:
        _, width, height = image
        box = check_box(_box(entry, place), width, height, place)
        area = _number(entry.get("area", box[2] * box[3]))
        if area is None or not (math.isfinite(area) and area >= 0):
            msg = f"{place}: area must be a number of pixels, not {str(entry['area'])[:80]}"
            raise InputError(msg)
        crowd = _number(entry.get("iscrowd", 0))
        if crowd not in {0, 1}:
            msg = f"{place}: iscrowd must be 0 or 1, not {str(entry['iscrowd'])[:80]}"
            raise InputError(msg)
        shape = read_segmentation(entry.get("segmentation"), width, height, place) if self.with_masks else None
        return Annotation(label, box, area, bool(crowd), shape)


def _add_once(table: dict[int, Any], number: int, value: object, place: str) -> None:
    if number in table:
        msg = f"{place} has the id {number} of an entry before it; ids must differ"
        raise InputError(msg)
    table[number] = value


def _whole(entry: Mapping[str, Any], key: str, place: str) -> int:
    value = entry.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) > MAX_INT64:
        msg = f"{place}: {key} must be a whole number, not {str(value)[:80]}"
        raise InputError(msg)
    return value


def _text(entry: Mapping[str, Any], key: str, place: str) -> str:
    value = entry.get(key)
    if not (isinstance(value, str) and value):
        msg = f"{place}: {key} must be a name, not {str(value)[:80]}"
        raise InputError(msg)
    return value


def _box(entry: Mapping[str, Any], place: str) -> Box:
    given = entry.get("bbox")
    numbers = [_number(number) for number in given] if isinstance(given, list) else []
    found = [number for number in numbers if number is not None]
    if not len(numbers) == len(found) == BOX_NUMBERS:
        msg = f"{place}: bbox must be [x, y, width, height], not {str(given)[:80]}"
        raise InputError(msg)
    return found[0], found[1], found[2], found[3]


def _number(value: object) -> float | None:
    """Return a number of JSON, infinite if it is too large; None if it is no number."""
    if not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf
