"""What is random in a whole batch: its transform, and what a loop draws before the step. Both are keyed to the batch.

The key is (seed, epoch, iteration, worker), so neither the processes nor the readers nor a resumption matter.
"""

from collections.abc import Callable

import torch

from bigbatch.data.batch import Batch
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
        self.generator = torch.Generator(device) if transform else None

    def prepare(self, batch: Batch, place: BatchIndices) -> Batch:
        """Transform a batch, and leave the global generators seeded for what a loop draws next.

        Args:
            batch: of one worker, on its device.
            place: whose batch it is.

        Raises:
            InputError: the transform returns nothing.
        """
        if self.transform and self.generator:
            seed_generators(self._key("transform, global", place), self.device)
            self.generator.manual_seed(self._key("transform", place) >> 1)  # torch takes 63 bits
            batch = self.transform(batch, self.generator)
            if batch is None:
                msg = "transform returned None; it must return the batch"
                raise InputError(msg)
        seed_generators(self._key("batch", place), self.device)
        return batch

    def _key(self, purpose: str, place: BatchIndices) -> int:
        return random_key(purpose, self.seed, place.epoch, place.iteration, place.worker)
