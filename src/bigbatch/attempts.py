"""The attempts of a run: what each says of itself, what its processes agree on, and what may change between two."""

from hashlib import sha256
from typing import Any, Final

import torch
import torch.distributed as dist

from bigbatch.errors import InputError
from bigbatch.launch import Machine
from bigbatch.recipe import Recipe
from bigbatch.recipe_file import to_toml
from bigbatch.reduction.base import communicating
from bigbatch.runs import RunFolder, describe_run

BITS_DEPEND_ON: Final = ("torch", "device", "threads_per_process")


def describe_attempt(
    recipe: Recipe, folder: RunFolder, machine: Machine, *, reduction: str, fingerprint: str, samples_consumed: int
) -> dict[str, Any]:
    """Return what run.json says when an attempt starts; that of a resumed run keeps the list of its attempts."""
    attempt = {
        **describe_run(is_writer=machine.processes.rank == 0),
        "processes": machine.processes.world_size,
        "threads_per_process": machine.threads,
        "device": device_name(machine.device),
        "from_sample": samples_consumed,
    }
    attempts = folder.read_summary()["attempts"] if samples_consumed else []
    return {
        "status": "running",
        "recipe": recipe.to_dict(),
        "seed": recipe.seed,
        "reduction": reduction,
        "data_fingerprint": fingerprint,
        **attempt,
        "attempts": [*attempts, attempt],
    }


def check_agreement(summary: dict[str, Any], recipe: Recipe, folder: RunFolder, machine: Machine) -> None:
    """Refuse to start unless all processes have the same recipe, data, checkpoint and engine.

    Raises:
        InputError: names what differs.
    """
    processes = machine.processes
    if processes.world_size == 1:
        return
    engine = [summary["versions"]["torch"], summary["device"], summary["threads_per_process"], summary["reduction"]]
    must_agree = {
        "have different recipes; give all of them the same": to_toml(recipe),
        "read different data; each must read the same data set": summary["data_fingerprint"],
        f"see different checkpoints in {folder.path}; all must share its file system": summary["from_sample"],
        "differ in torch's version, device, threads or --reduction; make them equal": engine,
    }
    table = torch.zeros(processes.world_size, len(must_agree), dtype=torch.int64, device=machine.device)
    table[processes.rank] = torch.tensor([_short_hash(value) for value in must_agree.values()])
    with communicating():
        dist.all_reduce(table, group=processes.group)
    for column, complaint in zip(table.t().tolist(), must_agree, strict=True):
        if len(set(column)) > 1:
            msg = f"the processes {complaint}"
            raise InputError(msg)


def compare_with_before(folder: RunFolder, summary: dict[str, Any]) -> list[str]:
    """Return a warning for each change since the run's last attempt that can change the bits of what follows.

    Raises:
        InputError: the data or the reduction differs: the run would be neither the one nor the other.
    """
    before = folder.read_summary()
    if before["data_fingerprint"] != summary["data_fingerprint"]:
        msg = f"the data has changed since {folder.path} was started; put the old back, or choose another --output"
        raise InputError(msg)
    if before["reduction"] != summary["reduction"]:
        msg = f"{folder.path} was trained with --reduction {before['reduction']}; resume it with the same"
        raise InputError(msg)
    old, new = ({**attempt, **attempt["versions"]} for attempt in (before, summary))
    return [
        f"warning: {key} was {old[key]} and is {new[key]}: the bits can differ from those of an uninterrupted run"
        for key in BITS_DEPEND_ON
        if old[key] != new[key]
    ]


def device_name(device: torch.device) -> str:
    """Return what the bits depend on: the GPU's name, or the CPU's instruction set."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return f"cpu {torch.backends.cpu.get_cpu_capability()}"


def _short_hash(value: object) -> int:
    return int.from_bytes(sha256(repr(value).encode()).digest()[:7], "little")
