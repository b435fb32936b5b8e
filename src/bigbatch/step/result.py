"""What a step has found, each value computed when it is asked for: on a GPU, asking waits for it."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import torch
from torch import Tensor

from bigbatch.rules.gradient_noise import GradientNoise, estimate_noise

REQUESTS: Final = ("stop", "save", "give up")


@dataclass(frozen=True, kw_only=True)
class Sums:
    """What a step has summed over all workers of all processes.

    Attributes:
        wait: waits until the sums are there, and notices that another process is lost; None for one process.
        is_finite: tells on the device whether the sum of all values is.
        is_each_finite: tells whether each value is, where their sum is not: a sum over large numbers may overflow.
        asked: how many processes have made each of `REQUESTS`.
        norms: None, or the sum of the workers' squared norms and the squared norm of their gradients' sum.
        worker_count: workers of the minibatch (k).
        worker_minibatch_size: samples of one worker (n).
    """

    wait: Callable[[], None] | None
    is_finite: Callable[[], Tensor]
    is_each_finite: Callable[[], bool]
    asked: Tensor
    norms: Tensor | None
    worker_count: int
    worker_minibatch_size: int


class StepResult:
    """What all processes know of a step; ask before the next one begins.

    Attributes:
        loss: the mean over the minibatch, a scalar on the model's device.
        compute_seconds: that this process has spent on its workers, with reading their samples.
        wait_seconds: that it has then waited for the sums.
    """

    def __init__(self, loss: Tensor, sums: Sums, *, compute_seconds: float, wait_seconds: float) -> None:
        self.loss, self._sums = loss, sums
        self.compute_seconds, self.wait_seconds = compute_seconds, wait_seconds

    @property
    def is_finite(self) -> bool:
        """Whether loss, gradients and running statistics are."""
        return self._values[0]

    @property
    def requests(self) -> frozenset[str]:
        """What any process has asked for with this step, of `REQUESTS`."""
        return self._values[1]

    @property
    def noise(self) -> GradientNoise | None:
        """Of the gradient, estimated from this minibatch; None with a single worker, or if it was not measured."""
        return self._values[2]

    @cached_property
    def _values(self) -> tuple[bool, frozenset[str], GradientNoise | None]:
        """Fetch all from the device at once."""
        sums = self._sums
        norms = () if sums.norms is None else sums.norms
        values = torch.stack([*norms, sums.is_finite(), *sums.asked])
        if sums.wait:
            sums.wait()
        *squares, finite, stop, save, give_up = values.tolist()
        is_finite = bool(finite) or sums.is_each_finite()
        requests = frozenset(name for name, count in zip(REQUESTS, (stop, save, give_up), strict=True) if count)
        return is_finite, requests, self._noise(*squares) if squares and is_finite else None

    def _noise(self, sum_of_squares: float, square_of_sum: float) -> GradientNoise | None:
        if not math.isfinite(sum_of_squares + square_of_sum):  # the norms of finite gradients may overflow
            return None
        sizes = {"worker_count": self._sums.worker_count, "worker_minibatch_size": self._sums.worker_minibatch_size}
        return estimate_noise(sum_of_squares, square_of_sum, **sizes)
