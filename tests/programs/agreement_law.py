"""One process of a group: whatever differs between the processes is refused by all of them, and named."""

import os
from dataclasses import replace
from pathlib import Path

from bigbatch.attempts import check_agreement, describe_attempt
from bigbatch.errors import InputError
from bigbatch.launch import joined
from bigbatch.presets import digits
from bigbatch.runs import RunFolder


def complaint(machine, **of_the_last_rank):
    """Return what the processes are refused for, if the last of them differs."""
    values = {"recipe": digits(), "fingerprint": "a", "reduction": "exact", "threads": 1, "position": 0}
    if machine.processes.rank == machine.processes.world_size - 1:
        values |= of_the_last_rank
    folder = RunFolder(Path("run"))
    summary = describe_attempt(
        values["recipe"],
        folder,
        replace(machine, threads=values["threads"]),
        reduction=values["reduction"],
        fingerprint=values["fingerprint"],
        samples_consumed=0,
    )
    try:
        check_agreement(summary | {"from_sample": values["position"]}, values["recipe"], folder, machine)
    except InputError as error:
        return str(error)
    return ""


with joined() as group:
    assert not complaint(group)
    assert "different recipes" in complaint(group, recipe=replace(digits(), seed=1))
    assert "different data" in complaint(group, fingerprint="b")
    assert "different checkpoints" in complaint(group, position=1280)
    assert "threads or --reduction" in complaint(group, reduction="native")
    assert "threads or --reduction" in complaint(group, threads=2)
os._exit(0)  # as the command does: tearing down the interpreter can abort (pytorch#190489)
