"""The epochs of a training: minibatches, evaluation, saves; and what all processes decide together on the way."""

import math
import time
from collections.abc import Iterable
from typing import Any, Final

import torch
from torch import Tensor

from bigbatch.consistency import compare_processes
from bigbatch.errors import NonFiniteError
from bigbatch.evaluation import evaluate
from bigbatch.nonfinite import find_nonfinite_workers
from bigbatch.optim import set_learning_rate
from bigbatch.recorder import Recorder
from bigbatch.stop_signals import StopSignals
from bigbatch.training import Training

LOSSES_A_LINE: Final = 20  # iterations between two looks at the losses
COMPARED_EVERY: Final = 100  # iterations between two comparisons of the processes


def run_epochs(training: Training, recorder: Recorder, signals: StopSignals, *, last: int) -> None:
    """Train, evaluate and save, epoch by epoch, from the training's position to iteration `last` or a request."""
    if dropped := training.minibatches.sampling.num_dropped:
        recorder.display.say(
            f"each epoch leaves out the last {dropped} of its {len(training.data.train)} shuffled samples"
        )
    for epoch in range(len(training.validation_errors), training.recipe.epochs):
        start, end = time.monotonic(), (epoch + 1) * len(training.minibatches)
        run_minibatches(training, recorder, signals, epoch=epoch, last=min(last, end))
        if training.stopped_by or training.iteration < end:
            return
        seconds = time.monotonic() - start
        training.validation_errors.append(evaluate_training(training))
        finish_epoch(training, recorder, seconds=seconds)
        if end >= last:
            return


def run_minibatches(training: Training, recorder: Recorder, signals: StopSignals, *, epoch: int, last: int) -> None:
    """Train within an epoch, from the training's position to iteration `last` or a request to stop."""
    first, begun, start = epoch * len(training.minibatches), training.iteration, time.monotonic()
    losses: list[Tensor | None] = []
    training.model.train()
    for minibatch in training.minibatches.epoch(epoch, first=begun - first):
        if training.iteration >= last:
            return
        ask_others(training, recorder, signals)
        try:
            loss, requests = take_step(training, recorder, minibatch, epoch=epoch)
        except NonFiniteError:
            record_iterations(training, recorder, losses)
            raise
        losses.append(loss)
        is_due = "save" in requests or recorder.is_due_after(training.iteration)
        if is_due or len(losses) == LOSSES_A_LINE or training.iteration == last or "stop" in requests:
            images = (training.iteration - begun) * training.recipe.minibatch_size
            recorder.display.images_per_second = images / (time.monotonic() - start)
            record_iterations(training, recorder, losses)
        if is_due and training.iteration < first + len(training.minibatches):  # otherwise after the evaluation
            save(training, recorder, must_wait=False)
        elif training.iteration % COMPARED_EVERY == 0:
            compare(training, recorder)
        if "stop" in requests:
            training.has_given_up = "give up" in requests
            reason = "checkpoints that could not be saved" if training.has_given_up else signals.received
            training.stopped_by = reason or "another process"
            return


def take_step(
    training: Training, recorder: Recorder, minibatch: Iterable[Any], *, epoch: int
) -> tuple[Tensor | None, frozenset[str]]:
    """Take the step of a minibatch; return its loss, None if it was skipped, and what any process has asked for.

    Raises:
        NonFiniteError: the loss or a gradient is not finite, and that is not to be skipped.
    """
    iteration = training.iteration
    set_learning_rate(training.optimizer, training.learning_rate(iteration))
    loss = training.step.backward(minibatch, iteration=iteration)
    outcome = training.step.look()
    if outcome.is_finite:
        training.optimizer.step()
        if training.average:
            training.average.update()
    else:
        meet_nonfinite(training, recorder, epoch=epoch)
    training.samples_consumed += training.recipe.minibatch_size
    if not recorder.is_state_checked:
        recorder.check_state(training.state())
    return loss if outcome.is_finite else None, outcome.requests


def ask_others(training: Training, recorder: Recorder, signals: StopSignals) -> None:
    """Let all processes know with the next step what this one needs."""
    gives_up = recorder.has_given_up
    requests = {"stop": signals.received or gives_up, "save": recorder.is_late, "give up": gives_up}
    training.step.requested = {name for name, is_needed in requests.items() if is_needed}


def meet_nonfinite(training: Training, recorder: Recorder, *, epoch: int) -> None:
    """Leave the update out if the recipe says so; otherwise stop. All processes do the same.

    Raises:
        NonFiniteError: names iteration, worker and samples.
    """
    training.step.undo()
    iteration, per_epoch = training.iteration, len(training.minibatches)
    again = training.minibatches.epoch(epoch, first=iteration - epoch * per_epoch)
    workers = find_nonfinite_workers(training.step, next(again), iteration=iteration)
    place = "the sum over the workers, each of which is finite"
    if workers:
        block = range(workers[0], workers[0] + 1)
        blocks = training.minibatches.sampling.epoch(epoch, block, first=iteration - epoch * per_epoch)
        others = f" (and {len(workers) - 1} more)" if workers[1:] else ""
        samples = ", ".join(map(str, next(blocks).indices.tolist()))
        place = f"worker {workers[0]}{others}, with the training samples {samples}"
    what = f"the loss or a gradient is NaN or infinite at iteration {iteration}: {place}"
    if training.recipe.launch.on_nonfinite == "stop":
        msg = f"{what}; lower the rate, lengthen the warmup or look at the samples; or resume with --on-nonfinite skip"
        raise NonFiniteError(msg)
    recorder.display.say(f"warning: {what}; this update is skipped")


def record_iterations(training: Training, recorder: Recorder, losses: list[Tensor | None]) -> None:
    """Write a line for each of the last iterations, and forget their losses."""
    taken = [loss for loss in losses if loss is not None]
    values = iter(torch.stack(taken).tolist() if taken else [])
    lines: list[dict[str, Any]] = []
    for iteration, loss in enumerate(losses, training.iteration - len(losses)):
        value = None if loss is None else next(values)
        skipped = {"skipped": True} if value is None else {}
        lines.append(
            {"iteration": iteration, "loss": value, "learning_rate": training.learning_rate(iteration), **skipped}
        )
        if value is not None:
            training.epoch_loss += value
            training.epoch_updates += 1
    recorder.append(*lines)
    losses.clear()
    if lines:
        line, epoch = lines[-1], len(training.validation_errors)
        shown = math.nan if line["loss"] is None else line["loss"]
        recorder.display.iteration(training.iteration, epoch=epoch, loss=shown, rate=line["learning_rate"])


def save(training: Training, recorder: Recorder, *, must_wait: bool = True) -> None:
    """Save a checkpoint of what all processes hold alike, and of nothing else.

    Raises:
        NonFiniteError: the weights are not finite.
        DisagreementError: the processes no longer hold the same weights.
    """
    position = training.position()
    if recorder.settled == position:
        return
    compare(training, recorder)
    if not training.is_finite():
        msg = f"the weights are NaN or infinite after iteration {training.iteration - 1}; the last checkpoint is sound"
        raise NonFiniteError(msg)
    recorder.save(training.state(), position, must_wait=must_wait)
    recorder.show_warnings()


def compare(training: Training, recorder: Recorder) -> None:
    """Compare the processes: the same weights, or an error; about the same time, or a word about the slowest.

    Raises:
        DisagreementError: the processes no longer hold the same weights.
    """
    step = training.step
    if training.machine.processes.world_size == 1:
        return
    timing = compare_processes(
        training.model,
        training.machine.processes,
        iteration=training.iteration,
        compute_seconds=step.compute_seconds,
        wait_seconds=step.wait_seconds,
    )
    step.compute_seconds = step.wait_seconds = 0.0
    recorder.record_timing(timing, iteration=training.iteration)


def evaluate_training(training: Training) -> float:
    """Return the validation error in %; that of the averaged weights, if the recipe asks for them."""
    with training.as_evaluated():
        return evaluate(
            training.model,
            training.data.validation,
            processes=training.machine.processes,
            device=training.machine.device,
            precision=training.recipe.precision,
            num_workers=training.num_workers,
        ).error


def finish_epoch(training: Training, recorder: Recorder, *, seconds: float) -> None:
    """Record the epoch, and save a checkpoint if it is time."""
    epoch, iteration = len(training.validation_errors), training.iteration
    loss = training.epoch_loss / training.epoch_updates if training.epoch_updates else math.nan
    error, rate = training.validation_errors[-1], training.learning_rate(iteration - 1)
    training.epoch_loss, training.epoch_updates = 0.0, 0
    recorder.append(
        {"epoch": epoch, "iteration": iteration, "loss": loss, "validation_error": error, "seconds": seconds}
    )
    if recorder.is_due_after_epoch(epoch, epochs=training.recipe.epochs) or recorder.is_due_after(iteration):
        save(training, recorder)
    recorder.display.epoch(iteration, epoch=epoch - 1, loss=loss, rate=rate, error=error)
