"""Large files that are read at any place, by forked processes too."""

import os
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bigbatch.errors import InputError

MOST_OPEN: Final = 128  # a process may often have 1,024 files


class OpenFiles:
    """Some files of a folder, of which the last used stay open.

    Args:
        folder: that holds them.
        files: their names, and their sizes in bytes as they were listed.
    """

    def __init__(self, folder: Path, files: Sequence[tuple[str, int]]) -> None:
        self.folder, self.files = folder, files
        self._opened: OrderedDict[int, int] = OrderedDict()

    def read(self, number: int, offset: int, size: int) -> bytes:
        """Read a part of a file.

        Raises:
            InputError: it cannot be read, or has another size than it had.
        """
        path = self.folder / self.files[number][0]
        try:
            content = _read(self._descriptor(number, path), size, offset)
        except OSError as error:
            msg = f"cannot read {path} ({error.strerror}); put it back"
            raise InputError(msg) from error
        if len(content) != size:
            msg = f"{path} was cut off while it was read; put it back"
            raise InputError(msg)
        return content

    def _descriptor(self, number: int, path: Path) -> int:
        if number in self._opened:
            self._opened.move_to_end(number)
            return self._opened[number]
        descriptor, expected = os.open(path, os.O_RDONLY | os.O_CLOEXEC), self.files[number][1]
        if (found := os.fstat(descriptor).st_size) != expected:
            os.close(descriptor)
            msg = (
                f"{path} has {found:,} bytes, and had {expected:,} when it was listed: put it back, or start a new run"
            )
            raise InputError(msg)
        if len(self._opened) >= MOST_OPEN:
            os.close(self._opened.popitem(last=False)[1])
        self._opened[number] = descriptor
        return descriptor

    def __del__(self) -> None:
        for descriptor in self._opened.values():
            os.close(descriptor)


def _read(descriptor: int, size: int, offset: int) -> bytes:
    """Read so many bytes, or up to the file's end: a network's file system may give fewer at once."""
    content = os.pread(descriptor, size, offset)
    while len(content) < size and (more := os.pread(descriptor, size - len(content), offset + len(content))):
        content += more
    return content
