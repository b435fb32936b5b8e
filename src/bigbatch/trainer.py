"""A training from its recipe to its error: build, restore, epochs, minibatches, evaluate, save."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import Tensor, nn

from bigbatch.attempts import check_attempts, compare_with_before, describe_attempt
from bigbatch.checkpoint import latest_checkpoint, load_checkpoint, save_checkpoint, weights_sha256
from bigbatch.data import load_data
from bigbatch.data.dataset import Splits
from bigbatch.data.minibatches import Minibatches
from bigbatch.errors import InputError
from bigbatch.evaluation import evaluate
from bigbatch.keyed_random import fold
from bigbatch.launch import Machine
from bigbatch.learning_rate import LearningRate
from bigbatch.losses import find_loss
from bigbatch.models import build_model
from bigbatch.optim import build_optimizer, set_learning_rate
from bigbatch.plan import Plan
from bigbatch.progress import ProgressDisplay
from bigbatch.recipe import Recipe
from bigbatch.reduction.options import AggregationOptions
from bigbatch.runs import RunFolder, run_error
from bigbatch.seeding import seed_generators
from bigbatch.step import Step

LOSSES_A_LINE: Final = 20  # iterations between two looks at the losses: a look waits for the device


@dataclass
class Training:
    """The state of a training: what is built once, and the three things that change.

    Attributes:
        samples_consumed: the position in the training; with the recipe it says what comes next.
        validation_errors: of every epoch so far, in %.
        seconds: spent on training and evaluation, over all resumptions.
    """

    recipe: Recipe
    machine: Machine
    data: Splits
    minibatches: Minibatches
    model: nn.Module
    optimizer: torch.optim.Optimizer
    step: Step
    learning_rate: LearningRate
    num_workers: int
    samples_consumed: int = 0
    validation_errors: list[float] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def is_writer(self) -> bool:
        """Whether this process writes the run's folder."""
        return self.machine.processes.rank == 0


def train(
    recipe: Recipe,
    folder: RunFolder,
    machine: Machine,
    *,
    aggregation: AggregationOptions | None = None,
    num_workers: int = 0,
    stop_after_epoch: int | None = None,
) -> dict[str, Any]:
    """Train the recipe, from the folder's last checkpoint if it has one, and return the run's summary (run.json).

        with bigbatch.joined() as machine:
            summary = bigbatch.train(recipe, bigbatch.RunFolder(Path("my-run")), machine)

    Args:
        recipe: what to train.
        folder: where rank 0 writes; created if need be. A finished run is left as it is.
        machine: this process and its device.
        aggregation: how gradients are summed over the processes; the weights do not depend on it, but for "native".
        num_workers: processes that read ahead, for each process.
        stop_after_epoch: end after this epoch (counted from 1) as an interruption would, to be resumed.

    Raises:
        InputError: the data cannot be used, the sizes do not fit it, the folder holds another recipe's run or one on
            other data, a checkpoint cannot be loaded, or the processes disagree.
    """
    if folder.exists():
        folder.check(recipe, resume=True)
    training = build(recipe, machine, aggregation=aggregation or AggregationOptions(), num_workers=num_workers)
    summary = run(training, folder, stop_after_epoch=stop_after_epoch)
    training.step.close()
    return summary


def run(training: Training, folder: RunFolder, *, stop_after_epoch: int | None) -> dict[str, Any]:
    """Go on from the last checkpoint, or from the start, and return the run's summary."""
    recipe, machine = training.recipe, training.machine
    checkpoint = latest_checkpoint(folder.checkpoints)
    if checkpoint:
        restore(training, load_checkpoint(checkpoint, machine.device))
    summary = describe_attempt(
        recipe,
        folder,
        machine,
        all_reduce=training.step.describe_all_reduce(),
        fingerprint=training.data.fingerprint,
        samples_consumed=training.samples_consumed,
    )
    check_attempts(summary, recipe, folder, machine)
    notes = introduce(training) + (compare_with_before(folder, summary) if checkpoint else [])
    if checkpoint and folder.read_summary()["status"] == "finished":
        return folder.read_summary()
    if training.is_writer:
        folder.create(recipe)
        folder.write_summary(summary)
    run_epochs(training, folder, last=min(stop_after_epoch or recipe.epochs, recipe.epochs), notes=notes)
    summary |= conclude(training)
    if training.is_writer:
        folder.write_summary(summary)
    return summary


def build(recipe: Recipe, machine: Machine, *, aggregation: AggregationOptions, num_workers: int) -> Training:
    """Build everything from the recipe; the same bits on every process, for its seed alone decides."""
    data = load_data(recipe.data)
    minibatches = Minibatches(
        data.train,
        minibatch_size=recipe.minibatch_size,
        worker_minibatch_size=recipe.worker_minibatch_size,
        seed=recipe.seed,
        device=machine.device,
        num_workers=num_workers,
    )
    model = build_recipe_model(recipe, num_classes=data.num_classes, in_channels=data.in_channels).to(machine.device)
    optimizer = build_optimizer(recipe.optimizer, model, recipe.reference.learning_rate)
    step = Step(
        model,
        find_loss(recipe.loss),
        optimizer,
        minibatch_size=recipe.minibatch_size,
        worker_minibatch_size=recipe.worker_minibatch_size,
        seed=recipe.seed,
        aggregation=aggregation,
        momentum_correction=recipe.optimizer.momentum_correction,
        precision=recipe.precision,
    )
    learning_rate = recipe.learning_rate(len(minibatches))
    return Training(recipe, machine, data, minibatches, model, optimizer, step, learning_rate, num_workers)


def build_recipe_model(recipe: Recipe, *, num_classes: int, in_channels: int) -> nn.Module:
    """Build the recipe's model in channels-last layout, initialised from its seed."""
    seed_generators(fold("initialisation", recipe.seed))
    model = recipe.model
    built: nn.Module = build_model(
        model.name,
        num_classes=num_classes,
        in_channels=in_channels,
        width=model.width,
        stem_pool=model.stem_pool,
        zero_gamma=model.zero_gamma,
        dropout=model.dropout,
        arguments=model.arguments,
    ).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return built


def restore(training: Training, state: dict[str, Any]) -> None:
    """Continue where the checkpoint was saved."""
    training.model.load_state_dict(state["model"])
    training.optimizer.load_state_dict(state["optimizer"])
    training.samples_consumed = state["samples_consumed"]
    training.validation_errors = list(state["validation_errors"])
    training.seconds = state["seconds"]


def run_epochs(training: Training, folder: RunFolder, *, last: int, notes: Sequence[str]) -> None:
    """Train, evaluate and save, epoch by epoch, from the training's position to the end of epoch `last`."""
    per_epoch = len(training.minibatches)
    first = training.samples_consumed // training.recipe.minibatch_size
    display = ProgressDisplay(
        total_iterations=last * per_epoch,
        first_iteration=first,
        epochs=training.recipe.epochs,
        is_shown=training.is_writer,
    )
    with display:
        for note in notes:
            display.say(note)
        if dropped := training.minibatches.sampling.num_dropped:
            display.say(f"each epoch leaves out the last {dropped} of its {len(training.data.train)} shuffled samples")
        for epoch in range(first // per_epoch, last):
            start = time.monotonic()
            loss = run_minibatches(training, folder, display, epoch)
            training_seconds = time.monotonic() - start
            error = evaluate_training(training)
            training.seconds += time.monotonic() - start
            finish_epoch(training, folder, display, epoch=epoch, loss=loss, error=error, seconds=training_seconds)


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


def run_minibatches(training: Training, folder: RunFolder, display: ProgressDisplay, epoch: int) -> float:
    """Train one epoch and return its mean loss."""
    per_epoch = len(training.minibatches)
    losses: list[float] = []
    pending: list[Tensor] = []
    training.model.train()
    start = time.monotonic()
    for minibatch in training.minibatches.epoch(epoch):
        iteration = epoch * per_epoch + len(losses) + len(pending)
        set_learning_rate(training.optimizer, training.learning_rate(iteration))
        pending.append(training.step(minibatch, iteration=iteration))
        training.samples_consumed += training.recipe.minibatch_size
        if len(pending) == LOSSES_A_LINE or iteration + 1 == (epoch + 1) * per_epoch:
            values = torch.stack(pending).tolist()
            pending.clear()
            losses += values
            display.images_per_second = len(losses) * training.recipe.minibatch_size / (time.monotonic() - start)
            display.iteration(iteration + 1, epoch=epoch, loss=values[-1], rate=training.learning_rate(iteration))
            record_iterations(training, folder, last=iteration, losses=values)
    return sum(losses) / len(losses)


def record_iterations(training: Training, folder: RunFolder, *, last: int, losses: Sequence[float]) -> None:
    """Write a line for each of the last iterations."""
    if training.is_writer:
        first = last + 1 - len(losses)
        folder.append_metrics(
            *(
                {"iteration": i, "loss": loss, "learning_rate": training.learning_rate(i)}
                for i, loss in enumerate(losses, first)
            )
        )


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


def finish_epoch(
    training: Training,
    folder: RunFolder,
    display: ProgressDisplay,
    *,
    epoch: int,
    loss: float,
    error: float,
    seconds: float,
) -> None:
    """Record the epoch and save a checkpoint."""
    training.validation_errors.append(error)
    if not training.is_writer:
        return
    done = (epoch + 1) * len(training.minibatches)
    rate = training.learning_rate(done - 1)
    folder.append_metrics(
        {"epoch": epoch + 1, "iteration": done, "loss": loss, "validation_error": error, "seconds": seconds}
    )
    state = {
        "model": training.model.state_dict(),
        "optimizer": training.optimizer.state_dict(),
        "samples_consumed": training.samples_consumed,
        "validation_errors": training.validation_errors,
        "seconds": training.seconds,
    }
    save_checkpoint(folder.checkpoints, state, epoch=epoch + 1)
    display.epoch(done, epoch=epoch, loss=loss, rate=rate, error=error)


def conclude(training: Training) -> dict[str, Any]:
    """Return what run.json says of a run when it ends."""
    errors = training.validation_errors
    is_finished = len(errors) == training.recipe.epochs
    return {
        "status": "finished" if is_finished else "stopped",
        "iterations": training.samples_consumed // training.recipe.minibatch_size,
        "seconds": round(training.seconds, 3),
        "validation_error": run_error(errors),
        "final_validation_error": errors[-1],
        "weights_sha256": weights_sha256(training.model.state_dict()),
    }


def evaluate_run(folder: RunFolder, machine: Machine, *, num_workers: int = 0) -> dict[str, Any]:
    """Evaluate the last checkpoint of a run on its validation data.

    Raises:
        InputError: the folder holds no run, or no checkpoint yet.
    """
    if not folder.exists():
        msg = f"{folder.path} holds no run"
        raise InputError(msg)
    checkpoint = latest_checkpoint(folder.checkpoints)
    if checkpoint is None:
        msg = f"{folder.path} has no checkpoint yet"
        raise InputError(msg)
    data = load_data(folder.recipe.data)
    model = build_recipe_model(folder.recipe, num_classes=data.num_classes, in_channels=data.in_channels)
    model.to(machine.device)
    model.load_state_dict(load_checkpoint(checkpoint, machine.device)["model"])
    result = evaluate(
        model,
        data.validation,
        processes=machine.processes,
        device=machine.device,
        precision=folder.recipe.precision,
        num_workers=num_workers,
    )
    return {
        "checkpoint": str(checkpoint),
        "num_samples": result.num_samples,
        "num_correct": result.num_correct,
        "validation_error": result.error,
        "validation_loss": result.loss,
        "weights_sha256": weights_sha256(model.state_dict()),
    }
