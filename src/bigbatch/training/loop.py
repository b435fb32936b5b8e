"""The loop of a training: epoch by epoch, step by step; then evaluate and save. All processes decide alike."""

import math
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch import Tensor

from bigbatch.errors import NonFiniteError
from bigbatch.optim.inner_optimizers import check_saves_all
from bigbatch.optim.learning_rate import set_learning_rate
from bigbatch.processes.stop_signals import StopSignals
from bigbatch.recipe.course import CourseState
from bigbatch.runs.metrics import EpochLine, IterationLine
from bigbatch.step.result import StepResult
from bigbatch.training.consistency import compare_processes
from bigbatch.training.data_wait import DataWait
from bigbatch.training.evaluation import Scores
from bigbatch.training.hooks import Hooks
from bigbatch.training.nonfinite import check_weights, meet_nonfinite
from bigbatch.training.recorder import Recorder
from bigbatch.training.state import TrainingState

UPDATES_A_WRITE: Final = 20  # iterations between two looks at the losses
COMPARED_EVERY: Final = 100  # iterations between two comparisons of the processes


@dataclass(frozen=True)
class Limit:
    """Where an attempt ends before the end of the training, to be resumed.

    Attributes:
        epoch: after this one, counted from 1; None for no limit.
        iteration: after this number of iterations in all; None for no limit.
    """

    epoch: int | None = None
    iteration: int | None = None

    def is_reached(self, now: CourseState) -> bool:
        """Tell whether the attempt must end here."""
        is_in_time = self.iteration is None or now.iteration < self.iteration
        return not is_in_time or (self.epoch is not None and now.epoch >= self.epoch)


@dataclass(frozen=True)
class Update:
    """An update that is not yet recorded, because a GPU may still compute its loss.

    Attributes:
        line: of metrics.jsonl, without the loss.
        loss: None if the update was not taken.
        gradient_norm: before clipping; None if it was not measured.
    """

    line: IterationLine
    loss: Tensor | None
    gradient_norm: Tensor | None


class Loop:
    """An attempt at a training: from its position to the end of the training, a limit or a request to stop.

    Args:
        training: restored, if it has a checkpoint.
        recorder: writes the results.
        signals: may ask this process to stop.
        limit: may end the attempt before the end of the training.
    """

    def __init__(self, training: TrainingState, recorder: Recorder, signals: StopSignals, limit: Limit) -> None:
        self.training, self.course, self.recorder = training, training.course, recorder
        self.signals, self.limit = signals, limit
        self.updates: list[Update] = []
        self.data_wait = DataWait()
        self.hooks = Hooks(training)
        self.started, self.samples_before = time.monotonic(), self.course.now.samples_consumed  # of this epoch

    def run(self) -> None:
        """Train, and save the last state.

        Raises:
            NonFiniteError: a loss, gradient, weight or result is not finite; the state before has been saved.
            DisagreementError: the processes no longer hold the same weights.
        """
        try:
            while not self.is_ended:
                self.run_epoch()
            self.save()
        except NonFiniteError:
            self.write_updates()
            with suppress(NonFiniteError):
                self.save()
            raise

    @property
    def is_ended(self) -> bool:
        """Whether the training is over, or must end here."""
        training = self.training
        return training.is_finished or bool(training.stopped_by) or self.limit.is_reached(self.course.now)

    def run_epoch(self) -> None:
        """Take the steps that are left of this epoch. At its end, evaluate and go on to the next.

        If a request to stop comes with the epoch's last step, the next attempt evaluates.
        """
        self.started, self.samples_before = time.monotonic(), self.course.now.samples_consumed
        self.training.model.train()
        self.hooks.call("before epoch")
        for minibatch in self.training.rest_of_epoch():
            if self.course.is_epoch_over or self.is_ended:
                break
            self.hooks.call("before step")
            requests = self.step(minibatch)
            self.hooks.call("after step")
            self.follow(requests)
        if self.course.is_epoch_over and not self.training.stopped_by:
            self.end_epoch(seconds=time.monotonic() - self.started)

    def step(self, minibatch: Iterable[Any]) -> frozenset[str]:
        """Take the step of a minibatch, and return the requests of all processes.

        Raises:
            NonFiniteError: the loss or a gradient is not finite, and the recipe says to stop there.
        """
        training, course = self.training, self.course
        result = training.step.backward(
            self.data_wait.timed(minibatch),
            iteration=training.iteration,
            requests=self.recorder.requests(is_stopping=self.signals.received is not None),
            measures_noise=course.measures_noise,
        )
        training.count_seconds(result)
        course.observe(result.noise)  # first, as the rate may follow from the noise
        training.last_rate = course.learning_rate
        set_learning_rate(training.optimizer, training.last_rate)
        norm = None
        if result.is_finite:
            norm = training.update()
        else:
            self.recorder.display.say(meet_nonfinite(training))
        self.updates.append(Update(self.line(result), result.loss if result.is_finite else None, norm))
        course.advance(is_taken=result.is_finite)
        if not self.recorder.is_state_checked:
            check_saves_all(training.optimizer)
            self.recorder.check_state(training.state())
        return result.requests

    def line(self, result: StepResult) -> IterationLine:
        """Return the line of metrics.jsonl for this update; `write_updates` adds its loss."""
        noise = result.noise
        return IterationLine(
            iteration=self.training.iteration,
            loss=None,
            learning_rate=self.training.last_rate,
            skipped=not result.is_finite,
            **self.course.update_values(),
            gradient_square=noise.square if noise else None,
            gradient_variance=noise.variance if noise else None,
        )

    def follow(self, requests: frozenset[str]) -> None:
        """After a step: record, save or compare if it is time, and stop if a process has asked for it."""
        iteration, is_stopping = self.training.iteration, "stop" in requests
        is_due = "save" in requests or self.recorder.is_due_after(iteration)
        is_last = self.course.is_epoch_over or self.limit.is_reached(self.course.now) or is_stopping
        if is_due or is_last or len(self.updates) == UPDATES_A_WRITE:
            self.write_updates()
        if is_due and not self.course.is_epoch_over:  # otherwise after the evaluation
            self.save(must_wait=False)
        elif iteration % COMPARED_EVERY == 0:
            self.compare()
        if is_stopping:
            self.training.stop(signal=self.signals.received, has_given_up="give up" in requests)

    def write_updates(self) -> None:
        """Write a line for each update since the last time, and show the progress."""
        losses = _values([update.loss for update in self.updates])
        norms = _values([update.gradient_norm for update in self.updates])
        lines = [
            replace(update.line, loss=loss, gradient_norm=norm)
            for update, loss, norm in zip(self.updates, losses, norms, strict=True)
        ]
        self.updates.clear()
        self.recorder.append(*lines)
        for line in lines:
            self.training.count(line)
        if lines:
            self.show(lines[-1])

    def show(self, line: IterationLine) -> None:
        """Show the progress after the update of this line."""
        course, display = self.course, self.recorder.display
        average = course.now.noise.average
        display.noise_scale = average.scale if average else None
        display.total, display.epochs = course.total_iterations, course.total_epochs
        samples, seconds = course.now.samples_consumed - self.samples_before, time.monotonic() - self.started
        display.samples_per_second = samples / seconds
        loss = math.nan if line.loss is None else line.loss
        display.iteration(self.training.iteration, epoch=course.now.epoch, loss=loss, rate=self.training.last_rate)

    def end_epoch(self, *, seconds: float) -> None:
        """Evaluate, record the epoch, go on to the next, and save if it is time."""
        training, recorder = self.training, self.recorder
        scores = self.evaluate()
        iteration, loss = training.iteration, training.mean_loss
        training.results.append(scores.value)
        epoch = len(training.results)
        waited = self.data_wait.end_epoch()
        line = EpochLine(
            epoch=epoch,
            iteration=iteration,
            loss=loss,
            validation=scores.to_json(),
            seconds=seconds,
            data_seconds=waited,
        )
        recorder.append(replace(line, **self.course.epoch_values()))
        if advice := self.data_wait.advice(waited, seconds, loader_workers=training.evaluation.loader_workers):
            recorder.display.say(advice)
        self.hooks.call("after epoch")
        training.end_epoch()
        if training.is_finished or recorder.is_due_after_epoch(epoch) or recorder.is_due_after(iteration):
            self.save()
        shown, results = math.nan if loss is None else loss, scores.in_words()
        recorder.display.epoch(iteration, epoch=epoch - 1, loss=shown, rate=training.last_rate, results=results)

    def evaluate(self) -> Scores:
        """Return the metrics on the validation data.

        Raises:
            NonFiniteError: the one that judges is NaN or infinite.
        """
        scores = self.training.evaluate()
        if not math.isfinite(scores.value):
            what = f"the {scores.measures[0].label} is {scores.value} after iteration {self.training.iteration - 1}"
            msg = f"{what}: the model's outputs are too large or NaN, or no target of the validation data counts"
            raise NonFiniteError(msg)
        return scores

    def save(self, *, must_wait: bool = True) -> None:
        """Save a checkpoint, after checking that all processes hold the same finite weights.

        Raises:
            NonFiniteError: the weights are not finite.
            DisagreementError: the processes no longer hold the same weights.
        """
        training, recorder = self.training, self.recorder
        position = training.position()
        if recorder.settled == position:
            return
        self.compare()
        check_weights(training)
        recorder.save(training.state(), position, must_wait=must_wait)
        recorder.show_warnings()

    def compare(self) -> None:
        """Compare the weights and the times of the processes; warn of a slow one.

        Raises:
            DisagreementError: the processes no longer hold the same weights.
        """
        training = self.training
        if training.machine.processes.world_size == 1:
            return
        timing = compare_processes(
            training.model,
            training.machine.processes,
            iteration=training.iteration,
            compute_seconds=training.compute_seconds,
            wait_seconds=training.wait_seconds,
        )
        training.compute_seconds = training.wait_seconds = 0.0
        self.recorder.record_timing(timing, iteration=training.iteration)


def _values(numbers: Sequence[Tensor | None]) -> list[float | None]:
    """Return the values of tensors of one number, with one wait for the device."""
    given = [number for number in numbers if number is not None]
    values = iter(torch.stack(given).tolist() if given else [])
    return [None if number is None else next(values) for number in numbers]
