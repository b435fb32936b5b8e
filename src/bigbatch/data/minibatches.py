"""This process's part of every minibatch, in the order that (seed, epoch) gives."""

from collections.abc import Generator, Iterator
from hashlib import sha256
from itertools import islice

import torch
import torch.distributed as dist

from bigbatch.data.batch import Batch
from bigbatch.data.collation import Collate
from bigbatch.data.dataset import BatchDataset, Samples, as_batch_dataset, begin_epoch
from bigbatch.data.loading import load_batches
from bigbatch.data.own_order import Order, OwnOrder
from bigbatch.data.transform import BatchRandomness, Transform
from bigbatch.processes.group import Processes, check_agreement, communication_device
from bigbatch.rules.sampling import BatchIndices, Sampling, process_workers


class Minibatches:
    """Cut a dataset into minibatches, and hand this process the batches of its workers.

    Every batch leaves torch's, numpy's and Python's global generators seeded by (seed, epoch, iteration, worker). So
    what a loop draws for it before the step does not depend on the processes. docs/data.md says more.

    Args:
        dataset: anything with `len()` and `[index]`, or a `BatchDataset`. Its transforms may draw from torch's,
            numpy's or Python's global generator, which are seeded before each sample.
        minibatch_size: samples per update, over all workers (kn).
        worker_minibatch_size: samples of one worker (n).
        seed: of the order, and of the augmentation too if it has none of its own.
        augmentation_seed: of the augmentation.
        collate: makes a batch of a list of n samples; by default, torch's `default_collate` does.
        transform: maps (batch, generator) to the batch that the loop gets, such as mixup. The batch is that of one
            worker, on the device. The `torch.Generator` is of this device, seeded by (seed, epoch, iteration, worker).
        order: maps an epoch, counted from 0, to the numbers of its samples: int64, shape (samples,), as many in every
            epoch. By default each epoch is a shuffle of all samples.
        device: where the batches go.
        loader_workers: processes that read ahead, for each process of the training; 0 reads in the process itself.
        group: torch's process group; None for the default one, or this process alone if there is none.

    Raises:
        InputError: sizes that do not divide, or more processes than workers; data that cannot be read by number; or,
            when an epoch begins, samples that differ when they are read again, or orders that differ between processes.

    >>> minibatches = Minibatches(list(range(10)), minibatch_size=4, worker_minibatch_size=2)
    >>> [[batch.shape for batch in minibatch] for minibatch in minibatches.epoch(0)]
    [[torch.Size([2]), torch.Size([2])], [torch.Size([2]), torch.Size([2])]]
    """

    def __init__(  # noqa: PLR0913 - each says something else about the batches
        self,
        dataset: BatchDataset | Samples,
        *,
        minibatch_size: int,
        worker_minibatch_size: int,
        seed: int = 0,
        augmentation_seed: int | None = None,
        collate: Collate | None = None,
        transform: Transform | None = None,
        order: Order | None = None,
        device: torch.device | str = "cpu",
        loader_workers: int = 0,
        group: dist.ProcessGroup | None = None,
    ) -> None:
        self.dataset = as_batch_dataset(dataset, collate)
        own_order = None if order is None else OwnOrder(order, len(self.dataset), seed)
        num_samples = own_order.length if own_order else len(self.dataset)
        self.sampling = Sampling(num_samples, minibatch_size, worker_minibatch_size, seed, own_order)
        self.augmentation_seed = seed if augmentation_seed is None else augmentation_seed
        self.device = torch.device(device)
        self.randomness = BatchRandomness(transform, seed=self.augmentation_seed, device=self.device)
        self.loader_workers = loader_workers
        self.reading: Generator[Batch] | None = None
        self.is_checked = False
        self.processes = Processes.current(group)
        self.workers = process_workers(
            self.sampling.worker_count, rank=self.processes.rank, world_size=self.processes.world_size
        )

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
        begin_epoch(self.dataset, epoch)
        self._check_order(epoch)
        batches = self._read(list(self.sampling.epoch(epoch, self.workers, first=first)))
        for _ in range(first, len(self)):
            part = islice(batches, len(self.workers))
            yield part
            for _ in part:  # batches that the caller has not taken must not come with the next minibatch
                pass

    def close(self) -> None:
        """End the processes that read ahead, after a loop that an error has ended."""
        if self.reading:
            self.reading.close()

    def _check_order(self, epoch: int) -> None:
        """Refuse an order of one's own that is not the same on every process; the shuffle is."""
        if self.sampling.order and self.processes.world_size > 1:
            digest = sha256(self.sampling.order(epoch).tobytes()).hexdigest()
            check_agreement({f"order({epoch})": [digest]}, self.processes, communication_device(self.processes))

    def _read(self, places: list[BatchIndices]) -> Iterator[Batch]:
        """Yield the batches of these places, transformed, and with the generators seeded for what follows."""
        self.reading = load_batches(
            self.dataset,
            places,
            seed=self.augmentation_seed,
            device=self.device,
            loader_workers=self.loader_workers,
            reads_again=not self.is_checked,
        )
        for batch, place in zip(self.reading, places, strict=True):
            self.is_checked = True
            yield self.randomness.prepare(batch, place)
