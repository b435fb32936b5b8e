"""Python on another processor, emulated by QEMU: what the same program computes there."""

import shutil
import sys
from pathlib import Path
from typing import Final

EMULATOR: Final = "qemu-x86_64"  # of Debian's package qemu-user
CPUS: Final = ("Haswell", "Broadwell", "Skylake-Client", "EPYC", "EPYC-Rome", "EPYC-Milan")  # with AVX2; it has no more


INTEL, AMD = "Haswell", "EPYC"
MAKER: Final = Path("/proc/cpuinfo")


def has_emulator() -> bool:
    """Tell whether QEMU is installed."""
    return shutil.which(EMULATOR) is not None


def python_on(cpu: str) -> list[str]:
    """Return the words that start this Python on another processor."""
    return [EMULATOR, "-cpu", cpu, sys.executable]


def other_cpu() -> str:
    """Return a processor that is not of this one's maker."""
    return INTEL if "AuthenticAMD" in MAKER.read_text() else AMD
