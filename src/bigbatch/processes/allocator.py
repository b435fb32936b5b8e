"""The host's memory: what a backward pass frees stays with the process, and the next forward pass takes it again.

By default glibc gives large stretches back to the system as soon as they are free, and the system hands them out again
page by page, filled with zeros. In a training that is 10,000 to 1,000,000 page faults a step, a tenth to a quarter of
its time on a CPU (benchmarks/results/allocator.md).
"""

import ctypes
import os
from typing import Final

# mallopt(3): its parameters, and what a user may have set instead.
M_TRIM_THRESHOLD: Final = -1
M_MMAP_THRESHOLD: Final = -3
NEVER: Final = -1
LARGEST_KEPT: Final = 1 << 30  # bytes of a stretch; one of 1 GiB or more still goes back when it is free
CHOSEN_BY_USER: Final = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_")
TUNABLES: Final = "GLIBC_TUNABLES"


def keep_freed_memory() -> None:
    """Let malloc keep what is freed, from now on and for the whole process. It changes no bit.

    Nothing is done where its user has chosen otherwise in the environment, and without glibc.
    """
    if any(name in os.environ for name in CHOSEN_BY_USER) or "glibc.malloc." in os.environ.get(TUNABLES, ""):
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(M_TRIM_THRESHOLD, NEVER)
        library.mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT)
