"""Accelerate: a loop of one's own that `Accelerator` launches, with exact steps in place of its backward pass.

    step, loader, scheduler = prepare(accelerator, model, optimizer, loader, scheduler, minibatch_size=256)
    for minibatch in loader:
        loss = step.backward(minibatch).loss  # in place of the model's call and of accelerator.backward(loss)
        optimizer.step(); scheduler.step(); optimizer.zero_grad()  # as before

Nothing else of the script changes.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor, nn

from bigbatch.errors import InputError
from bigbatch.integrations.loaders import Part, PartLoader, minibatches_of
from bigbatch.integrations.rates import ScaledUpdate, factor_of
from bigbatch.integrations.refusals import refuse
from bigbatch.processes.numerics import reproducible_numerics
from bigbatch.step.objective import Loss, Objective
from bigbatch.step.step import Step

PRECISIONS: Final = {"no": "float32", "bf16": "bfloat16"}
KINDS: Final = ("NO", "MULTI_CPU", "MULTI_GPU")  # of Accelerate's ways to run; the others divide the model


def prepare(  # noqa: PLR0913 - each is a part of the recipe
    accelerator: Any,  # noqa: ANN401 - Accelerate's
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    loader: Any,  # noqa: ANN401 - torch's
    scheduler: Any = None,  # noqa: ANN401 - torch's or the user's
    *,
    minibatch_size: int,
    worker_minibatch_size: int | None = None,
    objective: Callable[[nn.Module, Any], Tensor | Loss] | None = None,
    reference: int | None = None,
    warmup_epochs: float = 0.0,
    scaling: str = "linear",
    seed: int = 0,
    threads: int = 1,
    **options: Any,  # noqa: ANN401 - Step's
) -> "tuple[ExactStep, PartLoader, Scheduler | None]":
    """Return what takes exact steps, in place of `accelerator.prepare` of the same things.

    To go on from a checkpoint, set `step.iteration`: the loader begins there. Its `len()` is the updates of an epoch.
    The model stays unwrapped, on the accelerator's device. The threads of this process are set until `step.close()`.
    Evaluation data is prepared by Accelerate as before.

    Args:
        accelerator: before or after it has prepared other things.
        model: not prepared.
        optimizer: of the model's parameters.
        loader: torch's DataLoader of the training data, not prepared; see `integrations.loaders.minibatches_of`.
        scheduler: whose steps count batches of `loader`, as Accelerate has it: it is stepped once an update, and an
            epoch of updates advances it by an epoch of batches. None if there is none.
        minibatch_size: samples per update, over all processes (kn).
        worker_minibatch_size: samples of one worker (n); by default the loader's batch size.
        objective: returns the loss of (model, batch), the batch of one worker. A scalar is the worker's mean, as a
            loop computes it, and the mean over the workers is minimised; `bigbatch.Loss` has a weight of its own. By
            default the loss that the model itself returns for `model(**batch)`.
        reference: the minibatch size that the optimizer's rate is trusted at; None leaves the rate as it is.
        warmup_epochs: epochs of gradual warmup, from the trusted rate to the scaled one.
        scaling: "linear" for SGD, "square-root" for Adam and its kind, or "none".
        seed: keys order, augmentation and dropout.
        threads: of each process on the CPU; the bits depend on them.
        options: more for `bigbatch.Step`, such as `buffers`.

    Raises:
        InputError: what cannot be exact: fp16, a divided model, accumulation, streams, samplers of one's own.
    """
    _check(accelerator)
    numerics = ExitStack()
    numerics.enter_context(reproducible_numerics(threads))
    size = worker_minibatch_size or getattr(loader, "batch_size", None) or minibatch_size
    model.to(accelerator.device)
    minibatches = minibatches_of(
        loader, minibatch_size=minibatch_size, worker_minibatch_size=size, seed=seed, device=accelerator.device
    )
    optimizer = getattr(optimizer, "optimizer", optimizer)  # of one that Accelerate has prepared
    factor = None
    if reference is not None:
        factor = factor_of(
            reference=reference,
            minibatch_size=minibatch_size,
            iterations_per_epoch=len(minibatches),
            warmup_epochs=warmup_epochs,
            scaling=scaling,
        )
    options["precision"] = PRECISIONS[accelerator.mixed_precision]
    loss_of_worker = Objective(partial(_loss_of_worker, objective or own_loss))
    step = ExactStep(model, loss_of_worker, optimizer, minibatches, factor=factor, numerics_before=numerics, **options)
    part_loader = PartLoader(minibatches, lambda: divmod(step.iteration, len(minibatches)))
    if scheduler is not None:
        scheduler = Scheduler(scheduler, batches_per_epoch=len(loader), updates_per_epoch=len(minibatches))
    return step, part_loader, scheduler


class ExactStep(Step):
    """A `bigbatch.Step` whose minibatches come from the loader of `prepare`, and whose rates follow the rule.

    Args:
        arguments: as Step's.
        factor: what the rates of an iteration's update are multiplied by; the scheduler does not see it.
        numerics_before: puts the threads and torch's settings back, when the step is closed.
        options: as Step's.
    """

    def __init__(
        self,
        *arguments: Any,  # noqa: ANN401 - Step's
        factor: Callable[[float], float] | None,
        numerics_before: ExitStack,
        **options: Any,  # noqa: ANN401 - Step's
    ) -> None:
        super().__init__(*arguments, **options)
        self.factor, self.numerics_before = factor, numerics_before
        self.update = ScaledUpdate(self.optimizer)

    def backward(self, minibatch: Any, **options: Any) -> Any:  # noqa: ANN401 - as Step's
        """Set the gradients of a minibatch, as `Step.backward` does, and the rates of its update."""
        iteration = self.iteration if options.get("iteration") is None else options["iteration"]
        result = super().backward(minibatch.batches if isinstance(minibatch, Part) else minibatch, **options)
        if self.factor:
            self.update.scale(self.factor(iteration))
        return result

    def close(self) -> None:
        """End what the processes talk over, and give back the threads."""
        super().close()
        self.numerics_before.close()


class Scheduler:
    """A scheduler that is stepped once an update, whatever the number of processes.

    Args:
        scheduler: the user's.
        batches_per_epoch: steps of the scheduler in an epoch.
        updates_per_epoch: updates in it.
    """

    def __init__(self, scheduler: Any, *, batches_per_epoch: int, updates_per_epoch: int) -> None:  # noqa: ANN401 - any
        self.scheduler = scheduler
        self.batches_per_epoch, self.updates_per_epoch = batches_per_epoch, updates_per_epoch
        self.updates = 0

    def step(self) -> None:
        """Advance the schedule by the batches of one update; after an epoch of updates, it has had an epoch's."""
        before, self.updates = self._steps(), self.updates + 1
        for _ in range(self._steps() - before):
            self.scheduler.step()

    def get_last_lr(self) -> list[float]:
        """Return the schedule's own rates."""
        rates: list[float] = self.scheduler.get_last_lr()
        return rates

    def _steps(self) -> int:
        return self.updates * self.batches_per_epoch // self.updates_per_epoch

    def state_dict(self) -> dict[str, Any]:
        """Return the scheduler's state, and how many updates it has seen."""
        return {"scheduler": self.scheduler.state_dict(), "updates": self.updates}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self.updates = state["updates"]
        self.scheduler.load_state_dict(state["scheduler"])


def own_loss(model: nn.Module, batch: Any) -> Tensor:  # noqa: ANN401 - any batch
    """Return the mean loss that a model returns for its own batch, as those of transformers do.

    Raises:
        InputError: the batch is no dictionary, or the model returns no loss.
    """
    output = model(**batch) if isinstance(batch, Mapping) else None
    loss = output.get("loss") if isinstance(output, Mapping) else getattr(output, "loss", None)
    if not isinstance(loss, Tensor):
        msg = "the model returns no loss for model(**batch); give prepare an objective(model, batch) that returns it"
        raise InputError(msg)
    return loss


def _loss_of_worker(
    objective: Callable[[nn.Module, Any], Tensor | Loss],
    model: nn.Module,
    batch: Any,  # noqa: ANN401 - any batch
) -> Tensor | Loss:
    loss = objective(model, batch)
    return Loss(loss, 1) if isinstance(loss, Tensor) and loss.ndim == 0 else loss


def _check(accelerator: Any) -> None:  # noqa: ANN401 - Accelerate's
    kind, precision = accelerator.distributed_type.name, accelerator.mixed_precision
    accumulates = accelerator.gradient_accumulation_steps != 1
    refusals = {
        f"Accelerate's distributed type {kind}: the model must be whole in each process": kind not in KINDS,
        f"Accelerate's mixed precision '{precision}'; say 'no' or 'bf16'": precision not in PRECISIONS,
        "Accelerate's gradient_accumulation_steps; a larger minibatch_size accumulates": accumulates,
    }
    refuse("an exact step", refusals)
