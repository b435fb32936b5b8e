"""What an optimizer does when its rate changes, seen on scratch parameters. The optimizer itself is not touched."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from bigbatch.errors import InputError, first_line
from bigbatch.optim.inner_optimizers import NOT_SEARCHED, groups_of, optimizers_in, parameters_of, write_rate
from bigbatch.optim.scratch_copy import copy_onto_scratch

RATE: Final = 2.0**-10  # small: decay of what a step has just moved then vanishes beside it
SCALES_WITH_RATE: Final = 1.5  # between 1 (absorbed) and 2 (applied)
FOLLOWS_RATE: Final = 1.05
FADES: Final = 0.9999  # what is left of momentum after an update; a sum keeps all
LEAST_MOMENTUM: Final = 1e-2  # of the first move

Memory = dict[tuple[int | None, str], float]
Updates = Sequence[tuple[float, float]]  # the rate and the gradient of each


@dataclass(frozen=True)
class Trial:
    """What some updates did.

    Attributes:
        moves: what each of them took off each parameter.
        memories: after each of them, the mean of each tensor that the optimizer keeps, by parameter and name; the
            parameter of a tensor in an attribute is None.
    """

    moves: list[list[float]]
    memories: list[Memory]


@dataclass(frozen=True)
class Absorbed:
    """Where momentum that has absorbed the learning rate is kept.

    Attributes:
        state: the names of tensors in the optimizer's state that the correction makes right.
        uncorrectable: the names of other tensors: in attributes, or used in another way.
    """

    state: frozenset[str] = frozenset()
    uncorrectable: frozenset[str] = frozenset()


def find_absorbed(optimizer: torch.optim.Optimizer) -> Absorbed:
    """Find the momentum that has absorbed the rate; none in torch's own form.

    After a step with a gradient, a step without one moves a parameter by its momentum alone. If doubling the rate in
    between does not double that move, the rate was absorbed before. What has absorbed it doubles with the first rate,
    follows the gradient, and fades without one. It does not follow the parameter, as an average of the weights does.

    Raises:
        InputError: the optimizer cannot be stepped.
    """
    same, doubled = (try_updates(optimizer, [(RATE, 1.0), (rate, 0.0)]) for rate in (RATE, 2 * RATE))
    late = {
        place
        for place, (first, move, other) in enumerate(zip(*same.moves, doubled.moves[1], strict=True))
        if abs(move) > LEAST_MOMENTUM * abs(first) and other / move <= SCALES_WITH_RATE
    }
    if not late:
        return Absorbed()
    twice, without = (try_updates(optimizer, [update]).memories[0] for update in ((2 * RATE, 1.0), (RATE, 0.0)))
    shifted = try_updates(optimizer, [(RATE, 1.0)], start=1.0).memories[0]
    first, second = same.memories
    found = {
        (place, name)
        for (place, name), value in first.items()
        if (place is None or place in late)
        and value
        and twice[place, name] / value > SCALES_WITH_RATE
        and abs(without[place, name] - value) > LEAST_MOMENTUM * abs(value)
        and abs(second[place, name]) < FADES * abs(value)
        and abs(shifted[place, name] - value) < 0.5  # noqa: PLR2004 - half of how far the parameter was shifted
    }
    names = frozenset(name for _, name in found)
    in_state = frozenset(name for place, name in found if place is not None)
    corrected = try_updates(optimizer, [(RATE, 1.0), (2 * RATE, 0.0)], correct=in_state).moves[1]
    is_right = all(abs(corrected[i] / same.moves[1][i] - 2) < LEAST_MOMENTUM for i in late) if found else True
    return Absorbed(names) if is_right else Absorbed(uncorrectable=names)


def check_follows_rate(optimizer: torch.optim.Optimizer) -> None:
    """Refuse an optimizer that goes on with its first rate when another one is written into its groups.

    Raises:
        InputError: says so.
    """
    later = (RATE, 1.0), (2 * RATE, 1.0)
    try:
        # The third update: some optimizers apply a rate one update late.
        same, doubled = (try_updates(optimizer, [(RATE, 1.0), update, update]).moves[-1] for update in later)
    except InputError:  # a step refuses what cannot be stepped
        return
    if any(move and other / move < FOLLOWS_RATE for move, other in zip(same, doubled, strict=True)):
        msg = (
            f"{type(optimizer).__name__} does not follow the rate in its parameter groups, so a schedule would do "
            "nothing; let its step() read group['lr'] each time"
        )
        raise InputError(msg)


def try_updates(
    optimizer: torch.optim.Optimizer, updates: Updates, *, start: float = 0.0, correct: frozenset[str] = frozenset()
) -> Trial:
    """Let a copy of the optimizer update scratch parameters.

    Each has one number at first. If the optimizer cannot step those, they get the shapes of the real ones.

    Args:
        optimizer: to copy.
        updates: to take.
        start: the value of the parameters.
        correct: the names of the tensors in its state that are scaled with the rate.

    Raises:
        InputError: the optimizer cannot be stepped with dense gradients and no closure.
    """
    with _set_aside(optimizer):
        try:
            return _try(optimizer, updates, start, correct, has_shapes=False)
        except Exception:  # noqa: BLE001 - the user's own code may raise anything
            try:
                return _try(optimizer, updates, start, correct, has_shapes=True)
            except Exception as error:
                raise cannot_step(optimizer, error) from error


def cannot_step(optimizer: torch.optim.Optimizer, error: Exception) -> InputError:
    """Return the error of an optimizer that cannot be stepped."""
    name, reason = type(optimizer).__name__, first_line(error)
    msg = f"{name}.step() does not work with one dense gradient and no closure ({reason}); use another optimizer"
    return InputError(msg)


def _try(
    optimizer: torch.optim.Optimizer, updates: Updates, start: float, correct: frozenset[str], *, has_shapes: bool
) -> Trial:
    clone, scratch = copy_onto_scratch(optimizer, start, has_shapes=has_shapes)
    trial, last = Trial([], []), updates[0][0]
    for rate, gradient in updates:
        _scale(clone, correct, rate / last)
        last = rate
        for group in groups_of(clone):
            write_rate(group, rate)
        for parameter in scratch:
            parameter.grad = torch.full_like(parameter, gradient)
        before = _means(scratch)
        type(clone).step(clone)
        trial.moves.append([old - new for old, new in zip(before, _means(scratch), strict=True)])
        trial.memories.append(_memory(clone, scratch))
    return trial


@torch.no_grad()
def _scale(optimizer: torch.optim.Optimizer, names: frozenset[str], factor: float) -> None:
    for state in (values for each in optimizers_in(optimizer) for values in each.state.values()) if names else ():
        for name in names & state.keys():
            state[name].mul_(factor)


def _memory(optimizer: torch.optim.Optimizer, parameters: Sequence[nn.Parameter]) -> Memory:
    found: dict[tuple[int | None, str], Tensor] = {}
    for each in optimizers_in(optimizer):
        for place, parameter in enumerate(parameters):
            values = each.state.get(parameter, {})
            items = values.items() if isinstance(values, dict) else ()
            found |= {(place, key): value for key, value in items if isinstance(value, Tensor)}
        for name, value in vars(each).items():
            if name not in NOT_SEARCHED:
                found |= {(None, path): tensor for path, tensor in _named_tensors(name, value)}
    kept = {key: tensor for key, tensor in found.items() if tensor.numel() and not tensor.is_sparse}
    return dict(zip(kept, _means(list(kept.values())), strict=True))


def _named_tensors(name: str, value: object) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, dict | list | tuple):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _named_tensors(f"{name}[{key if isinstance(key, str | int) else '...'}]", item)


@torch.no_grad()
def _means(tensors: Sequence[Tensor]) -> list[float]:
    if not tensors:
        return []
    real = [torch.view_as_real(tensor) if tensor.is_complex() else tensor for tensor in tensors]
    return [float(value) for value in torch.stack([tensor.double().mean().cpu() for tensor in real]).tolist()]


@contextmanager
def _set_aside(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Keep the generators and the real gradients as they are, also if a part of the copy refers to the original."""
    parameters = parameters_of(optimizer)
    gradients = [parameter.grad for parameter in parameters]
    devices = {parameter.device for parameter in parameters if parameter.is_cuda}
    with torch.random.fork_rng([device.index for device in devices]):
        try:
            for parameter in parameters:
                parameter.grad = None
            yield
        finally:
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = gradient
