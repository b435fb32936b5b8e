"""A loss or gradient that is NaN or infinite: which worker, and which samples, it came from."""

from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist

from bigbatch.processes.lost_peer import communicating
from bigbatch.step.step import Step
from bigbatch.step.worker_pass import seed_worker


def find_nonfinite_workers(step: Step, minibatch: Iterable[tuple[Any, Any]], *, iteration: int) -> list[int]:
    """Run the workers of a minibatch again, and return those whose loss, gradients or statistics are not finite.

    That a step is a function of its minibatch makes this exact: each worker computes what it has computed before. All
    processes call it together, before the update and after `Step.undo`, and all get the same answer. It is empty when
    every worker is finite and only their sum is not.

    Args:
        step: that has taken the iteration's `backward`.
        minibatch: this process's part, as for the step.
        iteration: the number of the update.
    """
    flags = torch.zeros(step.worker_count, dtype=torch.int32, device=step.device)
    for worker, (inputs, targets) in zip(step.workers, minibatch, strict=True):
        step.undo()
        seed_worker(step.seed, iteration, worker, step.device)
        loss = step.worker_loss(step.model, inputs, targets)
        gradients = torch.autograd.grad(loss, step.parameters, allow_unused=True)
        values = [loss, *step.changes(), *(gradient for gradient in gradients if gradient is not None)]
        flags[worker] = not all(bool(value.isfinite().all()) for value in values)
    step.undo()
    if step.processes.world_size > 1:
        with communicating():
            dist.all_reduce(flags, dist.ReduceOp.MAX, group=step.processes.group)
    return [int(worker) for worker in flags.nonzero().flatten()]
