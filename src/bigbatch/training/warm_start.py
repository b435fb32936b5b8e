"""Start a model from the weights of a file, and say what was taken and what was left."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from bigbatch.errors import InputError
from bigbatch.models.plain_names import plain_name, plain_state
from bigbatch.models.weights_file import read_weights
from bigbatch.recipe.sections import Model

WRAPPED: Final = "module."  # what DataParallel and DistributedDataParallel put before the names
SHOWN: Final = 4  # names of a list; run.json has all


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
        return [first, *(f"{what}: {_some(names)}" for what, names in parts.items() if names)]


def warm_start(model: nn.Module, recipe: Model) -> WarmStart | None:
    """Give the model the tensors of `recipe.weights` that have its names and shapes; None if the recipe names no file.

    Raises:
        InputError: the file cannot be read, or has nothing that fits.
    """
    if not recipe.weights:
        return None
    own = {name: tensor for name, tensor in plain_state(model).items() if isinstance(tensor, Tensor)}
    file = read_weights(Path(recipe.weights))
    found = dict(_named(file.tensors, own, recipe.weights_prefix))
    taken = [name for name in own if name in found and _fits(found[name], own[name])]
    if not taken:
        msg = f"model.weights: {recipe.weights} has nothing that fits the model; {_why(own, found)}"
        raise InputError(msg)
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


def _named(
    tensors: Mapping[str, Tensor], own: Mapping[str, Tensor], prefixes: Mapping[str, object]
) -> Iterator[tuple[str, Tensor]]:
    """Yield the file's tensors by the names that the model gives them; one that is named so already comes last."""
    renamed = [(_renamed(name, own, prefixes), name, tensor) for name, tensor in tensors.items()]
    yield from ((new, tensor) for new, name, tensor in renamed if new != name)
    yield from ((new, tensor) for new, name, tensor in renamed if new == name)


def _renamed(name: str, own: Mapping[str, Tensor], prefixes: Mapping[str, object]) -> str:
    """Return a name without what wrappers put before it, and with the first prefix that fits exchanged."""
    name = plain_name(name)
    while name not in own and name.startswith(WRAPPED):
        name = name.removeprefix(WRAPPED)
    for old in sorted(prefixes, key=len, reverse=True):
        if name.startswith(old):
            return f"{prefixes[old]}{name.removeprefix(old)}"
    return name


def _fits(found: Tensor, own: Tensor) -> bool:
    is_same_kind = (found.is_floating_point(), found.is_complex()) == (own.is_floating_point(), own.is_complex())
    return found.shape == own.shape and is_same_kind and found.layout == torch.strided


def _why(own: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str:
    """Return the first name of the model and what the file has instead."""
    name = next(iter(own), "no tensor")
    if name in found:
        return f"'{name}' has the shape {list(found[name].shape)} there, and {list(own[name].shape)} here"
    return f"the model has '{name}', the file '{next(iter(found))}'; model.weights_prefix gives them the same beginning"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{', '.join(names[:SHOWN])}{more}"
