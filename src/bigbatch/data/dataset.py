"""What a training needs of a data set: it is read one worker's batch at a time, and keys its randomness by sample."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import default_collate

from bigbatch.errors import InputError
from bigbatch.rules.randomness.generators import seed_generators
from bigbatch.rules.randomness.keyed import random_words

NUM_FINGERPRINTED: Final = 16

Batch = Any  # collated samples; (inputs, targets) for classification


class BatchDataset(Protocol):
    """A data set that is read batch by batch."""

    def __len__(self) -> int:
        """Return the number of samples."""
        ...

    def read_batch(self, indices: NDArray[np.int64], key: int) -> Batch:
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
        fingerprint: SHA-256 of the content; of names and sizes for a folder of images, of some samples for user data.
    """

    train: BatchDataset
    validation: BatchDataset
    num_classes: int
    in_channels: int
    fingerprint: str


class MapDataset:
    """A dataset with `__len__` and `__getitem__` whose transforms may draw on torch's, numpy's or Python's generator.

    All three are seeded before every sample from (key, sample). So neither the order nor the process matters.
    """

    def __init__(self, dataset: Sequence[Any]) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def read_batch(self, indices: NDArray[np.int64], key: int) -> Batch:
        """Read sample by sample, then collate as torch's DataLoader does."""
        samples = []
        for index, word in zip(indices.tolist(), random_words(key, indices)[:, 0].tolist(), strict=True):
            seed_generators(word)
            samples.append(self.dataset[index])
        return default_collate(samples)


def as_batch_dataset(dataset: BatchDataset | Sequence[Any]) -> BatchDataset:
    """Return a dataset that is read batch by batch: itself, or a `MapDataset` of its samples."""
    return dataset if hasattr(dataset, "read_batch") else MapDataset(dataset)


def sample_fingerprint(*datasets: MapDataset) -> str:
    """Return the SHA-256 over each dataset's length and up to 16 of its samples, evenly spread.

    Raises:
        InputError: a sample differs when it is read again: it draws randomness from outside torch, numpy and `random`.
    """
    digest = sha256()
    for dataset in datasets:
        indices = np.unique(np.linspace(0, len(dataset) - 1, NUM_FINGERPRINTED).astype(np.int64))
        first, again = (batch_digest(dataset.read_batch(indices, key=0)) for _ in range(2))
        if first != again:
            msg = "a sample of the data differs when it is read again: draw from torch's, numpy's or random's generator"
            raise InputError(msg)
        digest.update(f"{len(dataset)}\0".encode() + first)
    return digest.hexdigest()


def batch_digest(batch: Batch) -> bytes:
    """Return the SHA-256 of a batch's content."""
    if isinstance(batch, dict):
        batch = [part for _, part in sorted(batch.items())]
    if isinstance(batch, list | tuple):
        return sha256(b"".join(map(batch_digest, batch))).digest()
    content = batch.numpy().tobytes() if isinstance(batch, torch.Tensor) else repr(batch).encode()
    return sha256(content).digest()
