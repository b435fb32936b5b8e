"""The state of a training: built from the recipe, restored from a checkpoint, taken apart for the next."""

import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from bigbatch.atomic_file import remove_temporaries
from bigbatch.checkpoint.loading import load_last_good, set_aside
from bigbatch.checkpoint.manifest import Position
from bigbatch.checkpoint.saving import remove_leftovers
from bigbatch.checkpoint.weights import WeightsHashes
from bigbatch.data.dataset import Splits
from bigbatch.data.load import load_data
from bigbatch.data.minibatches import Minibatches
from bigbatch.errors import InputError, first_line
from bigbatch.models import build_model
from bigbatch.models.losses import find_loss
from bigbatch.models.memory_format import set_memory_format
from bigbatch.optim.build import build_optimizer
from bigbatch.optim.weight_average import WeightAverage
from bigbatch.processes.join import Machine
from bigbatch.recipe import Recipe
from bigbatch.recipe.course import Course, course_of
from bigbatch.reduction.options import AggregationOptions
from bigbatch.rules.randomness.generators import seed_generators
from bigbatch.rules.randomness.keyed import random_key
from bigbatch.runs.folder import RunFolder, run_error
from bigbatch.runs.record import FINISHED, STOPPED
from bigbatch.runs.summary import Summary
from bigbatch.step.step import Step


@dataclass
class Training:
    """The state of a training: what is built once, and what changes.

    Attributes:
        course: where it is, and with the recipe what comes next.
        average: of the weights, if the recipe asks for one: what is evaluated.
        validation_errors: of every epoch that is over, in %.
        epoch_loss: the sum of the losses of this epoch so far, in the order of its iterations.
        epoch_updates: how many those are.
        last_rate: of the last update.
        seconds: spent before this attempt.
        started: when this attempt was.
        checkpoint_sha256: of the checkpoint that it goes on from.
        stopped_by: what ended it before its last iteration, if something did.
        has_given_up: whether that was checkpoints that could not be saved.
    """

    recipe: Recipe
    machine: Machine
    data: Splits
    minibatches: Minibatches
    model: nn.Module
    optimizer: torch.optim.Optimizer
    step: Step
    course: Course
    loader_workers: int
    average: WeightAverage | None = None
    validation_errors: list[float] = field(default_factory=list)
    epoch_loss: float = 0.0
    epoch_updates: int = 0
    last_rate: float = 0.0
    seconds: float = 0.0
    started: float = field(default_factory=time.monotonic)
    stopped_by: str | None = None
    has_given_up: bool = False
    checkpoint_sha256: str = ""

    @property
    def is_writer(self) -> bool:
        """Whether this process writes the run's folder."""
        return self.machine.processes.rank == 0

    @property
    def iteration(self) -> int:
        """Updates done, and the number of the next."""
        return self.course.now.iteration

    @property
    def seconds_in_all(self) -> float:
        """Spent on training and evaluation, over all attempts."""
        return self.seconds + time.monotonic() - self.started

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint holds."""
        weights = dict(self.model.state_dict())
        return {
            "model": weights,
            "buffers": {name: buffer for name, buffer in self.model.named_buffers() if name not in weights},
            "optimizer": self.optimizer.state_dict(),
            **({"average": self.average.state()} if self.average else {}),
            "validation_errors": list(self.validation_errors),
            "epoch_loss": self.epoch_loss,
            "epoch_updates": self.epoch_updates,
            "course": self.course.state(),
            "seconds": self.seconds_in_all,
        }

    def position(self) -> Position:
        """Return where it is."""
        now = self.course.now
        is_epochs_end = now.iteration and not now.epoch_iteration
        error = self.validation_errors[-1] if is_epochs_end else None
        return Position(now.iteration, now.samples_consumed, now.epoch, error)

    @property
    def is_finished(self) -> bool:
        """Whether all epochs are over."""
        return self.course.is_over

    def end_epoch(self) -> None:
        """Go on to the next epoch, at the minibatch size that the course has chosen for it."""
        before = self.course.now.minibatch_size
        self.course.end_epoch()
        if self.course.now.minibatch_size != before:
            self.resize()

    def resize(self) -> None:
        """Cut the data and divide the work by the course's minibatch size."""
        size = self.course.now.minibatch_size
        self.minibatches = build_minibatches(
            self.recipe, self.data, self.machine.device, minibatch_size=size, loader_workers=self.loader_workers
        )
        self.step.resize(size)

    def conclude(self, summary: Summary) -> Summary:
        """Return what run.json says of the training when it ends; before, it said `summary`."""
        errors, hashes = self.validation_errors, self.hashes()
        return replace(
            summary,
            status=FINISHED if self.is_finished else STOPPED,
            stopped_by=None if self.is_finished else self.stopped_by,
            iterations=self.iteration,
            seconds=round(self.seconds_in_all, 3),
            validation_error=run_error(errors) if errors else None,
            final_validation_error=errors[-1] if errors else None,
            weights_sha256=hashes.weights_sha256,
            average_sha256=hashes.average_sha256,
        )

    def hashes(self) -> WeightsHashes:
        """Return the hashes of the weights."""
        return WeightsHashes.of(self.model.state_dict(), self.average.state() if self.average else None)

    def as_evaluated(self) -> AbstractContextManager[None]:
        """Let the model have the averaged weights for a while, if there are any."""
        return self.average.applied() if self.average else nullcontext()

    def is_finite(self) -> bool:
        """Tell whether the parameters and running statistics are."""
        parameters = all(bool(parameter.isfinite().all()) for parameter in self.model.parameters())
        return parameters and (self.step.state is None or self.step.state.is_finite())


def build(recipe: Recipe, machine: Machine, *, aggregation: AggregationOptions, loader_workers: int) -> Training:
    """Build everything from the recipe; the same bits on every process, for its seed alone decides."""
    data = load_data(recipe.data)
    course = course_of(recipe, len(data.train))
    size = course.now.minibatch_size
    minibatches = build_minibatches(recipe, data, machine.device, minibatch_size=size, loader_workers=loader_workers)
    model = build_recipe_model(recipe, num_classes=data.num_classes, in_channels=data.in_channels).to(machine.device)
    optimizer = build_optimizer(recipe.scaled_optimizer, model, recipe.reference.learning_rate)
    step = Step(
        model,
        find_loss(recipe.loss),
        optimizer,
        minibatch_size=size,
        worker_minibatch_size=recipe.worker_minibatch_size,
        seed=recipe.seed_of("augmentation"),
        aggregation=aggregation,
        momentum_correction=recipe.optimizer.momentum_correction,
        precision=recipe.precision,
    )
    # After the step, which gives all processes the weights of rank 0.
    average = WeightAverage(model, course.average_decay) if recipe.average.decay else None
    return Training(recipe, machine, data, minibatches, model, optimizer, step, course, loader_workers, average)


def build_minibatches(
    recipe: Recipe, data: Splits, device: torch.device, *, minibatch_size: int, loader_workers: int = 0
) -> Minibatches:
    """Cut the training data into minibatches of a size, in the recipe's order."""
    return Minibatches(
        data.train,
        minibatch_size=minibatch_size,
        worker_minibatch_size=recipe.worker_minibatch_size,
        seed=recipe.seed_of("order"),
        augmentation_seed=recipe.seed_of("augmentation"),
        device=device,
        loader_workers=loader_workers,
    )


def build_recipe_model(recipe: Recipe, *, num_classes: int, in_channels: int) -> nn.Module:
    """Build the recipe's model in its sound memory format, initialised from its seed."""
    seed_generators(random_key("initialisation", recipe.seed_of("initialisation")))
    model = recipe.model
    built = build_model(
        model.name,
        num_classes=num_classes,
        in_channels=in_channels,
        width=model.width,
        stem_pool=model.stem_pool,
        zero_gamma=model.zero_gamma,
        dropout=model.dropout,
        arguments=model.arguments,
    )
    return set_memory_format(built)


def restore(training: Training, folder: RunFolder) -> list[str]:
    """Continue from the last good checkpoint, if there is one; return what a person should know of it."""
    if training.is_writer and folder.checkpoints.is_dir():
        remove_leftovers(folder.checkpoints)
        remove_temporaries(folder.path)
    like = training.model.state_dict()
    found, refused = load_last_good(folder.checkpoints, recipe=training.recipe, like=like)
    if training.is_writer:
        set_aside(folder.checkpoints, refused)
    notes = [f"warning: {reason}" for reason in refused.values()]
    if found is None:
        return notes
    manifest, state = found
    restore_model(training.model, state)
    restore_optimizer(training.optimizer, state["optimizer"])
    if training.average:
        training.average.restore(state.get("average", {}))
    training.course.restore(state["course"])
    if training.course.now.minibatch_size != training.step.minibatch_size:
        training.resize()
    training.validation_errors = state["validation_errors"]
    training.epoch_loss, training.epoch_updates = state["epoch_loss"], state["epoch_updates"]
    training.seconds = state["seconds"]
    training.checkpoint_sha256 = manifest.sha256
    return [*notes, f"goes on from the checkpoint of iteration {manifest.iteration}"]


def restore_model(model: nn.Module, state: dict[str, Any]) -> None:
    """Put back the parameters and buffers, also those that a state dict leaves out.

    Raises:
        InputError: they are of another model.
    """
    buffers = dict(model.named_buffers())
    try:
        model.load_state_dict(state["model"])
        with torch.no_grad():
            for name, value in state["buffers"].items():
                buffers[name].copy_(value)
    except (KeyError, RuntimeError) as error:
        msg = f"the checkpoint is of another model ({first_line(error)}); put that one back, or choose another --output"
        raise InputError(msg) from error


def restore_optimizer(optimizer: torch.optim.Optimizer, saved: dict[str, Any]) -> None:
    """Put back the optimizer's state, in its own dtypes: torch would cast all of it to those of the parameters.

    Raises:
        InputError: it is of another optimizer.
    """
    try:
        optimizer.load_state_dict(saved)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        msg = f"the checkpoint is of another optimizer ({first_line(error)}); use that one, or another --output"
        raise InputError(msg) from error
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for place, values in saved["state"].items():
        state = optimizer.state[parameters[place]]
        for key, value in values.items():
            if isinstance(value, Tensor) and state[key].dtype != value.dtype:
                state[key] = value.to(state[key].device)
