"""Some of the samples of a batch."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor


def take(batch: Any, samples: slice, count: int) -> Any:  # noqa: ANN401 - tensors, however nested
    """Return these samples of a batch of `count`: of every tensor in it, and of every list with an entry a sample.

    A list of tensors that have `count` rows each holds a column in each, as torch's collate makes it. What has no
    dimension stays.

    >>> import torch
    >>> take((torch.arange(6), {"label": torch.arange(6)}), slice(0, 2), 6)
    (tensor([0, 1]), {'label': tensor([0, 1])})
    >>> take(([torch.zeros(1, 3), torch.zeros(1, 5)], [{"size": 3}, {"size": 5}]), slice(1, 2), 2)
    ([tensor([[0., 0., 0., 0., 0.]])], [{'size': 5}])
    """
    if isinstance(batch, Tensor):
        return batch[samples] if batch.ndim else batch
    if isinstance(batch, dict):
        return {key: take(value, samples, count) for key, value in batch.items()}
    if isinstance(batch, list) and _has_samples([batch], count):
        return batch[samples]
    if isinstance(batch, tuple) and _has_samples(batch, count):  # images of one size, with their targets
        return tuple(part[samples] for part in batch)
    if isinstance(batch, tuple | list):
        parts = [take(value, samples, count) for value in batch]
        return tuple(parts) if isinstance(batch, tuple) else parts
    return batch


def _has_samples(parts: Sequence[Any], count: int) -> bool:
    """Tell whether these are lists with an entry for each sample; not all of them are then lists of columns."""
    are_lists = all(isinstance(part, list) and len(part) == count for part in parts)
    return are_lists and not all(_has_columns(part, count) for part in parts)


def _has_columns(part: list[Any], count: int) -> bool:
    """Tell whether each entry is a tensor with a row for each sample."""
    return all(isinstance(entry, Tensor) and entry.ndim and len(entry) == count for entry in part)
