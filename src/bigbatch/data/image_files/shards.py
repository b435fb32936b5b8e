"""A split in any number of tar files, as WebDataset has it: `NAME.jpg` beside `NAME.cls`, or `CLASS/NAME.jpg`.

The order is that of a folder, by class and name. Where the images lie in the shards does not matter.
"""

import os
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path, PurePosixPath
from typing import ClassVar, Final, NamedTuple

import numpy as np

from bigbatch.data.image_files.listing import SUFFIXES, ContainedListing, Report
from bigbatch.errors import InputError

LAYOUT: Final = "a shard holds NAME.jpg beside NAME.cls, the number of its class, or CLASS/NAME.jpg"
END: Final = bytes(tarfile.BLOCKSIZE)  # of an archive
MAX_DIGITS: Final = 7  # of a class's number
ENCODING: Final = {"encoding": "utf-8", "errors": "surrogateescape"}


class Member(NamedTuple):
    """An image in a shard: sorted as a folder would be."""

    label: int | str
    name: bytes
    number: int
    offset: int
    size: int


@dataclass(frozen=True)
class TarShards:
    """A split's shards.

    Attributes:
        path: the folder that holds them.
        split: the split's name.
        files: their names in the folder, sorted.
    """

    path: Path
    split: str
    files: tuple[str, ...]
    kind: ClassVar = ContainedListing

    def watched(self) -> Iterator[Path]:
        """Yield the files that hold the images."""
        for shard in self.files:
            yield self.path / shard

    def list(self, report: Report | None = None) -> ContainedListing:
        """List the classes and images.

        Args:
            report: is told how far it is, after each shard.

        Raises:
            InputError: a shard is no tar file, compressed, or cut off; or an image in it has no class.
        """
        members: list[Member] = []
        for number, shard in enumerate(self.files):
            members += _members(self.path / shard, number)
            if report:
                report(number + 1, len(self.files), len(members))
        if not members:
            msg = f"{self.path / self.files[0]} holds no image ({', '.join(SUFFIXES)})"
            raise InputError(msg)
        if len({type(member.label) for member in members}) > 1:
            msg = f"{self.path}: some images have a .cls and some have a folder of their class; {LAYOUT}"
            raise InputError(msg)
        members.sort()
        return contained_listing(
            self.path, self.split, members, tuple((shard, (self.path / shard).stat().st_size) for shard in self.files)
        )


def contained_listing(
    folder: Path,
    split: str,
    members: Sequence[Member],
    containers: tuple[tuple[str, int], ...],
    *,
    kind: type[ContainedListing] = ContainedListing,
    names: Sequence[str] | None = None,
) -> ContainedListing:
    """Return the listing of sorted members.

    Args:
        folder: that holds the files.
        split: the split's name.
        members: of all files.
        containers: the files' names and sizes.
        kind: of the listing.
        names: of the classes; by default their labels.

    Raises:
        InputError: numbers of classes leave one out, or there are more than names.
    """
    labels = dict.fromkeys(member.label for member in members)
    missing = next(number for number in count() if number not in labels)
    if 0 <= missing < len(labels) and all(isinstance(label, int) for label in labels):
        msg = f"{folder}: no image of the {split} split is of class {missing}, but of {max(labels)} classes; {LAYOUT}"
        raise InputError(msg)
    if names is not None and len(names) != len(labels):
        msg = f"{folder}: the {split} split has images of {len(labels)} classes, and names of {len(names)}"
        raise InputError(msg)
    numbers = {label: number for number, label in enumerate(labels)}
    counts = np.bincount([numbers[member.label] for member in members])
    return kind(
        folder,
        split,
        tuple(map(str, names or labels)),
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        np.cumsum([len(member.name) for member in members], dtype=np.int64),
        np.array([member.size for member in members], np.int64),
        np.frombuffer(b"".join(member.name for member in members), np.uint8),
        np.array([member.number for member in members], np.int64),
        np.array([member.offset for member in members], np.int64),
        np.zeros(0, np.int64),
        containers,
    )


def _members(path: Path, number: int) -> Iterator[Member]:
    """Yield the images of one shard."""
    images: dict[str, tarfile.TarInfo] = {}
    labels: dict[str, int] = {}
    try:
        with tarfile.open(path, "r:", **ENCODING) as archive:  # type: ignore[call-overload]
            for member in archive:
                key, suffix = _key(member.name)
                if member.isdir() or PurePosixPath(member.name).name.startswith("."):
                    continue
                if suffix in SUFFIXES:
                    if not member.isreg():
                        msg = f"{path}: {member.name} is a link or a device, and must be an image"
                        raise InputError(msg)
                    if key in images:
                        msg = f"{path} holds {member.name} twice, or two images of that name; remove one"
                        raise InputError(msg)
                    images[key] = member
                elif suffix == ".cls":
                    labels[key] = _label(archive, member, path)
        _check_end(path, archive.offset)
    except (tarfile.TarError, OSError, EOFError) as error:
        msg = f"cannot read the shard {path} ({error}): it must be a whole tar file that is not compressed"
        raise InputError(msg) from error
    for key, member in images.items():
        place = PurePosixPath(member.name)
        label: int | str = labels.get(key, -1) if labels else place.parent.name
        if label in {-1, ""}:
            msg = f"{path}: {member.name} has no class; {LAYOUT}"
            raise InputError(msg)
        yield Member(label, os.fsencode(place.name), number, member.offset_data, member.size)


def _key(name: str) -> tuple[str, str]:
    """Return a member's name without its suffix, and its suffix.

    >>> _key("./n01440764/a.b.JPEG"), _key("0017.cls")
    (('./n01440764/a.b', '.jpeg'), ('0017', '.cls'))
    """
    path = PurePosixPath(name)
    return name.removesuffix(path.suffix), path.suffix.lower()


def _label(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> int:
    file = archive.extractfile(member)
    text = file.read(MAX_DIGITS + 3).decode("ascii", "replace").strip() if file else ""
    if not text.isdecimal() or len(text) > MAX_DIGITS:
        msg = f"{path}: {member.name} must hold the number of a class, not {text!r}"
        raise InputError(msg)
    return int(text)


def _check_end(path: Path, offset: int) -> None:
    """Refuse an archive that was cut off between two members: its end is marked by zeros."""
    with path.open("rb") as file:
        file.seek(offset)
        if file.read(tarfile.BLOCKSIZE) != END:
            msg = "it is cut off"
            raise tarfile.ReadError(msg)
