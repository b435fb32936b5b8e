"""The epochs of a training: minibatches, evaluation, saves; and what all processes decide together on the way."""

import math
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch import Tensor

from bigbatch.errors import NonFiniteError
from bigbatch.optim.absorbed_rate import set_learning_rate
from bigbatch.processes.stop_signals import StopSignals
from bigbatch.recipe.course import Course, CourseState
from bigbatch.runs.metrics import EpochLine, IterationLine
from bigbatch.step.step import StepOutcome
from bigbatch.training.consistency import compare_processes
from bigbatch.training.evaluation import evaluate
from bigbatch.training.nonfinite import find_nonfinite_workers
from bigbatch.training.recorder import Recorder
from bigbatch.training.state import Training

UPDATES_A_WRITE: Final = 20  # iterations between two looks at the losses
COMPARED_EVERY: Final = 100  # iterations between two comparisons of the processes


@dataclass(frozen=True)
class Limit:
    """Where a training ends before its end, to be resumed.

    Attributes:
        epoch: after this one, counted from 1; None for no limit.
        iteration: after so many iterations in all; None for no limit.
    """

    epoch: int | None = None
    iteration: int | None = None

    def is_reached(self, now: CourseState) -> bool:
        """Tell whether the training must end here."""
        is_in_time = self.iteration is None or now.iteration < self.iteration
        return not is_in_time or (self.epoch is not None and now.epoch >= self.epoch)


@dataclass(frozen=True)
class Update:
    """What metrics.jsonl says of an update; the loss may still be computed on a GPU.

    Attributes:
        line: all but the loss.
        loss: None if it was skipped.
    """

    line: IterationLine
    loss: Tensor | None


def run_epochs(training: Training, recorder: Recorder, signals: StopSignals, limit: Limit) -> None:
    """Train, evaluate and save, epoch by epoch, from the training's position to its end, a limit or a request."""
    if dropped := training.course.dropped_per_epoch:
        recorder.display.say(
            f"each epoch leaves out the last {dropped} of its {len(training.data.train)} shuffled samples"
        )
    while not training.is_finished and not limit.is_reached(training.course.now):
        start = time.monotonic()
        run_minibatches(training, recorder, signals, limit)
        if training.stopped_by or not training.course.is_epoch_over:
            return
        seconds = time.monotonic() - start
        training.validation_errors.append(evaluate_training(training))
        finish_epoch(training, recorder, seconds=seconds)


def run_minibatches(training: Training, recorder: Recorder, signals: StopSignals, limit: Limit) -> None:
    """Train within an epoch, from the training's position to its end, a limit or a request to stop."""
    course, now = training.course, training.course.now
    begun, start = now.samples_consumed, time.monotonic()
    updates: list[Update] = []
    training.model.train()
    for minibatch in training.minibatches.epoch(now.epoch, first=now.epoch_iteration):
        if course.is_epoch_over or limit.is_reached(now):
            return
        try:
            update, requests = take_step(training, recorder, minibatch, requests=requests_to_all(recorder, signals))
        except NonFiniteError:
            record_updates(training, recorder, updates)
            raise
        updates.append(update)
        is_due = "save" in requests or recorder.is_due_after(training.iteration)
        is_last = course.is_epoch_over or limit.is_reached(now) or "stop" in requests
        if is_due or is_last or len(updates) == UPDATES_A_WRITE:
            recorder.display.images_per_second = (now.samples_consumed - begun) / (time.monotonic() - start)
            record_updates(training, recorder, updates)
        if is_due and not course.is_epoch_over:  # otherwise after the evaluation
            save(training, recorder, must_wait=False)
        elif training.iteration % COMPARED_EVERY == 0:
            compare(training, recorder)
        if "stop" in requests:
            training.has_given_up = "give up" in requests
            reason = "checkpoints that could not be saved" if training.has_given_up else signals.received
            training.stopped_by = reason or "another process"
            return


def take_step(
    training: Training, recorder: Recorder, minibatch: Iterable[Any], *, requests: Collection[str]
) -> tuple[Update, frozenset[str]]:
    """Take the step of a minibatch; return what to record of it, and what any process has asked for.

    Raises:
        NonFiniteError: the loss or a gradient is not finite, and that is not to be skipped.
    """
    course, iteration = training.course, training.iteration
    loss = training.step.backward(
        minibatch, iteration=iteration, requests=requests, measures_noise=course.measures_noise
    )
    outcome = training.step.look()
    course.observe(outcome.noise)  # before the rate is asked for, which may follow from it
    rate = course.learning_rate
    set_learning_rate(training.optimizer, rate)
    if outcome.is_finite:
        training.optimizer.step()
        if training.average:
            training.average.decay = course.average_decay
            training.average.update()
    else:
        meet_nonfinite(training, recorder)
    training.last_rate = rate
    update = Update(describe_update(course, rate, outcome), loss if outcome.is_finite else None)
    course.advance(is_taken=outcome.is_finite)
    if not recorder.is_state_checked:
        recorder.check_state(training.state())
    return update, outcome.requests


def describe_update(course: Course, rate: float, outcome: StepOutcome) -> IterationLine:
    """Return what to record of an update besides its loss."""
    noise = outcome.noise
    return IterationLine(
        iteration=course.now.iteration,
        loss=None,
        learning_rate=rate,
        skipped=not outcome.is_finite,
        **course.update_values(),
        gradient_square=noise.square if noise else None,
        gradient_variance=noise.variance if noise else None,
    )


def requests_to_all(recorder: Recorder, signals: StopSignals) -> frozenset[str]:
    """Return what this process needs of all others; they learn it with the next step."""
    gives_up = recorder.has_given_up
    requests = {"stop": signals.received or gives_up, "save": recorder.is_late, "give up": gives_up}
    return frozenset(name for name, is_needed in requests.items() if is_needed)


def meet_nonfinite(training: Training, recorder: Recorder) -> None:
    """Leave the update out if the recipe says so; otherwise stop. All processes do the same.

    Raises:
        NonFiniteError: names iteration, worker and samples.
    """
    training.step.undo()
    iteration, now = training.iteration, training.course.now
    again = training.minibatches.epoch(now.epoch, first=now.epoch_iteration)
    workers = find_nonfinite_workers(training.step, next(again), iteration=iteration)
    culprit = "the sum over the workers, each of which is finite"
    if workers:
        batch = range(workers[0], workers[0] + 1)
        batches = training.minibatches.sampling.epoch(now.epoch, batch, first=now.epoch_iteration)
        others = f" (and {len(workers) - 1} more)" if workers[1:] else ""
        samples = ", ".join(map(str, next(batches).indices.tolist()))
        culprit = f"worker {workers[0]}{others}, with the training samples {samples}"
    what = f"the loss or a gradient is NaN or infinite at iteration {iteration}: {culprit}"
    if training.recipe.launch.on_nonfinite == "stop":
        msg = f"{what}; lower the rate, lengthen the warmup or look at the samples; or resume with --on-nonfinite skip"
        raise NonFiniteError(msg)
    recorder.display.say(f"warning: {what}; this update is skipped")


def record_updates(training: Training, recorder: Recorder, updates: list[Update]) -> None:
    """Write a line for each of the last updates, and forget them."""
    taken = [update.loss for update in updates if update.loss is not None]
    values = iter(torch.stack(taken).tolist() if taken else [])
    losses = [None if update.loss is None else next(values) for update in updates]
    for loss in losses:
        if loss is not None:
            training.epoch_loss += loss
            training.epoch_updates += 1
    lines = [replace(update.line, loss=loss) for update, loss in zip(updates, losses, strict=True)]
    recorder.append(*lines)
    updates.clear()
    if lines:
        show(training, recorder, lines[-1].loss)


def show(training: Training, recorder: Recorder, loss: float | None) -> None:
    """Show where the training is, and the last loss."""
    course, display = training.course, recorder.display
    average = course.now.noise.average
    display.noise_scale = average.scale if average else None
    display.total, display.epochs = course.total_iterations, course.total_epochs
    shown = math.nan if loss is None else loss
    display.iteration(training.iteration, epoch=course.now.epoch, loss=shown, rate=training.last_rate)


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
            precision=training.recipe.precision,
            loader_workers=training.loader_workers,
        ).error


def finish_epoch(training: Training, recorder: Recorder, *, seconds: float) -> None:
    """Record the epoch, go on to the next, and save a checkpoint if it is time."""
    epoch, iteration = len(training.validation_errors), training.iteration
    loss = training.epoch_loss / training.epoch_updates if training.epoch_updates else None
    error, rate = training.validation_errors[-1], training.last_rate
    training.epoch_loss, training.epoch_updates = 0.0, 0
    line = EpochLine(
        epoch=epoch,
        iteration=iteration,
        loss=loss,
        validation_error=error,
        seconds=seconds,
        **training.course.epoch_values(),
    )
    recorder.append(line)
    training.end_epoch()
    is_last = training.is_finished
    if is_last or recorder.is_due_after_epoch(epoch) or recorder.is_due_after(iteration):
        save(training, recorder)
    shown = math.nan if loss is None else loss
    recorder.display.epoch(iteration, epoch=epoch - 1, loss=shown, rate=rate, error=error)
