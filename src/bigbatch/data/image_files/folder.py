"""A split that is a folder with one folder of images for each class, the layout of ImageNet."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from bigbatch.data.image_files.listing import SUFFIXES, Listing, Report
from bigbatch.errors import InputError
from bigbatch.paths import is_folder


@dataclass(frozen=True)
class ClassFolders:
    """A split's folder.

    Attributes:
        path: of the folder.
    """

    path: Path
    kind: ClassVar = Listing

    @property
    def split(self) -> str:
        """The split's name."""
        return self.path.name

    def watched(self) -> Iterator[Path]:
        """Yield what changes when an image comes, goes or is renamed."""
        yield self.path
        for name in class_names(self.path):
            yield self.path / name

    def list(self, report: Report | None = None) -> Listing:
        """List the classes and images.

        Args:
            report: is told how far it is, after each class.

        Raises:
            InputError: no class, a class without an image, an image that is no file, or a folder that cannot be read.
        """
        classes = class_names(self.path)
        starts, sizes, names = [0], [], []
        for number, name in enumerate(classes, start=1):
            files = sorted(image_files(self.path / name))
            if not files:
                msg = f"{self.path / name} holds no image ({', '.join(SUFFIXES)}): fill or remove the class"
                raise InputError(msg)
            names += [os.fsencode(file) for file, _ in files]
            sizes += [size for _, size in files]
            starts.append(len(names))
            if report:
                report(number, len(classes), len(names))
        return Listing(
            self.path,
            self.split,
            classes,
            np.array(starts, np.int64),
            np.cumsum([len(name) for name in names], dtype=np.int64),
            np.array(sizes, np.int64),
            np.frombuffer(b"".join(names), np.uint8),
        )


def class_names(folder: Path) -> tuple[str, ...]:
    """Return the names of a split's classes, sorted.

    Raises:
        InputError: there is none, or the folder cannot be read.
    """
    with _scan(folder) as entries:
        names = sorted(
            entry.name for entry in entries if not entry.name.startswith(".") and is_folder(Path(entry.path))
        )
    if not names:
        msg = f"{folder} is empty: it must hold one folder for each class"
        raise InputError(msg)
    return tuple(names)


def image_files(folder: Path) -> Iterator[tuple[str, int]]:
    """Yield the name and the size of a class's images.

    Raises:
        InputError: a folder, a pipe or a broken link is named like an image.
    """
    with _scan(folder) as entries:
        for entry in entries:
            if entry.name.lower().endswith(SUFFIXES):
                try:
                    found = entry.stat()
                except OSError:  # a link to nothing, or a loop of links
                    found = None
                if found is None or not stat.S_ISREG(found.st_mode):
                    msg = f"{entry.path} is named like an image, but is no file, or a link to nothing; remove it"
                    raise InputError(msg)
                yield entry.name, found.st_size


def _scan(folder: Path) -> "os._ScandirIterator[str]":
    try:
        return os.scandir(folder)
    except OSError as error:
        msg = f"cannot read the folder {folder}: {error.strerror}"
        raise InputError(msg) from error
