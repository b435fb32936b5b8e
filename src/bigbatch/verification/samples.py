"""Some of the samples of a batch."""

from typing import Any

from torch import Tensor


def take(batch: Any, samples: slice) -> Any:  # noqa: ANN401 - tensors, however nested
    """Return these samples of every tensor in a batch; what has no dimension stays.

    >>> import torch
    >>> take((torch.arange(6), {"label": torch.arange(6)}), slice(0, 2))
    (tensor([0, 1]), {'label': tensor([0, 1])})
    """
    if isinstance(batch, Tensor):
        return batch[samples] if batch.ndim else batch
    if isinstance(batch, dict):
        return {key: take(value, samples) for key, value in batch.items()}
    if isinstance(batch, tuple):
        return tuple(take(value, samples) for value in batch)
    if isinstance(batch, list):
        return [take(value, samples) for value in batch]
    return batch
