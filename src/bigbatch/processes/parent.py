"""A launched process ends when its launcher ends, even when that is killed."""

import ctypes
import os
import signal
import sys
from typing import Final

PR_SET_PDEATHSIG: Final = 1
LAUNCHER: Final = "BIGBATCH_LAUNCHER"  # its process number


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent ends, so that none is left after `kill -9` of a launcher."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def die_with_launcher() -> None:
    """Do the same in a process of our launcher; end at once if the launcher has ended before this call."""
    die_with_parent()
    if os.environ.get(LAUNCHER, str(os.getppid())) != str(os.getppid()):
        os._exit(1)
