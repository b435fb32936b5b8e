"""An order of one's own, for weighted sampling or a curriculum: the samples of an epoch as a function of the epoch."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bigbatch.errors import InputError
from bigbatch.rules.randomness.generators import seed_generators
from bigbatch.rules.randomness.keyed import random_key

Order = Callable[[int], Sequence[int]]

MUST_BE: Final = "order must be a function of the epoch that returns the numbers of its samples"


class OwnOrder:
    """An order of one's own, each epoch of it checked.

    torch's, numpy's and Python's global generators are seeded from (seed, epoch) before the function is called, so it
    may draw from them.

    Args:
        function: maps the epoch, counted from 0, to the numbers of its samples: int64, shape (samples of an epoch,).
        num_samples: of the dataset.
        seed: of the order.

    Raises:
        InputError: it is no such function, or gives another order when it is called again.

    >>> OwnOrder(lambda epoch: [epoch, 2, 2], num_samples=3)(1)
    array([1, 2, 2])
    """

    def __init__(self, function: Order, num_samples: int, seed: int = 0) -> None:
        check_is_function(function)
        self.function, self.num_samples, self.seed = function, num_samples, seed
        self.length = 0
        first = self(0)
        self.length = len(first)
        if not np.array_equal(first, self(0)):
            msg = "order(0) differs when it is called again; draw from torch's, numpy's or random's global generator"
            raise InputError(msg)

    def __call__(self, epoch: int) -> NDArray[np.int64]:
        """Return the samples' numbers in the order of the epoch.

        Raises:
            InputError: no whole numbers, numbers outside the data, or another length than that of epoch 0.
        """
        seed_generators(random_key("own order", self.seed, epoch))
        found = np.asarray(self.function(epoch))
        if found.ndim != 1 or found.dtype.kind not in "iu" or not found.size:
            msg = f"{MUST_BE}; order({epoch}) is an array of {found.dtype}, shape {found.shape}"
            raise InputError(msg)
        outside = np.flatnonzero((found < 0) | (found >= self.num_samples))
        if outside.size:
            place = int(outside[0])
            msg = f"order({epoch})[{place}] is {found[place]}, but the samples are 0 to {self.num_samples - 1}"
            raise InputError(msg)
        if self.length not in {0, len(found)}:
            msg = (
                f"order({epoch}) has {len(found)} samples, but order(0) has {self.length}: the schedule needs "
                "epochs of one length; repeat samples, or leave some out"
            )
            raise InputError(msg)
        return found.astype(np.int64)


def check_is_function(order: Any) -> None:  # noqa: ANN401 - whatever the user gives
    """Refuse samplers, and functions that do not take an epoch.

    Raises:
        InputError: with what to write.
    """
    kind = type(order).__qualname__
    if not callable(order):
        hint = (
            f"; write order=lambda epoch: list(sampler) for a {kind}" if hasattr(order, "__iter__") else f", not {kind}"
        )
        raise InputError(MUST_BE + hint)
    try:
        inspect.signature(order).bind(0)
    except TypeError as error:
        msg = f"{MUST_BE}: {error}"
        raise InputError(msg) from error
    except ValueError:  # some callables written in C have no signature
        pass
