"""Guard against momentum that has absorbed the rate (arXiv 1706.02677, section 3)."""

import torch

from bigbatch.errors import InputError


def correct_momentum(optimizer: torch.optim.Optimizer, *, is_requested: bool) -> None:
    """Keep a rate-absorbing optimizer right when the rate changes: v becomes (eta'/eta) * v (arXiv 1706.02677, eq. 10).

    From now on the factor is applied before each of its steps, in each parameter group by the group's own rate.
    Torch's own form needs no correction: there the factor would be the bug that it removes here.

    Args:
        optimizer: recognised by behaviour (`find_absorbed`), on a copy.
        is_requested: whether to correct; otherwise an optimizer that absorbs the rate is refused.

    Raises:
        InputError: the optimizer absorbs the rate and no correction is requested or possible, or it cannot be stepped.
    """
    from bigbatch.optim.probe import find_absorbed

    absorbed = find_absorbed(optimizer)
    name = type(optimizer).__name__
    if absorbed.uncorrectable:
        msg = (
            f"{name} absorbs the learning rate into '{min(absorbed.uncorrectable)}' (arXiv 1706.02677, eq. 10), where "
            "it cannot be corrected; keep plain momentum in self.state, or use torch.optim.SGD"
        )
        raise InputError(msg)
    if absorbed.state and not is_requested:
        msg = (
            f"{name} absorbs the learning rate into its momentum (arXiv 1706.02677, eq. 10), "
            "which is wrong while the rate changes; use torch.optim.SGD, or set optimizer.momentum_correction=true"
        )
        raise InputError(msg)
    if absorbed.state:
        optimizer.register_step_pre_hook(lambda *_: _correct(optimizer, absorbed.state))


@torch.no_grad()
def _correct(optimizer: torch.optim.Optimizer, keys: frozenset[str]) -> None:
    from bigbatch.optim.inner_optimizers import groups_of, optimizers_in

    factors: dict[int, float] = {}
    for group in groups_of(optimizer):
        # The last rate lies in the group: the optimizer's state_dict then carries it over a resumption.
        rate = float(group["lr"])
        last = group.get("last_lr", rate)
        factors[id(group)] = rate / last if last else 1.0  # at rate 0 the momentum is 0 as well
        group["last_lr"] = rate
    for each in optimizers_in(optimizer):
        for group in each.param_groups:
            for parameter in group["params"]:
                state = each.state.get(parameter, {})
                for key in keys & state.keys():
                    state[key].mul_(factors[id(group)])
