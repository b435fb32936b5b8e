"""Images that fit in memory, read and augmented a batch at a time."""

from collections.abc import Sequence
from hashlib import sha256

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bigbatch.data.augmentation import flip, padded_crop
from bigbatch.data.dataset import Splits
from bigbatch.errors import InputError
from bigbatch.rules.randomness.keyed import distinct, random_words

FLIP_WORD, CROP_WORDS = 0, slice(1, 3)
NUM_WORDS = 3
MAX_CLASSES = 65_536


class InMemoryImages:
    """Images of one size as bytes, normalised as they are read.

    Args:
        images: uint8, shape (num_samples, channels, height, width).
        labels: int64, shape (num_samples,).
        mean: of each channel, of values in [0, 1].
        std: of each channel too.
        augmentation: "crop" and "flip", applied to the bytes.
    """

    def __init__(
        self,
        images: NDArray[np.uint8],
        labels: NDArray[np.int64],
        *,
        mean: Sequence[float],
        std: Sequence[float],
        augmentation: Sequence[str] = (),
    ) -> None:
        # torch wants arrays that it could write to; those read from a file's bytes are copied.
        self.images = torch.from_numpy(np.require(images, requirements=["C", "W"]))
        self.labels = torch.from_numpy(np.require(labels, requirements=["C", "W"]))
        self.augmentation = tuple(augmentation)
        self.scale = (1 / (255 * torch.tensor(std))).view(1, -1, 1, 1)
        self.shift = (torch.tensor(mean) / torch.tensor(std)).view(1, -1, 1, 1)

    def __len__(self) -> int:
        return len(self.labels)

    def read_batch(self, indices: NDArray[np.int64], key: int) -> tuple[Tensor, Tensor]:
        """Return float images (n, channels, height, width) and labels (n,)."""
        chosen = torch.from_numpy(indices)
        images = self.images[chosen]
        if self.augmentation:
            words = random_words(key, distinct(indices), NUM_WORDS)
            if "crop" in self.augmentation:
                images = padded_crop(images, words[:, CROP_WORDS])
            if "flip" in self.augmentation:
                images = flip(images, words[:, FLIP_WORD])
        return images.float().mul_(self.scale).sub_(self.shift), self.labels[chosen]


def in_memory_splits(
    train: tuple[NDArray[np.uint8], NDArray[np.int64]],
    validation: tuple[NDArray[np.uint8], NDArray[np.int64]],
    *,
    mean: Sequence[float],
    std: Sequence[float],
    augmentation: Sequence[str],
) -> Splits:
    """Make the two halves of a data set from (images, labels) of each; only the training half is augmented."""
    if "random-resized-crop" in augmentation:
        msg = "augmentation 'random-resized-crop' is for image-folder; small images take 'crop'"
        raise InputError(msg)
    num_classes = int(train[1].max()) + 1
    for labels in (train[1], validation[1]):
        if labels.min() < 0 or labels.max() >= min(num_classes, MAX_CLASSES):
            msg = f"a label lies outside 0 to {min(num_classes, MAX_CLASSES) - 1}, the classes of the training data"
            raise InputError(msg)
    digest = sha256()
    for array in (*train, *validation):
        digest.update(np.ascontiguousarray(array).view(np.uint8).data)
    return Splits(
        train=InMemoryImages(*train, mean=mean, std=std, augmentation=augmentation),
        validation=InMemoryImages(*validation, mean=mean, std=std),
        num_classes=num_classes,
        in_channels=train[0].shape[1],
        fingerprint=digest.hexdigest(),
    )
