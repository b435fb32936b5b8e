"""The GPUs of each run in progress; they are found without torch, so only NVIDIA's are."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

VISIBLE: Final = "CUDA_VISIBLE_DEVICES"
LISTED_BY_THE_DRIVER: Final = Path("/proc/driver/nvidia/gpus")


def find_gpus(environment: Mapping[str, str], listed: Path = LISTED_BY_THE_DRIVER) -> list[str]:
    """Return the GPUs of this machine that CUDA may use, as it names them in CUDA_VISIBLE_DEVICES.

    >>> find_gpus({"CUDA_VISIBLE_DEVICES": "2,3"}), find_gpus({"CUDA_VISIBLE_DEVICES": ""})
    (['2', '3'], [])
    """
    if VISIBLE in environment:
        return [name.strip() for name in environment[VISIBLE].split(",") if name.strip() not in {"", "-1"}]
    return [str(number) for number, _ in enumerate(listed.iterdir())] if listed.is_dir() else []


def default_jobs(processes: int, gpus: list[str]) -> int:
    """Return how many runs fit on the GPUs at once, or on the cores if there are no GPUs."""
    return max(1, (len(gpus) or len(os.sched_getaffinity(0))) // processes)


def gpus_of(place: int, *, processes: int, gpus: list[str], at_once: int) -> dict[str, str]:
    """Return the variable that gives a run its own GPUs; none if there are too few, so that all runs share them.

    Args:
        place: of the run among those in progress, from 0.
        processes: the number of processes of a run.
        gpus: the machine's GPUs.
        at_once: how many runs are in progress at a time.

    >>> gpus_of(1, processes=2, gpus=["0", "1", "2", "3"], at_once=2)
    {'CUDA_VISIBLE_DEVICES': '2,3'}
    >>> gpus_of(1, processes=1, gpus=["0"], at_once=2)
    {}
    """
    if len(gpus) < processes * at_once:
        return {}
    return {VISIBLE: ",".join(gpus[place * processes : (place + 1) * processes])}
