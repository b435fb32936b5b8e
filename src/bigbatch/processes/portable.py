"""The same bits on every x86-64 processor with AVX2: what must be set before torch is imported, and what is replaced.

benchmarks/results/portable_operations.md says which operations then have the same bits, as measured.
"""

import os
import sys
import warnings
from typing import Final

from bigbatch.errors import InputError
from bigbatch.processes.interpreter import environment_at_start
from bigbatch.recipe.numerics import NATIVE, PORTABLE

VARIABLES: Final = {
    "ATEN_CPU_CAPABILITY": "avx2",  # torch's own kernels
    "ONEDNN_MAX_CPU_ISA": "AVX2",  # convolutions
    "MKL_CBWR": "COMPATIBLE",  # products of matrices: with AVX2, Intel's differ from AMD's
    "OPENBLAS_CORETYPE": "Haswell",  # numpy's products
    # numpy's functions; it leaves out the names that its version does not know.
    "NPY_DISABLE_CPU_FEATURES": "X86_V4,AVX512F,AVX512CD,AVX512_SKX,AVX512_CLX,AVX512_CNL,AVX512_ICL,AVX512_SPR",
}
STARTED_AGAIN: Final = "BIGBATCH_STARTED_AGAIN"  # set: this process has been, with the variables
HOW: Final = "call bigbatch.portable() before torch is imported, or set numerics = portable in a recipe of `bigbatch`"


class StartAgainError(InputError):
    """A command needs the variables, and its process was started without them."""


def portable() -> None:
    """Compute with the same bits on every x86-64 processor with AVX2, from now on, here and in what is started here.

        import bigbatch
        bigbatch.portable()
        import torch

    It sets `VARIABLES`, which libraries read when they are imported, imports torch, and replaces torch's square root by
    IEEE's. Threads count as ever: leave them to `joined()`. docs/portable.md says what is promised.

    Raises:
        InputError: torch was imported before, the processor has no AVX2, or there is a GPU.
    """
    if is_portable():
        return
    if not _was_started_portable():
        if "torch" in sys.modules:
            msg = f"torch has been imported, and has chosen its kernels: {HOW}"
            raise InputError(msg)
        if "numpy" in sys.modules:
            text = (
                "numpy was imported before bigbatch.portable(): its functions may have other bits on other processors"
            )
            warnings.warn(text, stacklevel=2)
        os.environ.update(VARIABLES)
    _check_machine()
    from bigbatch.processes.square_root import replace_square_root

    replace_square_root()
    _State.is_on = True


def is_portable() -> bool:
    """Tell whether this process computes with portable numerics."""
    return _State.is_on


def take_numerics(numerics: str) -> None:
    """Compute as a recipe says, in a process of a command.

    Raises:
        StartAgainError: this process was started without the variables.
        InputError: the machine cannot.
    """
    if numerics != PORTABLE or is_portable():
        return
    if not _was_started_portable():
        msg = f"this process was started without the variables of numerics = {PORTABLE}: {HOW}"
        raise StartAgainError(msg)
    portable()


def check_taken(numerics: str) -> None:
    """Refuse to train a recipe with other numerics than its own.

    Raises:
        InputError: says what to call.
    """
    if numerics == PORTABLE and not is_portable():
        msg = f"the recipe says numerics = {PORTABLE}, and this process computes natively: {HOW}"
        raise InputError(msg)


class _State:
    is_on = False


def _was_started_portable() -> bool:
    at_start = environment_at_start()
    return all(at_start.get(name) == value for name, value in VARIABLES.items())


def _check_machine() -> None:
    """Refuse a machine whose bits are its own.

    Raises:
        InputError: says why.
    """
    import torch

    if not torch.cpu._is_avx2_supported():  # noqa: SLF001 - its public form is missing in torch 2.8
        msg = f"numerics = {PORTABLE} needs an x86-64 processor with AVX2, which this is not; set numerics = {NATIVE}"
        raise InputError(msg)
    if torch.cuda.is_available():
        msg = (
            f"numerics = {PORTABLE} is a promise for CPUs, and this machine has a GPU, whose bits depend on its model "
            f'and libraries; set numerics = {NATIVE}, or hide the GPU with CUDA_VISIBLE_DEVICES=""'
        )
        raise InputError(msg)
    if (found := torch.backends.cpu.get_cpu_capability()) != "AVX2":
        msg = f"torch computes with {found} although ATEN_CPU_CAPABILITY is avx2: this build cannot be portable"
        raise InputError(msg)
