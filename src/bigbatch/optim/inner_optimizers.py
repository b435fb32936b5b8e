"""Optimizers within an optimizer: Muon beside AdamW behind one `step`, or a Lookahead around another one."""

from collections.abc import Iterator
from typing import Any, Final

import torch
from torch import Tensor

from bigbatch.errors import InputError

NOT_SEARCHED: Final = ("state", "param_groups", "defaults")
MOST_LEVELS: Final = 4  # of lists and dictionaries in an attribute


def optimizers_in(optimizer: torch.optim.Optimizer) -> list[torch.optim.Optimizer]:
    """Return an optimizer and those that it keeps in its attributes, also in lists and dictionaries of them."""
    found = [optimizer]
    for each in found:  # which grows
        held = (inner for name, value in vars(each).items() if name not in NOT_SEARCHED for inner in _within(value))
        found += [inner for inner in dict.fromkeys(held) if inner not in found]
    return found


def groups_of(optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
    """Return the parameter groups of an optimizer and of those within it, each once."""
    groups = (group for each in optimizers_in(optimizer) for group in each.param_groups)
    return list({id(group): group for group in groups}.values())


def parameters_of(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """Return the parameters of all groups, each once."""
    parameters = (parameter for group in groups_of(optimizer) for parameter in group["params"])
    return list({id(parameter): parameter for parameter in parameters}.values())


@torch.no_grad()
def write_rate(group: dict[str, Any], rate: float) -> None:
    """Set a parameter group's rate; one that is a tensor stays the same tensor."""
    if isinstance(group.get("lr"), Tensor):
        group["lr"].fill_(rate)
    else:
        group["lr"] = rate


def check_saves_all(optimizer: torch.optim.Optimizer) -> None:
    """Refuse an optimizer whose `state_dict` lacks the state of those within it: a training could not go on from it.

    Raises:
        InputError: says what to do.
    """
    saved = {id(tensor) for tensor in _tensors(optimizer.state_dict())}
    for inner in optimizers_in(optimizer)[1:]:
        if any(id(tensor) not in saved for tensor in _tensors(list(inner.state.values()))):
            msg = (
                f"{type(optimizer).__name__}.state_dict() lacks the state of the {type(inner).__name__} within, so a "
                "checkpoint could not be resumed; override state_dict and load_state_dict to hold it"
            )
            raise InputError(msg)


def _within(value: object, level: int = 0) -> Iterator[torch.optim.Optimizer]:
    if isinstance(value, torch.optim.Optimizer):
        yield value
    elif level < MOST_LEVELS:
        for part in _parts(value):
            yield from _within(part, level + 1)


def _tensors(value: object) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    for part in _parts(value):
        yield from _tensors(part)


def _parts(value: object) -> list[object]:
    if isinstance(value, dict):
        return list(value.values())
    return list(value) if isinstance(value, list | tuple) else []
