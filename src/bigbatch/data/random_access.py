"""What a dataset must be: a known number of samples, each read by its number. One exact shuffle needs both."""

from collections.abc import Mapping
from typing import Any, Final

from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler

from bigbatch.errors import InputError

INSTEAD: Final = "write its samples into a file or folder once, and read them by number, with len() and [index]"
READERS: Final = ("read_batch", "read_block")  # of a dataset that is read batch by batch


def check_random_access(dataset: Any, what: str = "the data") -> None:  # noqa: ANN401 - whatever the user gives
    """Refuse what is no dataset of numbered samples.

    Args:
        dataset: what was given as one.
        what: its name in the error.

    Raises:
        InputError: a stream, a loader, a table of datasets, or something without samples; with what to give instead.
    """
    if reason := _reason(dataset):
        msg = f"{what} {reason}"
        raise InputError(msg)


def _reason(dataset: Any) -> str | None:  # noqa: ANN401 - whatever the user gives
    kind = type(dataset).__qualname__
    if isinstance(dataset, DataLoader | Sampler):
        return f"is a {kind}; give the dataset itself, with collate=, order= and loader_workers= in place of its own"
    if isinstance(dataset, Mapping):
        keys = ", ".join(map(str, list(dataset)[:4]))
        return f"is a table with the keys {keys}, not a dataset; give one of them, or a list of samples"
    if _is_stream(dataset):
        return f"is a stream ({kind}), of which no exact shuffle exists; {INSTEAD}"
    if not hasattr(dataset, "__len__"):
        return f"({kind}) has no len(); give it __len__, the number of its samples"
    if not _has_samples(dataset):
        return f"({kind}) has no samples by number; give it __getitem__(index)"
    return _reason_of_length(dataset, kind)


def _is_stream(dataset: Any) -> bool:  # noqa: ANN401 - whatever the user gives
    """Tell whether samples come only one after the other: generators, torch's and other libraries' iterables."""
    is_iterable = hasattr(dataset, "__iter__") or hasattr(dataset, "__next__")
    return isinstance(dataset, IterableDataset) or (is_iterable and not _has_samples(dataset))


def _has_samples(dataset: Any) -> bool:  # noqa: ANN401 - whatever the user gives
    if any(callable(getattr(dataset, name, None)) for name in READERS):
        return True
    read = getattr(type(dataset), "__getitem__", None)
    return read is not None and read is not Dataset.__getitem__  # which only says that there is none


def _reason_of_length(dataset: Any, kind: str) -> str | None:  # noqa: ANN401 - whatever the user gives
    try:
        length = len(dataset)
    except (TypeError, NotImplementedError, ValueError) as error:
        return f"({kind}) has no len() that can be used ({type(error).__name__}: {error})"
    return None if length else f"({kind}) is empty; give at least one minibatch of samples"
