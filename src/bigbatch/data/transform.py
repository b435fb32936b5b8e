"""What is random in a whole batch: its transform, and what a loop draws before the step. Both are keyed to the batch.

The key is (seed, epoch, iteration, worker), so neither the processes nor the readers nor a resumption matter.
"""

import copy
from collections.abc import Callable

import torch

from bigbatch.data.batch import Batch
from bigbatch.data.repeatable import check_generators, find_generators
from bigbatch.errors import InputError
from bigbatch.rules.randomness.generators import seed_generators
from bigbatch.rules.randomness.keyed import random_key
from bigbatch.rules.sampling import BatchIndices

Transform = Callable[[Batch, torch.Generator], Batch]


class BatchRandomness:
    """Gives each batch of a training its randomness.

    Args:
        transform: of a whole batch on its device, with a generator of that device; None for none.
        seed: of the augmentation.
        device: of the batches.
    """

    def __init__(self, transform: Transform | None, *, seed: int, device: torch.device) -> None:
        self.transform, self.seed, self.device = transform, seed, device
        self.generator = torch.Generator(device)
        self.is_checked = transform is None

    def prepare(self, batch: Batch, place: BatchIndices) -> Batch:
        """Transform a batch, and leave the global generators seeded for what a loop draws next.

        Args:
            batch: of one worker, on its device.
            place: whose batch it is.

        Raises:
            InputError: the transform returns nothing, or draws from a generator of its own.
        """
        if not self.is_checked:
            self._check(batch, place)
        if self.transform:
            batch = self._transformed(self.transform, batch, place)
        seed_generators(self._key("batch", place), self.device)
        return batch

    def _check(self, batch: Batch, place: BatchIndices) -> None:
        """Try a transform that holds a generator on copies of the first batch."""
        transform, self.is_checked = self.transform, True
        holders = {"transform": transform}
        if transform and any(True for _ in find_generators(holders)):
            check_generators(holders, lambda: self._transformed(transform, copy.deepcopy(batch), place))

    def _transformed(self, transform: Transform, batch: Batch, place: BatchIndices) -> Batch:
        seed_generators(self._key("transform, global", place), self.device)
        self.generator.manual_seed(self._key("transform", place) >> 1)  # torch takes 63 bits
        found = transform(batch, self.generator)
        if found is None:
            msg = "transform returned None; it must return the batch"
            raise InputError(msg)
        return found

    def _key(self, purpose: str, place: BatchIndices) -> int:
        return random_key(purpose, self.seed, place.epoch, place.iteration, place.worker)
