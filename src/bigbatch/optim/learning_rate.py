"""The learning rate of an optimizer: set for all parameter groups, each of which keeps its ratio to it."""

import inspect
import math
from typing import Any, Final

import torch
from torch import Tensor

from bigbatch.errors import InputError
from bigbatch.optim.inner_optimizers import groups_of, write_rate
from bigbatch.optim.probe import check_follows_rate

RATIO: Final = "lr_scale"  # as timm, BEiT and MAE call it
BASE: Final = "base_lr"


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the rate of every parameter group to `rate` times the group's ratio.

    The ratio is `group["lr_scale"]`. Where a group has none, the first call notes it: the group's rate over the rate
    that the optimizer was made with (`lr=`), or 1 if all groups have one rate. A group at rate 0 stays there. The
    ratio is a part of the optimizer's state_dict, so it survives a resumption. A rate that is a tensor stays the same
    tensor. The groups of optimizers that are attributes of this one follow too.

    Args:
        optimizer: any that reads the rate from its groups.
        rate: of a group whose ratio is 1.

    Raises:
        InputError: the optimizer does not follow the rate in its groups, or it is not known what a group's rate is
            relative to.

    >>> body, head = (torch.nn.Parameter(torch.zeros(1)) for _ in range(2))
    >>> optimizer = torch.optim.SGD([{"params": [body]}, {"params": [head], "lr": 1.0}], lr=0.1)
    >>> set_learning_rate(optimizer, 0.05)
    >>> [group["lr"] for group in optimizer.param_groups]
    [0.05, 0.5]
    """
    groups = groups_of(optimizer)
    if any(RATIO not in group or BASE not in group for group in groups):
        note_ratios(optimizer)
    for group in groups:
        write_rate(group, rate * group[RATIO])


def note_ratios(optimizer: torch.optim.Optimizer, base: float | None = None) -> None:
    """Write into each parameter group the ratio of its rate to `base`, unless it has one.

    Args:
        optimizer: as it was made.
        base: the rate that it was given; by default, what `set_learning_rate` says.

    Raises:
        InputError: as for `set_learning_rate`.
    """
    groups = groups_of(optimizer)
    before = [group[BASE] for group in groups if BASE in group]
    if not before:
        check_follows_rate(optimizer)
    base = before[0] if before else _base(optimizer, groups, base)
    for group in groups:
        group.setdefault(RATIO, _ratio(optimizer, group, base, is_late=bool(before)))
        group.setdefault(BASE, base)
    _separate_tensors(groups)


def current_rate(optimizer: torch.optim.Optimizer) -> float:
    """Return the rate that the groups' rates are relative to, as they have it now."""
    rates = ((float(group["lr"]), group.get(RATIO, 1.0)) for group in groups_of(optimizer))
    return next((rate / ratio for rate, ratio in rates if ratio), 0.0)


def _base(optimizer: torch.optim.Optimizer, groups: list[dict[str, Any]], given: float | None) -> float:
    own = [group for group in groups if RATIO not in group] or groups
    rates = {_rate(group) for group in own} - {0.0}
    if len(rates) <= 1:  # no group differs, whatever the optimizer was given
        return rates.pop() if rates else 0.0
    default = optimizer.defaults.get("lr")
    base = given or (float(default) if default is not None else 0.0)
    if base and (given or base in rates or base != _default_rate(optimizer)):
        return base
    msg = (
        f"the parameter groups of {type(optimizer).__name__} have rates of their own ({_list(rates)}), but it was not "
        f"given the rate that they are relative to; give it lr=, or each group its ratio as '{RATIO}'"
    )
    raise InputError(msg)


def _ratio(optimizer: torch.optim.Optimizer, group: dict[str, Any], base: float, *, is_late: bool) -> float:
    default = optimizer.defaults.get("lr")
    if not base or (is_late and (group["lr"] is default or _rate(group) == default)):  # it was given none of its own
        return 1.0
    return _rate(group) / base


def _default_rate(optimizer: torch.optim.Optimizer) -> float | None:
    """Return the rate that the optimizer's class has where none is given."""
    parameter = inspect.signature(type(optimizer)).parameters.get("lr")
    default = parameter.default if parameter else None
    return float(default) if isinstance(default, int | float | Tensor) else None


def _rate(group: dict[str, Any]) -> float:
    """Return the rate that a group was given; torch's schedulers keep it beside the present one."""
    rate = group.get("initial_lr", group.get("lr"))
    if isinstance(rate, Tensor) or (isinstance(rate, int | float) and math.isfinite(rate)):
        return float(rate)
    msg = f"a parameter group has the rate {rate}; give the optimizer a number as lr, which the schedule then scales"
    raise InputError(msg)


def _separate_tensors(groups: list[dict[str, Any]]) -> None:
    """Give each group a tensor of its own: torch puts that of `lr=` into every group."""
    seen: set[int] = set()
    for group in groups:
        if isinstance(group["lr"], Tensor) and id(group["lr"]) in seen:
            group["lr"] = group["lr"].clone()
        seen.add(id(group["lr"]))


def _list(rates: set[float]) -> str:
    return ", ".join(f"{rate:g}" for rate in sorted(rates))
