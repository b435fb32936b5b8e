"""Losses and objectives by name (`recipe.losses` describes each)."""

from collections.abc import Callable
from typing import Any, Final

from torch import Tensor, nn
from torch.nn import functional

from bigbatch.errors import InputError
from bigbatch.models.names import DETECTION
from bigbatch.recipe import Recipe
from bigbatch.recipe.losses import CROSS_ENTROPY
from bigbatch.step.objective import Loss, LossFunction, Objective
from bigbatch.tasks.detection import detected_objects, detection_loss
from bigbatch.tasks.outputs import auxiliary_output, enlarged, tensor_of
from bigbatch.user_code import is_user_code, load_callable

AUXILIARY_WEIGHT: Final = 0.5
IGNORED: Final = -100  # the class that torch's cross-entropy ignores by default


def find_objective(recipe: Recipe) -> LossFunction | Objective:
    """Return what the recipe's training minimises: its objective, or its loss of (model output, targets).

    Raises:
        InputError: there is no such callable.
    """
    if recipe.objective in OBJECTIVES:
        return OBJECTIVES[recipe.objective]
    if recipe.objective:
        found = load_callable(recipe.objective)
        return found if isinstance(found, Objective) else Objective(found)
    if is_user_code(recipe.loss):
        return load_callable(recipe.loss)
    return BUILT_IN[recipe.loss]


def find_predict(recipe: Recipe) -> Callable[[nn.Module, Any], tuple[Any, Any]] | None:
    """Return the function of (model, batch) that gives outputs and targets to metrics; None for the model itself.

    Raises:
        InputError: there is no such callable.
    """
    if recipe.evaluation.predict:
        return load_callable(recipe.evaluation.predict)
    return PREDICTS.get(recipe.objective)


def cross_entropy(outputs: Any, targets: Tensor) -> Tensor:  # noqa: ANN401 - whatever a model returns
    """Return each sample's cross-entropy; the logits have the shape (n, classes), the targets (n,)."""
    return functional.cross_entropy(tensor_of(outputs, CROSS_ENTROPY), targets, reduction="none")


def token_cross_entropy(outputs: Any, targets: Tensor) -> Loss:  # noqa: ANN401 - whatever a model returns
    """Return the cross-entropy of every token, by count.

    Args:
        outputs: logits, shape (n, length, classes).
        targets: a class for each token, shape (n, length); -100 is ignored.
    """
    return _counted(tensor_of(outputs, "token-cross-entropy").movedim(-1, 1), targets)


def pixel_cross_entropy(outputs: Any, targets: Tensor) -> Loss:  # noqa: ANN401 - whatever a model returns
    """Return the cross-entropy of every pixel, by count.

    Half the loss of an auxiliary classifier is added, as torchvision's references do.

    Args:
        outputs: logits, shape (n, classes, ...); smaller images of logits are enlarged to the size of the targets.
        targets: a class for each place, shape (n, ...); -100 is ignored.
    """
    loss = _counted(enlarged(tensor_of(outputs, "pixel-cross-entropy"), targets), targets)
    auxiliary = auxiliary_output(outputs)
    if auxiliary is None:
        return loss
    return Loss(loss.total + AUXILIARY_WEIGHT * _counted(enlarged(auxiliary, targets), targets).total, loss.weight)


def _counted(logits: Tensor, targets: Tensor) -> Loss:
    total = functional.cross_entropy(logits, targets, ignore_index=IGNORED, reduction="sum")
    return Loss(total, (targets != IGNORED).sum())


def binary_cross_entropy(outputs: Any, targets: Tensor) -> Tensor:  # noqa: ANN401 - whatever a model returns
    """Return each sample's mean over its labels; logits and targets have the shape (n, ...)."""
    logits = tensor_of(outputs, "binary-cross-entropy")
    _check_shapes("binary-cross-entropy", logits, targets)
    losses = functional.binary_cross_entropy_with_logits(logits, targets.to(logits.dtype), reduction="none")
    return losses.flatten(1).mean(1) if losses.ndim > 1 else losses


def mean_squared_error(outputs: Any, targets: Tensor) -> Tensor:  # noqa: ANN401 - whatever a model returns
    """Return each sample's mean over its numbers; outputs and targets have the shape (n, ...)."""
    numbers = tensor_of(outputs, "mean-squared-error")
    _check_shapes("mean-squared-error", numbers, targets)
    losses = (numbers - targets).square()
    return losses.flatten(1).mean(1) if losses.ndim > 1 else losses


def _check_shapes(name: str, outputs: Tensor, targets: Tensor) -> None:
    if outputs.shape != targets.shape:  # torch would broadcast them against each other
        msg = f"{name}: the model's outputs have the shape {list(outputs.shape)}, the targets {list(targets.shape)}"
        raise InputError(msg)


OBJECTIVES: Final = {DETECTION: Objective(detection_loss)}
PREDICTS: Final = {DETECTION: detected_objects}
BUILT_IN: Final[dict[str, Callable[[Any, Tensor], Tensor | Loss]]] = {
    CROSS_ENTROPY: cross_entropy,
    "token-cross-entropy": token_cross_entropy,
    "pixel-cross-entropy": pixel_cross_entropy,
    "binary-cross-entropy": binary_cross_entropy,
    "mean-squared-error": mean_squared_error,
}
