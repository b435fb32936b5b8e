"""Which samples make up which minibatch: one shuffle of the data per epoch, divided among the workers.

The paper's fourth precaution (arXiv 1706.02677, section 3). The order is a function of (seed, epoch), and a worker's
batch is a slice of it. Each process reads the batches of its own workers, so the order never depends on a rank.
An order of one's own is a function of the epoch in place of the shuffle.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from bigbatch.errors import InputError

if TYPE_CHECKING:  # numpy is imported only when an order is made, so the command line starts without it
    from typing import TypeAlias

    import numpy as np
    from numpy.typing import NDArray

    Indices: TypeAlias = NDArray[np.int64]


def permutation(num_samples: int, *, seed: int, epoch: int) -> "Indices":
    """Return the order of the epoch: the samples sorted by one random 64-bit word each; equal words keep their order.

    Args:
        num_samples: of the training data.
        seed: of the order.
        epoch: counted from 0.

    Returns:
        The samples' numbers, shape (num_samples,).

    >>> permutation(5, seed=0, epoch=0).tolist() == permutation(5, seed=0, epoch=0).tolist()
    True
    >>> sorted(permutation(5, seed=0, epoch=1).tolist())
    [0, 1, 2, 3, 4]
    """
    import numpy as np

    from bigbatch.rules.randomness.keyed import random_key, random_words

    words = random_words(random_key("order", seed, epoch), np.arange(num_samples))[:, 0]
    return np.argsort(words, kind="stable")


@dataclass(frozen=True)
class BatchIndices:
    """The samples of one worker in one iteration, and where they come in a training.

    Attributes:
        epoch: counted from 0; with the sample's number it keys the augmentation.
        indices: positions in the dataset, shape (worker_minibatch_size,).
        iteration: of the epoch, counted from 0.
        worker: whose batch it is.
        may_repeat: whether a sample may come again in this epoch. The augmentation is then keyed by the batch too.
    """

    epoch: int
    indices: "Indices"
    iteration: int = 0
    worker: int = 0
    may_repeat: bool = False

    def augmentation_key(self, seed: int) -> int:
        """Return the key from which each of these samples draws its augmentation."""
        from bigbatch.rules.randomness.keyed import augmentation_key, random_key

        if self.may_repeat:
            return random_key("augmentation", seed, self.epoch, self.iteration, self.worker)
        return augmentation_key(seed, self.epoch)


@dataclass(frozen=True)
class Sampling:
    """Cut the shuffled epochs into minibatches, and each minibatch into one batch a worker.

    The last incomplete minibatch of an epoch is dropped: `num_dropped` samples, different ones in every epoch.

    Attributes:
        num_samples: of an epoch.
        minibatch_size: samples per update, over all workers (kn).
        worker_minibatch_size: samples of one worker (n).
        seed: of the shuffle.
        order: an order of one's own: maps the epoch to the numbers of its `num_samples` samples. None shuffles.

    Raises:
        InputError: the minibatch does not divide into workers, or is larger than the data.

    >>> sampling = Sampling(num_samples=10, minibatch_size=4, worker_minibatch_size=2, seed=0)
    >>> sampling.worker_count, sampling.iterations_per_epoch, sampling.num_dropped
    (2, 2, 2)
    """

    num_samples: int
    minibatch_size: int
    worker_minibatch_size: int
    seed: int = 0
    order: "Callable[[int], Indices] | None" = None

    def __post_init__(self) -> None:
        check_minibatch_size(self.minibatch_size, self.worker_minibatch_size)
        if self.minibatch_size > self.num_samples:
            msg = (
                f"minibatch_size {self.minibatch_size} is larger than the data set of {self.num_samples} samples; "
                f"the largest possible is {self.num_samples // self.worker_minibatch_size * self.worker_minibatch_size}"
            )
            raise InputError(msg)

    @property
    def worker_count(self) -> int:
        """Workers of a minibatch (k)."""
        return self.minibatch_size // self.worker_minibatch_size

    @property
    def iterations_per_epoch(self) -> int:
        """Updates of an epoch."""
        return iterations_per_epoch(self.num_samples, self.minibatch_size)

    @property
    def num_dropped(self) -> int:
        """Samples that an epoch leaves out."""
        return self.num_samples - self.iterations_per_epoch * self.minibatch_size

    def epoch(self, epoch: int, workers: range, *, first: int = 0) -> Iterator[BatchIndices]:
        """Yield the batches of `workers` for every iteration of the epoch, from its iteration `first` on.

        The order is worker by worker, iteration by iteration: len(workers) batches make this process's part of a
            minibatch.
        """
        order = self.order(epoch) if self.order else permutation(self.num_samples, seed=self.seed, epoch=epoch)
        for iteration in range(first, self.iterations_per_epoch):
            for worker in workers:
                start = iteration * self.minibatch_size + worker * self.worker_minibatch_size
                indices = order[start : start + self.worker_minibatch_size]
                yield BatchIndices(epoch, indices, iteration, worker, may_repeat=self.order is not None)


def iterations_per_epoch(num_samples: int, minibatch_size: int) -> int:
    """Return the updates of an epoch; its last incomplete minibatch is dropped.

    >>> iterations_per_epoch(10, 4)
    2
    """
    return num_samples // minibatch_size


class Sizes(Protocol):
    """What a step needs to know of its minibatches; `bigbatch.Minibatches` has it."""

    @property
    def minibatch_size(self) -> int:
        """Samples per update, over all workers (kn)."""
        ...

    @property
    def worker_minibatch_size(self) -> int:
        """Samples of one worker (n)."""
        ...

    @property
    def augmentation_seed(self) -> int:
        """The seed of what is random in a worker."""
        ...


def check_minibatch_size(minibatch_size: int, worker_minibatch_size: int) -> None:
    """Refuse a minibatch that does not divide into whole workers, and name the nearest that do.

    Raises:
        InputError: not positive, smaller than a worker's part, or not divisible by it.
    """
    if worker_minibatch_size < 1:
        msg = f"worker_minibatch_size must be at least 1, not {worker_minibatch_size}"
        raise InputError(msg)
    if minibatch_size < worker_minibatch_size:
        msg = (
            f"minibatch_size {minibatch_size} is smaller than worker_minibatch_size {worker_minibatch_size}; "
            f"the smallest possible is {worker_minibatch_size}"
        )
        raise InputError(msg)
    if minibatch_size % worker_minibatch_size:
        lower = minibatch_size // worker_minibatch_size * worker_minibatch_size
        msg = (
            f"minibatch_size {minibatch_size} is not divisible by worker_minibatch_size {worker_minibatch_size}; "
            f"the nearest are {lower} and {lower + worker_minibatch_size}"
        )
        raise InputError(msg)


def process_workers(worker_count: int, *, rank: int, world_size: int) -> range:
    """Return the contiguous block of workers that process `rank` runs; the first processes take one more if need be.

    Raises:
        InputError: more processes than workers.

    >>> [process_workers(7, rank=rank, world_size=3) for rank in range(3)]
    [range(0, 3), range(3, 5), range(5, 7)]
    """
    if world_size > worker_count:
        msg = (
            f"{world_size} processes are more than the {worker_count} workers of a minibatch; "
            f"use at most {worker_count} processes or a larger minibatch_size"
        )
        raise InputError(msg)
    share, extra = divmod(worker_count, world_size)
    start = rank * share + min(rank, extra)
    return range(start, start + share + (rank < extra))
