"""Paths that a user gave, and the cache folder. Asking whether a path exists never raises here.

`pathlib` raises for a name that is too long, and for a folder that this user may not read.
"""

import os
from pathlib import Path


def is_file(path: Path | str) -> bool:
    """Tell whether there is a regular file or a link to one; a folder, a pipe or a device is none.

    >>> is_file(Path("x" * 5_000)), is_file(Path("/dev/null"))
    (False, False)
    """
    return os.path.isfile(path)  # noqa: PTH113


def is_folder(path: Path) -> bool:
    """Tell whether there is a folder, or a link to one.

    >>> is_folder(Path("/")), is_folder(Path("x" * 5_000))
    (True, False)
    """
    return os.path.isdir(path)  # noqa: PTH112


def cache_folder() -> Path:
    """Return $XDG_CACHE_HOME/bigbatch, by default ~/.cache/bigbatch.

    Raises:
        RuntimeError: the user has no home.
    """
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bigbatch"
