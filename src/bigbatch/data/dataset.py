"""What the trainer asks of a data set: a whole worker's block at a time, its randomness keyed by sample."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import default_collate

from bigbatch.keyed_random import random_words
from bigbatch.seeding import seed_torch

Batch = Any  # what default_collate makes of samples; (inputs, targets) for classification
NUMPY_SEEDS = 2**32


class BlockDataset(Protocol):
    """A data set that is read block by block."""

    def __len__(self) -> int:
        """Return the number of samples."""
        ...

    def read_block(self, indices: NDArray[np.int64], key: int) -> Batch:
        """Return the samples `indices` as one batch, its randomness a function of (key, sample) alone."""
        ...


@dataclass(frozen=True)
class Splits:
    """A data set's two halves.

    Attributes:
        train: what is trained on.
        validation: what the error is measured on.
        num_classes: labels are 0 to num_classes - 1.
        in_channels: of the images.
        fingerprint: SHA-256 of the content (of names and sizes for a folder of images).
    """

    train: BlockDataset
    validation: BlockDataset
    num_classes: int
    in_channels: int
    fingerprint: str


class MapDataset:
    """A dataset with `__len__` and `__getitem__` whose transforms may draw on torch's, numpy's or Python's generator.

    All three are seeded before every sample from (key, sample): neither the order nor the process that reads matters.
    """

    def __init__(self, dataset: Sequence[Any]) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def read_block(self, indices: NDArray[np.int64], key: int) -> Batch:
        """Read sample by sample, then collate as torch's DataLoader does."""
        samples = []
        for index, word in zip(indices.tolist(), random_words(key, indices)[:, 0].tolist(), strict=True):
            seed_torch(word)
            np.random.seed(word % NUMPY_SEEDS)  # noqa: NPY002 - the user's transforms may draw from the global generator
            random.seed(word)
            samples.append(self.dataset[index])
        return default_collate(samples)
