"""Start a model from the weights of a file, and say what was taken and what was left."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import torch
from torch import Tensor, nn

from bigbatch.errors import InputError
from bigbatch.models.plain_names import plain_state
from bigbatch.models.weight_names import Tensors, named_as_in, nearest_prefix, num_fitting
from bigbatch.models.weights_file import read_weights
from bigbatch.recipe.sections import Model

SHOWN: Final = 4  # names of a list; run.json has all
ALMOST_NOTHING: Final = 0.1  # of the tensors of the model or of the file, whichever has fewer
COUNTER: Final = "num_batches_tracked"

V = TypeVar("V")


@dataclass(frozen=True)
class WarmStart:
    """What a model has taken from a file.

    Attributes:
        file: as the recipe names it.
        sha256: of its bytes.
        taken: names of the model's tensors that have the file's values.
        missing: names of the model's that the file does not have; they start as without a file.
        reshaped: names of the model's that have another shape in the file; likewise.
        left: names in the file that the model does not have.
    """

    file: str
    sha256: str
    taken: Sequence[str]
    missing: Sequence[str]
    reshaped: Sequence[str]
    left: Sequence[str]

    def to_json(self) -> dict[str, Any]:
        """Return it as run.json records it: the number of what was taken, and every other name."""
        return {**vars(self), "taken": len(self.taken)}

    def lines(self) -> list[str]:
        """Return the lines to show before the first iteration."""
        count = len(self.taken) + len(self.missing) + len(self.reshaped)
        first = f"starts from {self.file}: it gives {len(self.taken)} of the model's {count} tensors"
        parts = {
            "not in the file, so initialised": self.missing,
            "of another shape in the file, so initialised": self.reshaped,
            "left in the file": self.left,
        }
        shown = {what: list(without_counters(dict.fromkeys(names))) for what, names in parts.items()}
        return [first, *(f"{what}: {_some(names)}" for what, names in shown.items() if names)]


def warm_start(model: nn.Module, recipe: Model) -> WarmStart | None:
    """Give the model the tensors of `recipe.weights` that have its names and shapes; None if the recipe names no file.

    Running statistics are taken too. The names of torchvision's ResNets stand for ours, and ours for theirs.

    Raises:
        InputError: the file cannot be read, or has almost nothing that fits: it is of another model.
    """
    if not recipe.weights:
        return None
    own = {name: tensor for name, tensor in plain_state(model).items() if isinstance(tensor, Tensor)}
    file = read_weights(Path(recipe.weights))
    found = named_as_in(own, file.tensors, recipe.weights_prefix)
    taken = [name for name in own if name in found and _fits(found[name], own[name])]
    _check_fit(recipe, own, file.tensors, taken)
    with torch.no_grad():
        for name in taken:
            own[name].copy_(found[name])
    return WarmStart(
        recipe.weights,
        file.sha256,
        taken=taken,
        missing=[name for name in own if name not in found],
        reshaped=[name for name in own if name in found and name not in taken],
        left=[name for name in found if name not in own],
    )


def _fits(found: Tensor, own: Tensor) -> bool:
    is_same_kind = (found.is_floating_point(), found.is_complex()) == (own.is_floating_point(), own.is_complex())
    return found.shape == own.shape and is_same_kind and found.layout == torch.strided


def _check_fit(recipe: Model, own: Tensors, tensors: Tensors, taken: Sequence[str]) -> None:
    """Refuse weights of which almost nothing fits. A file of one layer, or of a larger model, may fit well."""
    own, tensors, count = without_counters(own), without_counters(tensors), len(without_counters(dict.fromkeys(taken)))
    least = max(1, ALMOST_NOTHING * min(len(own), len(tensors)))
    if count >= least:
        return
    what = f"almost nothing that fits the model ({count} of its tensors)" if count else "nothing that fits the model"
    msg = f"model.weights: {recipe.weights} has {what}; {_way_out(recipe.weights_prefix, own, tensors, least)}"
    raise InputError(msg)


def _way_out(prefixes: Mapping[str, object], own: Tensors, tensors: Tensors, least: float) -> str:
    """Return what would help; or a name of the model, and what the file has instead."""
    if prefixes and num_fitting(own, tensors, {}) >= least:
        return "leave model.weights_prefix out"
    if prefix := nearest_prefix(own, tensors, least=least):
        old, new = prefix
        return f'set model.weights_prefix = {{"{old}" = "{new}"}}'
    found = named_as_in(own, tensors, prefixes)
    if both := [name for name in own if name in found]:
        return _difference(both[0], found[both[0]], own[both[0]])
    name, theirs = next(iter(own), "no tensor"), next(iter(found), "no tensor")
    return f"the model has '{name}', the file '{theirs}'; model.weights_prefix gives them the same beginning"


def _difference(name: str, theirs: Tensor, own: Tensor) -> str:
    if theirs.shape == own.shape:
        return f"'{name}' has numbers of {theirs.dtype} there, and of {own.dtype} here"
    return f"'{name}' has the shape {list(theirs.shape)} there, and {list(own.shape)} here"


def without_counters(tensors: Mapping[str, V]) -> dict[str, V]:
    """Return all but batch normalisations' counters of steps, of which nothing depends."""
    return {name: tensor for name, tensor in tensors.items() if not name.endswith(COUNTER)}


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{', '.join(names[:SHOWN])}{more}"
