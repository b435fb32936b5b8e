"""Metrics: what one fixed part of the data contributes, and the result from all parts in order."""

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, Protocol

from bigbatch.errors import InputError, nearest
from bigbatch.recipe.metrics import AVERAGE_PRECISIONS, DIRECTIONS, MEASURES, Measure
from bigbatch.step.objective import LossFunction, Objective
from bigbatch.tasks.detection_metrics import AveragePrecision
from bigbatch.tasks.loss_metrics import MeanLoss, MeanObjective, ObjectivePerplexity
from bigbatch.tasks.prediction_metrics import MeanIoU, Perplexity, TopError
from bigbatch.tasks.torchmetrics import TorchMetric, is_torchmetric
from bigbatch.user_code import call_user_code, is_user_code

ATTRIBUTES: Final = ("name", "unit", "better")


class Metric(Protocol):
    """What a model is judged by.

    The data is cut into the same parts for any number of processes. One process measures each part. Every process then
    has the contributions of all parts in the order of the data, and computes the result from them. So the result has
    the same bits on every process, for any number of them. A contribution holds tensors and plain values (numbers,
    strings, None), also in lists, tuples and dictionaries; it comes back with its tensors on the CPU.

    A metric that needs more than outputs and targets has `measure_batch(model, batch)` in the place of `measure`.
    """

    @property
    def name(self) -> str:
        """Its words, joined by dashes, such as "top-1-error"."""
        ...

    @property
    def unit(self) -> str:
        """The unit: "%", another, or "" for a plain number."""
        ...

    @property
    def better(self) -> str:
        """Which way is better: "lower" or "higher"."""
        ...

    def measure(self, outputs: Any, targets: Any) -> Any:  # noqa: ANN401 - what the model returns and the data holds
        """Return what one part of the data contributes."""
        ...

    def result(self, parts: Sequence[Any]) -> float:
        """Return the metric of all parts, which come in the order of the data."""
        ...


MetricLike = str | Metric | Any  # a name, a Metric, or a metric of torchmetrics
BY_NAME: Final[dict[str, Callable[[], Metric]]] = {
    "top-1-error": lambda: TopError(1),
    "top-5-error": lambda: TopError(5),
    "perplexity": Perplexity,
    "mean-iou": MeanIoU,
    **{measure.name: partial(AveragePrecision, measure.name) for measure in AVERAGE_PRECISIONS},
}


def find_metrics(
    wanted: Sequence[MetricLike], *, objective: LossFunction | Objective | None = None, has_predict: bool = False
) -> list[Metric]:
    """Return metrics by their names, or as they were given.

    Args:
        wanted: names of ours, `package.module:callable`, `Metric`s, or metrics of torchmetrics.
        objective: what the training minimises; mean-loss needs it.
        has_predict: whether outputs and targets are known of a model that has an objective of (model, batch).

    Raises:
        InputError: an unknown name, a callable that returns no metric, or two metrics of one name.
    """
    found = [_find(metric, objective, has_predict=has_predict) for metric in wanted]
    names = [metric.name for metric in found]
    if not names or len(set(names)) < len(names):
        msg = f"a run is judged by at least one metric, each by a name of its own, not by {names}"
        raise InputError(msg)
    return found


def measure_of(metric: Metric) -> Measure:
    """Return the description of a metric that a run records."""
    return Measure(metric.name, metric.unit, metric.better)


def _find(wanted: MetricLike, objective: LossFunction | Objective | None, *, has_predict: bool) -> Metric:
    if not isinstance(wanted, str):
        return _as_metric(wanted, type(wanted).__name__)
    if is_user_code(wanted):
        return _as_metric(call_user_code(wanted), wanted)
    if wanted == "mean-loss":
        return _mean_loss(objective)
    if wanted == "perplexity" and isinstance(objective, Objective) and not has_predict:
        return ObjectivePerplexity(objective)
    if wanted not in BY_NAME:
        msg = f"unknown metric '{wanted}'; {nearest(wanted, list(MEASURES))}"
        raise InputError(msg)
    return BY_NAME[wanted]()


def _mean_loss(objective: LossFunction | Objective | None) -> Metric:
    if objective is None:
        msg = "mean-loss needs the loss: evaluate(..., objective=loss_function)"
        raise InputError(msg)
    return MeanObjective(objective) if isinstance(objective, Objective) else MeanLoss(objective)


def _as_metric(found: Any, source: str) -> Metric:  # noqa: ANN401 - whatever the user gave
    if is_torchmetric(found):
        return TorchMetric(found)
    texts = [getattr(found, attribute, None) for attribute in ATTRIBUTES]
    has_measure = callable(getattr(found, "measure", None)) or callable(getattr(found, "measure_batch", None))
    is_whole = all(isinstance(text, str) for text in texts) and has_measure and callable(getattr(found, "result", None))
    if not is_whole or isinstance(found, type):
        msg = (
            f"'{source}' is no metric but {_kind(found)}; a metric has name, unit and better, "
            "measure(outputs, targets) and result(parts), or is one of torchmetrics"
        )
        raise InputError(msg)
    if texts[2] not in DIRECTIONS or not re.fullmatch(r"[\w.-]+", str(texts[0])):
        msg = f"'{source}': a metric's name is words joined by dashes, and its better is lower or higher, not {texts}"
        raise InputError(msg)
    metric: Metric = found
    return metric


def _kind(found: object) -> str:
    return f"the class {found.__name__}" if isinstance(found, type) else f"a {type(found).__name__}"
