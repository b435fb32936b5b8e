"""What a process was started with: versions, the state of git, the machine."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

PACKAGES: Final = ("bigbatch", "torch", "numpy")
GIT_SECONDS: Final = 10


def installed_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that a run depends on."""
    return {"python": platform.python_version(), **{name: package_version(name) for name in PACKAGES}}


def package_version(package: str) -> str:
    """Return the installed version of a package."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def describe_host() -> dict[str, Any]:
    """Return the machine's kind, its system and its number of cores."""
    return {"machine": platform.machine(), "system": platform.platform(), "cores": os.cpu_count()}


def git_state() -> dict[str, Any] | None:
    """Return the commit of the current folder and whether it has changes, or None outside a repository."""
    try:
        commit = _git("rev-parse", "HEAD")
        return {"commit": commit, "dirty": bool(_git("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None


def _git(*arguments: str) -> str:
    command = ["git", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=GIT_SECONDS)  # noqa: S603
    return done.stdout.strip()
