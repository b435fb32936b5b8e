"""Seed every generator that a computation may draw from."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import numpy as np
import torch

NUMPY_SEEDS: Final = 2**32


def seed_generators(key: int, device: torch.device | None = None) -> None:
    """Seed torch's, numpy's and Python's global generators from a 64-bit key; torch's on the CPU and on `device`.

    `torch.manual_seed` would queue a call for every accelerator not yet started, with a stack trace each: half a
    millisecond, and memory that is never freed.
    """
    seed = key >> 1  # torch takes 63 bits
    torch.default_generator.manual_seed(seed)
    if device is not None and device.type == "cuda":
        torch.cuda.default_generators[device.index or 0].manual_seed(seed)
    np.random.seed(key % NUMPY_SEEDS)  # noqa: NPY002 - the user's code may draw from the global generator
    random.seed(key)


@contextmanager
def kept_generators(device: torch.device) -> Iterator[None]:
    """Give torch's, numpy's and Python's global generators their states back at the end of the `with` block."""
    drawn = [torch.default_generator]
    if device.type == "cuda":
        drawn.append(torch.cuda.default_generators[device.index or 0])
    states = [generator.get_state() for generator in drawn]
    of_numpy, of_python = np.random.get_state(), random.getstate()  # noqa: NPY002 - the global generator
    try:
        yield
    finally:
        for generator, state in zip(drawn, states, strict=True):
            generator.set_state(state)
        np.random.set_state(of_numpy)  # noqa: NPY002 - the same
        random.setstate(of_python)
