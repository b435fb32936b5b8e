"""A split in a few large files, each of which holds many images: listed into one order, by class and name."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np

from bigbatch.data.image_files.listing import SUFFIXES, ContainedListing, Report
from bigbatch.errors import InputError


class Member(NamedTuple):
    """An image in a file: sorted as a folder would be."""

    label: int | str
    name: bytes
    number: int
    offset: int
    size: int


@dataclass(frozen=True)
class Containers(ABC):
    """A split's files.

    Attributes:
        path: the folder that holds them.
        split: the split's name.
        files: their names in the folder, sorted.
    """

    path: Path
    split: str
    files: tuple[str, ...]
    kind: ClassVar[type[ContainedListing]] = ContainedListing

    @abstractmethod
    def members(self, path: Path, number: int) -> Iterator[Member]:
        """Yield the images of a file.

        Args:
            path: of it.
            number: of it among all.

        Raises:
            InputError: it is damaged, or an image in it has no class.
        """

    def class_names(self) -> Sequence[str] | None:
        """Return the names of the classes; None for their labels."""
        return None

    def watched(self) -> Iterator[Path]:
        """Yield the files that hold the images."""
        for file in self.files:
            yield self.path / file

    def list(self, report: Report | None = None) -> ContainedListing:
        """List the classes and images.

        Args:
            report: is told how far it is, after each file.

        Raises:
            InputError: a file cannot be read, or an image in it has no class.
        """
        members: list[Member] = []
        for number, path in enumerate(self.watched()):
            members += self.members(path, number)
            if report:
                report(number + 1, len(self.files), len(members))
        if not members:
            msg = f"{self.path / self.files[0]} holds no image ({', '.join(SUFFIXES)})"
            raise InputError(msg)
        if len({type(member.label) for member in members}) > 1:
            msg = f"{self.path}: some images have a number as their class, and some the name of their folder"
            raise InputError(msg)
        members.sort()
        return self._listing(members)

    def _listing(self, members: Sequence[Member]) -> ContainedListing:
        """Return the listing of sorted members.

        Raises:
            InputError: numbers of classes leave one out, or there are more or fewer than names.
        """
        labels, names = dict.fromkeys(member.label for member in members), self.class_names()
        missing = next(number for number in count() if number not in labels)
        if missing < len(labels) and all(isinstance(label, int) for label in labels):
            most = max(label for label in labels if isinstance(label, int))
            msg = f"{self.path}: no image of the {self.split} split is of class {missing}, but some are of class {most}"
            raise InputError(msg)
        if names is not None and len(names) != len(labels):
            msg = f"{self.path}: the {self.split} split has images of {len(labels)} classes, and names of {len(names)}"
            raise InputError(msg)
        numbers = {label: number for number, label in enumerate(labels)}
        counts = np.bincount([numbers[member.label] for member in members])
        return self.kind(
            self.path,
            self.split,
            tuple(map(str, names or labels)),
            np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            np.cumsum([len(member.name) for member in members], dtype=np.int64),
            np.array([member.size for member in members], np.int64),
            np.frombuffer(b"".join(member.name for member in members), np.uint8),
            np.array([member.number for member in members], np.int64),
            np.array([member.offset for member in members], np.int64),
            np.zeros(0, np.int64),
            tuple((file, (self.path / file).stat().st_size) for file in self.files),
        )
