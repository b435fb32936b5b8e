"""The scaling rule beside a schedule that is not ours: during an update, its rate times the factor of the rule."""

from typing import Any

import torch

from bigbatch.optim.inner_optimizers import groups_of, write_rate
from bigbatch.rules.learning_rate import LearningRate


def factor_of(
    *,
    reference: int,
    minibatch_size: int,
    iterations_per_epoch: int,
    warmup_epochs: float,
    scaling: str,
) -> LearningRate:
    """Return what a trusted rate is multiplied by in each iteration (arXiv 1706.02677, sections 2.1 and 2.2).

    Args:
        reference: the minibatch size that the user's rate is trusted at.
        minibatch_size: samples per update, over all workers (kn).
        iterations_per_epoch: updates of an epoch.
        warmup_epochs: epochs until the whole factor is reached; it starts at 1.
        scaling: "linear", "square-root" or "none".

    >>> factor = factor_of(reference=64, minibatch_size=256, iterations_per_epoch=5, warmup_epochs=2, scaling="linear")
    >>> [factor(iteration) for iteration in (0, 5, 10, 1000)]
    [1.0, 2.5, 4.0, 4.0]
    """
    return LearningRate.scaled(
        1.0,
        reference=reference,
        minibatch_size=minibatch_size,
        epochs=max(warmup_epochs, 1),
        iterations_per_epoch=iterations_per_epoch,
        warmup_epochs=warmup_epochs,
        scaling=scaling,
        schedule="constant",
    )


class ScaledUpdate:
    """Scale the rates of an optimizer for one update at a time: its scheduler, and a checkpoint, see its own rates.

    Args:
        optimizer: that any schedule of the user's sets the rates of.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer
        self.kept: list[tuple[dict[str, Any], float]] = []
        optimizer.register_step_post_hook(lambda *_: self.restore())

    def scale(self, factor: float) -> None:
        """Multiply the rate of every parameter group, until the optimizer's next step is over."""
        self.restore()
        self.kept = [(group, float(group["lr"])) for group in groups_of(self.optimizer)]
        for group, rate in self.kept:
            write_rate(group, rate * factor)

    def restore(self) -> None:
        """Put the schedule's rates back, after an update."""
        for group, rate in self.kept:
            write_rate(group, rate)
        self.kept = []
