"""What a worker minimises: its summed loss, and what the sum over all workers is divided by."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
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
    return function if isinstance(function, Objective) else Objective(partial(_loss_of, function))


def checking(function: LossFunction | Objective, num_samples: int) -> LossFunction | Objective:
    """Return the same, made to refuse a loss that only looks like one loss a sample. It computes more: use it once.

    Args:
        function: a loss function or an objective; nothing is checked of an objective.
        num_samples: of a batch (n).
    """
    if isinstance(function, Objective):
        return function

    def checked(outputs: Any, targets: Any) -> Tensor | Loss:  # noqa: ANN401 - whatever the loss takes
        losses = function(outputs, targets)
        if isinstance(losses, Tensor) and losses.shape == (num_samples,) and num_samples > 1:
            _check_order(function, outputs, targets, losses)
        return losses

    return checked


def _loss_of(loss_function: LossFunction, model: nn.Module, batch: Any) -> Tensor | Loss:  # noqa: ANN401 - any batch
    if not (isinstance(batch, tuple | list) and len(batch) == 2):  # noqa: PLR2004 - a pair
        kind = type(batch).__name__
        msg = (
            f"a batch is a {kind}, not (inputs, targets); give Step an objective of (model, batch): @bigbatch.objective"
        )
        raise InputError(msg)
    return loss_function(model(batch[0]), batch[1])


def _check_order(loss_function: LossFunction, outputs: Any, targets: Any, losses: Tensor) -> None:  # noqa: ANN401
    """Refuse losses that stay in their places when the samples change theirs: those of classes, as of a batch Dice."""
    n = len(losses)
    try:
        again = loss_function(_rolled(outputs, n), _rolled(targets, n))
    except RuntimeError:  # it takes derivatives, for which other outputs are of no use
        return
    if not isinstance(again, Tensor) or again.shape != losses.shape:
        return
    if torch.allclose(again, losses, rtol=1e-4) and not torch.allclose(losses.roll(1, 0), losses, rtol=1e-2):
        msg = (
            f"the loss has {n} values, but they do not follow the {n} samples: they stay in place when the samples "
            "are reordered; return one loss a sample, or by worker bigbatch.Loss(losses.mean(), 1)"
        )
        raise InputError(msg)


def _rolled(value: Any, n: int) -> Any:  # noqa: ANN401 - whatever the model returns
    """Return a batch's samples in another order; what is not of n samples stays."""
    if isinstance(value, Tensor):
        return value.roll(1, 0) if value.ndim and len(value) == n else value
    if isinstance(value, dict):
        return {key: _rolled(part, n) for key, part in value.items()}
    if type(value) in {tuple, list}:
        return type(value)(_rolled(part, n) for part in value)
    return value


def check_parameters(total: Tensor, model: nn.Module) -> None:
    """Refuse a loss with parameters that are not the model's: no process would give them the sum of their gradients.

    Args:
        total: of a worker's pass, with its graph.
        model: what is trained.

    Raises:
        InputError: gives the parameter's shape, and says to make it a part of the model.
    """
    known = {id(parameter) for parameter in model.parameters()}
    for leaf in _leaves(total):
        if isinstance(leaf, nn.Parameter) and id(leaf) not in known:
            msg = (
                f"the loss has a parameter of shape {list(leaf.shape)} that is not the model's; make its module a part "
                "of the model (model.head = loss) and give all parameters to one optimizer"
            )
            raise InputError(msg)


def _leaves(total: Tensor) -> Iterator[Tensor]:
    """Yield the tensors whose gradients backpropagation would accumulate."""
    nodes, seen = [total.grad_fn], set()
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if isinstance(leaf := getattr(node, "variable", None), Tensor):
            yield leaf
        nodes += [following for following, _ in node.next_functions]
