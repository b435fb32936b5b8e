"""Where devices differ: which one a process takes, how processes on it talk, and what else its bits depend on."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import torch

from bigbatch.errors import InputError
from bigbatch.processes.arithmetic import arithmetic_digest
from bigbatch.processes.place import Place

SHARED: Final = "BIGBATCH_SHARED_GPUS"  # set: several processes may share a GPU, and talk over Gloo; for `verify`
# What changes the kernels of libraries. The instruction set of torch's own is in the device's name.
VARIABLES: Final = (
    *("ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS", "MKL_CBWR", "CUBLAS_WORKSPACE_CONFIG"),
    *("OPENBLAS_CORETYPE", "NPY_DISABLE_CPU_FEATURES"),
)
VERSION: Final = re.compile(r"version (\d[\d.]*)")
DRIVER: Final = Path("/proc/driver/nvidia/version")


def default_process_count(worker_count: int) -> int:
    """Return as many processes as there are GPUs, or else cores, but no more than workers."""
    return max(1, min(num_gpus() or len(os.sched_getaffinity(0)), worker_count))


def num_gpus() -> int:
    """Return how many GPUs this process sees."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def shared_gpus(processes: int) -> dict[str, str]:
    """Return the environment that lets this many processes share the GPUs of this machine, if they must."""
    return {SHARED: "1"} if 0 < num_gpus() < processes else {}


@contextmanager
def chosen_device(place: Place) -> Iterator[torch.device]:
    """Take the GPU of this place, or the CPU where there is none.

    Raises:
        InputError: more processes on this machine than GPUs.
    """
    count = num_gpus()
    if not count:
        yield torch.device("cpu")
        return
    if place.local_rank >= count and SHARED not in os.environ:
        msg = f"{place.local_world_size} processes need as many GPUs, but this machine has {count}"
        raise InputError(msg)
    index = place.local_rank % count
    with torch.cuda.device(index):
        yield torch.device("cuda", index)


def backend(device: torch.device) -> str:
    """Return torch's backend for the messages of processes with such a device."""
    return "nccl" if device.type == "cuda" and SHARED not in os.environ else "gloo"


def device_name(device: torch.device) -> str:
    """Return the part of a device that the bits depend on: the GPU's name, or the CPU's instruction set."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return f"cpu {torch.backends.cpu.get_cpu_capability()}"


def describe_engine(device: torch.device, *, is_compiled: bool = False) -> dict[str, str]:
    """Return what the bits depend on besides packages and the device's name: libraries and settings, by name.

    Args:
        device: of this process.
        is_compiled: whether `torch.compile` makes kernels.
    """
    engine = {name: os.environ[name] for name in VARIABLES if name in os.environ and _matters(name, device)}
    if device.type == "cuda":
        engine["CUDA"] = str(torch.version.cuda)
        engine["cuDNN"] = str(torch.backends.cudnn.version())  # type: ignore[no-untyped-call]
        engine["NCCL"] = ".".join(map(str, torch.cuda.nccl.version()))  # type: ignore[no-untyped-call]
        engine["driver"] = _driver()
        engine["float32"] = "TF32" if torch.backends.cudnn.allow_tf32 else "float32"
    else:
        engine["arithmetic"] = arithmetic_digest()
        engine |= _compiler() if is_compiled else {}
    return engine


def _matters(name: str, device: torch.device) -> bool:
    return (name == "CUBLAS_WORKSPACE_CONFIG") == (device.type == "cuda")


def _compiler() -> dict[str, str]:
    """Return with what, and for which instruction set, `torch.compile` makes code for a CPU."""
    from torch._inductor.cpp_builder import get_compiler_version_info, get_cpp_compiler
    from torch._inductor.cpu_vec_isa import pick_vec_isa
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        compiler = get_cpp_compiler()
    except (InvalidCxxCompiler, OSError):  # the first step says so
        return {}
    found = VERSION.search(get_compiler_version_info(compiler))
    return {"compiler": f"{compiler} {found[1] if found else 'unknown'}", "compiled for": str(pick_vec_isa())}


def _driver() -> str:
    """Return the version of NVIDIA's kernel module."""
    found = re.search(r"Module.*?\s(\d[\d.]+)\s", DRIVER.read_text()) if DRIVER.exists() else None
    return found[1] if found else "unknown"
