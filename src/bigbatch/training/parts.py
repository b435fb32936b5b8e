"""The parts of a training that follow from its recipe alone: its model, its minibatches and its step."""

import torch
from torch import Tensor, nn

from bigbatch.data.dataset import Splits
from bigbatch.data.minibatches import Minibatches
from bigbatch.errors import InputError
from bigbatch.models import build_model
from bigbatch.models.frozen_batch_norm import freeze_batch_norm
from bigbatch.models.ghost_batch_norm import group_batch_norm
from bigbatch.models.memory_format import set_memory_format
from bigbatch.recipe import Recipe
from bigbatch.reduction.options import AggregationOptions
from bigbatch.rules.randomness.generators import seed_generators
from bigbatch.rules.randomness.keyed import random_key
from bigbatch.step.preconditions import LAZY
from bigbatch.step.step import Step
from bigbatch.tasks.losses import find_objective
from bigbatch.user_code import load_callable


def build_minibatches(
    recipe: Recipe, data: Splits, device: torch.device, *, minibatch_size: int, loader_workers: int = 0
) -> Minibatches:
    """Cut the training data into minibatches of this size, in the recipe's order, with its transform."""
    return Minibatches(
        data.train,
        minibatch_size=minibatch_size,
        worker_minibatch_size=recipe.worker_minibatch_size,
        seed=recipe.seed_of("order"),
        augmentation_seed=recipe.seed_of("augmentation"),
        transform=load_callable(recipe.data.transform) if recipe.data.transform else None,
        order=data.order,
        device=device,
        loader_workers=loader_workers,
    )


def build_step(
    recipe: Recipe, model: nn.Module, optimizer: torch.optim.Optimizer, minibatch_size: int, options: AggregationOptions
) -> Step:
    """Make the step for the parameters that are trained by now. All processes call it together."""
    return Step(
        model,
        find_objective(recipe),
        optimizer,
        minibatch_size=minibatch_size,
        worker_minibatch_size=recipe.worker_minibatch_size,
        seed=recipe.seed_of("augmentation"),
        aggregation=options,
        momentum_correction=recipe.optimizer.momentum_correction,
        precision=recipe.precision,
        buffers=recipe.model.buffer_roles,
        is_compiled=recipe.model.compile,
    )


def build_recipe_model(recipe: Recipe, *, num_classes: int, in_channels: int) -> nn.Module:
    """Build the recipe's model, initialised from its seed, in the memory format that is sound for it.

    Raises:
        InputError: it is not initialised as a whole, has a buffer that a checkpoint cannot hold, or has nothing to
            freeze.
    """
    seed_generators(random_key("initialisation", recipe.seed_of("initialisation")))
    model = recipe.model
    built = build_model(
        model.name,
        task=recipe.task,
        sequence_length=recipe.data.sequence_length if recipe.data.name == "text" else 0,
        num_classes=num_classes,
        in_channels=in_channels,
        width=model.width,
        stem_pool=model.stem_pool,
        zero_gamma=model.zero_gamma,
        dropout=model.dropout,
        arguments=model.arguments,
    )
    if model.frozen_norms:
        freeze_batch_norm(built, model.frozen_norms)
    if model.norm_group:
        group_batch_norm(built, group=model.norm_group, samples=recipe.worker_minibatch_size)
    if torch.get_default_device().type != "meta":  # a plan asks for shapes alone
        _check_tensors(built)
    return set_memory_format(built)


def _check_tensors(model: nn.Module) -> None:
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if nn.parameter.is_lazy(tensor):
            msg = f"the model's '{name}' {LAZY}"
            raise InputError(msg)
        if odd := _odd_layout(tensor):
            msg = f"the model's '{name}' is {odd}, which a checkpoint cannot hold; use to_dense() or contiguous()"
            raise InputError(msg)


def _odd_layout(tensor: Tensor) -> str | None:
    if tensor.is_meta:
        return "on the meta device"
    if tensor.layout != torch.strided:
        return "sparse"
    pairs = zip(tensor.stride(), tensor.shape, strict=True)
    return "expanded" if any(stride == 0 and size > 1 for stride, size in pairs) else None
