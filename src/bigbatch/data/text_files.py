"""A text on disk: files that follow one another, read a piece at a time. It needs no torch, so a plan can count it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bigbatch.errors import InputError
from bigbatch.paths import is_file, is_folder

SUFFIX: Final = ".txt"
TRAIN, VALIDATION = "train.txt", "val.txt"
PIECE_BYTES: Final = 2**20  # of a piece, to the end of its last line
CONTINUES: Final = 0b1000_0000  # the two highest bits of a byte of UTF-8 that begins no character
HIGHEST_BITS: Final = 0b1100_0000
TEXT: Final = "this data needs a text: --set data.path=FILE, or a folder of .txt files"


@dataclass(frozen=True)
class TextFiles:
    """Files that are one text, as they follow one another.

    Attributes:
        files: in their order.
        sizes: of each, in bytes.
    """

    files: tuple[Path, ...]
    sizes: tuple[int, ...]

    @classmethod
    def of(cls, files: Sequence[Path]) -> "TextFiles":
        """Look at the files.

        Raises:
            InputError: one is empty, no file, or cannot be read.
        """
        return cls(tuple(files), tuple(map(_size, files)))

    @property
    def num_bytes(self) -> int:
        """Bytes in all."""
        return sum(self.sizes)

    def __str__(self) -> str:
        more = f" and {len(self.files) - 1} more" if len(self.files) > 1 else ""
        return f"{self.files[0]}{more}"

    def pieces(self) -> Iterator[str]:
        """Yield the text in pieces of whole lines, of about 1 MiB each.

        Raises:
            InputError: a file is not UTF-8; names the line.
        """
        for path in self.files:
            num_lines = 0
            with path.open("rb") as file:
                while lines := file.readlines(PIECE_BYTES):
                    yield _decoded(lines, path, num_lines)
                    num_lines += len(lines)

    def count_characters(self) -> int:
        """Return how many characters a text in UTF-8 has, without decoding it."""
        counts = [np.count_nonzero((block & HIGHEST_BITS) != CONTINUES) for block in self.blocks()]
        return int(sum(counts))

    def blocks(self) -> Iterator[NDArray[np.uint8]]:
        """Yield the bytes, in blocks of at most 1 MiB."""
        for path in self.files:
            mapped = np.memmap(path, np.uint8, mode="r")
            for start in range(0, len(mapped), PIECE_BYTES):
                yield mapped[start : start + PIECE_BYTES]


class MappedBytes:
    """The bytes of files that follow one another, of which only those that are read come into memory.

    Args:
        text: the files.
    """

    def __init__(self, text: TextFiles) -> None:
        self.text = text
        self.ends = np.cumsum(text.sizes)
        self.maps: list[NDArray[np.uint8]] = []

    def __len__(self) -> int:
        return self.text.num_bytes

    def __getstate__(self) -> dict[str, Any]:
        """Leave the mapped bytes out: another process maps the files itself."""
        return {**vars(self), "maps": []}

    def __getitem__(self, places: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the bytes at these places."""
        if not self.maps:
            self.maps = [np.memmap(path, np.uint8, mode="r") for path in self.text.files]
        found, files = np.empty(places.shape, np.uint8), np.searchsorted(self.ends, places, side="right")
        for number in np.unique(files):
            here = files == number
            found[here] = self.maps[number][places[here] - (self.ends[number] - self.text.sizes[number])]
        return found


def find_texts(path: str) -> tuple[TextFiles, TextFiles | None]:
    """Return the training text and the validation text; None if that is a part of the first.

    Args:
        path: a file; a folder with `train.txt` and `val.txt`; or a folder of other .txt files, which are one text.

    Raises:
        InputError: there is no such text, or it cannot be read.
    """
    if not path:
        raise InputError(TEXT)
    root = Path(path)
    if not is_folder(root):
        return TextFiles.of([root]), None
    files = sorted(file for file in _listed(root) if file.name.lower().endswith(SUFFIX) and file.name[0] != ".")
    if not files:
        msg = f"{root} holds no {SUFFIX} file; {TEXT}"
        raise InputError(msg)
    pair = [root / name for name in (TRAIN, VALIDATION)]
    missing = [file.name for file in pair if file not in files]
    if len(missing) == 1:
        msg = f"{root} has no {missing[0]} beside the other half; add it, or name one file as data.path"
        raise InputError(msg)
    if missing:
        return TextFiles.of(files), None
    return TextFiles.of(pair[:1]), TextFiles.of(pair[1:])


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as error:
        msg = f"cannot read the folder {folder}: {error.strerror}"
        raise InputError(msg) from error


def _size(path: Path) -> int:
    """Return the bytes of a file that can be read and is not empty."""
    if not is_file(path):
        msg = f"there is no text {path}; set data.path to a file, or to a folder of {SUFFIX} files"
        raise InputError(msg)
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
    except OSError as error:
        msg = f"cannot read {path}: {error.strerror}"
        raise InputError(msg) from error
    if not size:
        msg = f"{path} is empty; fill or remove it"
        raise InputError(msg)
    return size


def _decoded(lines: Sequence[bytes], path: Path, num_before: int) -> str:
    """Decode some lines at once, and where that fails, find the line."""
    try:
        return b"".join(lines).decode()
    except UnicodeDecodeError as error:
        number = next(number for number, line in enumerate(lines, num_before + 1) if not _is_text(line))
        msg = (
            f"{path} is not UTF-8 in line {number} (byte 0x{error.object[error.start]:02x}); "
            'convert it, or set data.tokenizer = "bytes"'
        )
        raise InputError(msg) from error


def _is_text(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True
