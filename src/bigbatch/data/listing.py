"""What a folder of images holds: sorted classes and sorted files, in a few arrays. It needs no torch."""

import json
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from bigbatch.errors import InputError
from bigbatch.paths import is_folder

SUFFIXES: Final = (".jpg", ".jpeg", ".png")
MAX_PIXELS: Final = 50_000_000  # of an image
VERSION: Final = 1  # of a listing's file
ALIGNMENT: Final = 64  # bytes, of what follows its header

# (classes that are listed, all classes, images so far) -> None
Report = Callable[[int, int, int], None]


@dataclass(frozen=True, eq=False)
class Listing:
    """The images of one split, sorted by class and file name: a million of them take 40 MB.

    Attributes:
        folder: the split's folder.
        classes: names of the class folders, sorted; a label is a position in it.
        starts: the first image of each class, and one past the last of all, shape (classes + 1,).
        ends: one past the last byte of each image's name, shape (images,).
        sizes: bytes of each image's file.
        names: the bytes of all names, one behind the other.
        file: that the arrays are mapped from, which all readers then share; None if they are in memory.
    """

    folder: Path
    classes: tuple[str, ...]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    sizes: NDArray[np.int64]
    names: NDArray[np.uint8]
    file: Path | None = None

    def __len__(self) -> int:
        return len(self.ends)

    def __reduce__(self) -> Any:  # noqa: ANN401 - as pickle has it
        if self.file is not None:  # a reader that is not forked maps the file again
            return Listing.read, (self.file,)
        return Listing, (self.folder, self.classes, self.starts, self.ends, self.sizes, self.names)

    def label(self, index: int) -> int:
        """Return an image's label."""
        return int(np.searchsorted(self.starts, index, side="right")) - 1

    def path(self, index: int) -> Path:
        """Return an image's file."""
        name = self.names[self.ends[index - 1] if index else 0 : self.ends[index]]
        return self.folder / self.classes[self.label(index)] / os.fsdecode(name.tobytes())

    def fingerprint(self) -> Iterator[bytes]:
        """Yield each image's split, class, name and size, of which a fingerprint is made."""
        names, first = self.names.tobytes(), 0
        for label, name in enumerate(self.classes):
            place = os.fsencode(f"{self.folder.name}/{name}/")
            start, stop = self.starts[label : label + 2].tolist()
            ends, sizes = self.ends[start:stop].tolist(), self.sizes[start:stop].tolist()
            for end, size in zip(ends, sizes, strict=True):
                yield b"%s%s\0%d\0" % (place, names[first:end], size)
                first = end

    def digest(self) -> str:
        """Return the SHA-256 of the arrays."""
        digest = sha256()
        for array in self._arrays():
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def to_bytes(self, **more: str) -> bytes:
        """Return the listing as the content of a file, with more fields in its header."""
        counts = {"version": VERSION, "images": len(self), "bytes": len(self.names)}
        fields = {"folder": str(self.folder), "classes": list(self.classes), "digest": self.digest(), **counts, **more}
        header = json.dumps(fields).encode()
        padding = b" " * (-(len(header) + 1) % ALIGNMENT)
        return b"".join([header, padding, b"\n", *(array.tobytes() for array in self._arrays())])

    @classmethod
    def read(cls, file: Path) -> Self:
        """Map a listing's file into memory.

        Raises:
            OSError, ValueError: it cannot be read, or is damaged.
        """
        header = read_header(file)
        if header["version"] != VERSION:
            msg = f"{file} is of another version"
            raise ValueError(msg)
        classes, start = tuple(header["classes"]), header["start"]
        lengths = (len(classes) + 1, header["images"], header["images"])
        edges = [start, *(start + 8 * int(total) for total in np.cumsum(lengths))]
        content = np.memmap(file, np.uint8, "r")
        starts, ends, sizes = (content[a:b].view(np.int64) for a, b in pairwise(edges))
        found = cls(Path(header["folder"]), classes, starts, ends, sizes, content[edges[-1] :], file)
        if len(found.names) != header["bytes"] or found.digest() != header["digest"]:
            msg = f"{file} is damaged"
            raise ValueError(msg)
        return found

    def _arrays(self) -> tuple[NDArray[Any], ...]:
        return self.starts, self.ends, self.sizes, self.names


def read_header(file: Path) -> dict[str, Any]:
    """Return the fields of a listing's file, and where its arrays start.

    Raises:
        OSError, ValueError: it cannot be read, or is damaged.
    """
    with file.open("rb") as opened:
        line = opened.readline()
    header = json.loads(line)
    if not isinstance(header, dict) or not {"version", "folder", "classes", "images", "bytes", "digest"} <= set(header):
        msg = f"{file} is no listing"
        raise ValueError(msg)
    return {**header, "start": len(line)}


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


def list_split(folder: Path, report: Report | None = None) -> Listing:
    """List a split's classes and images.

    Args:
        folder: of the split.
        report: is told how far it is, after each class.

    Raises:
        InputError: no class, a class without an image, an image that is no file, or a folder that cannot be read.
    """
    classes = class_names(folder)
    starts, sizes, names = [0], [], []
    for number, name in enumerate(classes, start=1):
        files = sorted(image_files(folder / name))
        if not files:
            msg = f"{folder / name} holds no image ({', '.join(SUFFIXES)}): fill or remove the class"
            raise InputError(msg)
        names += [os.fsencode(file) for file, _ in files]
        sizes += [size for _, size in files]
        starts.append(len(names))
        if report:
            report(number, len(classes), len(names))
    return Listing(
        folder,
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
