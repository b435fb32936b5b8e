"""This process's part of every minibatch, in the order that (seed, epoch) gives."""

from collections.abc import Generator, Iterator, Sequence
from itertools import islice
from typing import Any

import torch
import torch.distributed as dist

from bigbatch.data.dataset import Batch, BatchDataset, as_batch_dataset
from bigbatch.data.loading import load_batches
from bigbatch.processes.group import Processes
from bigbatch.rules.sampling import Sampling, process_workers


class Minibatches:
    """Cut a dataset into minibatches, and hand this process the batches of its workers.

    Args:
        dataset: anything with `len()` and `[index]`, or a `BatchDataset`. Its transforms may draw from torch's,
            numpy's or Python's global generator, which are seeded before each sample.
        minibatch_size: samples per update, over all workers (kn).
        worker_minibatch_size: samples of one worker (n).
        seed: of the order, and of the augmentation too if it has none of its own.
        augmentation_seed: of the augmentation.
        device: where the batches go.
        loader_workers: processes that read ahead, for each process of the training; 0 reads in the process itself.
        group: torch's process group; None for the default one, or this process alone if there is none.

    Raises:
        InputError: sizes that do not divide, or more processes than workers.

    >>> minibatches = Minibatches(list(range(10)), minibatch_size=4, worker_minibatch_size=2)
    >>> [[batch.shape for batch in minibatch] for minibatch in minibatches.epoch(0)]
    [[torch.Size([2]), torch.Size([2])], [torch.Size([2]), torch.Size([2])]]
    """

    def __init__(
        self,
        dataset: BatchDataset | Sequence[Any],
        *,
        minibatch_size: int,
        worker_minibatch_size: int,
        seed: int = 0,
        augmentation_seed: int | None = None,
        device: torch.device | str = "cpu",
        loader_workers: int = 0,
        group: dist.ProcessGroup | None = None,
    ) -> None:
        self.dataset = as_batch_dataset(dataset)
        self.sampling = Sampling(len(dataset), minibatch_size, worker_minibatch_size, seed)
        self.augmentation_seed = seed if augmentation_seed is None else augmentation_seed
        self.device = torch.device(device)
        self.loader_workers = loader_workers
        self.reading: Generator[Batch] | None = None
        processes = Processes.current(group)
        self.workers = process_workers(self.sampling.worker_count, rank=processes.rank, world_size=processes.world_size)

    def __len__(self) -> int:
        """Return the number of iterations in an epoch."""
        return self.sampling.iterations_per_epoch

    @property
    def minibatch_size(self) -> int:
        """Samples per update, over all workers (kn)."""
        return self.sampling.minibatch_size

    @property
    def worker_minibatch_size(self) -> int:
        """Samples of one worker (n)."""
        return self.sampling.worker_minibatch_size

    def epochs(self, count: int, *, first: int = 0) -> Iterator[Iterator[Batch]]:
        """Yield this process's part of every minibatch of a training, epoch after epoch.

        Args:
            count: epochs of the whole training.
            first: the iteration to begin with, counted from 0 over all epochs; to resume, `step.iteration`.

        >>> minibatches = Minibatches(list(range(10)), minibatch_size=4, worker_minibatch_size=2)
        >>> len(list(minibatches.epochs(3))), len(list(minibatches.epochs(3, first=4)))
        (6, 2)
        """
        begun, offset = divmod(first, len(self))
        for epoch in range(begun, count):
            yield from self.epoch(epoch, first=offset if epoch == begun else 0)

    def epoch(self, epoch: int, *, first: int = 0) -> Iterator[Iterator[Batch]]:
        """Yield this process's part of every minibatch of the epoch, from its iteration `first` on.

        A part yields one batch for each worker of this process, read as it is asked for.
        """
        batches = load_batches(
            self.dataset,
            list(self.sampling.epoch(epoch, self.workers, first=first)),
            seed=self.augmentation_seed,
            device=self.device,
            loader_workers=self.loader_workers,
        )
        self.reading = batches
        for _ in range(first, len(self)):
            part = islice(batches, len(self.workers))
            yield part
            for _ in part:  # batches that the caller has not taken must not come with the next minibatch
                pass

    def close(self) -> None:
        """End the processes that read ahead, after a loop that an error has ended."""
        if self.reading:
            self.reading.close()
