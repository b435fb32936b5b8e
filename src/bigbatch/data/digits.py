"""The 1,797 handwritten digits of 8x8 pixels, embedded in the package (origin and licence: digits.LICENSE)."""

from importlib.resources import files
from typing import Final

import numpy as np

from bigbatch.data.dataset import Splits
from bigbatch.data.in_memory import in_memory_splits
from bigbatch.data.names import NUM_TRAIN_SAMPLES
from bigbatch.recipe import Data

MEAN: Final = (0.3059,)
STD: Final = (0.3754,)


def load_digits(recipe: Data) -> Splits:
    """Train on the first 1,280 digits of the file and validate on the last 517, which are mostly by other writers."""
    with files("bigbatch.data").joinpath("digits.npz").open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        images, labels = arrays["images"][:, None], arrays["labels"].astype(np.int64)
    split = NUM_TRAIN_SAMPLES["digits"]
    return in_memory_splits(
        (images[:split], labels[:split]),
        (images[split:], labels[split:]),
        mean=MEAN,
        std=STD,
        augmentation=recipe.augmentation,
    )
