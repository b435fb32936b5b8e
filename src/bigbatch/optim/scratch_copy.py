"""A copy of an optimizer on scratch parameters: its rule and its settings. The original and its parameters stay."""

import sys
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from enum import Enum
from types import CellType, FunctionType, MethodType
from typing import Any, Final

import torch
from torch import Tensor, nn

from bigbatch.optim.inner_optimizers import parameters_of

HOOKS: Final = ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks")


def copy_onto_scratch(
    optimizer: torch.optim.Optimizer, start: float, *, has_shapes: bool
) -> tuple[torch.optim.Optimizer, list[nn.Parameter]]:
    """Copy an optimizer with all that it is made of, but for its parameters, its state and its hooks.

    torch's own `deepcopy` of an optimizer leaves out attributes; and an attribute may be the model, another optimizer,
    or a lock that cannot be copied. What cannot be copied is shared.

    Args:
        optimizer: to copy.
        start: the value of each number of the scratch parameters.
        has_shapes: whether these have the shapes of the real ones, and the state is copied, as zeros; otherwise each
            has one number, and there is no state.

    Returns:
        The copy, and a scratch parameter for each of its parameters.
    """
    real = parameters_of(optimizer)
    with torch.no_grad():
        scratch = [
            nn.Parameter(torch.full_like(p, start) if has_shapes else p.new_full((1,) * p.ndim, start)) for p in real
        ]
    copier = _Copier({id(p): s for p, s in zip(real, scratch, strict=True)}, copies_state=has_shapes)
    clone: torch.optim.Optimizer = copier.copy(optimizer)
    return clone, scratch


class _Copier:
    """Copies a value and what it refers to, each once, so that what was shared stays shared.

    Args:
        copies: what is already decided: the copy of a value by the value's id.
        copies_state: whether an optimizer's state is copied too.
    """

    def __init__(self, copies: dict[int, Any], *, copies_state: bool) -> None:
        self.copies, self.copies_state = copies, copies_state
        self.methods: list[tuple[Any, Callable[[Any], Any]]] = [
            (Tensor, lambda tensor: tensor.detach().clone().requires_grad_(tensor.requires_grad)),
            (torch.Generator, lambda generator: torch.Generator(generator.device).set_state(generator.get_state())),
            (tuple, self._tuple),
            (dict | list | set | deque, self._container),
            (MethodType, lambda method: MethodType(method.__func__, self.copy(method.__self__))),
            (FunctionType, self._function),
        ]

    def copy(self, value: Any) -> Any:  # noqa: ANN401 - anything that an optimizer refers to
        if id(value) in self.copies:
            return self.copies[id(value)]
        for kind, method in self.methods:
            if isinstance(value, kind):
                return self._keep(value, method(value))
        return self._object(value) if _is_copied(value) else value

    def _keep(self, value: object, copy: Any) -> Any:  # noqa: ANN401 - as `copy`
        self.copies[id(value)] = copy
        return copy

    def _tuple(self, value: Any) -> Any:  # noqa: ANN401 - as `copy`
        items = [self.copy(item) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)

    def _container(self, value: Any) -> Any:  # noqa: ANN401 - as `copy`
        new = self._keep(value, value.copy())  # of the same kind, with a defaultdict's factory
        new.clear()
        if isinstance(value, dict):
            new.update({self.copy(key): self.copy(item) for key, item in value.items()})
        elif isinstance(value, set):
            new.update(self.copy(item) for item in value)
        else:
            new.extend(self.copy(item) for item in value)
        return new

    def _function(self, value: FunctionType) -> FunctionType:
        if not value.__closure__:
            return value
        cells = tuple(CellType() for _ in value.__closure__)
        new = FunctionType(value.__code__, value.__globals__, value.__name__, value.__defaults__, cells)
        new.__kwdefaults__ = value.__kwdefaults__
        self._keep(value, new)
        for cell, old in zip(cells, value.__closure__, strict=True):
            cell.cell_contents = self.copy(old.cell_contents)
        return new

    def _object(self, value: Any) -> Any:  # noqa: ANN401 - as `copy`
        try:
            new = self._keep(value, object.__new__(type(value)))
        except TypeError:  # it is built in C
            return value
        attributes = dict(vars(value))
        if isinstance(value, torch.optim.Optimizer):
            # A scheduler puts a `step` of its own into the optimizer, which would step the original.
            attributes = {name: item for name, item in attributes.items() if name not in {*HOOKS, "step"}}
            vars(new).update({name: OrderedDict() for name in HOOKS})
            self._copy_state(attributes)
        vars(new).update({name: self.copy(item) for name, item in attributes.items()})
        return new

    @torch.no_grad()
    def _copy_state(self, attributes: dict[str, Any]) -> None:
        state = attributes.get("state")
        if state is None or id(state) in self.copies:
            return
        if not self.copies_state:
            self._keep(state, defaultdict(dict))
            return
        for values in self.copy(state).values():
            for tensor in values.values() if isinstance(values, dict) else ():
                if isinstance(tensor, Tensor) and tensor.ndim:
                    tensor.zero_()


def _is_copied(value: object) -> bool:
    """Tell whether a value is an object whose attributes a step may change: the user's own, a model, an optimizer."""
    if isinstance(value, nn.Module | torch.optim.Optimizer):
        return True
    root = type(value).__module__.partition(".")[0]
    is_own = root not in sys.stdlib_module_names and root not in {"torch", "numpy"}
    return is_own and hasattr(value, "__dict__") and not isinstance(value, type | Enum)
