"""Build a training from its recipe: the same bits on every process."""

from bigbatch.data.load import load_data
from bigbatch.errors import InputError
from bigbatch.optim.build import build_optimizer
from bigbatch.optim.weight_average import WeightAverage
from bigbatch.processes.join import Machine
from bigbatch.recipe import Recipe
from bigbatch.recipe.course import course_of
from bigbatch.recipe.metrics import TOP_1_ERROR
from bigbatch.reduction.options import AggregationOptions
from bigbatch.step.step import Step
from bigbatch.tasks.losses import find_objective
from bigbatch.training.parts import build_minibatches, build_recipe_model
from bigbatch.training.state import TrainingState
from bigbatch.training.warm_start import warm_start


def build(recipe: Recipe, machine: Machine, *, aggregation: AggregationOptions, loader_workers: int) -> TrainingState:
    """Build everything from the recipe. The seed alone decides, so every process has the same bits."""
    if recipe.metrics != (TOP_1_ERROR.name,):
        msg = f"this version measures {TOP_1_ERROR.name} alone, not {', '.join(recipe.metrics)}"
        raise InputError(msg)
    data = load_data(recipe.data)
    course = course_of(recipe, data.samples_per_epoch)
    size = course.now.minibatch_size
    minibatches = build_minibatches(recipe, data, machine.device, minibatch_size=size, loader_workers=loader_workers)
    model = build_recipe_model(recipe, num_classes=data.num_classes, in_channels=data.in_channels).to(machine.device)
    started_from = warm_start(model, recipe.model)
    optimizer = build_optimizer(recipe.scaled_optimizer, model, recipe.reference.learning_rate)
    step = Step(
        model,
        find_objective(recipe),
        optimizer,
        minibatch_size=size,
        worker_minibatch_size=recipe.worker_minibatch_size,
        seed=recipe.seed_of("augmentation"),
        aggregation=aggregation,
        momentum_correction=recipe.optimizer.momentum_correction,
        precision=recipe.precision,
    )
    # The step has given all processes the weights of rank 0, so the average is built after it.
    average = WeightAverage(model, course.average_decay) if recipe.average.decay else None
    return TrainingState(
        recipe, machine, data, minibatches, model, optimizer, step, course, loader_workers, average, started_from
    )
