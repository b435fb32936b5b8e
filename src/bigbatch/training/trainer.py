"""Train a recipe: build, restore, run the loop; and write run.json however the training ends."""

import time
from contextlib import nullcontext
from dataclasses import replace

from bigbatch.errors import SaveError
from bigbatch.models.memory_format import sound_memory_format
from bigbatch.processes.join import Machine
from bigbatch.processes.outcome import failure_before
from bigbatch.processes.portable import check_taken
from bigbatch.processes.siblings import cannot_go_on, note_that_all_have_met
from bigbatch.processes.stop_signals import StopSignals
from bigbatch.recipe import Recipe
from bigbatch.recipe.warnings import warnings_of
from bigbatch.reduction.options import AggregationOptions
from bigbatch.runs.folder import RunFolder
from bigbatch.runs.lock import locked
from bigbatch.runs.record import FINISHED
from bigbatch.runs.summary import Summary
from bigbatch.training.attempts import check_attempts, compare_with_before, describe_attempt
from bigbatch.training.build import build
from bigbatch.training.continuation import continue_longer
from bigbatch.training.loop import Limit, Loop
from bigbatch.training.progress import ProgressDisplay
from bigbatch.training.recorder import Recorder
from bigbatch.training.restore import restore
from bigbatch.training.state import TrainingState


def train(
    recipe: Recipe,
    folder: RunFolder,
    machine: Machine,
    *,
    aggregation: AggregationOptions | None = None,
    loader_workers: int = 0,
    stop_after_epoch: int | None = None,
    stop_after_iteration: int | None = None,
) -> Summary:
    """Train the recipe, from the folder's last good checkpoint if it has one, and return the run's summary (run.json).

        with bigbatch.joined() as machine:
            summary = bigbatch.train(recipe, bigbatch.RunFolder(Path("my-run")), machine)

    SIGTERM, SIGUSR1 and a first SIGINT end it at its next iteration, with a checkpoint; its status is then "stopped".
    A second SIGINT ends the whole process at once. If several processes train and one raises an error, end each of
    them.

    Args:
        recipe: to train.
        folder: where rank 0 writes; created if it is missing. A finished run is not changed.
        machine: this process and its device.
        aggregation: how gradients are summed over the processes. Only "native" changes the weights.
        loader_workers: processes that read ahead, for each process.
        stop_after_epoch: stop after this epoch (counted from 1); the run can be resumed.
        stop_after_iteration: stop after this number of iterations in all; the run can be resumed.

    Raises:
        InputError: the data cannot be used, or the sizes do not fit it. Or the folder holds another recipe's run or one
            on other data, or another process writes it. Or no checkpoint can be loaded, or the processes disagree.
        NonFiniteError: a loss, a gradient or a weight is NaN or infinite.
        DisagreementError: the processes no longer hold the same weights.
        SaveError: checkpoints could not be saved three times in a row.
    """
    check_taken(recipe.numerics)
    with (
        StopSignals(cannot_go_on) as signals,
        locked(folder.path) if machine.processes.rank == 0 else nullcontext(),
    ):
        if folder.exists():
            folder.check(recipe, resume=True, may_be_longer=True)
        options = aggregation or AggregationOptions()
        training = build(recipe, machine, aggregation=options, loader_workers=loader_workers)
        try:
            notes = restore(training, folder)
            notes += continue_longer(training, folder.recipe if folder.exists() else recipe)
            if not training.is_finished:
                training.check_evaluation()
            summary = begin_attempt(training, folder)
            note_that_all_have_met()
            if training.iteration:
                notes += compare_with_before(folder, summary)
            with display_of(training) as display:
                for note in (*introduce(training), *notes):
                    display.say(note)
                recorder = Recorder(folder, recipe, display, summary, is_writer=training.is_writer)
                run(Loop(training, recorder, signals, Limit(stop_after_epoch, stop_after_iteration)))
        finally:
            training.minibatches.close()
    training.step.close()
    return recorder.summary


def begin_attempt(training: TrainingState, folder: RunFolder) -> Summary:
    """Return run.json at the start of the attempt; check that all processes agree, and make the folder."""
    recipe, machine = training.recipe, training.machine
    summary = describe_attempt(
        recipe,
        folder,
        machine,
        all_reduce=training.step.describe_all_reduce(),
        memory_format=sound_memory_format(training.model),
        metric=training.metric,
        data=training.data,
        samples_consumed=training.course.now.samples_consumed,
        after=failure_before(),
    )
    if training.started_from:
        summary = replace(summary, initial_weights=training.started_from.to_json())
    check_attempts(summary, recipe, folder, machine, checkpoint=training.checkpoint_sha256)
    if training.is_writer:
        folder.create(recipe)
    return summary


def display_of(training: TrainingState) -> ProgressDisplay:
    """Return the display of the training's progress; only rank 0 shows it."""
    course = training.course
    return ProgressDisplay(
        total_iterations=course.total_iterations,
        first_iteration=training.iteration,
        epochs=course.total_epochs,
        is_shown=training.is_writer,
    )


def run(loop: Loop) -> None:
    """Run the loop, and write into run.json how it ended. A finished run is not changed.

    Raises:
        SaveError: checkpoints can no longer be saved.
    """
    training, recorder = loop.training, loop.recorder
    if training.is_finished:  # by its checkpoint, so all processes agree
        before = recorder.folder.read_summary_or_nothing()
        if before and before.status == FINISHED:
            recorder.summary = before
        else:  # the last attempt was killed before it wrote its end
            recorder.finish(training.conclude(recorder.summary))
        return
    recorder.write_summary(recorder.summary)
    training.started = time.monotonic()
    try:
        loop.run()
        recorder.finish(training.conclude(recorder.summary))
    except Exception as error:
        recorder.fail(error)
        raise
    if training.has_given_up:  # raised on every process, though only rank 0 saves
        msg = f"checkpoints could not be saved to {recorder.folder.path}, one after the other; make room, and resume"
        raise SaveError(msg)


def warmups(recipe: Recipe) -> str:
    """Say which warmups the rate has."""
    own, scaled = recipe.reference.warmup, recipe.warmup.duration
    parts = [f"warmup of {own} as at the reference"] if own.amount else []
    parts += [f"{recipe.warmup.kind} warmup of {scaled}"] if recipe.is_warming_up and scaled.amount else []
    return " times ".join(parts) or "no warmup"


def introduce(training: TrainingState) -> list[str]:
    """Return the lines to show before the first iteration: the recipe, and warnings."""
    recipe, p = training.recipe, training.machine.processes.world_size
    course = training.course.introduce()
    facts = [
        course.minibatch,
        f"{p} process{'es' if p > 1 else ''}",
        course.rate,
        warmups(recipe),
    ]
    if training.average:
        facts.append(f"evaluated: the average of the weights (decay {course.average_decay})")
    dropped, count = training.course.dropped_per_epoch, training.data.samples_per_epoch
    left_out = [f"each epoch leaves out the last {dropped} of its {count} shuffled samples"] if dropped else []
    warnings = [f"warning: {warning}" for warning in (*warnings_of(recipe), *training.data.notes)]
    start = training.started_from.lines() if training.started_from and not training.iteration else []
    about = [training.data.about] if training.data.about else []
    return [f"{recipe.name}: {', '.join(facts)}", *about, *start, *warnings, *left_out]
