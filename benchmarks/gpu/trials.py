"""A few steps under given circumstances, and the hash of what they give; as a program, one process of several.

As a program: python trials.py TRIAL, where TRIAL is JSON, with RANK in the environment.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

import training
from bigbatch.checkpoint.weights import weights_sha256
from bigbatch.processes.numerics import reproducible_numerics
from bigbatch.reduction.communicator import Communicator
from bigbatch.reduction.options import AggregationOptions
from training import LONG, SHORT

TIMEOUT_SECONDS = 120
NUM_STEPS = 3


@dataclass(frozen=True)
class Trial:
    """What may not change a bit; all but `is_compiled`, which has bits of its own.

    Attributes:
        device: "cuda" or "cpu".
        is_short: whether the model is tiny.
        world_size: processes, over Gloo, on one GPU.
        all_reduce: in this process alone, sum over a group of one; "" for no group.
        overlap: with backpropagation.
        bucket_mb: size of the buckets.
        offset: numbers by which the images are off a new block of memory.
        is_compiled: compile the model.
        folder: of a checkpoint to go on from, or to write after the first step; "" for none.
        is_resumed: which of the two.
    """

    device: str
    is_short: bool
    world_size: int = 1
    all_reduce: str = ""
    overlap: bool = True
    bucket_mb: float = 4.0
    offset: int = 0
    is_compiled: bool = False
    folder: str = ""
    is_resumed: bool = False


def take_steps(trial: Trial) -> str:
    """Take the steps in this process, and return the hash of the weights and running statistics."""
    task = replace(SHORT if trial.is_short else LONG, dropout=0.1)
    with reproducible_numerics(1):
        model = training.build(task, trial.device)
        optimizer = training.sgd(model)
        first = training.load(Path(trial.folder), model, optimizer) if trial.is_resumed else 0
        if trial.is_compiled:
            torch._dynamo.config.optimize_ddp = False  # noqa: SLF001 - the only way to it
            model.compile()
        options = AggregationOptions(overlap=trial.overlap, bucket_mb=trial.bucket_mb)
        step = training.make_step(task, model, optimizer, aggregation=options)
        if trial.all_reduce:
            step.communicator = Communicator(step.processes, step.worker_count, step.device, trial.all_reduce)
        for iteration in range(first, NUM_STEPS):
            step(
                training.batches(task, step.workers, iteration, trial.device, offset=trial.offset), iteration=iteration
            )
            if trial.folder and not trial.is_resumed and iteration == 0:
                training.save(Path(trial.folder), model, optimizer, 1)
        step.close()
        return weights_sha256(model.state_dict())[:16]


def in_a_group_of_one(trial: Trial) -> str:
    """Take the steps in this process, through the collectives and the hook of a group."""
    with group_of_one(trial.device):
        return take_steps(trial)


@contextmanager
def group_of_one(device: str) -> Iterator[None]:
    """Have a group of this process alone, inside the `with` block."""
    backend = "nccl" if device == "cuda" else "gloo"
    dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    try:
        yield
    finally:
        dist.destroy_process_group()


def in_processes(trial: Trial) -> str:
    """Take the steps in new processes, and return their hash; all their hashes if they differ.

    Raises:
        RuntimeError: a process failed, or took too long.
    """
    with tempfile.TemporaryDirectory() as folder:
        given = json.dumps({**asdict(trial), "store": f"{folder}/store"})
        common = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
        processes = [
            subprocess.Popen(
                [sys.executable, __file__, given],
                env={**common, "RANK": str(rank)},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for rank in range(trial.world_size)
        ]
        try:
            outputs = [process.communicate(timeout=TIMEOUT_SECONDS) for process in processes]
        finally:
            for process in processes:
                process.kill()  # of those that wait for one that failed
    for process, (_, errors) in zip(processes, outputs, strict=True):
        if process.returncode:
            raise RuntimeError(errors.strip().splitlines()[-1] if errors.strip() else f"exit code {process.returncode}")
    return " and ".join(sorted({output.split()[-1] for output, _ in outputs}))


def main(given: dict[str, Any]) -> None:
    """Be one of the processes."""
    store, trial = given.pop("store"), Trial(**given)
    if trial.world_size > 1:
        rank, size = int(os.environ["RANK"]), trial.world_size
        timeout = timedelta(seconds=TIMEOUT_SECONDS)
        dist.init_process_group("gloo", store=dist.FileStore(store, size), rank=rank, world_size=size, timeout=timeout)
    print(take_steps(trial))
    if trial.world_size > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
