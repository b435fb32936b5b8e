"""What a folder of images holds: sorted classes and sorted files. It needs no torch, so a plan can count them."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bigbatch.errors import InputError
from bigbatch.paths import is_file, is_folder

SUFFIXES: Final = (".jpg", ".jpeg", ".png")
MAX_PIXELS: Final = 50_000_000  # of an image


@dataclass(frozen=True)
class Listing:
    """The images of one split.

    Attributes:
        folder: the split's folder.
        classes: names of the class folders, sorted; a label is a position in it.
        samples: (file, label) of every image, sorted by class and file name.
    """

    folder: Path
    classes: tuple[str, ...]
    samples: tuple[tuple[Path, int], ...]


def find_split(root: Path, names: Sequence[str]) -> Path:
    """Return the first of the folders root/name that exists.

    Raises:
        InputError: the root or every such folder is missing.
    """
    if not is_folder(root):
        msg = f"there is no data folder {root}; set data.path to one with train/ and val/ class folders in it"
        raise InputError(msg)
    for name in names:
        if is_folder(root / name):
            return root / name
    msg = f"{root} has no folder {' or '.join(f'{name}/' for name in names)} of class folders"
    raise InputError(msg)


def list_split(folder: Path) -> Listing:
    """List a split's classes and images.

    Raises:
        InputError: no class, a class without an image, an image that is no file, or a folder that cannot be read.
    """
    classes = sorted(name for name in _names(folder) if not name.startswith(".") and is_folder(folder / name))
    if not classes:
        msg = f"{folder} is empty: it must hold one folder for each class"
        raise InputError(msg)
    samples: list[tuple[Path, int]] = []
    for label, name in enumerate(classes):
        files = sorted(image_names(folder / name))
        if not files:
            msg = f"{folder / name} holds no image ({', '.join(SUFFIXES)}): fill or remove the class"
            raise InputError(msg)
        samples += [(folder / name / file, label) for file in files]
    return Listing(folder, tuple(classes), tuple(samples))


def image_names(folder: Path) -> Iterator[str]:
    """Yield the names of a class's images; a folder, a pipe or a broken link with such a name is refused.

    The kind of an entry comes with its name, so that this costs a look only for links.
    """
    with _scan(folder) as entries:
        for entry in entries:
            if entry.name.lower().endswith(SUFFIXES):
                if not (entry.is_file(follow_symlinks=False) or is_file(Path(entry.path))):
                    msg = f"{entry.path} is named like an image, but is no file, or a link to nothing; remove it"
                    raise InputError(msg)
                yield entry.name


def _names(folder: Path) -> list[str]:
    with _scan(folder) as entries:
        return [entry.name for entry in entries]


def _scan(folder: Path) -> "os._ScandirIterator[str]":
    try:
        return os.scandir(folder)
    except OSError as error:
        msg = f"cannot read the folder {folder}: {error.strerror}"
        raise InputError(msg) from error
