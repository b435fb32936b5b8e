"""A lock on a run's folder, so that only one process writes it. It ends with that process, however that ends."""

import errno
import fcntl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from bigbatch.errors import InputError
from bigbatch.printable import printable

LOCK: Final = ".lock"


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a run's folder; make the folder if there is none.

    It is a POSIX record lock. The kernel ends it with the process, and forked readers of data do not inherit it. It
    also works on file systems that are shared over a network.

    Raises:
        InputError: another process writes this run, or the folder cannot be written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        file = (path / LOCK).open("ab")
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        msg = f"cannot write the run to {path} ({getattr(error, 'strerror', error)}); choose another --output"
        raise InputError(msg) from error
    with file:
        if not _lock(file, fcntl.LOCK_EX):
            raise InputError(_refusal(path))
        yield


def check_unlocked(path: Path) -> None:
    """Refuse early a run that another process writes. Do not call it in the process that holds the lock: `is_locked`.

    Raises:
        InputError: another process writes it.
    """
    if is_locked(path):
        raise InputError(_refusal(path))


def is_locked(path: Path) -> bool:
    """Tell whether another process writes the run in this folder.

    Do not call it in the process that writes the run. A POSIX lock ends as soon as its process closes the file, and
    this function opens and closes it.
    """
    try:
        with (path / LOCK).open("rb") as file:
            return not _lock(file, fcntl.LOCK_SH)
    except (OSError, ValueError):
        return False


def _lock(file: BinaryIO, kind: int) -> bool:
    try:
        fcntl.lockf(file, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in {errno.EACCES, errno.EAGAIN}:
            return False
        warning = f"bigbatch: warning: no lock on {file.name} ({error.strerror}): see that nobody else writes this run"
        sys.stderr.write(printable(warning) + "\n")
    return True


def _refusal(path: Path) -> str:
    return f"another process is writing the run {path}; wait for it, end it, or choose another --output"
