"""Files that appear under their name whole or not at all, even if the writer is killed."""

import errno
import os
from pathlib import Path
from typing import Final

TEMPORARIES: Final = ".*.tmp"


def write_atomically(target: Path, content: bytes) -> None:
    """Write a file so that a reader finds the old content or the new, never a part, even after a crash.

    Raises:
        OSError: it could not be written; the old content is still there.
    """
    temporary = temporary_of(target)
    try:
        with temporary.open("wb") as file:
            file.write(content)
        put_in_place(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def temporary_of(target: Path) -> Path:
    """Return the temporary name under which this process writes a file."""
    return target.with_name(f".{target.name}.{os.getpid()}.tmp")


def put_in_place(temporary: Path, target: Path) -> None:
    """Let a written file appear under its name: fsync, rename, fsync of the folder.

    Raises:
        OSError: the disk did not take it.
    """
    _fsync(temporary)
    temporary.replace(target)
    try:
        _fsync(target.parent)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ENOTSUP}:  # from file systems that cannot fsync a folder
            raise


def remove_temporaries(folder: Path) -> None:
    """Remove the temporary files of all writers. Only the folder's one writer may call it."""
    for path in folder.glob(TEMPORARIES):
        path.unlink(missing_ok=True)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
