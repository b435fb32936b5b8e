"""Feed batches of samples to a process through torch's DataLoader."""

import signal
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from multiprocessing.connection import wait
from typing import Any, Final

import torch
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info

from bigbatch.data.batch import Batch, to_device
from bigbatch.data.byte_images import ByteImages
from bigbatch.data.dataset import BatchDataset, read
from bigbatch.data.handover import hand_over, is_of_shared_memory, shared_memory_is_full
from bigbatch.data.repeatable import repeated_digest
from bigbatch.errors import InputError, ReaderLostError
from bigbatch.processes.parent import die_with_parent
from bigbatch.processes.stop_signals import outlive_stop_signals
from bigbatch.rules.sampling import BatchIndices

NUM_READ_AGAIN: Final = 8
ENDING_SECONDS: Final = 1
READER_ENDED: Final = "DataLoader worker (pid"  # how torch begins what it says of it


def load_batches(
    dataset: BatchDataset,
    batches: Sequence[BatchIndices],
    *,
    seed: int,
    device: torch.device,
    loader_workers: int = 0,
    reads_again: bool = False,
) -> Generator[Batch]:
    """Yield the batches on the device, in order.

    Args:
        dataset: what the batches' indices point into.
        batches: one for each batch to come.
        seed: of the augmentation, together with a batch's epoch and the sample.
        device: where the batches go, from pinned memory if it is a GPU.
        loader_workers: processes that read ahead; 0 reads here. It does not change a bit of what is read.
        reads_again: whether each reader reads some samples of its first batch twice, to find those that differ.

    Raises:
        InputError: a sample cannot be read, or a batch not be made or handed over.
        ReaderLostError: a process that read ahead has ended.
    """
    loader: DataLoader[Any] = DataLoader(
        _Reader(dataset, seed, reads_again=reads_again),
        sampler=_Batches(batches),
        batch_size=None,  # a batch is already collated
        collate_fn=_unchanged,
        num_workers=loader_workers,
        pin_memory=device.type == "cuda",
        worker_init_fn=partial(_prepare_reader, torch.get_num_threads()),
    )
    with closing(_read_through(loader)) as found:  # an error must not keep the readers alive
        for batch in found:
            if isinstance(batch, InputError):
                raise batch
            moved = to_device(batch, device)
            yield dataset.finish(moved) if isinstance(dataset, ByteImages) else moved


def _read_through(loader: DataLoader[Any]) -> Generator[Any]:
    """Yield what the readers read.

    torch would raise an error about a reader's end wherever the program happens to be then, in a signal handler. Its
    handler is taken out again, so that the error comes with the next batch.
    """
    handler = signal.getsignal(signal.SIGCHLD)
    batches = iter(loader)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, handler)
    try:
        yield from batches
    except (RuntimeError, EOFError, OSError) as error:
        codes = _exit_codes(batches)
        if not (str(error).startswith(READER_ENDED) or (codes and isinstance(error, EOFError | OSError))):
            raise  # the data's own error
        raise ReaderLostError(_describe_end(codes)) from error
    finally:
        if loader.num_workers:  # otherwise they may live on, and a process forked later would complain of them
            batches._shutdown_workers()  # type: ignore[attr-defined]  # noqa: SLF001 - torch has no public way


def _exit_codes(batches: Any) -> list[int]:  # noqa: ANN401 - torch's iterator, whose type has no public name
    """Return the exit codes of the readers that have ended, or are about to."""
    readers = {reader.sentinel: reader for reader in getattr(batches, "_workers", ())}
    ended = [readers[sentinel] for sentinel in wait(list(readers), timeout=ENDING_SECONDS)]
    for reader in ended:
        reader.join()  # it has closed its files, but may not have an exit code yet
    return [reader.exitcode for reader in ended]


def _describe_end(codes: Sequence[int]) -> str:
    killed = [signal.Signals(-code).name for code in codes if code < 0]
    reason = f" was ended by {killed[0]}" if killed else " has ended"
    memory = "; memory has often run out then" if killed and killed[0] in {"SIGKILL", "SIGBUS"} else ""
    return f"a process that reads data{reason}{memory}: use fewer loader_workers, or loader_workers=0 to see its error"


def _unchanged(batch: Batch) -> Batch:
    return batch


def _prepare_reader(threads: int, _worker: int) -> None:
    """Compute with as many threads as the process itself, since bits may depend on it. End when it ends, not before."""
    torch.set_num_threads(threads)
    outlive_stop_signals()
    die_with_parent()


class _Reader(Dataset[Any]):
    """Reads a batch. An error of the data comes back as a value: torch would wrap it in the traceback of a loader."""

    def __init__(self, dataset: BatchDataset, seed: int, *, reads_again: bool) -> None:
        self.dataset, self.seed, self.reads_again = dataset, seed, reads_again

    def __getitem__(self, batch: BatchIndices) -> Batch | InputError:
        try:
            found = self._read(batch.indices, batch.augmentation_key(self.seed))
            return hand_over(found) if get_worker_info() else found
        except InputError as error:
            return error
        except RuntimeError as error:
            if is_of_shared_memory(error):
                return shared_memory_is_full()
            raise

    def _read(self, indices: Any, key: int) -> Batch:  # noqa: ANN401 - an array of samples' numbers
        if self.reads_again:
            self.reads_again = False
            repeated_digest(self.dataset, indices[:NUM_READ_AGAIN], key)
        return read(self.dataset, indices, key, as_bytes=True)


class _Batches(Sampler[BatchIndices]):
    def __init__(self, batches: Iterable[BatchIndices]) -> None:
        self.batches = list(batches)

    def __iter__(self) -> Iterator[BatchIndices]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)
