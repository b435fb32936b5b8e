"""Optimizers: which parameters decay, the layer-wise ones, and the guard against those that absorb the rate.

`build` (the optimizer that a recipe names), `groups` (weight decay), `layerwise` (LARS and LAMB), `absorbed_rate` (the
guard, and momentum correction).
"""

from bigbatch.optim.absorbed_rate import absorbed_state, correct_momentum
from bigbatch.optim.build import build_optimizer
from bigbatch.optim.groups import layerwise_groups, set_learning_rate, weight_decay_groups
from bigbatch.optim.layerwise import LAMB, LARS

__all__ = [
    "LAMB",
    "LARS",
    "absorbed_state",
    "build_optimizer",
    "correct_momentum",
    "layerwise_groups",
    "set_learning_rate",
    "weight_decay_groups",
]
