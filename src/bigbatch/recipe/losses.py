"""The losses that a recipe may name. What each computes is in `tasks.losses`."""

from typing import Final

from bigbatch.errors import InputError, nearest
from bigbatch.models.names import DETECTION
from bigbatch.user_code import is_user_code

CROSS_ENTROPY: Final = "cross-entropy"
OBJECTIVES: Final = {
    DETECTION: "a detector's own losses, summed; by samples or by worker, as the detector divides them"
}
LOSSES: Final = {
    CROSS_ENTROPY: "logits (n, classes) and a class for each sample; one loss a sample",
    "token-cross-entropy": "logits (n, length, classes) and a class for each token; by count, -100 is ignored",
    "pixel-cross-entropy": "logits (n, classes, height, width) and a class for each pixel; by count, -100 is ignored",
    "binary-cross-entropy": "logits and targets from 0 to 1 of one shape (n, ...); the mean over a sample's labels",
    "mean-squared-error": "outputs and targets of one shape (n, ...); the mean over a sample's numbers",
}


def check_loss_name(name: str) -> None:
    """Refuse a name that is neither ours nor `package.module:callable`.

    Raises:
        InputError: with the nearest name.
    """
    if name not in LOSSES and not is_user_code(name):
        msg = f"unknown loss '{name}'; {nearest(name, list(LOSSES))} (or package.module:callable)"
        raise InputError(msg)


def check_objective(objective: str, loss: str) -> None:
    """Refuse an objective that is neither ours nor user code, or one beside a loss.

    Raises:
        InputError: says which of the two to set.
    """
    if not objective:
        return
    if objective not in OBJECTIVES and not is_user_code(objective):
        hint = nearest(objective, list(OBJECTIVES))
        msg = f"unknown objective '{objective}'; {hint} (or package.module:callable, called with (model, batch))"
        raise InputError(msg)
    if loss != CROSS_ENTROPY:
        msg = f"loss '{loss}' would do nothing beside objective '{objective}'; remove one of them"
        raise InputError(msg)
