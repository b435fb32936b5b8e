"""What a folder of images holds: sorted classes, sorted files; without torch, so that a plan can count."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bigbatch.errors import InputError

SUFFIXES: Final = (".jpg", ".jpeg", ".png")


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
    if not root.is_dir():
        msg = f"there is no data folder {root}"
        raise InputError(msg)
    for name in names:
        if (root / name).is_dir():
            return root / name
    msg = f"{root} has no folder {' or '.join(f'{name}/' for name in names)} of class folders"
    raise InputError(msg)


def list_split(folder: Path) -> Listing:
    """List a split's classes and images.

    Raises:
        InputError: no class, or a class without an image.
    """
    classes = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))
    if not classes:
        msg = f"{folder} is empty: it must hold one folder for each class"
        raise InputError(msg)
    samples: list[tuple[Path, int]] = []
    for label, name in enumerate(classes):
        files = sorted(entry.name for entry in os.scandir(folder / name) if entry.name.lower().endswith(SUFFIXES))
        if not files:
            msg = f"{folder / name} holds no image ({', '.join(SUFFIXES)}): fill or remove the class"
            raise InputError(msg)
        samples += [(folder / name / file, label) for file in files]
    return Listing(folder, tuple(classes), tuple(samples))
