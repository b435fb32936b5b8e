"""Batch normalisation over groups of a worker's samples: one pass of 256 samples with the statistics of groups of 32.

Ghost batch normalisation (Hoffer et al. 2017, arXiv 1705.08741). A worker's size is the unit of batch normalisation
(arXiv 1706.02677, section 2.3), and a device may want larger passes than that size. With groups the two are apart: a
worker of 256 samples in groups of 32 computes, but for rounding, what eight workers of 32 compute.
"""

from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from bigbatch.errors import InputError
from bigbatch.models.frozen_batch_norm import BatchNorm, is_held
from bigbatch.models.plain_names import plain_name


class _Groups(nn.modules.batchnorm._BatchNorm):  # noqa: SLF001 - no public base class
    """Normalise each group of samples by itself; the running statistics move by the mean of the groups' changes.

    Attributes:
        samples: of a worker's batch.
        group: samples of a group.
    """

    samples: int
    group: int

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the normalised samples, those of each group by the statistics of that group."""
        if not self.training:
            return super().forward(inputs)
        self._check_input_dim(inputs)  # type: ignore[no-untyped-call]
        self._check_samples(inputs)
        momentum = self._count()
        outputs, means, variances = [], [], []
        for part in torch.split(inputs, self.group):
            mean, variance = _copied(self.running_mean), _copied(self.running_var)
            outputs.append(
                functional.batch_norm(
                    part, mean, variance, self.weight, self.bias, training=True, momentum=momentum, eps=self.eps
                )
            )
            means.append(mean)
            variances.append(variance)
        _set_to_mean(self.running_mean, means)
        _set_to_mean(self.running_var, variances)
        return torch.cat(outputs)

    def _check_samples(self, inputs: Tensor) -> None:
        if len(inputs) != self.samples:
            rows = f"{len(inputs)} rows for {self.samples} samples"
            msg = f"model.norm_group: a batch normalisation is given {rows} and cannot tell the groups; leave it out"
            raise InputError(msg)

    def _count(self) -> float:
        """Count the pass, and return the weight of its statistics in the running ones."""
        if not self.track_running_stats or self.num_batches_tracked is None:
            return self.momentum or 0.0
        self.num_batches_tracked.add_(1)
        return 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum


def _copied(statistic: Tensor | None) -> Tensor | None:
    return None if statistic is None else statistic.clone()


@torch.no_grad()
def _set_to_mean(statistic: Tensor | None, values: Sequence[Tensor | None]) -> None:
    if statistic is not None:
        statistic.copy_(torch.stack([value for value in values if value is not None]).mean(0))


class GhostBatchNorm1d(_Groups, nn.BatchNorm1d):
    """Of inputs (n, C) or (n, C, L)."""


class GhostBatchNorm2d(_Groups, nn.BatchNorm2d):
    """Of inputs (n, C, H, W)."""


class GhostBatchNorm3d(_Groups, nn.BatchNorm3d):
    """Of inputs (n, C, D, H, W)."""


GHOSTS: Final[dict[type[nn.Module], type[_Groups]]] = {
    nn.BatchNorm1d: GhostBatchNorm1d,
    nn.BatchNorm2d: GhostBatchNorm2d,
    nn.BatchNorm3d: GhostBatchNorm3d,
}


def group_batch_norm(model: nn.Module, *, group: int, samples: int) -> list[str]:
    """Let every batch normalisation of a model take its statistics over groups of a worker's samples.

    With groups of 32, a worker of 256 samples has, but for rounding, the loss, the gradients and the running statistics
    of eight workers of 32. The modules stay, with their parameters, buffers and names; in evaluation mode nothing
    changes. Those that are frozen stay as they are. In a loop of your own, call it before you make `Step`.

    Args:
        model: whose they are.
        group: samples of a group.
        samples: of a worker's batch (n), which every normalisation must be given as its first dimension.

    Returns:
        The names of the normalisations.

    Raises:
        InputError: the groups do not divide the samples, or the model has no such normalisation, or one that is not
            torch's own.

    Source: Hoffer et al. 2017, arXiv 1705.08741, algorithm 1.

    >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
    >>> group_batch_norm(model, group=2, samples=6)
    ['1']
    """
    if group < 1 or samples % group:
        msg = f"model.norm_group: groups of {group} do not divide a worker's {samples} samples; choose a divisor"
        raise InputError(msg)
    norms = {plain_name(n): m for n, m in model.named_modules() if isinstance(m, BatchNorm) and not is_held(m)}
    if not norms:
        msg = "model.norm_group: the model has no batch normalisation that trains; leave it out"
        raise InputError(msg)
    for name, norm in norms.items():
        if type(norm) not in {*GHOSTS, *GHOSTS.values()}:
            msg = (
                f"model.norm_group: '{name}' is a {type(norm).__name__}; groups are known of torch's BatchNorm1d to 3d"
            )
            raise InputError(msg)
    for norm in norms.values():
        ghost: Any = norm
        ghost.__class__ = GHOSTS.get(type(norm), type(norm))
        ghost.samples, ghost.group = samples, group
    return list(norms)
