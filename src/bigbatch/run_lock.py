"""One writer a run's folder: a lock that ends with the process that holds it, however it ends."""

import fcntl
from pathlib import Path
from typing import BinaryIO, Final

LOCK: Final = ".lock"


def is_locked(path: Path) -> bool:
    """Tell whether another process writes the run in this folder; for this process itself the answer is no."""
    try:
        with (path / LOCK).open("r+b") as file:
            return not _lock(file)
    except OSError:
        return False


def _lock(file: BinaryIO) -> bool:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
