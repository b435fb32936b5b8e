"""What a training needs of a data set: it is read one worker's batch at a time, and keys its randomness by sample."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from bigbatch.data.batch import Batch
from bigbatch.data.byte_images import ByteImages
from bigbatch.data.collation import Collate, collate_by_default
from bigbatch.data.own_order import Order, OwnOrder
from bigbatch.data.random_access import READERS, check_random_access
from bigbatch.errors import InputError, first_line
from bigbatch.rules.randomness.generators import seed_generators
from bigbatch.rules.randomness.keyed import distinct, random_key, random_words

HASHED_BYTES: Final = 7  # of an order of samples: they fit into a key's number


class BatchDataset(Protocol):
    """A data set that is read batch by batch."""

    def __len__(self) -> int:
        """Return the number of samples."""
        ...

    def read_batch(self, indices: NDArray[np.int64], key: int) -> Batch:
        """Return the samples `indices` as one batch, its randomness a function of (key, sample) alone."""
        ...


class Samples(Protocol):
    """A dataset that is read sample by sample: torch's `Dataset`, a list, anything with `len()` and `[index]`.

    `len()` is left out here, because torch's `Dataset` does not declare it.
    """

    def __getitem__(self, index: int, /) -> Any:  # noqa: ANN401 - any sample
        """Return a sample."""
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
        order: of the training samples: maps an epoch to their numbers; None shuffles them.
        notes: lines that a user should read before the training, such as on what is left out.
        extreme: of one sample, with the largest tokens that the data may have; a model is tried on it first.
        about: a line on the data, for the run's log; "" for none.
        engine: what decodes the samples, by name: their bits depend on it.
    """

    train: BatchDataset
    validation: BatchDataset
    num_classes: int
    in_channels: int
    fingerprint: str
    order: Order | None = None
    extreme: BatchDataset | None = None
    notes: tuple[str, ...] = ()
    about: str = ""
    engine: Mapping[str, str] = field(default_factory=dict)

    @property
    def samples_per_epoch(self) -> int:
        """Training samples of an epoch: all, or as many as the order has."""
        return OwnOrder(self.order, len(self.train)).length if self.order else len(self.train)


def read(dataset: BatchDataset, indices: NDArray[np.int64], key: int, *, as_bytes: bool = False) -> Batch:
    """Read a batch with torch's, numpy's and Python's global generators seeded from (key, indices).

    Args:
        dataset: what is read.
        indices: of the samples.
        key: of their randomness.
        as_bytes: whether images come as bytes where the data set has them, to be normalised on the device.
    """
    seed_generators(_batch_key(key, indices))
    if as_bytes and isinstance(dataset, ByteImages):
        return dataset.read_bytes(indices, key)
    return dataset.read_batch(indices, key)


def _batch_key(key: int, indices: NDArray[np.int64]) -> int:
    content = blake2b(indices.astype("<i8").tobytes(), digest_size=HASHED_BYTES).digest()
    return random_key("read", key, int.from_bytes(content, "little"))


class MapDataset:
    """A dataset with `__len__` and `__getitem__` whose transforms may draw on torch's, numpy's or Python's generator.

    All three are seeded before every sample from (key, sample), and from (key, samples of the batch) before `collate`.
    So neither the order nor the process matters.

    Args:
        dataset: of samples.
        collate: makes a batch of a list of samples; None stacks them as torch's DataLoader does.
    """

    def __init__(self, dataset: Samples, collate: Collate | None = None) -> None:
        self.dataset, self.collate = dataset, collate

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def read_batch(self, indices: NDArray[np.int64], key: int) -> Batch:
        """Read sample by sample, then collate.

        Raises:
            InputError: there is no such sample, or torch cannot stack them.
        """
        words = random_words(key, distinct(indices))[:, 0].tolist()
        samples = [self._read_sample(index, word) for index, word in zip(indices.tolist(), words, strict=True)]
        if self.collate is None:
            return collate_by_default(samples, indices.tolist())
        return _collate(self.collate, samples, _batch_key(key, indices))

    def _read_sample(self, index: int, word: int) -> Any:  # noqa: ANN401 - whatever the dataset holds
        seed_generators(word)
        try:
            return self.dataset[index]
        except IndexError as error:
            msg = f"sample {index} cannot be read (IndexError: {first_line(error)}), but len() is {len(self)}"
            raise InputError(msg) from error


class CollatedDataset:
    """A dataset that is read batch by batch, whose samples are then collated anew.

    Args:
        dataset: its batches are (inputs, targets).
        collate: makes a batch of a list of (input, target).
    """

    def __init__(self, dataset: BatchDataset, collate: Collate) -> None:
        self.dataset, self.collate = dataset, collate

    def __len__(self) -> int:
        return len(self.dataset)

    def read_batch(self, indices: NDArray[np.int64], key: int) -> Batch:
        """Read a batch, take it apart into its samples, and collate them."""
        samples = list(zip(*self.dataset.read_batch(indices, key), strict=True))
        return _collate(self.collate, samples, _batch_key(key, indices))


def _collate(collate: Collate, samples: list[Any], key: int) -> Batch:
    seed_generators(key)
    batch = collate(samples)
    if batch is None:
        msg = "collate returned None; it must return the batch"
        raise InputError(msg)
    return batch


class _ReadBlockDataset:
    """A dataset whose `read_batch` has its older name, `read_block`."""

    def __init__(self, dataset: Any) -> None:  # noqa: ANN401 - of the user's
        self.dataset = dataset
        self.read_batch: Callable[[NDArray[np.int64], int], Batch] = dataset.read_block

    def __len__(self) -> int:
        return len(self.dataset)


def as_batch_dataset(
    dataset: BatchDataset | Samples, collate: Collate | None = None, *, what: str = "the data"
) -> BatchDataset:
    """Return a dataset that is read batch by batch: itself, or a `MapDataset` of its samples.

    Args:
        dataset: with `len()`, and `[index]` or `read_batch(indices, key)`.
        collate: makes a batch of a list of samples.
        what: names the dataset in errors.

    Raises:
        InputError: it is a stream, a loader, empty, or no dataset at all; or it needs no collate.
    """
    check_random_access(dataset, what)
    name = next((name for name in READERS if callable(getattr(dataset, name, None))), None)
    if name is None:
        return MapDataset(dataset, collate)  # type: ignore[arg-type]
    try:
        inspect.signature(getattr(dataset, name)).bind(None, 0)
    except TypeError as error:
        msg = f"{name} of {what} must take (indices, key), and return these samples as one batch: {error}"
        raise InputError(msg) from error
    if collate is not None:
        msg = f"{what} is read in whole batches ({name}), so collate has nothing to do; leave it out"
        raise InputError(msg)
    return dataset if name == "read_batch" else _ReadBlockDataset(dataset)  # type: ignore[return-value]


def begin_epoch(dataset: BatchDataset, epoch: int) -> None:
    """Tell a dataset that has a method `set_epoch` which epoch is read next; those inside it are not told."""
    inner = dataset.dataset if isinstance(dataset, MapDataset | CollatedDataset | _ReadBlockDataset) else dataset
    if callable(set_epoch := getattr(inner, "set_epoch", None)):
        set_epoch(epoch)
