"""Metrics that are the run's own loss on the validation data: its mean, and the perplexity of a loss by count."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from bigbatch.errors import InputError
from bigbatch.recipe.metrics import MEAN_LOSS, PERPLEXITY
from bigbatch.step.objective import Loss, LossFunction, Objective
from bigbatch.tasks.fitting import describe
from bigbatch.tasks.prediction_metrics import exponential, mean_of


class MeanLoss:
    """The mean of a loss of (outputs, targets), divided as the step divides it: by samples, by count or by worker.

    Of a loss by worker, a part of the data counts as one worker.
    """

    name, unit, better = MEAN_LOSS.name, MEAN_LOSS.unit, MEAN_LOSS.better

    def __init__(self, loss_function: LossFunction) -> None:
        self.loss_function = loss_function

    def measure(self, outputs: Any, targets: Any) -> list[float]:  # noqa: ANN401 - whatever the loss takes
        """Return the summed loss, and what it is divided by."""
        return total_and_weight(self.name, self.loss_function(outputs, targets), targets)

    def result(self, parts: Sequence[Any]) -> float:
        """Return the mean."""
        return mean_of(parts)


class MeanObjective:
    """The mean of an objective of (model, batch), with the model in evaluation mode."""

    name, unit, better = MEAN_LOSS.name, MEAN_LOSS.unit, MEAN_LOSS.better

    def __init__(self, objective: Objective) -> None:
        self.objective = objective

    def measure_batch(self, model: nn.Module, batch: Any) -> list[float]:  # noqa: ANN401 - any batch
        """Return the summed loss, and what it is divided by."""
        return total_and_weight(self.name, self.objective(model, batch), None)

    def measure(self, outputs: Any, targets: Any) -> Any:  # noqa: ANN401 - never called
        """See `measure_batch`."""
        raise NotImplementedError

    def result(self, parts: Sequence[Any]) -> float:
        """Return the mean."""
        return mean_of(parts)


class ObjectivePerplexity(MeanObjective):
    """The exponential of the mean of an objective that is divided by count."""

    name, unit, better = PERPLEXITY.name, PERPLEXITY.unit, PERPLEXITY.better

    def measure_batch(self, model: nn.Module, batch: Any) -> list[float]:  # noqa: ANN401 - any batch
        """Return the summed loss, and the number of tokens that count."""
        loss = self.objective(model, batch)
        if not isinstance(loss, Loss) or (not isinstance(loss.weight, Tensor) and loss.weight == 1):
            msg = (
                f"{self.name} needs an objective that counts tokens: return Loss(summed loss, number of tokens); "
                'or set evaluation.predict, or metrics = ["mean-loss"]'
            )
            raise InputError(msg)
        return total_and_weight(self.name, loss, None)

    def result(self, parts: Sequence[Any]) -> float:
        """Return exp(mean loss)."""
        return exponential(mean_of(parts))


def total_and_weight(name: str, loss: Tensor | Loss, targets: object) -> list[float]:
    """Return a loss as its total and weight; one loss a sample has their number as its weight.

    Raises:
        InputError: a single number, whose number of samples is not known.
    """
    if isinstance(loss, Loss):
        return [float(loss.total), float(loss.weight)]
    if isinstance(loss, Tensor) and loss.ndim:
        return [float(loss.detach().double().sum()), float(len(loss))]
    if isinstance(loss, Tensor) and isinstance(targets, Tensor) and targets.ndim:  # the sum over the samples
        return [float(loss), float(len(targets))]
    msg = f"{name} needs one loss a sample or a Loss(total, weight), not a loss {describe(loss)}"
    raise InputError(msg)
