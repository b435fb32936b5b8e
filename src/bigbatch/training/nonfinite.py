"""NaN and infinity: the worker and the samples that they came from, and the way to go on."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from bigbatch.errors import NonFiniteError
from bigbatch.processes.lost_peer import communicating
from bigbatch.step.step import Step
from bigbatch.training.state import TrainingState


def meet_nonfinite(training: TrainingState) -> str:
    """Undo a step whose loss or gradients are not finite; return a warning if the recipe skips such an update.

    All processes call it together.

    Raises:
        NonFiniteError: the recipe says to stop. The text names iteration, worker and samples.
    """
    training.step.undo()
    what = f"the loss or a gradient is NaN or infinite at iteration {training.iteration}: {_culprit(training)}"
    if training.recipe.launch.on_nonfinite == "stop":
        msg = f"{what}; lower the rate, lengthen the warmup or look at the samples; or resume with --on-nonfinite skip"
        raise NonFiniteError(msg)
    return f"warning: {what}; this update is skipped"


def check_weights(training: TrainingState) -> None:
    """Refuse weights that must not be saved.

    Raises:
        NonFiniteError: a parameter or a running statistic is NaN or infinite.
    """
    if not training.is_finite():
        msg = f"the weights are NaN or infinite after iteration {training.iteration - 1}; the last checkpoint is sound"
        raise NonFiniteError(msg)


def _culprit(training: TrainingState) -> str:
    """Name the worker that the NaN came from, and the samples that it has read."""
    workers = find_nonfinite_workers(training.step, next(training.rest_of_epoch()), iteration=training.iteration)
    if not workers:
        return "the sum over the workers, each of which is finite"
    first, now = workers[0], training.course.now
    batches = training.minibatches.sampling.epoch(now.epoch, range(first, first + 1), first=now.epoch_iteration)
    samples = ", ".join(map(str, next(batches).indices.tolist()))
    others = f" (and {len(workers) - 1} more)" if workers[1:] else ""
    return f"worker {first}{others}, with the training samples {samples}"


def find_nonfinite_workers(step: Step, minibatch: Iterable[Any], *, iteration: int) -> list[int]:
    """Run the workers of a minibatch again, and return those whose loss, gradients or statistics are not finite.

    This is exact, as a step is a function of its minibatch: each worker computes the same again. All processes call it
    together, before the update and after `Step.undo`, and all get the same answer. It is empty if every worker is
    finite and only their sum is not.

    Args:
        step: after the iteration's `backward`.
        minibatch: this process's part, as for the step.
        iteration: the number of the update.
    """
    leaves = step.started()
    flags = torch.zeros(step.worker_count, dtype=torch.int32, device=step.device)
    for worker, batch in zip(step.workers, minibatch, strict=True):
        total, statistics = leaves.run(worker, batch, iteration)
        gradients = gradients_of(total, step.parameters)
        values = [*statistics, *(gradient for gradient in gradients if gradient is not None)]
        flags[worker] = not all(bool(value.isfinite().all()) for value in values)
    step.undo()
    if step.processes.world_size > 1:
        with communicating():
            dist.all_reduce(flags, dist.ReduceOp.MAX, group=step.processes.group)
    return [int(worker) for worker in flags.nonzero().flatten()]


def gradients_of(total: Tensor, parameters: Sequence[Tensor]) -> Sequence[Tensor | None]:
    """Return the gradient of a worker's total for each parameter; none if it depends on none."""
    if not total.requires_grad:
        return []
    gradients: Sequence[Tensor | None] = torch.autograd.grad(total, parameters, allow_unused=True)
    return gradients
