"""Counter-based random numbers: a value is a function of its key, never of what was drawn before.

Salmon et al. 2011 (*Parallel random numbers: as easy as 1, 2, 3*) name the idea; the mixing function is SplitMix64
(Steele, Lea, Flood 2014). Keyed to the recipe (seed, epoch, sample, iteration, worker), a draw is the same on every
machine.
"""

from functools import lru_cache
from hashlib import blake2b
from typing import Final

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]

SCHEME: Final = "splitmix64 by key, 1"  # change the number if the same seed gives other draws
GOLDEN_GAMMA: Final = 0x9E3779B97F4A7C15
MASK: Final = 2**64 - 1
COPY_SHIFT: Final = 40  # above any sample's number


def random_key(purpose: str, *numbers: int) -> int:
    """Fold a purpose and some numbers, such as (seed, epoch), into one 64-bit key.

    >>> random_key("order", 0, 1) == random_key("order", 0, 1)
    True
    >>> random_key("order", 0, 1) == random_key("order", 1, 0)
    False
    """
    return _fold(_key_of(purpose, *numbers[:-1]), numbers[-1]) if numbers else _key_of(purpose)


@lru_cache(256)
def _key_of(purpose: str, *numbers: int) -> int:
    """Return the key of what comes before the last number: a step asks for it once a worker."""
    key = int.from_bytes(blake2b(purpose.encode(), digest_size=8).digest(), "little")
    for number in numbers:
        key = _fold(key, number)
    return key


def _fold(key: int, number: int) -> int:
    return _mix_int((_mix_int(key + GOLDEN_GAMMA) ^ number) & MASK)


def augmentation_key(seed: int, epoch: int) -> int:
    """Return the key of an epoch's augmentation, from which each sample draws its own."""
    return random_key("augmentation", seed, epoch)


def random_words(key: int, counters: NDArray[np.integer], num_words: int = 1) -> Words:
    """Return uniform 64-bit words (len(counters), num_words): for each counter a SplitMix64 stream of its own.

    A row depends only on the key and its counter, so any process can compute any row.
    """
    gamma = np.uint64(GOLDEN_GAMMA)
    streams = _mix(np.uint64(key) + gamma * (counters.astype(np.uint64) + np.uint64(1)))
    steps = gamma * np.arange(1, num_words + 1, dtype=np.uint64)
    return _mix(streams[:, None] + steps[None, :])


def distinct(samples: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return a counter for each sample of a batch: its number, or another one where the number has come before.

    An order of one's own may draw a sample twice. Its second copy then has other random words than the first.

    >>> [hex(counter) for counter in distinct(np.array([7, 3, 7]))]
    ['0x7', '0x3', '0x10000000007']
    """
    if len(np.unique(samples)) == len(samples):
        return samples
    order = np.argsort(samples, kind="stable")
    in_order, places = samples[order], np.arange(len(samples))
    is_first = np.append(True, in_order[1:] != in_order[:-1])
    copies = np.empty_like(samples)
    copies[order] = places - np.maximum.accumulate(np.where(is_first, places, 0))
    return samples + (copies << COPY_SHIFT)


def uniform(words: Words) -> NDArray[np.float64]:
    """Map words to floats in [0, 1), using their upper 53 bits."""
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53


def below(words: Words, bound: int) -> NDArray[np.int64]:
    """Map words to integers in [0, bound), for bounds far below 2**32 (the bias is at most bound / 2**32)."""
    return ((words >> np.uint64(32)) * np.uint64(bound) >> np.uint64(32)).astype(np.int64)


def _mix(z: Words) -> Words:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _mix_int(z: int) -> int:
    """Return what `_mix` does to one word."""
    z &= MASK
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & MASK
    return z ^ (z >> 31)
