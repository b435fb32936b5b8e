"""The host's memory: what a backward pass frees stays with the process, and the next forward pass takes it again.

By default glibc gives large stretches back to the system as soon as they are free, and the system hands them out again
page by page, filled with zeros. That is 30,000 to 1,200,000 page faults a step, and 7 to 26 % of its time on a CPU
(benchmarks/results/allocator.md).
"""

import ctypes
import os
from typing import Final

# mallopt(3): its parameters, and what a user may have set instead.
M_TRIM_THRESHOLD: Final = -1
M_MMAP_THRESHOLD: Final = -3
NEVER: Final = -1
LARGEST_KEPT: Final = (1 << 30, 32 << 20)  # bytes of a stretch; older glibc takes the second at most
CHOSEN_BY_USER: Final = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_")
TUNABLES: Final = "GLIBC_TUNABLES"
THRESHOLDS: Final = ("glibc.malloc.trim_threshold", "glibc.malloc.mmap_threshold")


def keep_freed_memory() -> None:
    """Let malloc keep what is freed, from now on and for the whole process. It changes no bit.

    Nothing is done where its user has chosen a threshold in the environment, and without glibc.
    """
    tunables = os.environ.get(TUNABLES, "")
    if any(name in os.environ for name in CHOSEN_BY_USER) or any(name in tunables for name in THRESHOLDS):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    # The order counts: once one threshold is set, the other no longer grows by itself.
    if mallopt and any(mallopt(M_MMAP_THRESHOLD, size) for size in LARGEST_KEPT):
        mallopt(M_TRIM_THRESHOLD, NEVER)
