"""Losses by name: one loss a sample, which a step sums and divides by the minibatch size."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from bigbatch.errors import InputError
from bigbatch.user_code import is_user_code, load_callable

if TYPE_CHECKING:
    from torch import Tensor

CROSS_ENTROPY: Final = "cross-entropy"


def check_loss_name(name: str) -> None:
    """Refuse a name that is neither ours nor `package.module:callable`.

    Raises:
        InputError: with what is known.
    """
    if name != CROSS_ENTROPY and not is_user_code(name):
        msg = f"unknown loss '{name}'; known is: {CROSS_ENTROPY} (or package.module:callable)"
        raise InputError(msg)


def find_loss(name: str) -> "Callable[[Any, Any], Tensor]":
    """Return the loss that a recipe names: a function of (model output, targets).

    Raises:
        InputError: there is no such callable.
    """
    check_loss_name(name)
    if is_user_code(name):
        return load_callable(name)
    from torch import nn

    return nn.CrossEntropyLoss(reduction="none")
