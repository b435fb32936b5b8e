"""Build a training from its recipe: the same bits on every process."""

from contextlib import nullcontext

from bigbatch.data.load import load_data
from bigbatch.optim.build import build_optimizer
from bigbatch.optim.weight_average import WeightAverage
from bigbatch.processes.join import Machine
from bigbatch.recipe import Recipe
from bigbatch.recipe.course import course_of
from bigbatch.reduction.options import AggregationOptions
from bigbatch.training.evaluation import Evaluation
from bigbatch.training.parts import build_minibatches, build_step
from bigbatch.training.starting_model import starting_model
from bigbatch.training.state import TrainingState
from bigbatch.training.vocabulary import check_vocabulary


def build(recipe: Recipe, machine: Machine, *, aggregation: AggregationOptions, loader_workers: int) -> TrainingState:
    """Build everything from the recipe. The seed alone decides, so every process has the same bits."""
    evaluation = Evaluation.of(recipe, loader_workers=loader_workers)
    data = load_data(recipe.data)
    course = course_of(recipe, data.samples_per_epoch)
    size = course.now.minibatch_size
    minibatches = build_minibatches(recipe, data, machine.device, minibatch_size=size, loader_workers=loader_workers)
    start = starting_model(recipe, data, machine.device)
    model, freezing = start.model, start.freezing
    check_vocabulary(model, data, recipe)
    # The optimizer has what will be trained later from the beginning: without a gradient it is left as it is.
    optimizer = build_optimizer(recipe.scaled_optimizer, model, recipe.reference.learning_rate)
    if freezing:
        freezing.freeze()
    step = build_step(recipe, model, optimizer, size, aggregation)
    with freezing.lifted() if freezing else nullcontext():
        # The step has given all processes the weights of rank 0, so the average is built after it.
        average = WeightAverage(model, course.average_decay) if recipe.average.decay else None
    return TrainingState(
        recipe,
        machine,
        data,
        minibatches,
        model,
        optimizer,
        step,
        course,
        loader_workers,
        evaluation,
        average,
        start.started_from,
        freezing,
    )
