"""A trial pass of the first batch: what a model or a loss does that no number of processes could repeat."""

import copy
import random
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from itertools import islice
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from bigbatch.errors import InputError
from bigbatch.processes.group import dense_parts
from bigbatch.step.buffers import fingerprint, integers

COLLECTIVES: Final = frozenset({"c10d", "_c10d_functional", "c10d_functional", "_c10d_functional_autograd"})
NO_GROUP: Final = ("Default process group has not been initialized", "Unsupported group type: <class 'NoneType'>")
NOT_DETERMINISTIC: Final = " does not have a deterministic implementation"
OF_EVERY_MODULE: Final = frozenset(vars(nn.Module())) - {"training"}
MOST_ELEMENTS: Final = 1000  # of a list, that are looked at


def try_out(model: nn.Module, loss: object, run: Callable[[], Tensor], restore: Callable[[], None]) -> None:
    """Run a worker's first batch, and refuse what the processes could not do alike.

    Args:
        model: what is trained.
        loss: the loss function or objective, whose modules may keep state, too.
        run: makes the pass, from the same seed each time, and returns the loss with its graph.
        restore: puts the buffers back.

    Raises:
        InputError: names the parameter that a pass writes to or whose gradient is sparse, the attribute that keeps
            state, the collective that is called, or the layer that has no deterministic kernel.
    """
    parameters = dict(model.named_parameters())
    watched = {"the model": [model], "the loss": [part for part in _modules(loss) if part not in set(model.modules())]}
    before, attributes = _checksums(parameters), _glance(watched)
    try:
        with _alone():
            total = run()
            _check_unwritten(parameters, before)
            if total.requires_grad:
                total.backward()  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        if NOT_DETERMINISTIC in str(error):
            raise InputError(_not_deterministic(model, run, str(error))) from error
        raise
    _check_unwritten(parameters, before)
    _check_gradients(parameters)
    if _glance(watched) != attributes:
        kept = _stare(watched)
        restore()
        with _alone():
            run()
        _check_attributes(kept, _stare(watched))


class NoCollectives(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch types none of it
    """Refuse torch.distributed within a worker's pass: workers of one process would wait for one another."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401 - torch's own
        """Run an operation, unless it is a collective or a message."""
        del types
        if func.namespace in COLLECTIVES:
            raise InputError(_no_collective(func.__name__.split(".")[0].strip("_")))
        return func(*args, **(kwargs or {}))

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        """Let torch.compile compile within this mode."""
        return True


@contextmanager
def _alone() -> Iterator[None]:
    try:
        with NoCollectives():  # type: ignore[no-untyped-call]
            yield
    except ValueError as error:
        if not str(error).startswith(NO_GROUP):
            raise
        raise InputError(_no_collective("a collective")) from error


def _not_deterministic(model: nn.Module, run: Callable[[], Tensor], complaint: str) -> str:
    """Return the line for a model of which torch computes something by a kernel that gives other bits each time."""
    last = "the model"

    def note(name: str, *_: object) -> None:
        nonlocal last
        last = name

    def note_backward(name: str, _module: nn.Module, _inputs: object, output: object) -> None:
        if isinstance(output, Tensor) and output.requires_grad:
            output.register_hook(partial(note, name))  # type: ignore[no-untyped-call]

    layers = [(f"'{name}' ({type(layer).__name__})", layer) for name, layer in model.named_modules() if name]
    handles = [layer.register_forward_pre_hook(partial(note, name)) for name, layer in layers]
    handles += [layer.register_forward_hook(partial(note_backward, name)) for name, layer in layers]
    with suppress(RuntimeError):  # which is known
        run().backward()  # type: ignore[no-untyped-call]
    for handle in handles:
        handle.remove()
    kernel = complaint.partition(NOT_DETERMINISTIC)[0]
    return f"torch has no deterministic kernel for {kernel}, called in {last}: each run has other bits; replace it"


def _no_collective(name: str) -> str:
    return (
        f"the model or the loss calls torch.distributed ({name}): its workers run one after the other and would wait "
        "for one another; leave it to Step, which sums gradients, buffers declared 'sum' and bigbatch.Loss"
    )


@torch.no_grad()
def _checksums(parameters: Mapping[str, nn.Parameter]) -> dict[str, int]:
    """Return a number for each parameter that any flipped bit changes."""
    parts = [(name, part) for name, parameter in parameters.items() for part in dense_parts(parameter.detach())]
    sums = [integers(part).sum(dtype=torch.int64) for _, part in parts]
    return {name: total for (name, _), total in zip(parts, torch.stack(sums).tolist(), strict=True)}


def _check_unwritten(parameters: Mapping[str, nn.Parameter], before: Mapping[str, int]) -> None:
    after = _checksums(parameters)
    for name, total in before.items():
        if after.get(name) != total:
            msg = (
                f"a worker's pass writes to the model's parameter '{name}': that would depend on the processes; "
                "do it after the update, or keep it in a buffer"
            )
            raise InputError(msg)


def _check_gradients(parameters: Mapping[str, nn.Parameter]) -> None:
    for name, parameter in parameters.items():
        gradient, parameter.grad = parameter.grad, None
        if gradient is not None and gradient.layout != torch.strided:
            msg = f"the gradient of the model's '{name}' is sparse; use sparse=False: Step sums dense gradients"
            raise InputError(msg)


def _check_attributes(before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Refuse what the same pass changes again: a count, an average, a state. What it sets to the same again is free."""
    for name in dict.fromkeys((*before, *after)):
        if before.get(name) != after.get(name):
            msg = (
                f"{name} changes with every pass, so it would depend on the processes; keep state in buffers of the "
                "model (register_buffer), and draw from torch's global generator"
            )
            raise InputError(msg)


def _modules(function: object) -> list[nn.Module]:
    """Return the modules that a function holds: itself, or what it was bound to, partially given or defined around."""
    found: list[nn.Module] = []
    held, seen = [function], set()
    while held:
        value = held.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, nn.Module):
            found.append(value)
        else:
            held += [getattr(value, name) for name in ("function", "func", "__self__") if hasattr(value, name)]
            held += [*value.args, *value.keywords.values()] if isinstance(value, partial) else []
            held += [cell.cell_contents for cell in getattr(value, "__closure__", None) or ()]
    return found


def _glance(watched: "_Watched") -> "_Attributes":
    """Look at what modules keep besides parameters and buffers; at tensors by whether they are the same ones."""
    return _Attributes(watched, lambda tensor: (id(tensor), tensor._version))  # noqa: SLF001


def _stare(watched: "_Watched") -> dict[str, Any]:
    """Look at the same by its values."""
    return _Attributes(watched, lambda tensor: fingerprint(tensor, tensor.device).tolist()).seen


_Watched = Mapping[str, list[nn.Module]]


class _Attributes:
    """What modules keep in attributes: numbers, words, tensors, generators, and lists and dictionaries of them.

    A model's buffers are left out: RunningState has them.
    """

    def __init__(self, watched: _Watched, see: Callable[[Tensor], object]) -> None:
        self.see = see
        self.alive: list[Tensor] = []  # so that no new tensor takes the identity of an old one
        self.seen = {
            f"{owner}'s '{prefix}.{key}'".replace("'.", "'"): self._look(value)
            for owner, modules in watched.items()
            for root in modules
            for prefix, module in root.named_modules()
            for key, value in (vars(module) | ({} if owner == "the model" else dict(module._buffers.items()))).items()  # noqa: SLF001
            if key not in OF_EVERY_MODULE
        }

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Attributes) and self.seen == other.seen

    __hash__ = None  # type: ignore[assignment]

    def _look(self, value: Any) -> object:  # noqa: ANN401 - whatever an attribute is
        if isinstance(value, Tensor):
            self.alive.append(value)
            return self.see(value)
        if isinstance(value, dict):
            return len(value), [(str(key), self._look(value[key])) for key in islice(value, MOST_ELEMENTS)]
        if isinstance(value, list | tuple | deque):
            return len(value), [self._look(part) for part in islice(value, MOST_ELEMENTS)]
        state = _generator_state(value)
        return repr(value if isinstance(value, bool | int | float | complex | str) else state)


def _generator_state(value: Any) -> object:  # noqa: ANN401 - whatever an attribute is
    if isinstance(value, torch.Generator):
        return value.get_state().tolist()
    if isinstance(value, np.random.Generator):
        return value.bit_generator.state
    if isinstance(value, np.random.RandomState):
        return value.get_state()
    return value.getstate() if isinstance(value, random.Random) else None


def copied(batch: Any) -> Any:  # noqa: ANN401 - any batch
    """Return a batch whose tensors are copies: a pass on trial may write to them, and go backward through them."""
    if isinstance(batch, Tensor):
        return batch.detach().clone().requires_grad_(batch.requires_grad)
    if type(batch) is dict:
        return {key: copied(part) for key, part in batch.items()}
    if isinstance(batch, list | tuple):
        parts = [copied(part) for part in batch]
        return type(batch)(*parts) if hasattr(batch, "_fields") else type(batch)(parts)
    try:
        return copy.deepcopy(batch)
    except (TypeError, RuntimeError, NotImplementedError):  # it holds a lock or a file
        return batch
