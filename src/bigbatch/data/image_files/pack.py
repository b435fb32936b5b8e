"""A pack: the images of a split in one file, smaller, and each read by its number.

A pack is a line that says how it was made, then the images one behind the other, each after its size and checksum, and
at the end their listing. So a pack that was not finished can be gone on with, and a finished one opens at once.
"""

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from bigbatch.data.image_files.decode import ChooseBox, decode_content, from_pixels
from bigbatch.data.image_files.listing import ContainedListing, read_listing
from bigbatch.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

MAGIC: Final = b"bigbatch pack "
VERSION: Final = 1
RECORD: Final = struct.Struct("<QI")  # bytes and CRC-32 of an image, ahead of it
FOOTER: Final = struct.Struct("<8sQ")  # at the end: a mark, and where the listing begins
END: Final = b"pack end"
SIDES: Final = struct.Struct("<II")  # width and height, ahead of pixels
FILES, JPEG, PIXELS = "files", "jpeg", "pixels"


@dataclass(frozen=True)
class Making:
    """How a pack was made.

    Attributes:
        encoding: "files" (as they were), "jpeg" or "pixels".
        short_side: the most that the shorter side has, in pixels; 0 leaves images as they are.
        quality: of the JPEGs, 1 to 95; 0 for another encoding.
        source: SHA-256 of what was packed: its classes, names and sizes.
        version: of the form.
    """

    encoding: str
    short_side: int
    quality: int
    source: str
    version: int = VERSION

    def to_line(self) -> bytes:
        """Return the first line of the pack."""
        return MAGIC + json.dumps(vars(self)).encode() + b"\n"

    @classmethod
    def of_line(cls, line: bytes, path: Path) -> Self:
        """Read the first line of a pack.

        Raises:
            InputError: it is none, or of another version.
        """
        try:
            found = json.loads(line.removeprefix(MAGIC))
        except ValueError:
            found = None
        if not line.startswith(MAGIC) or not isinstance(found, dict):
            msg = f"{path} is no pack; make it with bigbatch pack"
            raise InputError(msg)
        if found.get("version") != VERSION or set(found) != {field.name for field in fields(cls)}:
            msg = f"{path} is a pack of version {found.get('version')}, not {VERSION}; make it again with bigbatch pack"
            raise InputError(msg)
        return cls(**found)


@dataclass(frozen=True, eq=False)
class Pack(ContainedListing):
    """The images of a pack.

    Attributes:
        encoding: of its images.
    """

    encoding: str

    def __reduce__(self) -> Any:  # noqa: ANN401 - as pickle has it
        return open_pack, (self.file,)

    def image(self, index: int) -> "Image":
        """Decode an image to RGB.

        Raises:
            InputError: it cannot be read or decoded; the message names it.
        """
        content = self.read(index)
        if self.encoding != PIXELS:
            return decode_content(content, lambda: self.place(index))
        return from_pixels(content[SIDES.size :], SIDES.unpack_from(content))

    def cut(self, index: int, choose: ChooseBox) -> NDArray[np.uint8]:
        """Decode a box of an image, as `Listing.cut` does; pixels are only cut out."""
        if self.encoding != PIXELS:
            return super().cut(index, choose)
        content = self.read(index)
        width, height = SIDES.unpack_from(content)
        left, upper, right, lower = choose(width, height)
        pixels = np.frombuffer(content, np.uint8, offset=SIDES.size).reshape(height, width, 3)
        return pixels[upper:lower, left:right]

    def fingerprint(self) -> Iterator[bytes]:
        """Yield each image's split, class, name and size; and where images were changed, all their checksums."""
        yield from super().fingerprint()
        if self.encoding != FILES:
            yield self.checksums.tobytes()

    def _more(self) -> tuple[Any, ...]:
        return (*super()._more(), self.encoding)


def open_pack(path: Path) -> Pack:
    """Open a finished pack.

    Raises:
        InputError: it is none, not finished, of another version, cut off or damaged.
    """
    try:
        with path.open("rb") as file:
            Making.of_line(file.readline(), path)
            size = file.seek(0, 2)
            file.seek(max(0, size - FOOTER.size))
            mark, start = FOOTER.unpack(file.read().ljust(FOOTER.size, b"\0"))
        if mark != END:
            msg = f"{path} is cut off; make it again with bigbatch pack"
            raise InputError(msg)
        found = read_listing(Pack, path, start=start)
    except (OSError, ValueError) as error:
        msg = f"cannot read the pack {path} ({error}); make it again with bigbatch pack"
        raise InputError(msg) from error
    return replace(found, folder=path.parent, containers=((path.name, size),))
