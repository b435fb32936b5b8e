"""A rate that changes: set it, and guard against momentum that has absorbed it (arXiv 1706.02677, section 3)."""

import copy
from collections import defaultdict
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from bigbatch.errors import InputError, first_line

PROBE_RATE: Final = 0.125
SCALES_WITH_RATE: Final = 1.5  # between 1 (absorbed) and 2 (applied)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the rate of every parameter group."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def correct_momentum(optimizer: torch.optim.Optimizer, *, is_requested: bool) -> None:
    """Keep a rate-absorbing optimizer right when the rate changes: v becomes (eta'/eta) * v (arXiv 1706.02677, eq. 10).

    From now on the factor is applied before each of its steps. Torch's own form needs no correction: there the factor
    would be the bug that it removes here.

    Args:
        optimizer: recognised by behaviour (`absorbed_state`).
        is_requested: whether to correct; otherwise an optimizer that absorbs the rate is refused.

    Raises:
        InputError: the optimizer absorbs the rate and no correction is requested, or it cannot be stepped.
    """
    keys = absorbed_state(optimizer)
    if keys and not is_requested:
        msg = (
            f"{type(optimizer).__name__} absorbs the learning rate into its momentum (arXiv 1706.02677, eq. 10), "
            "which is wrong while the rate changes; use torch.optim.SGD, or set optimizer.momentum_correction=true"
        )
        raise InputError(msg)
    if keys:
        optimizer.register_step_pre_hook(lambda *_: _correct(optimizer, keys))


def _correct(optimizer: torch.optim.Optimizer, keys: frozenset[str]) -> None:
    for group in optimizer.param_groups:
        # The last rate lies in the group: the optimizer's state_dict then carries it over a resumption.
        last = group.get("last_lr", group["lr"])
        factor = group["lr"] / last if last else 1.0  # at rate 0 the momentum is 0 as well
        group["last_lr"] = group["lr"]
        for parameter in group["params"]:
            for key in keys & optimizer.state[parameter].keys():
                optimizer.state[parameter][key].mul_(factor)


def absorbed_state(optimizer: torch.optim.Optimizer) -> frozenset[str]:
    """Return the names of the state tensors that have absorbed the learning rate; none for torch's own form.

    They are recognised by behaviour, on one scratch parameter. After a step with a gradient, a step without one moves
    the parameter by its momentum alone. If doubling the rate in between does not double that move, the rate was
    absorbed before. The state that absorbed it doubles when the first rate is doubled.
    """
    absorbed: set[str] = set()
    for group in range(len(optimizer.param_groups)):
        once, twice = _trial(optimizer, group, PROBE_RATE), _trial(optimizer, group, 2 * PROBE_RATE)
        if once.move and once.move_at_double_rate / once.move <= SCALES_WITH_RATE:
            absorbed |= {
                key
                for key, value in once.state.items()
                if value and twice.state.get(key, 0.0) / value > SCALES_WITH_RATE
            }
    return frozenset(absorbed)


@dataclass(frozen=True)
class _Trial:
    """What two steps did: the move of the second at the same and at the doubled rate, and the state after the first."""

    move: float
    move_at_double_rate: float
    state: dict[str, float]


def _trial(optimizer: torch.optim.Optimizer, group: int, rate: float) -> _Trial:
    moves = []
    state: dict[str, float] = {}
    for second_rate in (rate, 2 * rate):
        like = optimizer.param_groups[group]["params"][0]
        scratch = nn.Parameter(like.new_ones((1,) * like.ndim))
        clone = _clone_onto(optimizer, group, scratch)
        step_scratch(clone, scratch, torch.ones_like(scratch), rate)
        state = {key: float(v) for key, v in clone.state[scratch].items() if isinstance(v, Tensor) and v.numel() == 1}
        before = scratch.item()
        step_scratch(clone, scratch, torch.zeros_like(scratch), second_rate)
        moves.append(before - scratch.item())
    return _Trial(moves[0], moves[1], state)


def _clone_onto(optimizer: torch.optim.Optimizer, number: int, scratch: nn.Parameter) -> torch.optim.Optimizer:
    """Copy an optimizer's rule and one group's settings, but none of its parameters and state."""
    memo = {id(p): scratch for group in optimizer.param_groups for p in group["params"]}
    clone = copy.deepcopy(optimizer, memo)
    group = {**clone.param_groups[number], "params": [scratch]}
    if "weight_decay" in group:
        group["weight_decay"] = 0.0
    clone.param_groups = [group]
    clone.state = defaultdict(dict)
    return clone


def step_scratch(optimizer: torch.optim.Optimizer, parameter: nn.Parameter, gradient: Tensor, rate: float) -> None:
    """Let an optimizer take one step on a scratch parameter.

    Raises:
        InputError: it cannot.
    """
    set_learning_rate(optimizer, rate)
    parameter.grad = gradient
    try:
        optimizer.step()
    except (TypeError, ValueError, RuntimeError) as error:
        name, reason = type(optimizer).__name__, first_line(error)
        msg = f"{name}.step() does not work with one dense gradient and no closure ({reason}); use another optimizer"
        raise InputError(msg) from error
