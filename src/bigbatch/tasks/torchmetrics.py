"""Any metric of torchmetrics, by its states: each part's are measured alone, then merged in order as its author says.

The library itself is not imported: what it calls `dist_reduce_fx` says how a state is merged over processes.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Any, Final

import torch
from torch import Tensor

from bigbatch.errors import InputError, first_line
from bigbatch.recipe.metrics import HIGHER, LOWER
from bigbatch.tasks.outputs import scored_output

PARTS_OF_ITS_FACE: Final = ("update", "compute", "reset", "_defaults", "_reductions")
WORDS: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


class TorchMetric:
    """A metric of torchmetrics as a `Metric`.

    Args:
        metric: an instance, whose `higher_is_better` is known; it is copied.

    Raises:
        InputError: its direction is not known, or its states cannot be merged.
    """

    unit = ""

    def __init__(self, metric: Any) -> None:  # noqa: ANN401 - of a library that may be absent
        kind = type(metric).__name__
        self.name = WORDS.sub("-", kind).lower()
        if metric.higher_is_better is None:
            msg = f"torchmetrics' {kind} does not say which way is better; derive a class that sets higher_is_better"
            raise InputError(msg)
        self.better = HIGHER if metric.higher_is_better else LOWER
        self.metric = deepcopy(metric)
        self.metric.sync_on_compute = False  # the parts of all processes are gathered by bigbatch
        self.metric._to_sync = False  # noqa: SLF001 - the two belong together
        has_inner = any(is_torchmetric(inner) for inner in metric.modules() if inner is not metric)
        if has_inner or not metric._defaults:  # noqa: SLF001 - its states
            msg = f"torchmetrics' {kind} cannot be merged: its states lie in other metrics; name one of those"
            raise InputError(msg)

    def measure(self, outputs: Any, targets: Any) -> dict[str, Any]:  # noqa: ANN401 - whatever the metric takes
        """Return the metric's states after this part alone."""
        outputs = scored_output(outputs, targets)
        device = outputs.device if isinstance(outputs, Tensor) else self.metric.device
        metric = self.metric.to(device)
        metric.reset()
        metric.update(outputs, targets)
        return {name: _plain(getattr(metric, name)) for name in metric._defaults}  # noqa: SLF001 - its states

    def result(self, parts: Sequence[Any]) -> float:
        """Return what the metric computes from all parts' states."""
        metric = self.metric.to("cpu")
        metric.reset()
        for name, function in metric._reductions.items():  # noqa: SLF001 - how its author merges them
            setattr(metric, name, self._merged(name, [part[name] for part in parts], function))
        metric._update_count = len(parts)  # noqa: SLF001 - it warns of a metric without updates
        value = metric.compute()
        metric.reset()
        if not (isinstance(value, int | float) or (isinstance(value, Tensor) and value.numel() == 1)):
            kind = type(self.metric).__name__
            msg = f"torchmetrics' {kind} gives several values; choose an average, or wrap it in a metric of your own"
            raise InputError(msg)
        return float(value)

    def _merged(self, name: str, states: list[Any], function: Callable[..., Any] | None) -> Any:  # noqa: ANN401 - a state
        if isinstance(states[0], list):
            return _merged_lists(states, function)
        if len(states) == 1:
            return states[0]
        if function is None:
            return torch.stack(states)
        known = MERGES.get(function.__name__)
        try:
            return known(states) if known else function(torch.stack(states))
        except RuntimeError as error:
            msg = f"{self.name} cannot be merged over the parts of the data: its state {name}: {first_line(error)}"
            raise InputError(msg) from error


def is_torchmetric(found: Any) -> bool:  # noqa: ANN401 - whatever the user gave
    """Tell whether a value is a metric of torchmetrics, or has the face of one."""
    return not isinstance(found, type) and all(hasattr(found, name) for name in PARTS_OF_ITS_FACE)


def _plain(state: Any) -> Any:  # noqa: ANN401 - a tensor, or a list of what a metric keeps
    return list(state) if isinstance(state, list) else state.clone()


def _merged_lists(states: list[list[Any]], function: Callable[..., Any] | None) -> list[Any]:
    """Return the lists as one. A metric concatenates its list itself; other functions merge the whole."""
    joined = [item for state in states for item in state]
    if function is None or function.__name__ == "dim_zero_cat" or not joined:
        return joined
    return [function(_cat(joined))]


def _cat(states: list[Tensor]) -> Tensor:
    return torch.cat([state if state.ndim else state[None] for state in states])


def _sum(states: list[Tensor]) -> Tensor:
    """Return the sum in order: of floats in float64, rounded once."""
    total = torch.stack(states).double() if states[0].is_floating_point() else torch.stack(states)
    return total.sum(0).to(states[0].dtype)


MERGES: Final[Mapping[str, Callable[[list[Tensor]], Tensor]]] = {
    "dim_zero_sum": _sum,
    "dim_zero_mean": lambda states: (torch.stack(states).double().mean(0)).to(states[0].dtype),
    "dim_zero_max": lambda states: torch.stack(states).amax(0),
    "dim_zero_min": lambda states: torch.stack(states).amin(0),
    "dim_zero_cat": _cat,
}
