"""Which tensor of a file belongs to which tensor of a model, by their names."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from bigbatch.models.plain_names import plain_name
from bigbatch.models.torchvision_names import other_names

if TYPE_CHECKING:
    from torch import Tensor

WRAPPED: Final = "module."  # what DataParallel and DistributedDataParallel put before the names
TRIED: Final = 3  # beginnings that are tried

Tensors = Mapping[str, "Tensor"]


def named_as_in(own: Tensors, tensors: Tensors, prefixes: Mapping[str, object]) -> "dict[str, Tensor]":
    """Return a file's tensors by the names that the model gives them; of two with one name, that which had it already.

    Args:
        own: the model's tensors.
        tensors: the file's.
        prefixes: beginnings of names in the file, each with what the model has instead.
    """
    renamed = [(_renamed(name, own, prefixes), name, tensor) for name, tensor in tensors.items()]
    changed = {new: tensor for new, name, tensor in renamed if new != name}
    return changed | {new: tensor for new, name, tensor in renamed if new == name}


def nearest_prefix(own: Tensors, tensors: Tensors, *, least: float) -> tuple[str, str] | None:
    """Return the beginning of the file's names, and the model's in its place, with which most tensors fit.

    Args:
        own: the model's tensors.
        tensors: the file's.
        least: tensors that must fit; None is returned if fewer do.

    >>> import torch
    >>> body = {f"stages.{i}.weight": torch.zeros(i + 1) for i in range(3)}
    >>> nearest_prefix({f"backbone.body.{name}": tensor for name, tensor in body.items()}, body, least=3)
    ('', 'backbone.body.')
    """
    counts = Counter(pair for pair in _beginnings(own, named_as_in(own, tensors, {})) if pair[0] != pair[1])
    fits = {pair: num_fitting(own, tensors, dict([pair])) for pair, _ in counts.most_common(TRIED)}
    best = max(fits, key=lambda pair: fits[pair], default=None)
    return best if best and fits[best] >= least else None


def num_fitting(own: Tensors, tensors: Tensors, prefixes: Mapping[str, object]) -> int:
    """Return how many of a file's tensors have a name and a shape of the model's."""
    found = named_as_in(own, tensors, prefixes)
    return sum(name in own and tensor.shape == own[name].shape for name, tensor in found.items())


def _renamed(name: str, own: Tensors, prefixes: Mapping[str, object]) -> str:
    """Return a name without what wrappers put before it, and with the first prefix that fits exchanged.

    A ResNet's tensor has one name in torchvision and another one in ours: the model's own is returned.
    """
    name = plain_name(name)
    while name not in own and name.startswith(WRAPPED):
        name = name.removeprefix(WRAPPED)
    for old in sorted(prefixes, key=len, reverse=True):
        if name.startswith(old):
            name = f"{prefixes[old]}{name.removeprefix(old)}"
            break
    return next((each for each in (name, *other_names(name)) if each in own), name)


def _beginnings(own: Tensors, tensors: Tensors) -> Iterator[tuple[str, str]]:
    """Yield what differs at the beginning of each pair of names that ends alike and has one shape."""
    ends: dict[object, list[str]] = {}
    for name, tensor in own.items():
        ends.setdefault((_end(name), tensor.shape), []).append(name)
    for name, tensor in tensors.items():
        for alias in (name, *other_names(name)):
            for other in ends.get((_end(alias), tensor.shape), ()):
                yield _without_common_end(alias, other)


def _end(name: str) -> str:
    return ".".join(name.split(".")[-2:])


def _without_common_end(name: str, other: str) -> tuple[str, str]:
    """Return what stands before the part of two names that is the same.

    >>> _without_common_end("encoder.stem.0.weight", "body.stem.0.weight")
    ('encoder.', 'body.')
    """
    parts, others = name.split("."), other.split(".")
    while parts and others and parts[-1] == others[-1]:
        parts.pop()
        others.pop()
    return "".join(f"{part}." for part in parts), "".join(f"{part}." for part in others)
