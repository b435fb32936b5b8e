"""Hooks: the user's own functions, called before and after each epoch and step by every process alike."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from bigbatch.training.state import TrainingState
from bigbatch.user_code import load_callable

When = Literal["before epoch", "before step", "after step", "after epoch"]


@dataclass(frozen=True)
class Moment:
    """What a hook is called with. It may look, and must not change what the weights depend on.

    Attributes:
        when: "before epoch", "before step", "after step" or "after epoch".
        epoch: counted from 0.
        iteration: updates done.
        model: as it trains.
        optimizer: with the rate of the last update.
        rank: of this process.
    """

    when: When
    epoch: int
    iteration: int
    model: nn.Module
    optimizer: torch.optim.Optimizer
    rank: int


class Hooks:
    """The hooks of a training.

    Args:
        training: whose recipe names them, as `launch.hooks`.

    Raises:
        InputError: there is no such callable.
    """

    def __init__(self, training: TrainingState) -> None:
        self.training = training
        self.functions = [load_callable(name) for name in training.recipe.launch.hooks]

    def call(self, when: When) -> None:
        """Call each hook. Its errors end the training, as those of the model do."""
        for function in self.functions:
            training, now = self.training, self.training.course.now
            rank = training.machine.processes.rank
            function(Moment(when, now.epoch, now.iteration, training.model, training.optimizer, rank))
