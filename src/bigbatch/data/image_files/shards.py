"""A split in any number of tar files, as WebDataset has it: `NAME.jpg` beside `NAME.cls`, or `CLASS/NAME.jpg`.

The order is that of a folder, by class and name. Where the images lie in the shards does not matter.
"""

import os
import tarfile
from collections.abc import Container, Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from bigbatch.data.image_files.containers import Containers, Member
from bigbatch.data.image_files.listing import SUFFIXES
from bigbatch.errors import InputError

LAYOUT: Final = "a shard holds NAME.jpg beside NAME.cls, the number of its class, or CLASS/NAME.jpg"
END: Final = bytes(tarfile.BLOCKSIZE)  # of an archive
MAX_DIGITS: Final = 7  # of a class's number
ENCODING: Final = {"encoding": "utf-8", "errors": "surrogateescape"}


class TarShards(Containers):
    """A split's shards."""

    def members(self, path: Path, number: int) -> Iterator[Member]:
        """Yield the images of a shard.

        Raises:
            InputError: it is no tar file, compressed, or cut off; or an image in it has no class.
        """
        try:
            images, labels = _read(path)
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


def _read(path: Path) -> tuple[dict[str, tarfile.TarInfo], dict[str, int]]:
    """Return the images of an archive, and the numbers of their classes, by their names without a suffix."""
    images: dict[str, tarfile.TarInfo] = {}
    labels: dict[str, int] = {}
    with tarfile.open(path, "r:", **ENCODING) as archive:  # type: ignore[call-overload]
        for member in archive:
            key, suffix = _key(member.name)
            if member.isdir() or PurePosixPath(member.name).name.startswith("."):
                continue
            if suffix == ".cls":
                labels[key] = _label(archive, member, path)
            elif suffix in SUFFIXES:
                _check(member, images, key, path)
                images[key] = member
    _check_end(path, archive.offset)
    return images, labels


def _check(member: tarfile.TarInfo, images: Container[str], key: str, path: Path) -> None:
    if not member.isreg():
        msg = f"{path}: {member.name} is a link or a device, and must be an image"
        raise InputError(msg)
    if key in images:
        msg = f"{path} holds {member.name} twice, or two images of that name; remove one"
        raise InputError(msg)


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
