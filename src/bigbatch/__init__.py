"""bigbatch: raise the minibatch size, keep the accuracy.

In a loop of your own, `Minibatches` cuts the data, `LearningRate.scaled` gives the rate, `Step` takes an exact step,
and `evaluate` measures any metric. A `Recipe` says all of it in one value, and `train` runs it. Importing bigbatch
imports no torch; using a name that needs torch does.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from bigbatch.data.minibatches import Minibatches
    from bigbatch.errors import InputError
    from bigbatch.models.frozen_batch_norm import freeze_batch_norm
    from bigbatch.models.ghost_batch_norm import group_batch_norm
    from bigbatch.optim.absorbed_rate import correct_momentum
    from bigbatch.optim.clipping import clip_gradients
    from bigbatch.optim.layerwise import LAMB, LARS
    from bigbatch.optim.learning_rate import set_learning_rate
    from bigbatch.optim.weight_average import WeightAverage
    from bigbatch.processes.join import joined
    from bigbatch.processes.portable import portable
    from bigbatch.recipe import Recipe
    from bigbatch.recipe.presets import find_recipe
    from bigbatch.reduction.options import AggregationOptions
    from bigbatch.rules.learning_rate import LearningRate
    from bigbatch.rules.sampling import Sampling
    from bigbatch.rules.scaling import linear_scaling, no_scaling, square_root_scaling
    from bigbatch.runs.folder import RunFolder
    from bigbatch.step.objective import Loss, objective
    from bigbatch.step.step import Step
    from bigbatch.tasks.metrics import Metric
    from bigbatch.training.evaluation import evaluate
    from bigbatch.training.trainer import train

__version__ = "0.2.0"

MODULE_OF: Final = {
    "AggregationOptions": "reduction.options",
    "InputError": "errors",
    "LAMB": "optim.layerwise",
    "LARS": "optim.layerwise",
    "LearningRate": "rules.learning_rate",
    "Loss": "step.objective",
    "Metric": "tasks.metrics",
    "Minibatches": "data.minibatches",
    "Recipe": "recipe",
    "RunFolder": "runs.folder",
    "Sampling": "rules.sampling",
    "Step": "step.step",
    "WeightAverage": "optim.weight_average",
    "clip_gradients": "optim.clipping",
    "correct_momentum": "optim.absorbed_rate",
    "evaluate": "training.evaluation",
    "find_recipe": "recipe.presets",
    "freeze_batch_norm": "models.frozen_batch_norm",
    "group_batch_norm": "models.ghost_batch_norm",
    "joined": "processes.join",
    "linear_scaling": "rules.scaling",
    "no_scaling": "rules.scaling",
    "objective": "step.objective",
    "portable": "processes.portable",
    "set_learning_rate": "optim.learning_rate",
    "square_root_scaling": "rules.scaling",
    "train": "training.trainer",
}

__all__ = [
    "LAMB",
    "LARS",
    "AggregationOptions",
    "InputError",
    "LearningRate",
    "Loss",
    "Metric",
    "Minibatches",
    "Recipe",
    "RunFolder",
    "Sampling",
    "Step",
    "WeightAverage",
    "clip_gradients",
    "correct_momentum",
    "evaluate",
    "find_recipe",
    "freeze_batch_norm",
    "group_batch_norm",
    "joined",
    "linear_scaling",
    "no_scaling",
    "objective",
    "portable",
    "set_learning_rate",
    "square_root_scaling",
    "train",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - any public name
    if name not in MODULE_OF:
        msg = f"module 'bigbatch' has no attribute '{name}'"
        raise AttributeError(msg)
    return getattr(import_module(f"bigbatch.{MODULE_OF[name]}"), name)
