"""Batch normalisation's running statistics, computed anew before an evaluation.

Those that a training keeps are an average over weights that have changed since. Under the averaged weights, or after
large steps, they fit badly. Computed anew, they are the mean over some of the training's batches, with the weights that
are evaluated (Wu and Johnson 2021, arXiv 2105.07576, section 3, call it PreciseBN).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from bigbatch.errors import InputError
from bigbatch.models.frozen_batch_norm import BatchNorm
from bigbatch.rules.sampling import BatchIndices, permutation


class BatchStatistics:
    """The batch normalisations of a model that keep running statistics, and are not frozen.

    Args:
        model: in training mode.

    Raises:
        InputError: it has none.
    """

    def __init__(self, model: nn.Module) -> None:
        norms = [module for module in model.modules() if isinstance(module, BatchNorm) and module.training]
        self.norms = [norm for norm in norms if norm.running_mean is not None and norm.running_var is not None]
        if not self.norms:
            msg = "evaluation.statistics_samples: the model trains no batch normalisation with statistics; leave it out"
            raise InputError(msg)

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Inside the `with` block, a pass leaves its batch's statistics in the running ones, and counts for nothing."""
        kept = [(norm.momentum, norm.num_batches_tracked) for norm in self.norms]
        for norm in self.norms:
            norm.momentum, norm.training = 1.0, True
            norm.num_batches_tracked = None
        try:
            yield
        finally:
            for norm, (momentum, count) in zip(self.norms, kept, strict=True):
                norm.momentum, norm.num_batches_tracked = momentum, count

    @torch.no_grad()
    def clear(self) -> None:
        """Forget what was there: a statistic that is infinite would stay."""
        for statistic in self._tensors():
            statistic.zero_()

    def read(self) -> list[Tensor]:
        """Return a copy of the statistics, on the CPU."""
        return [statistic.detach().to("cpu", copy=True) for statistic in self._tensors()]

    @torch.no_grad()
    def set_to_mean(self, batches: Sequence[Sequence[Tensor]]) -> None:
        """Set the statistics to the mean over batches, summed in their order in float64."""
        for statistic, *found in zip(self._tensors(), *batches, strict=True):
            total = torch.zeros_like(found[0], dtype=torch.float64)
            for value in found:
                total += value
            statistic.copy_((total / len(found)).to(statistic.dtype))

    def _tensors(self) -> list[Tensor]:
        return [statistic for norm in self.norms for statistic in (norm.running_mean, norm.running_var)]  # type: ignore[misc]


def statistics_batches(num_samples: int, *, samples: int, batch_size: int, seed: int) -> list[BatchIndices]:
    """Return the batches that the statistics are computed of: the first of the training's first order.

    Args:
        num_samples: of the training data.
        samples: that are asked for; whole batches are taken, at least one.
        batch_size: samples of a worker, which batch normalisation depends on.
        seed: of the order.
    """
    order = permutation(num_samples, seed=seed, epoch=0)
    count = max(1, min(-(-samples // batch_size), num_samples // batch_size))
    return [
        BatchIndices(0, order[number * batch_size : (number + 1) * batch_size], iteration=number)
        for number in range(count)
    ]
