"""The metrics of a model on a data set. Every sample counts exactly once, for any number of processes."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from bigbatch.data.collation import Collate
from bigbatch.data.dataset import BatchDataset, Samples, as_batch_dataset
from bigbatch.data.loading import load_batches
from bigbatch.errors import InputError
from bigbatch.processes.group import Processes
from bigbatch.processes.join import Machine
from bigbatch.recipe import Recipe
from bigbatch.recipe.metrics import TOP_1_ERROR, Measure
from bigbatch.rules.randomness.generators import kept_generators
from bigbatch.rules.sampling import BatchIndices
from bigbatch.step.objective import LossFunction, Objective
from bigbatch.tasks.detection_metrics import AveragePrecision
from bigbatch.tasks.fitting import IncomputableError
from bigbatch.tasks.losses import find_objective, find_predict
from bigbatch.tasks.metrics import MetricLike, find_metrics, measure_of
from bigbatch.training.batch_statistics import BatchStatistics
from bigbatch.training.contributions import gather
from bigbatch.training.scoring import KeptBuffers, Predict, Scorer, evaluation_mode, result_of

PART_SIZE: Final = 250


@dataclass(frozen=True)
class Scores:
    """The metrics of a model on a data set.

    Attributes:
        num_samples: all samples of the data set.
        values: of each metric, in its unit, by its name.
        measures: the metrics, in their order.

    >>> print(Scores(517, {"top-1-error": 2.4567}, (TOP_1_ERROR,)))
    top-1 error 2.46 % (517 samples)
    """

    num_samples: int
    values: Mapping[str, float]
    measures: tuple[Measure, ...]

    @property
    def value(self) -> float:
        """The first metric, which judges."""
        return self.values[self.measures[0].name]

    def to_json(self) -> dict[str, float | None]:
        """Return the values; None for one that is NaN or infinite, which JSON does not have."""
        return {name: value if math.isfinite(value) else None for name, value in self.values.items()}

    def in_words(self) -> str:
        """Return the values as a line of the progress has them.

        >>> Scores(517, {"top-1-error": 2.4567}, (TOP_1_ERROR,)).in_words()
        'validation error 2.46 %'
        """
        texts = [f"{measure.title} {measure.text(self.values[measure.name])}" for measure in self.measures[1:]]
        return "  ".join([f"{self.measures[0].label} {self.measures[0].text(self.value)}", *texts])

    def __getitem__(self, name: str) -> float:
        return self.values[name]

    def __float__(self) -> float:
        return self.value

    def __str__(self) -> str:
        texts = (f"{measure.title} {measure.text(self.values[measure.name])}" for measure in self.measures)
        return f"{', '.join(texts)} ({self.num_samples:,} samples)"


@dataclass(frozen=True)
class Evaluation:
    """How models are evaluated.

    Attributes:
        scorer: scores a part of the data.
        part_size: samples of a part.
        loader_workers: processes that read ahead; 0 reads in the process itself.
    """

    scorer: Scorer
    part_size: int = PART_SIZE
    loader_workers: int = 0

    @classmethod
    def of(cls, recipe: Recipe, *, loader_workers: int = 0) -> "Evaluation":
        """Return how a recipe says to evaluate.

        Raises:
            InputError: it names a metric or a function that cannot be found.
        """
        predict = find_predict(recipe)
        metrics = find_metrics(recipe.metrics, objective=find_objective(recipe), has_predict=predict is not None)
        scorer = Scorer(metrics, predict, recipe.precision)
        return cls(scorer, recipe.evaluation.part_size, loader_workers)

    @property
    def measures(self) -> tuple[Measure, ...]:
        """The metrics' descriptions; the first one judges."""
        return tuple(map(measure_of, self.scorer.metrics))

    def scores(self, model: nn.Module, dataset: BatchDataset, processes: Processes) -> Scores:
        """Measure the metrics. All processes call it together, and all get the same.

        Raises:
            InputError: a sample cannot be read, or a metric does not fit; the same text on every process.
            PeerLostError: another process ended, or did not answer in time.
        """
        num_parts = -(-len(dataset) // self.part_size)
        device = device_of(model)
        numbers = range(processes.rank, num_parts, processes.world_size)
        parts = self._parts(model, dataset, numbers, device, loader_workers=self.loader_workers)
        return self._combine(_shared(parts, numbers, processes, device), len(dataset))

    def renew_statistics(
        self,
        model: nn.Module,
        dataset: BatchDataset,
        batches: Sequence[BatchIndices],
        processes: Processes,
        *,
        seed: int,
    ) -> None:
        """Compute batch normalisation's running statistics anew, as the mean over batches of the training data.

        All processes call it together, and all get the same bits.

        Args:
            model: in training mode.
            dataset: that the batches are of.
            batches: one worker's each.
            processes: which share them.
            seed: of the augmentation.

        Raises:
            InputError: the model trains no batch normalisation, or a sample cannot be read; the same on every process.
            PeerLostError: another process ended, or did not answer in time.
        """
        statistics, device = BatchStatistics(model), device_of(model)
        numbers = range(processes.rank, len(batches), processes.world_size)

        def measure() -> Iterator[tuple[int, Any]]:
            with kept_generators(device), evaluation_mode(model), statistics.measured():
                kept, mine = KeptBuffers(model), [batches[number] for number in numbers]
                found = load_batches(dataset, mine, seed=seed, device=device, loader_workers=self.loader_workers)
                for number, batch in zip(numbers, found, strict=True):
                    statistics.clear()
                    self.scorer(model, batch, part=number, device=device)
                    measured = statistics.read()
                    kept.restore()
                    yield number, measured

        statistics.set_to_mean(_shared(measure(), numbers, processes, device))

    def check(self, model: nn.Module, dataset: BatchDataset) -> None:
        """Score the first part of a data set, on every process alone, so that what cannot work fails at once.

        Raises:
            InputError: a metric does not fit the model or the data.
        """
        for metric in self.scorer.metrics:
            if isinstance(metric, AveragePrecision):
                metric.check_objects(dataset)
        first = self._parts(model, dataset, range(1), device_of(model), loader_workers=0)
        with suppress(IncomputableError):  # a part may hold a single class, or too few samples
            self._combine([contributions for _, contributions in first], min(self.part_size, len(dataset)))

    def _parts(
        self,
        model: nn.Module,
        dataset: BatchDataset,
        numbers: Sequence[int],
        device: torch.device,
        *,
        loader_workers: int,
    ) -> Iterator[tuple[int, Any]]:
        """Yield what each of these parts contributes. The model and the generators stay as they were."""
        ends = [min((number + 1) * self.part_size, len(dataset)) for number in numbers]
        indices = [
            BatchIndices(0, np.arange(number * self.part_size, end)) for number, end in zip(numbers, ends, strict=True)
        ]
        kept = KeptBuffers(model)
        with kept_generators(device), evaluation_mode(model):
            batches = load_batches(dataset, indices, seed=0, device=device, loader_workers=loader_workers)
            for number, batch in zip(numbers, batches, strict=True):
                try:
                    contributions = self.scorer(model, batch, part=number, device=device)
                finally:
                    kept.restore()
                yield number, contributions

    def _combine(self, parts: Sequence[Any], num_samples: int) -> Scores:
        metrics, values = self.scorer.metrics, {}
        for i, metric in enumerate(metrics):
            values[metric.name] = result_of(metric, [part[i] for part in parts])
        return Scores(num_samples, values, self.measures)


def _shared(
    parts: Iterator[tuple[int, Any]], numbers: Sequence[int], processes: Processes, device: torch.device
) -> list[Any]:
    """Return the parts of all processes, in order.

    Raises:
        InputError: of a part, on any process; the same on every one.
        PeerLostError: another process ended, or did not answer in time.
    """
    mine: dict[int, Any] = {}
    try:
        mine.update(parts)
    except InputError as error:  # the others must hear of it, as they wait
        if processes.world_size == 1:
            raise
        mine[numbers[len(mine)]] = str(error)
    found = gather(mine, processes, device)
    for part in found:
        if isinstance(part, str):
            raise InputError(part)
    return found


def evaluate(  # noqa: PLR0913 - each is a part of the question
    model: nn.Module,
    dataset: BatchDataset | Samples,
    metric: MetricLike | Sequence[MetricLike] = TOP_1_ERROR.name,
    *,
    machine: Machine | None = None,
    objective: LossFunction | Objective | None = None,
    predict: Predict | None = None,
    collate: Collate | None = None,
    part_size: int = PART_SIZE,
    precision: str = "float32",
    loader_workers: int = 0,
) -> Scores:
    """Measure metrics of a model on a data set. All processes call it together, and all get the same bits.

    The samples are cut into the same parts for any number of processes. One process scores each part, and every
    process computes the result from all parts in their order. The model, its buffers and the generators stay as they
    were.

    Args:
        model: it runs in evaluation mode, which is then undone.
        dataset: anything with `len()` and `[index]`, or a `BatchDataset`.
        metric: "top-1-error", "top-5-error", "mean-loss", "perplexity", "mean-iou", "coco-box-ap" or "coco-mask-ap"; a
            `Metric` of your own; a metric of torchmetrics; or a list of these, of which the first one judges.
        machine: what `bigbatch.joined` has given; by default all processes that have joined, or this one alone.
        objective: the loss function, or the objective, that mean-loss measures.
        predict: a function of (model, batch) that returns (outputs, targets); by default model(batch[0]) and batch[1].
        collate: makes a batch of a list of samples; by default as torch's DataLoader does.
        part_size: samples that are scored at once.
        precision: "float32", or "bfloat16" to run the forward pass under autocast.
        loader_workers: processes that read ahead; 0 reads in the process itself.

    Raises:
        InputError: a sample cannot be read, or a metric does not fit the model or the data.
        PeerLostError: another process ended, or did not answer in time.

    >>> model = nn.Linear(2, 3)
    >>> with torch.no_grad():
    ...     model.bias.copy_(torch.tensor([1.0, 0.0, 0.0])) is model.bias
    True
    >>> print(evaluate(model, [(torch.zeros(2), 0)] * 9 + [(torch.zeros(2), 2)]))
    top-1 error 10.00 % (10 samples)
    """
    wanted = metric if isinstance(metric, list | tuple) else [metric]
    metrics = find_metrics(wanted, objective=objective, has_predict=predict is not None)
    if part_size < 1:
        msg = f"part_size must be at least 1, not {part_size}"
        raise InputError(msg)
    data = as_batch_dataset(dataset, collate, what="the validation data")
    processes = machine.processes if machine else Processes.current()
    evaluation = Evaluation(Scorer(metrics, predict, precision), part_size, loader_workers)
    return evaluation.scores(model, data, processes)


def device_of(model: nn.Module) -> torch.device:
    """Return the device of a model's first parameter or buffer; the CPU if it has none."""
    return next((tensor.device for tensor in (*model.parameters(), *model.buffers())), torch.device("cpu"))
