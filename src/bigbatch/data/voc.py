"""Pascal VOC's layout (Everingham et al. 2010): an XML file of boxes for each image, and a list of a split's images."""

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Final

from bigbatch.data.annotations import AnnotatedImage, AnnotatedSplit, Annotation, Box, check_box, check_image_size
from bigbatch.data.image_files.listing import SUFFIXES
from bigbatch.errors import InputError, first_line
from bigbatch.paths import is_file, is_folder

LAYOUT: Final = (
    "voc data is JPEGImages/NAME.jpg and Annotations/NAME.xml, and the names in ImageSets/Main/train.txt and val.txt"
)
CORNERS: Final = ("xmin", "ymin", "xmax", "ymax")


def list_voc(path: str, names: Sequence[str]) -> AnnotatedSplit:
    """Read the annotations of a split.

    Args:
        path: the data set's folder.
        names: what the split may be called; the first that is there is read.

    Raises:
        InputError: a file is missing or damaged, or an annotation is wrong; the message names it.
    """
    file = find_voc(path, names)
    root = Path(path)
    stems = _stems(file)
    digest = sha256("\n".join(stems).encode(errors="surrogateescape"))
    read = [_read_image(root, stem, number, file) for number, stem in enumerate(stems)]
    for one in read:
        digest.update(one.content)
    categories = tuple(sorted({found.category for one in read for found in one.objects}))
    labels = {name: label for label, name in enumerate(categories, 1)}
    images = [replace(one.image, annotations=tuple(o.annotation(labels) for o in one.objects)) for one in read]
    return AnnotatedSplit(file, categories, tuple(images), digest.hexdigest())


def find_voc(path: str, names: Sequence[str]) -> Path:
    """Return the file that lists a split's images.

    Raises:
        InputError: the layout is not there.
    """
    root = Path(path)
    if not (path and is_folder(root)):
        msg = f"there is no data folder '{path}': set data.path; {LAYOUT}"
        raise InputError(msg)
    for name in names:
        if is_file(file := root / "ImageSets" / "Main" / f"{name}.txt"):
            return file
    msg = f"{root} has no ImageSets/Main/{names[0]}.txt; {LAYOUT}"
    raise InputError(msg)


def _stems(file: Path) -> list[str]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeError) as error:
        msg = f"cannot read {file}: {first_line(error)}"
        raise InputError(msg) from error
    stems = [line.strip() for line in lines if line.strip()]
    if len(set(stems)) < len(stems):
        twice = next(stem for i, stem in enumerate(stems) if stem in stems[:i])
        msg = f"{file} lists {twice} twice; remove one of them"
        raise InputError(msg)
    return stems


@dataclass(frozen=True)
class _Object:
    category: str
    box: Box
    is_difficult: bool

    def annotation(self, labels: dict[str, int]) -> Annotation:
        # As with a crowd, training leaves a difficult object out, and an evaluation does not count it as missed.
        return Annotation(labels[self.category], self.box, self.box[2] * self.box[3], self.is_difficult)


@dataclass(frozen=True)
class _Read:
    image: AnnotatedImage
    objects: list[_Object]
    content: bytes


def _read_image(root: Path, stem: str, number: int, listed: Path) -> _Read:
    """Read an image's XML file; errors name it."""
    file = root / "Annotations" / f"{stem}.xml"
    if not is_file(file):
        msg = f"there is no {file}, but {listed} lists {stem}; {LAYOUT}"
        raise InputError(msg)
    paths = [root / "JPEGImages" / f"{stem}{suffix}" for suffix in (*SUFFIXES, *map(str.upper, SUFFIXES))]
    path = next(filter(is_file, paths), None)
    if path is None:
        msg = f"there is no {paths[0]}, but {listed} lists {stem}; {LAYOUT}"
        raise InputError(msg)
    try:
        content = file.read_bytes()
        tree = ET.fromstring(content)  # noqa: S314 - expat itself limits what entities grow to, since 2.4.1
    except (OSError, ET.ParseError, ValueError, LookupError) as error:
        msg = f"{file} is no XML ({first_line(error)}); mend or replace it"
        raise InputError(msg) from error
    width, height = (_pixels(tree, f"size/{side}", file) for side in ("width", "height"))
    check_image_size(width, height, str(file))
    objects = [_object(one, width, height, f"{file}: object {i}") for i, one in enumerate(tree.iterfind("object"), 1)]
    return _Read(AnnotatedImage(path, number, width, height, ()), objects, content)


def _pixels(tree: ET.Element, key: str, file: Path) -> int:
    text = tree.findtext(key, "").strip()
    if not (text.isascii() and text.isdigit()):
        msg = f"{file}: {key} must be the image's size in pixels, not '{text[:40]}'"
        raise InputError(msg)
    return int(text[:10])


def _object(tree: ET.Element, width: int, height: int, place: str) -> _Object:
    category = (tree.findtext("name") or "").strip()
    if not category:
        msg = f"{place} has no name of a category"
        raise InputError(msg)
    left, upper, right, lower = (_corner(tree, corner, place) for corner in CORNERS)
    # VOC counts pixels from 1, and xmax is the last one inside.
    box = (left - 1, upper - 1, _extent(left, right), _extent(upper, lower))
    return _Object(category, check_box(box, width, height, place), tree.findtext("difficult", "0").strip() == "1")


def _extent(first: float, last: float) -> float:
    """Return the pixels from the first to the last; none if they are one, which is an annotator's slip."""
    return 0.0 if first == last else last - first + 1 if last > first else last - first


def _corner(tree: ET.Element, corner: str, place: str) -> float:
    text = tree.findtext(f"bndbox/{corner}", "")
    try:
        return float(text)
    except ValueError:
        msg = f"{place}: bndbox/{corner} must be a number of pixels, not '{text[:40]}'"
        raise InputError(msg) from None
