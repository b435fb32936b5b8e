"""A torch DataLoader's data, read again as exact minibatches: its dataset, its collate function and its order."""

from collections.abc import Callable, Iterator, Mapping, Sized
from typing import Any

import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    default_collate,
)

from bigbatch.data.batch import Batch
from bigbatch.data.minibatches import Minibatches
from bigbatch.data.own_order import Order
from bigbatch.errors import InputError


class Part:
    """This process's part of a minibatch: one batch for each of its workers, read when it is asked for.

    Trainers look into a batch for its size; this one has none that they could find.
    """

    def __init__(self, batches: Iterator[Batch]) -> None:
        self.batches = batches


class PartLoader:
    """What a trainer takes for a DataLoader: each of its batches is this process's part of a minibatch.

    Args:
        minibatches: of the training.
        position: tells where the training is: the epoch, and the minibatches of it that are done. So a training that
            goes on from a checkpoint needs nothing of this loader.

    Attributes:
        minibatches: the same.
        dataset: that is read.
    """

    def __init__(self, minibatches: Minibatches, position: Callable[[], tuple[int, int]]) -> None:
        self.minibatches, self.position = minibatches, position
        self.dataset: Any = minibatches.dataset
        self.next: tuple[int, int] | None = None

    def __len__(self) -> int:
        """Return the number of iterations in an epoch."""
        return len(self.minibatches)

    def __iter__(self) -> Iterator[Part]:
        """Yield the parts of the rest of the epoch that the training is in."""
        epoch, done = self.position()
        for place in range(done, len(self)):
            yield self.at(epoch, place)

    def at(self, epoch: int, place: int) -> Part:
        """Return the part of the minibatch `place` of an epoch, both counted from 0."""
        if self.next != (epoch, place):
            self.reading = self.minibatches.epoch(epoch, first=place)
        self.next = (epoch, place + 1)
        return Part(next(self.reading))

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: the training's position says where to go on. Lightning asks."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take nothing."""


def minibatches_of(
    loader: Any,  # noqa: ANN401 - whatever a user calls a loader
    *,
    minibatch_size: int,
    worker_minibatch_size: int,
    seed: int,
    device: torch.device,
) -> Minibatches:
    """Return minibatches of what a DataLoader reads, in an order that does not depend on the processes.

    `shuffle=True` becomes bigbatch's own shuffle of (seed, epoch), and a sequential order stays. The loader's batch
    size plays no part. Its `num_workers` read ahead, its `collate_fn` collates.

    Args:
        loader: torch's, of a dataset with a length, before a trainer has divided it.
        minibatch_size: samples per update, over all workers (kn).
        worker_minibatch_size: samples of one worker (n).
        seed: of the order and of the dataset's randomness.
        device: where the batches go.

    Raises:
        InputError: it is no DataLoader, reads a stream, or has a sampler of its own.
    """
    if not isinstance(loader, DataLoader):
        msg = f"the training data is a {type(loader).__name__}; give one torch DataLoader of a dataset with a length"
        raise InputError(msg)
    if isinstance(loader.dataset, IterableDataset) or not isinstance(loader.dataset, Sized):
        msg = "the training data is a stream, which has no exact shuffle; give a dataset with len() and [index]"
        raise InputError(msg)
    if loader.batch_sampler is not None and type(loader.batch_sampler) is not BatchSampler:
        msg = (
            f"the DataLoader has the batch sampler {type(loader.batch_sampler).__name__}, whose batches would not be "
            "cut into workers; give it batch_size and shuffle instead"
        )
        raise InputError(msg)
    return Minibatches(
        loader.dataset,
        minibatch_size=minibatch_size,
        worker_minibatch_size=worker_minibatch_size,
        seed=seed,
        collate=None if loader.collate_fn is default_collate else loader.collate_fn,
        order=order_of(loader.sampler, len(loader.dataset)),
        device=device,
        loader_workers=loader.num_workers,
    )


def order_of(sampler: Any, num_samples: int) -> Order | None:  # noqa: ANN401 - whatever a user calls a sampler
    """Return the order of a sampler's epochs; None for a shuffle.

    Args:
        sampler: torch's random, sequential or distributed one.
        num_samples: of the dataset.

    Raises:
        InputError: another sampler, or a random one that draws with replacement or not all samples.
    """
    is_shuffle = type(sampler) is RandomSampler and not sampler.replacement and sampler.num_samples == num_samples
    if is_shuffle or (type(sampler) is DistributedSampler and sampler.shuffle):
        return None
    if type(sampler) in {SequentialSampler, DistributedSampler}:
        return lambda epoch: range(num_samples)  # noqa: ARG005 - the same in every epoch
    msg = (
        f"the order comes from a {type(sampler).__name__}, which would depend on the processes; give the DataLoader "
        "shuffle=True, or train in a loop of your own with bigbatch.Minibatches(order=...)"
    )
    raise InputError(msg)
