"""Set the threads, deterministic algorithms and TF32, on which the bits depend, and restore them afterwards."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

import torch

from bigbatch.processes.allocator import keep_freed_memory

CUBLAS: Final = "CUBLAS_WORKSPACE_CONFIG"


@contextmanager
def reproducible_numerics(threads: int, *, tf32: bool = False) -> Iterator[None]:
    """Compute with this number of CPU threads, and with deterministic algorithms, inside the `with` block.

    A GPU's products of float32 are rounded to TF32 before only if that is asked for. torch itself does so in
    convolutions, and not in products of matrices. On the CPU, the process keeps the memory that it frees, for good.
    """
    keep_freed_memory()
    threads_before = torch.get_num_threads()
    is_deterministic = torch.are_deterministic_algorithms_enabled()
    only_warns = torch.is_deterministic_algorithms_warn_only_enabled()
    deterministic: Any = torch.utils.deterministic
    fills, benchmark = deterministic.fill_uninitialized_memory, torch.backends.cudnn.benchmark
    try:
        with default_variable(CUBLAS, ":4096:8"), _tensor_float(is_on=tf32):
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
def _tensor_float(*, is_on: bool) -> Iterator[None]:
    """Let a GPU round float32 to TF32 in convolutions and products, or not, inside the `with` block."""
    with ExitStack() as stack:
        backends: tuple[Any, ...] = (torch.backends.cudnn, torch.backends.cuda.matmul)
        for backend in backends:
            try:
                before = backend.allow_tf32
            except RuntimeError:  # torch's older and newer way to set it were mixed: then it was chosen with care
                continue
            stack.callback(setattr, backend, "allow_tf32", before)
            backend.allow_tf32 = is_on
        yield


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
