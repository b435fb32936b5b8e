"""Metrics of a model's outputs and their targets: top-k error, perplexity, mean IoU."""

import math
from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional

from bigbatch.recipe.metrics import MEAN_IOU, MEASURES, PERPLEXITY
from bigbatch.tasks.fitting import are_labels, check_classes, has_classes_second, require
from bigbatch.tasks.outputs import main_output, scored_output

IGNORED: Final = -100  # as in torch's cross-entropy
VOID: Final = 255  # as in the masks of Pascal VOC and Cityscapes


class TopError:
    """The part of the samples whose label is not among the k largest logits, in %.

    >>> metric = TopError(1)
    >>> round(metric.result([metric.measure(torch.eye(3), torch.tensor([0, 1, 0]))]), 6)
    33.333333
    """

    def __init__(self, k: int) -> None:
        self.k = k
        measure = MEASURES[f"top-{k}-error"]
        self.name, self.unit, self.better = measure.name, measure.unit, measure.better

    def measure(self, outputs: Any, targets: Any) -> list[int]:  # noqa: ANN401 - refused below
        """Return how many labels are among the k largest logits, and how many there are."""
        outputs = main_output(outputs)
        fits = isinstance(outputs, Tensor) and are_labels(targets) and outputs.ndim == 2 and targets.ndim == 1  # noqa: PLR2004 - (n, classes)
        fits = fits and len(outputs) == len(targets) and outputs.shape[1] > self.k
        needs = f"logits (n, classes) of more than {self.k} class{'es' if self.k > 1 else ''} and a label a sample (n,)"
        require(self.name, outputs, targets, needs, is_met=fits)
        check_classes(self.name, targets, outputs.shape[1])
        if self.k == 1:
            return [int((outputs.argmax(1) == targets).sum()), len(targets)]
        return [int((outputs.topk(self.k).indices == targets[:, None]).sum()), len(targets)]

    def result(self, parts: Sequence[Any]) -> float:
        """Return the error in %."""
        correct, count = (sum(part[i] for part in parts) for i in range(2))
        return float(100 * (1 - correct / count))


class Perplexity:
    """The exponential of the mean cross-entropy of all labels; those of -100 do not count.

    It takes logits (n, ..., classes), as language models return them, or (n, classes, ...).
    """

    name, unit, better = PERPLEXITY.name, PERPLEXITY.unit, PERPLEXITY.better

    def measure(self, outputs: Any, targets: Any) -> list[float]:  # noqa: ANN401 - refused below
        """Return the summed cross-entropy, and the number of labels that count."""
        outputs = main_output(outputs)
        fits = isinstance(outputs, Tensor) and are_labels(targets) and outputs.ndim > 1
        is_last = fits and outputs.shape[:-1] == targets.shape
        needs = "logits (n, ..., classes) or (n, classes, ...) and a label for each place (n, ...)"
        require(self.name, outputs, targets, needs, is_met=is_last or (fits and has_classes_second(outputs, targets)))
        logits = (outputs if is_last else outputs.movedim(1, -1)).flatten(0, -2)
        labels = targets.flatten().long()
        counted = labels[labels != IGNORED]
        check_classes(self.name, counted, logits.shape[-1], but=f", or {IGNORED} to be left out")
        losses = functional.cross_entropy(logits, labels, reduction="none", ignore_index=IGNORED)
        return [float(losses.double().sum()), float(counted.numel())]

    def result(self, parts: Sequence[Any]) -> float:
        """Return exp(mean loss); infinity if that is too large for a number."""
        return exponential(mean_of(parts))


class MeanIoU:
    """The mean over classes of intersection over union, in %; classes that occur in neither do not count.

    Labels of -100 are left out, and so are those of 255 if the model has no such class.
    """

    name, unit, better = MEAN_IOU.name, MEAN_IOU.unit, MEAN_IOU.better

    def measure(self, outputs: Any, targets: Any) -> list[Tensor]:  # noqa: ANN401 - refused below
        """Return each class's number of places that are predicted rightly, predicted, and labelled."""
        outputs = scored_output(outputs, targets)
        fits = isinstance(outputs, Tensor) and are_labels(targets) and outputs.ndim > 2  # noqa: PLR2004 - places, too
        fits = fits and has_classes_second(outputs, targets) and outputs.shape[1] > 1
        needs = "logits (n, classes, ...) of at least 2 classes and a label for each place (n, ...)"
        require(self.name, outputs, targets, needs, is_met=fits)
        num_classes, labels = outputs.shape[1], targets.long()
        counts = labels != IGNORED
        if num_classes <= VOID:
            counts &= labels != VOID
        labels, predicted = labels[counts], outputs.argmax(1)[counts]
        check_classes(self.name, labels, num_classes, but=f", or {IGNORED} or {VOID} to be left out")
        right = labels[labels == predicted]
        return [torch.bincount(found, minlength=num_classes) for found in (right, predicted, labels)]

    def result(self, parts: Sequence[Any]) -> float:
        """Return the mean over the classes that occur; NaN if none does."""
        right, predicted, labelled = (sum(part[i] for part in parts) for i in range(3))
        union = (predicted + labelled - right).double()
        return float(100 * (right.double()[union > 0] / union[union > 0]).mean())


def mean_of(parts: Sequence[Any]) -> float:
    """Return the sum of totals over the sum of weights of parts (total, weight); NaN if nothing counts."""
    totals, weight = [total for total, _ in parts], math.fsum(weight for _, weight in parts)
    if not all(map(math.isfinite, totals)):
        return float(sum(totals))
    return math.fsum(totals) / weight if weight else math.nan


def exponential(value: float) -> float:
    """Return e to the power of a value; infinity if that is too large for a number."""
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf
