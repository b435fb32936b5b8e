"""Whether a sample is the same when it is read again. If it is not, the weights depend on which process reads it."""

import functools
import os
import pickle
import random
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from hashlib import sha256
from itertools import islice
from types import FunctionType, MethodType, ModuleType
from typing import Any, Final, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from bigbatch.data.batch import PLAIN, batch_digest
from bigbatch.data.dataset import BatchDataset, MapDataset, read
from bigbatch.errors import InputError

Generator = np.random.Generator | np.random.RandomState | torch.Generator | random.Random

Result = TypeVar("Result")

NOT_SEARCHED: Final = (*PLAIN, torch.Tensor, np.ndarray, np.generic, ModuleType, type)
MAX_OBJECTS: Final = 2_000  # that are searched for generators
MAX_ITEMS: Final = 50  # of a list or dictionary: transforms are few, samples are many
INSTEAD: Final = "draw from torch's, numpy's or random's global generator, which are seeded before each sample"


def repeated_digest(dataset: BatchDataset, indices: NDArray[np.int64], key: int) -> bytes:
    """Read some samples twice, and return the digest of their batch.

    A generator of the dataset's own shows in its state: after each reading of the same samples it must be the same.

    Raises:
        InputError: the samples differ, or a generator does; the message names its attribute if it is found.
    """
    parts = (
        {"data": dataset.dataset, "collate": dataset.collate} if isinstance(dataset, MapDataset) else {"data": dataset}
    )
    first, again = check_generators(parts, lambda: batch_digest(read(dataset, indices, key)))
    if first != again:
        msg = f"a sample of the data differs when it is read again; {INSTEAD}"
        raise InputError(msg)
    return first


def check_generators(holders: Mapping[str, Any], run: Callable[[], Result]) -> tuple[Result, Result]:
    """Run something twice, and return both results. A generator in `holders` must have the same state after each run.

    Raises:
        InputError: it has not; the message names its place.
    """
    first, states = run(), _states(holders)
    again, states_again = run(), _states(holders)
    moved = [place for place, state in states_again.items() if states.get(place, state) != state]
    if moved:
        msg = f"the data draws from a generator of its own, {moved[0]}, whose state depends on what was read; {INSTEAD}"
        raise InputError(msg)
    return first, again


def _states(holders: Mapping[str, Any]) -> dict[str, bytes]:
    return {place: _state(generator) for place, generator in find_generators(holders)}


def find_generators(holders: Mapping[str, Any]) -> Iterator[tuple[str, Generator]]:
    """Yield the generators that objects hold, at any depth, each with its place, such as `data.transform.rng`.

    The global ones are left out. The search goes through objects, lists, dictionaries, and what functions hold.

    Args:
        holders: the objects by their names.
    """
    queue: deque[tuple[str, Any]] = deque(holders.items())
    seen = {id(torch.default_generator), id(random._inst), id(np.random.mtrand._rand)}  # noqa: SLF001
    while queue and len(seen) < MAX_OBJECTS:
        place, value = queue.popleft()
        if id(value) in seen or isinstance(value, NOT_SEARCHED):
            continue
        seen.add(id(value))
        if isinstance(value, Generator):
            yield place, value
        else:
            queue.extend(_parts(place, value))


def _parts(place: str, value: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - any object
    """Yield what an object holds, with its place."""
    if isinstance(value, Mapping):
        yield from ((f"{place}[{key!r}]", part) for key, part in islice(value.items(), MAX_ITEMS))
    elif isinstance(value, list | tuple):
        yield from ((f"{place}[{i}]", part) for i, part in enumerate(islice(value, MAX_ITEMS)))
    elif isinstance(value, MethodType):
        yield place.rpartition(".")[0], value.__self__
    elif isinstance(value, functools.partial):
        yield from ((f"{place}.{name}", getattr(value, name)) for name in ("func", "args", "keywords"))
    elif isinstance(value, FunctionType):
        yield from _held_by(place, value)
    else:
        yield from ((f"{place}.{name}", part) for name, part in getattr(value, "__dict__", {}).items())
        if isinstance(read_sample := getattr(type(value), "__getitem__", None), FunctionType):
            yield from _held_by(f"{place}.__getitem__", read_sample)


def _held_by(place: str, function: FunctionType) -> Iterator[tuple[str, Any]]:
    """Yield what a function holds in its closure, its defaults, and the generators among its module's names."""
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # it is still empty
            yield f"{place}.{name}", cell.cell_contents
    yield f"{place}.defaults", function.__defaults__
    for name in function.__code__.co_names:
        if isinstance(value := function.__globals__.get(name), Generator):
            yield f"{function.__module__}.{name}", value


def _state(generator: Generator) -> bytes:
    if isinstance(generator, torch.Generator):
        return sha256(generator.get_state().numpy().tobytes()).digest()
    if isinstance(generator, random.SystemRandom):  # it has no state, and is never the same again
        return os.urandom(8)
    if isinstance(generator, np.random.Generator):
        return sha256(pickle.dumps(generator.bit_generator.state)).digest()
    state = generator.getstate() if isinstance(generator, random.Random) else generator.get_state()
    return sha256(pickle.dumps(state)).digest()
