"""The section `optimizer`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from bigbatch.errors import InputError, nearest
from bigbatch.recipe.sections.arguments import check_arguments
from bigbatch.recipe.sections.bounds import check_at_least, check_below_one, check_positive, check_share
from bigbatch.user_code import is_user_code

ADAM_LIKE: Final = ("adam", "adamw", "lamb")  # they divide by the root of the gradient's squares
BY_SQUARE_ROOT: Final = ("adam", "adamw")  # the square-root rule scales their betas and epsilon too
LAYERWISE: Final = ("lars", "lamb")
NO_TIMESCALE: Final = ("adam", "lars", "lamb")  # their decay does not shrink a weight by rate * lambda an iteration
WITH_MOMENTUM: Final = ("sgd", "lars")
OPTIMIZERS: Final = ("sgd", "adam", "adamw", "lars", "lamb")
DECAY: Final = 1e-4  # where a recipe says nothing
OF_A_DECAY: Final = ("weight_decay_on_norms", "weight_decay_on_biases", "weight_decay_on", "no_weight_decay")
USED_BY: Final = {
    "momentum": WITH_MOMENTUM,
    "nesterov": WITH_MOMENTUM,
    "betas": ADAM_LIKE,
    "epsilon": ADAM_LIKE,
    "trust": ("lars",),
}


@dataclass(frozen=True)
class Optimizer:
    """What turns gradients into updates.

    Attributes:
        name: "sgd", "adam", "adamw" (torch's), "lars" (arXiv 1708.03888), "lamb" (arXiv 1904.00962) or
            `package.module:callable`. The callable is given `(parameter groups, lr=..., **arguments)`, and `model=...`
            too if it has a parameter of this name. It returns a torch.optim.Optimizer.
        momentum: of sgd and lars: how much of the sum of past gradients an update keeps.
        nesterov: of sgd and lars: whether the gradient is added once more after the momentum (Nesterov).
        betas: of adam, adamw and lamb: how much the averages of the gradient and of its square keep in an update.
        epsilon: of adam, adamw and lamb: what is added to the root of the squares.
        trust: of lars: a layer's update as a share of its weights' norm.
        weight_decay: the coefficient lambda of the L2 term, applied to the weights (arXiv 1706.02677, eq. 8). adam
            applies it to the gradient; lars and lamb apply it within the layer's own rate. Where it is not set, it is
            1e-4 for the optimizers with a name; your own callable is then given none.
        weight_decay_on_norms: whether normalisations and scales (vectors that are no biases) decay too, and have a rate
            of their own in lars and lamb.
        weight_decay_on_biases: whether biases of other layers decay.
        weight_decay_on: patterns of names of parameters that decay whatever they are, such as `*.pos_embed`.
        no_weight_decay: patterns of names of parameters that do not decay, such as `*.gamma`.
        clip_norm: the largest norm of a minibatch's gradient; a longer one is scaled down to it. 0 for any.
        momentum_correction: whether to correct the momentum of an optimizer that absorbs the rate (arXiv 1706.02677,
            eq. 10).
        arguments: keyword arguments of your own callable.

    Raises:
        InputError: a field is out of its range, or set for an optimizer that does not use it.
    """

    name: str = "sgd"
    momentum: float = 0.9
    nesterov: bool = True
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    trust: float = 0.001
    weight_decay: float | None = None
    weight_decay_on_norms: bool = False
    weight_decay_on_biases: bool = False
    weight_decay_on: tuple[str, ...] = ()
    no_weight_decay: tuple[str, ...] = ()
    clip_norm: float = 0.0
    momentum_correction: bool = False
    arguments: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_share({f"optimizer.betas[{i}]": beta for i, beta in enumerate(self.betas)})
        check_positive({"optimizer.epsilon": self.epsilon, "optimizer.trust": self.trust})
        momentum = {"optimizer.momentum": self.momentum}
        decay = {} if self.weight_decay is None else {"optimizer.weight_decay": self.weight_decay}
        check_at_least(0, {**momentum, **decay, "optimizer.clip_norm": self.clip_norm})
        check_below_one(momentum)
        if self.name not in OPTIMIZERS and not is_user_code(self.name):
            msg = f"unknown optimizer '{self.name}'; {nearest(self.name, [*OPTIMIZERS])} (or package.module:callable)"
            raise InputError(msg)
        check_arguments("optimizer", self.name, self.arguments)
        if self.nesterov and self.momentum == 0:
            msg = "optimizer.nesterov needs a momentum above 0; set optimizer.nesterov = false for plain SGD"
            raise InputError(msg)
        self._check_used()

    @property
    def decay(self) -> float | None:
        """The weight decay that is used; None where the user's own callable decides it."""
        if self.weight_decay is None and not is_user_code(self.name):
            return DECAY
        return self.weight_decay

    def _check_used(self) -> None:
        """Refuse a setting that would silently do nothing."""
        if self.decay is None:
            for name in OF_A_DECAY:
                if getattr(self, name):
                    msg = f"optimizer.{name} needs a decay to divide; set optimizer.weight_decay"
                    raise InputError(msg)
        for name in ("betas", "epsilon", "trust"):
            users = USED_BY[name]
            if getattr(self, name) != getattr(Optimizer, name) and self.name not in users:
                msg = f"optimizer.{name} is of {', '.join(users)}; '{self.name}' takes none"
                raise InputError(msg)
        if self.name in ADAM_LIKE and self.momentum != Optimizer.momentum:
            msg = f"optimizer.momentum is of {', '.join(WITH_MOMENTUM)}; for '{self.name}' set optimizer.betas"
            raise InputError(msg)
