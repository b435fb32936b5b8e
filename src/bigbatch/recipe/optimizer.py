"""The optimizer and the average of the weights, as sections of a recipe."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from bigbatch.errors import InputError, nearest
from bigbatch.user_code import is_user_code

ADAM_LIKE: Final = ("adam", "adamw", "lamb")  # which divide by the root of the gradient's squares
BY_SQUARE_ROOT: Final = ("adam", "adamw")  # whose betas and epsilon the square-root rule scales too
LAYERWISE: Final = ("lars", "lamb")
WITH_MOMENTUM: Final = ("sgd", "lars")
OPTIMIZERS: Final = ("sgd", "adam", "adamw", "lars", "lamb")
USED_BY: Final = {"betas": ADAM_LIKE, "epsilon": ADAM_LIKE, "trust": ("lars",)}


@dataclass(frozen=True)
class Optimizer:
    """What turns gradients into updates.

    Attributes:
        name: sgd, adam, adamw (torch's), lars (arXiv 1708.03888), lamb (arXiv 1904.00962), or
            `package.module:callable`, called with (parameter groups, lr=..., **arguments).
        momentum: of sgd and lars.
        nesterov: of sgd and lars.
        betas: of adam, adamw and lamb: how much the averages of the gradient and of its square keep.
        epsilon: of adam, adamw and lamb: what is added to the root of the squares.
        trust: of lars: a layer's update as part of its weights' norm.
        weight_decay: the coefficient lambda of the L2 term, applied to the weights (arXiv 1706.02677, eq. 8); in adam
            to the gradient instead, in lars and lamb within the layer's own rate.
        weight_decay_on_norms: whether normalisation layers decay too, and have a rate of their own in lars and lamb.
        weight_decay_on_biases: whether biases of other layers do.
        momentum_correction: correct the momentum of an optimizer that absorbs the rate (arXiv 1706.02677, eq. 10).
        arguments: keyword arguments of the user's own callable.

    Raises:
        InputError: betas, epsilon or trust are out of their range, or set for an optimizer that takes none; momentum
            is set for one that takes betas instead.
    """

    name: str = "sgd"
    momentum: float = 0.9
    nesterov: bool = True
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    trust: float = 0.001
    weight_decay: float = 1e-4
    weight_decay_on_norms: bool = False
    weight_decay_on_biases: bool = False
    momentum_correction: bool = False
    arguments: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for i, beta in enumerate(self.betas):
            if not 0 <= beta < 1:
                msg = f"optimizer.betas[{i}] must be a number of at least 0 and below 1, not {beta}"
                raise InputError(msg)
        for name in ("epsilon", "trust"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                msg = f"optimizer.{name} must be a number above 0, not {value}"
                raise InputError(msg)
        self._check_used()

    def _check_used(self) -> None:
        """Refuse a setting that would silently do nothing."""
        for name, users in USED_BY.items():
            if getattr(self, name) != getattr(Optimizer, name) and self.name not in users:
                msg = f"optimizer.{name} is of {', '.join(users)}; '{self.name}' takes none"
                raise InputError(msg)
        if self.name in ADAM_LIKE and self.momentum != Optimizer.momentum:
            msg = f"optimizer.momentum is of {', '.join(WITH_MOMENTUM)}; for '{self.name}' set optimizer.betas"
            raise InputError(msg)


@dataclass(frozen=True)
class Average:
    """An exponential average of the weights, for evaluation: a' = decay * a + (1 - decay) * w after every update.

    Attributes:
        decay: rho at the reference minibatch size, scaled to rho^kappa (arXiv 2307.13813); 0 keeps no average.

    Raises:
        InputError: decay is out of its range.
    """

    decay: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.decay < 1:
            msg = f"average.decay must be a number of at least 0 and below 1, not {self.decay}"
            raise InputError(msg)


def check_optimizer_name(name: str) -> None:
    """Refuse a name that is no optimizer's.

    Raises:
        InputError: it is neither known nor `package.module:callable`.
    """
    if name not in OPTIMIZERS and not is_user_code(name):
        msg = f"unknown optimizer '{name}'; {nearest(name, list(OPTIMIZERS))} (or package.module:callable)"
        raise InputError(msg)
