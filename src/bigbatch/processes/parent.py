"""A launched process ends with its launcher, however that ends."""

import ctypes
import os
import signal
import sys
from typing import Final

PR_SET_PDEATHSIG: Final = 1
LAUNCHER: Final = "BIGBATCH_LAUNCHER"  # its process number


def die_with_parent() -> None:
    """Ask the kernel to end this process when its parent ends: `kill -9` of a launcher leaves none behind."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def die_with_launcher() -> None:
    """Likewise for a process that our launcher has started; at once, if the launcher has ended before this call."""
    die_with_parent()
    if os.environ.get(LAUNCHER, str(os.getppid())) != str(os.getppid()):
        os._exit(1)
