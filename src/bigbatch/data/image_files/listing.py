"""What images there are: sorted classes and sorted names, in a few arrays. It needs no torch."""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from bigbatch.data.image_files.decode import ChooseBox, cut, decode_content
from bigbatch.data.image_files.open_files import OpenFiles
from bigbatch.errors import InputError
from bigbatch.paths import is_file

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES: Final = (".jpg", ".jpeg", ".png")
VERSION: Final = 2  # of a listing's file
ALIGNMENT: Final = 64  # bytes, of what follows its header

Numbers = NDArray[np.int64]
Arrays = tuple[Numbers, Numbers, Numbers, NDArray[np.uint8]]  # starts, ends, sizes and names
Kind = TypeVar("Kind", bound="Listing")

# (classes or files that are listed, all of them, images so far) -> None
Report = Callable[[int, int, int], None]


@dataclass(frozen=True, eq=False)
class Listing:
    """The images of one split, sorted by class and name, each a file of its own. A million of them take 40 MB.

    Attributes:
        folder: of the split.
        split: its name, such as "train".
        classes: their names; a label is a position in them.
        starts: the first image of each class, and one past the last of all, shape (classes + 1,).
        ends: one past the last byte of each image's name, shape (images,).
        sizes: bytes of each image's file.
        names: the bytes of all names, one behind the other.
        file: that the arrays are mapped from, which all readers then share; None if they are in memory.
    """

    folder: Path
    split: str
    classes: tuple[str, ...]
    starts: Numbers
    ends: Numbers
    sizes: Numbers
    names: NDArray[np.uint8]
    file: Path | None = field(default=None, kw_only=True)

    def __len__(self) -> int:
        return len(self.ends)

    def __reduce__(self) -> Any:  # noqa: ANN401 - as pickle has it
        if self.file is not None:  # a reader that is not forked maps the file again
            return _read_again, (type(self), self.file, self.folder)
        return type(self), (self.folder, self.split, self.classes, *self._arrays(), *self._more())

    def label(self, index: int) -> int:
        """Return an image's label."""
        return int(np.searchsorted(self.starts, index, side="right")) - 1

    def name(self, index: int) -> str:
        """Return an image's name within its class."""
        return os.fsdecode(self.names[self.ends[index - 1] if index else 0 : self.ends[index]].tobytes())

    def place(self, index: int) -> str:
        """Return where an image lies, for people."""
        return f"{self.folder}{os.sep}{self.classes[self.label(index)]}{os.sep}{self.name(index)}"

    def read(self, index: int) -> bytes:
        """Return the content of an image's file.

        Raises:
            InputError: it cannot be read, or has another size than when it was listed.
        """
        path, expected = self.place(index), int(self.sizes[index])
        if not is_file(path):  # opening a pipe would wait for its writer
            msg = f"{path} is no file; replace or remove it"
            raise InputError(msg)
        try:
            with open(path, "rb") as file:  # noqa: PTH123 - a Path costs more than the file
                content = file.read(expected + 1)
        except OSError as error:
            msg = f"cannot read the image {path} ({error.strerror}); replace or remove it"
            raise InputError(msg) from error
        if len(content) != expected:
            msg = (
                f"{path} has {Path(path).stat().st_size:,} bytes, and had {expected:,} when its folder was listed: put "
                f"it back, or go on with the new one in a new run, after touch {Path(path).parent}"
            )
            raise InputError(msg)
        return content

    def image(self, index: int) -> "Image":
        """Decode an image to RGB.

        Raises:
            InputError: it cannot be read or decoded; the message names it.
        """
        return decode_content(self.read(index), lambda: self.place(index))

    def cut(self, index: int, choose: ChooseBox) -> NDArray[np.uint8]:
        """Decode a box of an image to RGB, shape (height, width, 3).

        Args:
            index: of the image.
            choose: maps its width and height to the box (left, upper, right, lower).

        Raises:
            InputError: as `image`.
        """
        return cut(self.read(index), choose, lambda: self.place(index))

    def fingerprint(self) -> Iterator[bytes]:
        """Yield each image's split, class, name and size, of which a fingerprint is made."""
        names, first = self.names.tobytes(), 0
        for label, name in enumerate(self.classes):
            place = os.fsencode(f"{self.split}/{name}/")
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

    def to_bytes(self, **more: object) -> bytes:
        """Return the listing as the content of a file, with more fields in its header."""
        arrays = [(array.dtype.str, len(array)) for array in self._arrays()]
        fields = {"version": VERSION, "kind": type(self).__name__, "folder": str(self.folder), "split": self.split}
        fields |= {"classes": self.classes, "arrays": arrays, "more": self._more(), "digest": self.digest()}
        header = json.dumps(fields | more).encode()
        padding = b" " * (-(len(header) + 1) % ALIGNMENT)
        return b"".join([header, padding, b"\n", *(_padded(array.tobytes()) for array in self._arrays())])

    def _arrays(self) -> tuple[NDArray[Any], ...]:
        return self.starts, self.ends, self.sizes, self.names

    def _more(self) -> tuple[Any, ...]:
        return ()


@dataclass(frozen=True, eq=False)
class ContainedListing(Listing):
    """Images that lie within larger files.

    The files are read, and not mapped into memory: one that is cut off under a map would end the process by SIGBUS.

    Attributes:
        numbers: of the file that holds each image, shape (images,).
        offsets: of each image in it, in bytes.
        checksums: CRC-32 of each image; empty where the file has none.
        containers: the files' names in the folder, and their sizes in bytes.
    """

    numbers: Numbers
    offsets: Numbers
    checksums: Numbers
    containers: tuple[tuple[str, int], ...]
    files: OpenFiles = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "containers", tuple((name, size) for name, size in self.containers))
        object.__setattr__(self, "files", OpenFiles(self.folder, self.containers))

    def place(self, index: int) -> str:
        """Return where an image lies, for people."""
        container, _ = self.containers[int(self.numbers[index])]
        return f"{self.folder / container}: {self.classes[self.label(index)]}/{self.name(index)}"

    def read(self, index: int) -> bytes:
        """Return an image's content.

        Raises:
            InputError: the file cannot be read, has changed since it was listed, or is damaged there.
        """
        content = self.files.read(int(self.numbers[index]), int(self.offsets[index]), int(self.sizes[index]))
        if len(self.checksums) and crc32(content) != int(self.checksums[index]):
            msg = f"{self.place(index)} is damaged: its checksum differs; make the file again"
            raise InputError(msg)
        return content

    def _arrays(self) -> tuple[NDArray[Any], ...]:
        return (*super()._arrays(), self.numbers, self.offsets, self.checksums)

    def _more(self) -> tuple[Any, ...]:
        return (self.containers,)


def only(listing: Listing, is_kept: NDArray[np.bool_]) -> Arrays:
    """Return the starts, ends, sizes and names of a part of a listing's images.

    Args:
        listing: of all.
        is_kept: of each image, whether it belongs to the part.

    Raises:
        InputError: a class has no image in it.
    """
    starts = np.searchsorted(np.flatnonzero(is_kept), listing.starts)
    if empty := [name for name, count in zip(listing.classes, np.diff(starts), strict=True) if not count]:
        msg = f"{listing.folder}: the class {empty[0]} has no image left: add some, or remove the class"
        raise InputError(msg)
    lengths = np.diff(listing.ends, prepend=0)
    names = listing.names[np.repeat(is_kept, lengths)]
    return starts.astype(np.int64), np.cumsum(lengths[is_kept]), listing.sizes[is_kept], names


def read_listing(kind: type[Kind], file: Path, *, start: int = 0) -> Kind:
    """Map a listing's file into memory.

    Args:
        kind: of the listing.
        file: that holds it.
        start: of the listing in the file, in bytes.

    Raises:
        OSError, ValueError: it cannot be read, or is damaged.
    """
    header = read_header(file, start=start)
    if (header["version"], header["kind"]) != (VERSION, kind.__name__):
        msg = f"{file} is of another version or kind"
        raise ValueError(msg)
    content, place, arrays = np.memmap(file, np.uint8, "r"), header["start"], []
    for dtype, length in header["arrays"]:
        size = np.dtype(dtype).itemsize * length
        arrays.append(content[place : place + size].view(dtype))
        place += size + -size % ALIGNMENT
    found = kind(Path(header["folder"]), header["split"], tuple(header["classes"]), *arrays, *header["more"], file=file)
    if found.digest() != header["digest"]:
        msg = f"{file} is damaged"
        raise ValueError(msg)
    return found


def read_header(file: Path, *, start: int = 0) -> dict[str, Any]:
    """Return the fields of a listing's file, and where its arrays start.

    Raises:
        OSError, ValueError: it cannot be read, or is damaged.
    """
    with file.open("rb") as opened:
        opened.seek(start)
        line = opened.readline()
    header = json.loads(line)
    needed = {"version", "kind", "folder", "split", "classes", "arrays", "more", "digest"}
    if not isinstance(header, dict) or not needed <= set(header):
        msg = f"{file} is no listing"
        raise ValueError(msg)
    return {**header, "start": start + len(line)}


def _read_again(kind: type[Kind], file: Path, folder: Path) -> Kind:
    return replace(read_listing(kind, file), folder=folder)


def _padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % ALIGNMENT)
