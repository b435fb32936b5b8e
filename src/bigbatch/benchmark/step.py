"""How fast the exact step is beside a plain loop over DistributedDataParallel, in pairs within one run."""

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from bigbatch.benchmark.pairs import ratios, take_turns
from bigbatch.errors import InputError
from bigbatch.models.memory_format import sound_memory_format
from bigbatch.optim.build import build_optimizer
from bigbatch.processes.join import Machine
from bigbatch.recipe import Recipe
from bigbatch.reduction.options import AggregationOptions
from bigbatch.step.step import Step
from bigbatch.step.worker_pass import forward_precision
from bigbatch.training.freezing import freeze_for_good
from bigbatch.training.parts import build_recipe_model

Batch = tuple[Tensor, Tensor]
TakeStep = Callable[[int], None]


@dataclass(frozen=True)
class Input:
    """The shape of what a benchmark's model sees; its values are random.

    Attributes:
        num_classes: of the labels.
        in_channels: of the images.
        image_size: pixels of the square.
    """

    num_classes: int
    in_channels: int
    image_size: int


INPUTS = {
    "digits": Input(10, 1, 8),
    "fashion-mnist": Input(10, 1, 28),
    "cifar10": Input(10, 3, 32),
    "image-folder": Input(1000, 3, 224),
}


def bench_step(
    recipe: Recipe, machine: Machine, *, rounds: int, seconds_per_turn: float, aggregation: AggregationOptions
) -> dict[str, Any]:
    """Time our step and a plain DDP step in turn, on the same model, minibatch and worker minibatches.

    The plain loop accumulates over this process's worker minibatches under `no_sync` and lets DDP all-reduce during
    the last.

    Args:
        recipe: gives the model, the optimizer and the sizes.
        machine: this process.
        rounds: pairs of turns.
        seconds_per_turn: about how long a turn lasts.
        aggregation: of our step.

    Returns:
        Images/s of both (medians over the rounds) and the ratio ours / plain: median, least and largest over the
        rounds.
    """
    ours, plain = _our_step(recipe, machine, aggregation), _plain_step(recipe, machine)
    iterations = _iterations_per_turn(plain, machine, seconds_per_turn)
    _time(ours, iterations, machine)
    turns = (partial(_time, step, iterations, machine) for step in (ours, plain))
    times = take_turns(*turns, rounds=rounds)
    images = iterations * recipe.minibatch_size
    return {
        "recipe": recipe.name,
        "model": recipe.model.name,
        "device": str(machine.device),
        "processes": machine.processes.world_size,
        "minibatch_size": recipe.minibatch_size,
        "worker_minibatch_size": recipe.worker_minibatch_size,
        "all_reduce": aggregation.all_reduce,
        "overlap": aggregation.overlap,
        "bucket_mb": aggregation.bucket_mb,
        "rounds": rounds,
        "iterations_per_turn": iterations,
        "images_per_second": median(images / ours_seconds for ours_seconds, _ in times),
        "plain_images_per_second": median(images / plain_seconds for _, plain_seconds in times),
        **ratios(times),
    }


def gradient_bytes(recipe: Recipe) -> list[int]:
    """Return the bytes of each parameter's gradient, in the order in which backpropagation makes them.

    Raises:
        InputError: the recipe's data is of no known shape.
    """
    shape = find_input(recipe)
    with torch.device("meta"):
        model = build_recipe_model(recipe, num_classes=shape.num_classes, in_channels=shape.in_channels)
    return [parameter.nbytes for parameter in reversed(list(model.parameters())) if parameter.requires_grad]


def find_input(recipe: Recipe) -> Input:
    """Return the shape of what the recipe's model sees.

    Raises:
        InputError: the data is the user's own.
    """
    if recipe.data.name not in INPUTS:
        msg = f"the image sizes are known of {', '.join(INPUTS)} only, not of '{recipe.data.name}'"
        raise InputError(msg)
    return INPUTS[recipe.data.name]


def _our_step(recipe: Recipe, machine: Machine, aggregation: AggregationOptions) -> TakeStep:
    model, optimizer = _model_and_optimizer(recipe, machine)
    step = Step(
        model,
        nn.CrossEntropyLoss(reduction="none"),
        optimizer,
        minibatch_size=recipe.minibatch_size,
        worker_minibatch_size=recipe.worker_minibatch_size,
        aggregation=aggregation,
        precision=recipe.precision,
        buffers=recipe.model.buffer_roles,
        is_compiled=recipe.model.compile,
    )
    batches = _random_batches(recipe, machine, len(step.workers), sound_memory_format(model))

    def take(iteration: int) -> None:
        step(batches, iteration=iteration)

    return take


def _plain_step(recipe: Recipe, machine: Machine) -> TakeStep:
    model, optimizer = _model_and_optimizer(recipe, machine)
    processes = machine.processes
    trained = cast("nn.Module", torch.compile(model)) if recipe.model.compile else model
    replica = DistributedDataParallel(trained) if processes.world_size > 1 else trained
    num_batches = recipe.worker_count // processes.world_size
    batches = _random_batches(recipe, machine, num_batches, sound_memory_format(model))
    criterion = nn.CrossEntropyLoss()

    def take(iteration: int) -> None:
        del iteration
        optimizer.zero_grad()
        for i, (inputs, labels) in enumerate(batches):
            is_last = i + 1 == num_batches
            with nullcontext() if is_last or not isinstance(replica, DistributedDataParallel) else replica.no_sync():
                with forward_precision(machine.device, recipe.precision):
                    loss = criterion(replica(inputs), labels) / num_batches
                loss.backward()
        optimizer.step()

    return take


def _model_and_optimizer(recipe: Recipe, machine: Machine) -> tuple[nn.Module, torch.optim.Optimizer]:
    shape = find_input(recipe)
    model = build_recipe_model(recipe, num_classes=shape.num_classes, in_channels=shape.in_channels).to(machine.device)
    freeze_for_good(model, recipe.model)
    model.train()
    return model, build_optimizer(recipe.scaled_optimizer, model, recipe.reference.learning_rate)


def _random_batches(
    recipe: Recipe, machine: Machine, num_batches: int, memory_format: torch.memory_format
) -> list[Batch]:
    shape = find_input(recipe)
    n, size = recipe.worker_minibatch_size, shape.image_size
    generator = torch.Generator().manual_seed(machine.processes.rank)
    batches = []
    for _ in range(num_batches):
        images = torch.randn(n, shape.in_channels, size, size, generator=generator).to(machine.device)
        labels = torch.randint(shape.num_classes, (n,), generator=generator).to(machine.device)
        batches.append((images.contiguous(memory_format=memory_format), labels))
    return batches


def _iterations_per_turn(step: TakeStep, machine: Machine, seconds: float) -> int:
    """Warm up, then return how many iterations take about `seconds`: the same number on every process."""
    _time(step, 1, machine)
    least = _time(step, 2, machine) / 2
    iterations = torch.tensor(max(2, round(seconds / least)), device=machine.device)
    if machine.processes.world_size > 1:
        dist.broadcast(iterations, src=0)
    return int(iterations)


def _time(step: TakeStep, iterations: int, machine: Machine) -> float:
    """Return the seconds of some iterations, from the moment that all processes are ready."""
    if machine.processes.world_size > 1:
        dist.barrier()
    _synchronize(machine)
    start = time.perf_counter()
    for iteration in range(iterations):
        step(iteration)
    _synchronize(machine)
    return time.perf_counter() - start


def _synchronize(machine: Machine) -> None:
    if machine.device.type == "cuda":
        torch.cuda.synchronize(machine.device)
