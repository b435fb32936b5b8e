"""Losses and objectives by name (`recipe.losses` describes each)."""

from collections.abc import Callable
from typing import Final

from torch import Tensor, nn
from torch.nn import functional

from bigbatch.errors import InputError
from bigbatch.recipe import Recipe
from bigbatch.recipe.losses import CROSS_ENTROPY
from bigbatch.step.objective import Loss, LossFunction, Objective
from bigbatch.user_code import is_user_code, load_callable

IGNORED: Final = -100  # the class that torch's cross-entropy ignores by default


def find_objective(recipe: Recipe) -> LossFunction | Objective:
    """Return what the recipe's training minimises: its objective, or its loss of (model output, targets).

    Raises:
        InputError: there is no such callable.
    """
    if recipe.objective:
        found = load_callable(recipe.objective)
        return found if isinstance(found, Objective) else Objective(found)
    if is_user_code(recipe.loss):
        return load_callable(recipe.loss)
    return BUILT_IN[recipe.loss]


def token_cross_entropy(logits: Tensor, targets: Tensor) -> Loss:
    """Return the cross-entropy of every token, by count.

    Args:
        logits: shape (n, length, classes).
        targets: a class for each token, shape (n, length); -100 is ignored.
    """
    return pixel_cross_entropy(logits.movedim(-1, 1), targets)


def pixel_cross_entropy(logits: Tensor, targets: Tensor) -> Loss:
    """Return the cross-entropy of every pixel, by count.

    Args:
        logits: shape (n, classes, ...).
        targets: a class for each place, shape (n, ...); -100 is ignored.
    """
    total = functional.cross_entropy(logits, targets, ignore_index=IGNORED, reduction="sum")
    return Loss(total, (targets != IGNORED).sum())


def binary_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Return each sample's mean over its labels; logits and targets have the shape (n, ...)."""
    _check_shapes("binary-cross-entropy", logits, targets)
    losses = functional.binary_cross_entropy_with_logits(logits, targets.to(logits.dtype), reduction="none")
    return losses.flatten(1).mean(1) if losses.ndim > 1 else losses


def mean_squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return each sample's mean over its numbers; outputs and targets have the shape (n, ...)."""
    _check_shapes("mean-squared-error", outputs, targets)
    losses = (outputs - targets).square()
    return losses.flatten(1).mean(1) if losses.ndim > 1 else losses


def _check_shapes(name: str, outputs: Tensor, targets: Tensor) -> None:
    if outputs.shape != targets.shape:  # torch would broadcast them against each other
        msg = f"{name}: the model's outputs have the shape {list(outputs.shape)}, the targets {list(targets.shape)}"
        raise InputError(msg)


BUILT_IN: Final[dict[str, Callable[[Tensor, Tensor], Tensor | Loss]]] = {
    CROSS_ENTROPY: nn.CrossEntropyLoss(reduction="none"),
    "token-cross-entropy": token_cross_entropy,
    "pixel-cross-entropy": pixel_cross_entropy,
    "binary-cross-entropy": binary_cross_entropy,
    "mean-squared-error": mean_squared_error,
}
