"""Set the threads and deterministic algorithms, on which the bits depend, and restore them afterwards."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch

CUBLAS: Final = "CUBLAS_WORKSPACE_CONFIG"


@contextmanager
def reproducible_numerics(threads: int) -> Iterator[None]:
    """Compute with this number of CPU threads, and with deterministic algorithms, inside the `with` block."""
    threads_before = torch.get_num_threads()
    is_deterministic = torch.are_deterministic_algorithms_enabled()
    only_warns = torch.is_deterministic_algorithms_warn_only_enabled()
    deterministic: Any = torch.utils.deterministic
    fills, benchmark = deterministic.fill_uninitialized_memory, torch.backends.cudnn.benchmark
    try:
        with default_variable(CUBLAS, ":4096:8"):
            torch.set_num_threads(threads)
            torch.use_deterministic_algorithms(mode=True)
            deterministic.fill_uninitialized_memory = False  # a debugging aid, slow
            torch.backends.cudnn.benchmark = False
            yield
    finally:
        torch.set_num_threads(threads_before)
        torch.use_deterministic_algorithms(is_deterministic, warn_only=only_warns)
        deterministic.fill_uninitialized_memory = fills
        torch.backends.cudnn.benchmark = benchmark


@contextmanager
def default_variable(name: str, value: str) -> Iterator[None]:
    """Set a variable of the environment unless it is set, until this is left."""
    is_set = name in os.environ
    os.environ.setdefault(name, value)
    try:
        yield
    finally:
        if not is_set:
            os.environ.pop(name, None)
