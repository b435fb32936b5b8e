"""Gzip files, read whole and checked, up to a limit: a megabyte can unpack to a gigabyte."""

import gzip
from pathlib import Path
from typing import Final

MAX_UNPACKED_BYTES: Final = 1 << 30  # five times what CIFAR-10 needs


def read_gzip(path: Path) -> bytes:
    """Return what a gzip file holds, its checksum verified.

    Raises:
        OSError, EOFError, zlib.error: it cannot be read, is damaged, or unpacks to more than 1 GiB.
    """
    with gzip.open(path) as file:
        content = file.read(MAX_UNPACKED_BYTES)
        if file.read(1):  # at its end, gzip compares what it has read with the checksum
            msg = f"it unpacks to more than {MAX_UNPACKED_BYTES:,} bytes"
            raise OSError(msg)
    return content
