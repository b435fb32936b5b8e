"""Feed batches of samples to a process through torch's DataLoader."""

from collections.abc import Generator, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from bigbatch.data.dataset import Batch, BatchDataset
from bigbatch.errors import InputError
from bigbatch.processes.parent import die_with_parent
from bigbatch.processes.stop_signals import outlive_stop_signals
from bigbatch.rules.randomness.keyed import augmentation_key
from bigbatch.rules.sampling import BatchIndices


def load_batches(
    dataset: BatchDataset,
    batches: Sequence[BatchIndices],
    *,
    seed: int,
    device: torch.device,
    loader_workers: int = 0,
) -> Generator[Batch]:
    """Yield the batches on the device, in order.

    Args:
        dataset: what the batches' indices point into.
        batches: one for each batch to come.
        seed: of the augmentation, together with a batch's epoch and the sample.
        device: where the batches go, from pinned memory if it is a GPU.
        loader_workers: processes that read ahead; 0 reads here. It does not change a bit of what is read.

    Raises:
        InputError: a sample cannot be read.
    """
    loader: DataLoader[Any] = DataLoader(
        _Reader(dataset, seed),
        sampler=_Batches(batches),
        batch_size=None,  # a batch is already collated
        num_workers=loader_workers,
        pin_memory=device.type == "cuda",
        worker_init_fn=partial(_prepare_reader, torch.get_num_threads()),
    )
    for batch in loader:
        if isinstance(batch, InputError):
            raise batch
        yield to_device(batch, device)


def to_device(batch: Batch, device: torch.device) -> Batch:
    """Move the tensors of a batch, which may be nested in tuples, lists and dictionaries."""
    if isinstance(batch, torch.Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, dict):
        return {key: to_device(value, device) for key, value in batch.items()}
    if isinstance(batch, tuple | list):
        return [to_device(value, device) for value in batch]
    return batch


def _prepare_reader(threads: int, _worker: int) -> None:
    """Compute with as many threads as the process itself, since bits may depend on it. End when it ends, not before."""
    torch.set_num_threads(threads)
    outlive_stop_signals()
    die_with_parent()


class _Reader(Dataset[Any]):
    """Reads a batch. An error of the data comes back as a value: torch would wrap it in the traceback of a loader."""

    def __init__(self, dataset: BatchDataset, seed: int) -> None:
        self.dataset = dataset
        self.seed = seed

    def __getitem__(self, batch: BatchIndices) -> Batch | InputError:
        try:
            return self.dataset.read_batch(batch.indices, augmentation_key(self.seed, batch.epoch))
        except InputError as error:
            return error


class _Batches(Sampler[BatchIndices]):
    def __init__(self, batches: Iterable[BatchIndices]) -> None:
        self.batches = list(batches)

    def __iter__(self) -> Iterator[BatchIndices]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)
