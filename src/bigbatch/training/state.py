"""The state of a training: its parts, the part that a checkpoint holds, and the functions that change it."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from bigbatch.checkpoint.manifest import Position
from bigbatch.checkpoint.weights import WeightsHashes
from bigbatch.data.batch import Batch
from bigbatch.data.dataset import Splits
from bigbatch.data.minibatches import Minibatches
from bigbatch.models.plain_names import plain_state, with_plain_names
from bigbatch.optim.clipping import clip_gradients
from bigbatch.optim.weight_average import WeightAverage
from bigbatch.processes.join import Machine
from bigbatch.recipe import Recipe
from bigbatch.recipe.course import Course
from bigbatch.recipe.metrics import Measure
from bigbatch.runs.folder import run_result
from bigbatch.runs.metrics import IterationLine
from bigbatch.runs.record import FINISHED, STOPPED
from bigbatch.runs.summary import Summary
from bigbatch.step.result import StepResult
from bigbatch.step.step import Step
from bigbatch.training.batch_statistics import BatchStatistics, statistics_batches
from bigbatch.training.evaluation import Evaluation, Scores
from bigbatch.training.freezing import Freezing
from bigbatch.training.parts import build_minibatches, build_step
from bigbatch.training.warm_start import WarmStart


@dataclass
class TrainingState:
    """The parts of a training, and the values that change while it runs.

    Attributes:
        course: the position, and the minibatch sizes and rates that follow from it.
        average: of the weights; it is evaluated in their place. None if the recipe has none.
        evaluation: of its metrics, of which the first one judges.
        started_from: what the model has taken from the recipe's file of weights; None if it names none.
        freezing: what is not trained by now; None if nothing was frozen.
        results: of every finished epoch, by the first metric.
        epoch_loss: the sum of the losses of this epoch so far, in the order of its iterations.
        epoch_updates: the number of those losses.
        last_rate: of the last update.
        compute_seconds: that this process has spent on its workers since the processes were last compared.
        wait_seconds: that it has then waited for the sums.
        seconds: spent before this attempt.
        started: when this attempt started, in seconds of the monotonic clock.
        checkpoint_sha256: of the checkpoint that it goes on from; empty if there was none.
        stopped_by: what ended this attempt before the last iteration; None if nothing did.
        has_given_up: whether it ended because checkpoints could not be saved.
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
    evaluation: Evaluation
    average: WeightAverage | None = None
    started_from: WarmStart | None = None
    freezing: Freezing | None = None
    results: list[float] = field(default_factory=list)
    epoch_loss: float = 0.0
    epoch_updates: int = 0
    last_rate: float = 0.0
    compute_seconds: float = 0.0
    wait_seconds: float = 0.0
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
        """The number of updates done, which is also the number of the next."""
        return self.course.now.iteration

    @property
    def seconds_in_all(self) -> float:
        """Seconds of training and evaluation, over all attempts."""
        return self.seconds + time.monotonic() - self.started

    def state(self) -> dict[str, Any]:
        """Return the state that a checkpoint holds."""
        weights = plain_state(self.model)
        buffers = with_plain_names(dict(self.model.named_buffers()))
        return {
            "model": weights,
            "buffers": {name: buffer for name, buffer in buffers.items() if name not in weights},
            "optimizer": self.optimizer.state_dict(),
            **({"average": with_plain_names(self.average.state())} if self.average else {}),
            "results": list(self.results),
            "epoch_loss": self.epoch_loss,
            "epoch_updates": self.epoch_updates,
            "course": self.course.state(),
            "seconds": self.seconds_in_all,
        }

    def position(self) -> Position:
        """Return the position for a checkpoint."""
        now = self.course.now
        is_epochs_end = now.iteration and not now.epoch_iteration
        result = self.results[-1] if is_epochs_end else None
        return Position(now.iteration, now.samples_consumed, now.epoch, result, self.metric.better)

    @property
    def is_finished(self) -> bool:
        """Whether all epochs are over, or the recipe's patience is."""
        return self.course.is_over or self.has_lost_patience

    @property
    def metric(self) -> Measure:
        """What judges."""
        return self.evaluation.measures[0]

    @property
    def has_lost_patience(self) -> bool:
        """Whether the results have not improved for as many epochs as the recipe waits."""
        patience = self.recipe.evaluation.patience
        return bool(patience) and self.metric.epochs_since_best(self.results) >= patience

    def rest_of_epoch(self) -> Iterator[Iterator[Batch]]:
        """Yield this process's part of each minibatch that is left of the epoch."""
        now = self.course.now
        return self.minibatches.epoch(now.epoch, first=now.epoch_iteration)

    def update(self) -> Tensor | None:
        """Clip the gradient if the recipe says so, and update the weights and their average.

        Returns:
            The gradient's norm before clipping, if it is clipped.
        """
        clip_norm = self.recipe.optimizer.clip_norm
        norm = clip_gradients(self.step.parameters, clip_norm) if clip_norm else None
        self.optimizer.step()
        if self.average:
            self.average.decay = self.course.average_decay
            self.average.update()
        return norm

    def count(self, line: IterationLine) -> None:
        """Add the loss of an update to its epoch's, unless the update was skipped."""
        if line.loss is not None:
            self.epoch_loss += line.loss
            self.epoch_updates += 1

    def count_seconds(self, result: StepResult) -> None:
        """Add the time of a step."""
        self.compute_seconds += result.compute_seconds
        self.wait_seconds += result.wait_seconds

    @property
    def mean_loss(self) -> float | None:
        """The mean loss of this epoch's updates so far; None if there were none."""
        return self.epoch_loss / self.epoch_updates if self.epoch_updates else None

    def end_epoch(self) -> None:
        """Go on to the next epoch, with the minibatch size that the course has for it."""
        self.epoch_loss, self.epoch_updates = 0.0, 0
        before = self.course.now.minibatch_size
        self.course.end_epoch(self.metric.cost(self.results[-1]))
        if self.course.now.minibatch_size != before:
            self.resize()
        if not self.is_finished:
            self.thaw_if_due()

    def thaw_if_due(self) -> None:
        """Train what was frozen until here, by a step of its own: a step knows its parameters. All processes agree."""
        if self.freezing and self.freezing.is_over(self.course.now.epoch):
            self.freezing.thaw()
            self.freezing = None
            self.step.close()
            size = self.course.now.minibatch_size
            self.step = build_step(self.recipe, self.model, self.optimizer, size, self.step.options)

    def resize(self) -> None:
        """Change the minibatches and the step to the course's minibatch size."""
        size = self.course.now.minibatch_size
        self.minibatches = build_minibatches(
            self.recipe, self.data, self.machine.device, minibatch_size=size, loader_workers=self.loader_workers
        )
        self.step.resize(size)

    def stop(self, signal: str | None, *, has_given_up: bool) -> None:
        """Set what ends this attempt: failed checkpoints, this process's signal, or another process."""
        self.has_given_up = has_given_up
        reason = "checkpoints that could not be saved" if has_given_up else signal
        self.stopped_by = reason or "another process"

    def conclude(self, summary: Summary) -> Summary:
        """Return run.json at the end of the training: `summary` with the results."""
        results, hashes = self.results, self.hashes()
        return replace(
            summary,
            status=FINISHED if self.is_finished else STOPPED,
            stopped_by=None if self.is_finished else self.stopped_by,
            ended_early=self.early_end(),
            iterations=self.iteration,
            seconds=round(self.seconds_in_all, 3),
            result=run_result(results) if results else None,
            final_result=results[-1] if results else None,
            weights_sha256=hashes.weights_sha256,
            average_sha256=hashes.average_sha256,
        )

    def early_end(self) -> str | None:
        """Return why the training has ended before its last epoch; None if it has not."""
        if self.course.is_over or not self.has_lost_patience:
            return None
        return f"no better {self.metric.label} in {self.recipe.evaluation.patience} epochs"

    def hashes(self) -> WeightsHashes:
        """Return the hashes of the weights."""
        return WeightsHashes.of(
            plain_state(self.model), with_plain_names(self.average.state()) if self.average else None
        )

    def evaluate(self) -> Scores:
        """Measure the metrics on the validation data, with the averaged weights if there are any."""
        with self.as_evaluated():
            if samples := self.recipe.evaluation.statistics_samples:
                self._renew_statistics(samples)
            return self.evaluation.scores(self.model, self.data.validation, self.machine.processes)

    def _renew_statistics(self, samples: int) -> None:
        """Compute the running statistics of the weights that are evaluated; the next steps change them again."""
        data, recipe = self.data.train, self.recipe
        batches = statistics_batches(
            len(data), samples=samples, batch_size=recipe.worker_minibatch_size, seed=recipe.seed_of("order")
        )
        seed = recipe.seed_of("augmentation")
        self.evaluation.renew_statistics(self.model, data, batches, self.machine.processes, seed=seed)

    def check_evaluation(self) -> None:
        """Score a first part of the validation data, on every process alone. Nothing is changed.

        Raises:
            InputError: a metric does not fit the model or the data.
        """
        if self.recipe.evaluation.statistics_samples:
            BatchStatistics(self.model)
        with self.as_evaluated():
            self.evaluation.check(self.model, self.data.validation)

    def as_evaluated(self) -> AbstractContextManager[None]:
        """Give the model the averaged weights inside the `with` block, if there are any."""
        return self.average.applied() if self.average else nullcontext()

    def is_finite(self) -> bool:
        """Tell whether the parameters and running statistics are finite."""
        finite = torch.stack([parameter.isfinite().all() for parameter in self.model.parameters()])
        return bool(finite.all()) and (self.step.leaves is None or self.step.leaves.state.is_finite())
