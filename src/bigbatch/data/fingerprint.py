"""By what a user's data is recognised: its length and some of its samples."""

from hashlib import sha256
from typing import Final

import numpy as np

from bigbatch.data.dataset import BatchDataset
from bigbatch.data.repeatable import repeated_digest

NUM_FINGERPRINTED: Final = 16


def sample_fingerprint(*datasets: BatchDataset) -> str:
    """Return the SHA-256 over each dataset's length and up to 16 of its samples, evenly spread.

    Raises:
        InputError: a sample differs when it is read again: it draws randomness from outside torch, numpy and `random`.
    """
    digest = sha256()
    for dataset in datasets:
        indices = np.unique(np.linspace(0, len(dataset) - 1, NUM_FINGERPRINTED).astype(np.int64))
        digest.update(f"{len(dataset)}\0".encode() + repeated_digest(dataset, indices, key=0))
    return digest.hexdigest()
