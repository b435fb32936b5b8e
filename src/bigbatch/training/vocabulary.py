"""Whether a model takes every token of its text, a whole sequence, and looks at nothing that it shall foretell.

It is tried before the first iteration. The largest token may come late in the data. Then a training would fail in its
middle, and on a GPU without a reason. A model that looks ahead would reach a perplexity of 1, and be of no use.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from bigbatch.data.batch import Batch, to_device
from bigbatch.data.dataset import Splits, read
from bigbatch.errors import InputError, first_line
from bigbatch.recipe import Recipe
from bigbatch.rules.randomness.generators import kept_generators
from bigbatch.step.objective import Objective
from bigbatch.tasks.losses import find_objective
from bigbatch.tasks.outputs import main_output
from bigbatch.training.scoring import KeptBuffers, evaluation_mode

POSITIONS: Final = "max_position_embeddings"  # of a configuration of transformers', whatever the model calls it
TOO_LARGE: Final = ("index out of range", "must match", "shape", "size")  # torch's words
TOKEN_LOSS: Final = "token-cross-entropy"  # noqa: S105 - no password
LEAST_CHANGE: Final = 1e-4  # of the outputs, as a share of the largest; rounding is far below
LOGITS: Final = 3  # dimensions: (n, length, tokens)


def check_vocabulary(model: nn.Module, data: Splits, recipe: Recipe) -> None:
    """Run a model on a sequence of the largest tokens of its text. Nothing is changed.

    Args:
        model: in whichever mode, which it keeps.
        data: other data than a text is not tried.
        recipe: says what is called with a batch.

    Raises:
        InputError: the model has fewer tokens or positions than the data, which names both numbers; or it looks ahead.
    """
    if data.extreme is None:
        return
    length, device = recipe.data.sequence_length, next(model.parameters()).device
    _check_positions(model, length)
    with kept_generators(device):
        batch = to_device(read(data.extreme, np.zeros(1, np.int64), key=0), device)
    kept = KeptBuffers(model)
    try:
        with kept_generators(device), evaluation_mode(model), torch.no_grad(), _watched(model, batch, recipe):
            outputs = main_output(_run(model, batch, recipe))
            is_by_token = recipe.loss == TOKEN_LOSS and isinstance(outputs, Tensor) and outputs.ndim == LOGITS
            if is_by_token and not recipe.data.collate:  # which may hide tokens, to be foretold from both sides
                _check_looks_back(model, batch[0], outputs)
    except (IndexError, RuntimeError) as error:
        if isinstance(error, torch.OutOfMemoryError) or not any(word in str(error) for word in TOO_LARGE):
            raise
        msg = (
            f"the model cannot take a sequence of {length} tokens from 0 to {data.num_classes - 1}: "
            f"{first_line(error)}; change data.sequence_length, data.tokenizer or the model"
        )
        raise InputError(msg) from error
    finally:
        kept.restore()
    if is_by_token and outputs.shape[-1] < data.num_classes:
        raise InputError(_too_few(recipe, f"model's outputs have {outputs.shape[-1]}", data.num_classes))


def _run(model: nn.Module, batch: Batch, recipe: Recipe) -> Any:  # noqa: ANN401 - whatever a model returns
    objective = find_objective(recipe)
    if isinstance(objective, Objective):
        return objective(model, batch)
    return model(batch[0])


def _check_positions(model: nn.Module, length: int) -> None:
    """Some models compute positions beyond those that they were made for, and say nothing."""
    most = getattr(getattr(model, "config", None), POSITIONS, None)
    if isinstance(most, int) and 0 < most < length:
        msg = (
            f"the model has {most} positions, but a sequence {length} tokens: "
            f"lower data.sequence_length, or give the model {length} positions"
        )
        raise InputError(msg)


def _check_looks_back(model: nn.Module, tokens: Tensor, outputs: Tensor) -> None:
    """Change the last token: what the model says before it must stay as it is."""
    changed = tokens.clone()
    changed[:, -1] = tokens[:, 0]
    others = main_output(model(changed))
    if tokens.shape[1] < 2 or torch.equal(changed, tokens):  # noqa: PLR2004 - there is nothing before it
        return
    change = (others - outputs)[:, :-1].abs().max()
    if change > LEAST_CHANGE * outputs.abs().max():
        msg = (
            "the model's outputs depend on the tokens that follow, which it shall foretell; "
            "make it causal (of transformers: is_decoder = true in model.arguments, or another type)"
        )
        raise InputError(msg)


@contextmanager
def _watched(model: nn.Module, batch: Batch, recipe: Recipe) -> Iterator[None]:
    """Look at what every embedding is asked for, before it looks it up."""
    tokens = batch[0] if isinstance(batch, tuple | list) and batch else None
    hooks = [
        module.register_forward_pre_hook(partial(_check_lookup, name=name, tokens=tokens, recipe=recipe))
        for name, module in model.named_modules()
        if isinstance(module, nn.Embedding)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _check_lookup(module: nn.Module, inputs: Any, *, name: str, tokens: Any, recipe: Recipe) -> None:  # noqa: ANN401 - a hook
    places, has = inputs[0] if inputs else None, int(module.num_embeddings)  # type: ignore[arg-type]
    if not isinstance(places, Tensor) or not places.numel() or int(places.max()) < has:
        return
    largest, length = int(places.max()), recipe.data.sequence_length
    if isinstance(tokens, Tensor) and torch.equal(places.flatten(), tokens.flatten()):
        raise InputError(_too_few(recipe, f"model's embedding '{name}' has {has}", largest + 1))
    msg = (
        f"the model's embedding '{name}' has {has} places, but a sequence of {length} tokens takes number {largest}: "
        "lower data.sequence_length, or give the model more"
    )
    raise InputError(msg)


def _too_few(recipe: Recipe, what: str, size: int) -> str:
    return (
        f"data.tokenizer '{recipe.data.tokenizer}' gives {size} tokens, but the {what}: "
        f"give the model {size}, or name its own tokenizer"
    )
