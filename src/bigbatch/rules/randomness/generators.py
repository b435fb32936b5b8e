"""Seed every generator that a computation may draw from."""

import random
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
