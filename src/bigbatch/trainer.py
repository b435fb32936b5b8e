"""A training as a story: build, restore, epochs, minibatches, evaluate, save; and what ends it before its end."""

import math
import time
from collections.abc import Iterable
from contextlib import nullcontext, suppress
from typing import Any, Final

import torch
from torch import Tensor

from bigbatch.attempts import check_attempts, compare_with_before, describe_attempt
from bigbatch.consistency import compare_processes
from bigbatch.errors import NonFiniteError, SaveError
from bigbatch.evaluation import evaluate
from bigbatch.launch import Machine
from bigbatch.nonfinite import find_nonfinite_workers
from bigbatch.optim import set_learning_rate
from bigbatch.outcome import failure_before, is_group_lost
from bigbatch.plan import Plan
from bigbatch.progress import ProgressDisplay
from bigbatch.recipe import Recipe
from bigbatch.recorder import Recorder
from bigbatch.reduction.options import AggregationOptions
from bigbatch.run_lock import locked
from bigbatch.run_record import FINISHED
from bigbatch.runs import RunFolder
from bigbatch.stop_signals import StopSignals
from bigbatch.training import Training, build, restore

LOSSES_A_LINE: Final = 20  # iterations between two looks at the losses
COMPARED_EVERY: Final = 100  # iterations between two comparisons of the processes


def train(
    recipe: Recipe,
    folder: RunFolder,
    machine: Machine,
    *,
    aggregation: AggregationOptions | None = None,
    num_workers: int = 0,
    stop_after_epoch: int | None = None,
    stop_after_iteration: int | None = None,
) -> dict[str, Any]:
    """Train the recipe, from the folder's last good checkpoint if it has one, and return the run's summary (run.json).

        with bigbatch.joined() as machine:
            summary = bigbatch.train(recipe, bigbatch.RunFolder(Path("my-run")), machine)

    SIGTERM, SIGUSR1 and a first SIGINT end it at its next iteration, with a checkpoint; its status is then "stopped".
    A second SIGINT ends the whole process at once. After an error of a group of processes, end the process.

    Args:
        recipe: what to train.
        folder: where rank 0 writes; created if need be. A finished run is left as it is.
        machine: this process and its device.
        aggregation: how gradients are summed over the processes; the weights do not depend on it, but for "native".
        num_workers: processes that read ahead, for each process.
        stop_after_epoch: end after this epoch (counted from 1) as an interruption would, to be resumed.
        stop_after_iteration: end after so many iterations in all, likewise.

    Raises:
        InputError: the data cannot be used, the sizes do not fit it, the folder holds another recipe's run or one on
            other data, another process writes it, no checkpoint can be loaded, or the processes disagree.
        NonFiniteError: a loss, a gradient or a weight is NaN or infinite.
        DisagreementError: the processes no longer hold the same weights.
        SaveError: checkpoints could not be saved three times in a row.
    """
    with (
        StopSignals(is_group_lost) as signals,
        locked(folder.path) if machine.processes.rank == 0 else nullcontext(),
    ):
        if folder.exists():
            folder.check(recipe, resume=True)
        training = build(recipe, machine, aggregation=aggregation or AggregationOptions(), num_workers=num_workers)
        per_epoch = len(training.minibatches)
        last = min(
            recipe.epochs * per_epoch,
            (stop_after_epoch or recipe.epochs) * per_epoch,
            stop_after_iteration or recipe.epochs * per_epoch,
        )
        try:
            summary = run(training, folder, signals, last=last)
        finally:
            training.minibatches.close()
    training.step.close()
    return summary


def run(training: Training, folder: RunFolder, signals: StopSignals, *, last: int) -> dict[str, Any]:
    """Go on from the last good checkpoint, or from the start, to iteration `last`; return the run's summary."""
    recipe, machine = training.recipe, training.machine
    notes = restore(training, folder)
    summary = describe_attempt(
        recipe,
        folder,
        machine,
        all_reduce=training.step.describe_all_reduce(),
        fingerprint=training.data.fingerprint,
        samples_consumed=training.samples_consumed,
        after=failure_before(),
    )
    check_attempts(summary, recipe, folder, machine, checkpoint=training.checkpoint_sha256)
    if training.samples_consumed:
        notes += compare_with_before(folder, summary)
    if training.is_writer:
        folder.create(recipe)
    display = ProgressDisplay(
        total_iterations=last,
        first_iteration=training.iteration,
        epochs=recipe.epochs,
        is_shown=training.is_writer,
    )
    recorder = Recorder(folder, recipe, display, is_writer=training.is_writer)
    with display:
        for note in (*introduce(training), *notes):
            display.say(note)
        if training.is_finished:  # so the checkpoint says, on which all processes agree
            return end_again(training, recorder, summary)
        recorder.write_summary(summary)
        training.started = time.monotonic()
        run_to(training, recorder, signals, last=last)
    return recorder.summary


def end_again(training: Training, recorder: Recorder, summary: dict[str, Any]) -> dict[str, Any]:
    """Return what run.json says of a finished run; write it if the last attempt was killed before it could."""
    before = recorder.folder.read_summary_or_nothing()
    if before.get("status") != FINISHED:
        recorder.summary |= summary
        recorder.finish(training.conclude())
        return recorder.summary
    return before


def run_to(training: Training, recorder: Recorder, signals: StopSignals, *, last: int) -> None:
    """Run the epochs, and leave a checkpoint and a true run.json behind, whatever ends them."""
    try:
        run_epochs(training, recorder, signals, last=last)
        save(training, recorder)
        recorder.finish(training.conclude())
    except NonFiniteError as error:
        with suppress(NonFiniteError):
            save(training, recorder)  # the state before the update that was not taken
        recorder.fail(error)
        raise
    except Exception as error:
        recorder.fail(error)
        raise
    if training.has_given_up:  # on every process, though only one of them saves
        msg = f"checkpoints could not be saved to {recorder.folder.path}, one after the other; make room, and resume"
        raise SaveError(msg)


def introduce(training: Training) -> list[str]:
    """Return what a person should know before the first iteration."""
    recipe, p = training.recipe, training.machine.processes.world_size
    warmup = f"{recipe.warmup.kind} warmup of {recipe.warmup_epochs:g} epochs" if recipe.warmup_epochs else "no warmup"
    sizes = f"minibatch {recipe.minibatch_size} = {recipe.worker_count} workers of {recipe.worker_minibatch_size}"
    rate = f"rate {recipe.reference.learning_rate:g} -> {recipe.base_learning_rate:g} ({recipe.scaling.rule})"
    warnings = Plan(recipe, len(training.data.train)).warnings
    return [f"{recipe.name}: {sizes}, {p} process{'es' if p > 1 else ''}, {rate}, {warmup}"] + [
        f"warning: {warning}" for warning in warnings
    ]


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
    """Return the validation error in %."""
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
