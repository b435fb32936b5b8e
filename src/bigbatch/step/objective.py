"""What a worker minimises: its summed loss, and what the sum over all workers is divided by."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from bigbatch.errors import InputError


@dataclass(frozen=True)
class Loss:
    """A worker's loss. The minibatch's loss is the sum of all totals over the sum of all weights.

    | normalisation | total | weight | where it is right |
    |---|---|---|---|
    | by count | the sum over tokens, pixels or class weights | how many there are | language, masks, weighted classes |
    | by worker | the worker's own mean | 1 | losses that normalise inside by what they find, as in detection |

    A loss by samples needs no `Loss`: it is one loss a sample, a tensor of shape (n,).

    Attributes:
        total: what is summed, a scalar.
        weight: what the sum is divided by, a number or a scalar. A worker with nothing to count has a total of 0 and
            a weight of 0.

    >>> import torch
    >>> losses, mask = torch.tensor([[1.0, 2.0], [3.0, 9.0]]), torch.tensor([[1, 1], [1, 0]])
    >>> loss = Loss((losses * mask).sum(), mask.sum())
    >>> float(loss.total / loss.weight)
    2.0
    """

    total: Tensor
    weight: Tensor | float


LossFunction = Callable[[Any, Any], Tensor | Loss]


@dataclass(frozen=True)
class Objective:
    """A function of (model, batch) that returns a `Loss`, or one loss a sample; `@bigbatch.objective` makes one."""

    function: Callable[[nn.Module, Any], Tensor | Loss]

    def __call__(self, model: nn.Module, batch: Any) -> Tensor | Loss:  # noqa: ANN401 - any batch
        """Return what the model loses on a worker's batch."""
        return self.function(model, batch)


def objective(function: Callable[[nn.Module, Any], Tensor | Loss]) -> Objective:
    """Mark a function of (model, batch) as what a `Step` shall minimise. A plain loss function needs no mark.

    @bigbatch.objective
    def next_token(model, batch):
        logits = model(batch["tokens"]).transpose(1, 2)
        total = torch.nn.functional.cross_entropy(logits, batch["next"], reduction="sum")
        return bigbatch.Loss(total, (batch["next"] != -100).sum())
    """
    return Objective(function)


def as_objective(function: LossFunction | Objective) -> Objective:
    """Return an objective: the given one, or the loss function of the model's output and the targets."""
    if isinstance(function, Objective):
        return function
    return Objective(lambda model, batch: _loss_of(function, model, batch))


def _loss_of(loss_function: LossFunction, model: nn.Module, batch: Any) -> Tensor | Loss:  # noqa: ANN401 - any batch
    if not (isinstance(batch, tuple | list) and len(batch) == 2):  # noqa: PLR2004 - a pair
        kind = type(batch).__name__
        msg = (
            f"a batch is a {kind}, not (inputs, targets); give Step an objective of (model, batch): @bigbatch.objective"
        )
        raise InputError(msg)
    return loss_function(model(batch[0]), batch[1])
