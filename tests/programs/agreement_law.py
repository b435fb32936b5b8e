"""One process of a group: every difference between the processes is refused by all of them, and named."""

import os
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from bigbatch.data.dataset import Splits
from bigbatch.errors import InputError
from bigbatch.processes.join import joined
from bigbatch.recipe.metrics import TOP_1_ERROR
from bigbatch.recipe.presets import digits
from bigbatch.reduction.options import AggregationOptions
from bigbatch.runs.folder import RunFolder
from bigbatch.step.step import Step
from bigbatch.training.attempts import check_attempts, describe_attempt


def complaint(machine, **of_the_last_rank):
    """Return the error of all processes, if the last of them differs."""
    values = {"recipe": digits(), "fingerprint": "a", "all_reduce": "auto", "threads": 1, "position": 0}
    if machine.processes.rank == machine.processes.world_size - 1:
        values |= of_the_last_rank
    folder = RunFolder(Path("run"))
    summary = describe_attempt(
        values["recipe"],
        folder,
        replace(machine, threads=values["threads"]),
        all_reduce={"algorithm": values["all_reduce"]},
        memory_format=torch.channels_last,
        metric=TOP_1_ERROR,
        data=Splits([0], [0], num_classes=1, in_channels=1, fingerprint=values["fingerprint"]),
        samples_consumed=values["position"],
    )
    return refusal(lambda: check_attempts(summary, values["recipe"], folder, machine))


def step_complaint(machine, *, model=None, minibatch_size=12, dtype=torch.float32, **options):
    """Return the error of Step, if the last process differs."""
    is_last = machine.processes.rank == machine.processes.world_size - 1
    module = (model() if model and is_last else nn.Linear(3, 2)).to(dtype if is_last else torch.float32)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    sizes = {"minibatch_size": minibatch_size if is_last else 12, "worker_minibatch_size": 2}
    aggregation = AggregationOptions(**options) if is_last else AggregationOptions()
    loss = nn.CrossEntropyLoss(reduction="none")
    return refusal(lambda: Step(module, loss, optimizer, aggregation=aggregation, **sizes))


def refusal(action):
    """Return the text of the error, or an empty one."""
    try:
        action()
    except InputError as error:
        return str(error)
    return ""


with joined() as group:
    last = group.processes.world_size - 1
    differs = f"rank {last} differs from rank 0 in "
    assert not complaint(group)
    assert complaint(group, recipe=replace(digits(), seed=1)) == differs + "its recipe: seed = 1 instead of seed = 0"
    assert complaint(group, fingerprint="b") == differs + "its data: fingerprint b instead of fingerprint a"
    assert complaint(group, position=1280).endswith("at sample 1280 instead of at sample 0")
    assert complaint(group, all_reduce="native").endswith("reduction native instead of reduction exact")
    assert complaint(group, threads=2).endswith("its engine: threads_per_process 2 instead of threads_per_process 1")
    assert step_complaint(group, model=lambda: nn.Linear(4, 2)) == (
        differs + "its parameters: weight: torch.float32, [2, 4] instead of weight: torch.float32, [2, 3]"
    )
    assert step_complaint(group, model=lambda: nn.Linear(3, 2, bias=False)) == (
        differs + "its parameters: nothing instead of bias: torch.float32, [2]"
    )
    assert step_complaint(group, dtype=torch.float64).endswith(
        "torch.float64, [2, 3] instead of weight: torch.float32, [2, 3]"
    )
    assert "minibatch_size 24" in step_complaint(group, minibatch_size=24)
    assert "bucket_mb=1" in step_complaint(group, bucket_mb=1.0)
    assert not step_complaint(group)
    torch.set_num_threads(2 if group.processes.rank == last else 1)
    assert step_complaint(group) == differs + "its torch.set_num_threads: 2 instead of 1"
os._exit(0)  # as the command does: tearing down the interpreter can abort (pytorch#190489)
