"""What is verified: the recipe's own model, loss and samples, built as the trainer builds them."""

import copy
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import torch
from torch import Tensor, nn

from bigbatch.data.dataset import Splits
from bigbatch.recipe import Recipe
from bigbatch.step.objective import Loss, LossFunction, Objective, as_objective
from bigbatch.step.worker_pass import forward_precision, in_full_precision, seed_worker
from bigbatch.tasks.losses import find_objective
from bigbatch.training.parts import build_minibatches
from bigbatch.training.starting_model import starting_model

MIN_WORKERS: Final = 2  # with one worker, its mean and the minibatch's mean are the same
MAX_WORKERS: Final = 4

Batch = tuple[Any, Any]
Minibatch = list[Batch]


@dataclass(frozen=True)
class Subject:
    """The user's training, small enough to be taken apart.

    Attributes:
        recipe: what it was built from.
        data: its samples.
        device: where the model and the batches are.
        model: as initialised, in training mode; checks work on copies.
        objective: the recipe's loss function or objective.
        batch: the first worker's samples of the first minibatch.
    """

    recipe: Recipe
    data: Splits
    device: torch.device
    model: nn.Module
    objective: LossFunction | Objective
    batch: Batch

    @property
    def worker_count(self) -> int:
        """Workers of a minibatch in these checks (k): the recipe's, but at least 2 if the data has them, at most 4."""
        enough = min(max(self.recipe.worker_count, MIN_WORKERS), MAX_WORKERS)
        return min(enough, self.data.samples_per_epoch // self.recipe.worker_minibatch_size)

    @property
    def minibatch_size(self) -> int:
        """Samples of a minibatch in these checks (kn)."""
        return self.worker_count * self.recipe.worker_minibatch_size

    def minibatches(self, count: int) -> list[Minibatch]:
        """Return `count` minibatches of `worker_count` batches; a small data set starts again."""
        source = build_minibatches(self.recipe, self.data, self.device, minibatch_size=self.minibatch_size)
        found = [list(minibatch) for minibatch in islice(source.epoch(0), count)]
        return [found[i % len(found)] for i in range(count)]

    def copy(self) -> nn.Module:
        """Return a model in the state in which this one was built; built anew if it cannot be copied."""
        try:
            return copy.deepcopy(self.model)
        except (TypeError, RuntimeError):  # a lock, or a weight that is computed from others
            return build(self.recipe, self.data, self.device)

    def losses(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return what the objective says of a worker's batch: a loss for each sample, or its total."""
        found = self.value(model, batch)
        return found.total if isinstance(found, Loss) else found

    def loss(self, model: nn.Module, batch: Batch, *, precision: str = "") -> Loss:
        """Return a worker's total, and the weight that belongs to it: the number of samples if it counts none."""
        found = self.value(model, batch, precision=precision)
        return found if isinstance(found, Loss) else Loss(found.sum(), found.numel())

    def value(self, model: nn.Module, batch: Batch, *, precision: str = "") -> Tensor | Loss:
        """Return what the objective returns for a worker's batch, in the recipe's precision by default."""
        with forward_precision(self.device, precision or self.recipe.precision):
            found = as_objective(self.objective)(model, batch)
        return (
            Loss(in_full_precision(found.total), found.weight) if isinstance(found, Loss) else in_full_precision(found)
        )

    def seed(self, worker: int = 0) -> None:
        """Seed the generators as the first iteration does for a worker."""
        seed_worker(self.recipe.seed_of("augmentation"), 0, worker, self.device)

    @torch.no_grad()
    def outputs(self) -> Any:  # noqa: ANN401 - whatever the model returns
        """Return the model's outputs for `batch`, without a gradient."""
        model = self.copy()
        self.seed()
        return model(self.batch[0])


def build_subject(recipe: Recipe, data: Splits, device: torch.device) -> Subject:
    """Build what the recipe names.

    Raises:
        InputError: the recipe does not fit the data, or names something that cannot be built.
    """
    recipe.sampling(data.samples_per_epoch)
    source = build_minibatches(recipe, data, device, minibatch_size=recipe.worker_minibatch_size)
    batch = next(next(source.epoch(0)))
    return Subject(recipe, data, device, build(recipe, data, device), find_objective(recipe), batch)


def build(recipe: Recipe, data: Splits, device: torch.device) -> nn.Module:
    """Build the model anew, as the first iteration has it: with its file's weights, and with what is frozen."""
    start = starting_model(recipe, data, device)
    if start.freezing:
        start.freezing.freeze()
    return start.model.train()
