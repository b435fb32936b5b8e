"""Samples into a batch; and in one line, why samples cannot be made one."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch
from torch.utils.data import default_collate

from bigbatch.data.batch import Batch
from bigbatch.data.handover import is_of_shared_memory
from bigbatch.errors import InputError, first_line

Collate = Callable[[list[Any]], Batch]

WAY_OUT: Final = "pass collate= (data.collate in a recipe), a function of the list of samples that returns the batch"
STACKED: Final = (torch.Tensor, np.ndarray)


def collate_by_default(samples: list[Any], indices: Sequence[int]) -> Batch:
    """Stack samples as torch's DataLoader does.

    Args:
        samples: of one batch.
        indices: their numbers, for the error.

    Raises:
        InputError: samples that differ in shape, keys or type, or of a type that nothing stacks.
    """
    try:
        return default_collate(samples)
    except (RuntimeError, TypeError, ValueError, KeyError, AttributeError) as error:
        if is_of_shared_memory(error):  # in a loader's process, torch stacks there
            raise
        msg = f"samples cannot be put into one batch: {_reason(samples, indices) or first_line(error)}; {WAY_OUT}"
        raise InputError(msg) from error


def _reason(samples: Sequence[Any], indices: Sequence[int]) -> str | None:
    """Say which two samples differ, and in what; or what no sample may be."""
    for sample, index in zip(samples[1:], indices[1:], strict=True):
        if found := _difference(samples[0], sample, ""):
            place, first, other = found
            return f"sample {indices[0]} has {first}{place} and sample {index} has {other}"
    if found_type := _unstackable(samples[0], ""):
        return f"sample {indices[0]} has {found_type}, which torch's default_collate does not stack"
    return None


def _difference(first: Any, other: Any, place: str) -> tuple[str, str, str] | None:  # noqa: ANN401 - parts of samples
    """Return where two samples differ, what the first has there, and what the other has."""
    at = f" at {place}" if place else ""
    if type(first) is not type(other):
        return at, _type_of(first), _type_of(other)
    if isinstance(first, STACKED):
        shapes = tuple(first.shape), tuple(other.shape)
        return None if shapes[0] == shapes[1] else (at, f"shape {shapes[0]}", f"shape {shapes[1]}")
    if isinstance(first, Mapping):
        if first.keys() != other.keys():
            return at, f"the keys {', '.join(map(str, first))}", f"the keys {', '.join(map(str, other))}"
    elif isinstance(first, list | tuple) and len(first) != len(other):
        return at, f"{len(first)} values", f"{len(other)} values"
    parts = ((key, value, _parts(other)[key]) for key, value in _parts(first).items())
    return next(filter(None, (_difference(one, two, f"{place}[{key!r}]") for key, one, two in parts)), None)


def _unstackable(value: Any, place: str) -> str | None:  # noqa: ANN401 - a part of a sample
    """Return the type and the place of what is neither tensor, array, number nor string."""
    if isinstance(value, Mapping | list | tuple):
        return next(
            filter(None, (_unstackable(part, f"{place}[{key!r}]") for key, part in _parts(value).items())), None
        )
    if isinstance(value, (*STACKED, int, float, str, bytes)):
        return None
    return f"{_type_of(value)}{f' at {place}' if place else ''}"


def _parts(value: Any) -> dict[Any, Any]:  # noqa: ANN401 - a part of a sample
    if isinstance(value, Mapping):
        return dict(value)
    return dict(enumerate(value)) if isinstance(value, list | tuple) else {}


def _type_of(value: object) -> str:
    return "None" if value is None else f"a value of type {type(value).__qualname__}"
