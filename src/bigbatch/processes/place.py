"""The place of this process among those that a launcher has started; without torch."""

from collections.abc import Mapping
from dataclasses import dataclass

from bigbatch.errors import InputError


@dataclass(frozen=True)
class Place:
    """The place of a process among those that a launcher has started.

    Attributes:
        rank: among all processes.
        world_size: the number of all processes.
        local_rank: among the processes of this machine.
        local_world_size: the number of processes on this machine.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1


def find_place(environment: Mapping[str, str]) -> Place | None:
    """Return this process's place if torchrun or srun has started it as one of several; otherwise None.

    Raises:
        InputError: the variables are no numbers, or srun's processes do not know where to meet.

    >>> find_place({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"})
    Place(rank=3, world_size=4, local_rank=1, local_world_size=2)
    >>> find_place({}) is None
    True
    """
    if "RANK" in environment and "WORLD_SIZE" in environment:
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")  # the last two may be missing: one a machine
    elif "SLURM_STEP_ID" in environment and environment.get("SLURM_NTASKS", "1") != "1":  # a batch script has no step
        names = ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", "SLURM_NTASKS_PER_NODE")
        if environment.get("SLURM_NNODES") == "1":
            environment = {**environment, names[3]: environment["SLURM_NTASKS"]}
        if "MASTER_ADDR" not in environment or "MASTER_PORT" not in environment:
            msg = "under srun, export MASTER_ADDR (the first node's name) and MASTER_PORT (a free port) before"
            raise InputError(msg)
    else:
        return None
    try:
        rank, world_size = int(environment[names[0]]), int(environment[names[1]])
        return Place(rank, world_size, int(environment.get(names[2], 0)), int(environment.get(names[3], 1)))
    except ValueError as error:
        msg = f"the environment's {', '.join(names)} must be whole numbers ({error})"
        raise InputError(msg) from error
