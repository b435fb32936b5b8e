"""The engine: all that the bits of a GPU may depend on."""

import os
import platform
import subprocess

import numpy as np
import torch

from bench import Bench
from bigbatch.processes.numerics import reproducible_numerics

VARIABLES = ("CUBLAS_WORKSPACE_CONFIG", "NCCL_SOCKET_IFNAME", "OMP_NUM_THREADS", "PYTORCH_ALLOC_CONF")


def run(bench: Bench) -> None:
    """Note versions, flags and the device."""
    versions = {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__}
    bench.note("versions", versions)
    bench.note("host", {"cores": len(os.sched_getaffinity(0)), "system": platform.platform()})
    with reproducible_numerics(1):  # as in a training
        bench.note("flags", flags())
        bench.note("variables", {name: os.environ.get(name, "unset") for name in VARIABLES})
    if bench.is_cuda:
        bench.measure("GPU", gpu)
        bench.measure("libraries", libraries)
        bench.measure("driver", driver)


def flags() -> dict[str, object]:
    """Return torch's settings of precision."""
    return {
        "TF32 of cuDNN": torch.backends.cudnn.allow_tf32,
        "TF32 of cuBLAS": torch.backends.cuda.matmul.allow_tf32,
        "bf16 reduced": torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "cuDNN benchmark": torch.backends.cudnn.benchmark,
    }


def gpu() -> dict[str, object]:
    """Return the GPU's model and size."""
    properties = torch.cuda.get_device_properties(0)
    capability = f"{properties.major}.{properties.minor}"
    return {"name": properties.name, "GiB": properties.total_memory / 2**30, "capability": capability}


def libraries() -> dict[str, object]:
    """Return the versions of CUDA's libraries."""
    return {
        "CUDA": torch.version.cuda,
        "cuDNN": torch.backends.cudnn.version(),
        "NCCL": ".".join(map(str, torch.cuda.nccl.version())),
    }


def driver() -> str:
    """Return the driver's version."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=10).stdout.split()[0]
