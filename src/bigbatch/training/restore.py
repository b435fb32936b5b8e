"""Restore a training from its last good checkpoint."""

from typing import Any

import torch
from torch import Tensor, nn

from bigbatch.atomic_file import remove_temporaries
from bigbatch.checkpoint.loading import load_last_good, set_aside
from bigbatch.checkpoint.saving import remove_leftovers
from bigbatch.errors import InputError, first_line
from bigbatch.models.plain_names import load_plain_state, plain_state, with_plain_names
from bigbatch.optim.inner_optimizers import optimizers_in
from bigbatch.runs.folder import RunFolder
from bigbatch.training.state import TrainingState


def restore(training: TrainingState, folder: RunFolder) -> list[str]:
    """Put the training at its last good checkpoint, if there is one; return notes and warnings for the user."""
    if training.is_writer and folder.checkpoints.is_dir():
        remove_leftovers(folder.checkpoints)
        remove_temporaries(folder.path)
    like = plain_state(training.model)
    found, refused = load_last_good(folder.checkpoints, recipe=training.recipe, like=like)
    if training.is_writer:
        set_aside(folder.checkpoints, refused)
    notes = [f"warning: {reason}" for reason in refused.values()]
    if found is None:
        return notes
    manifest, state = found
    restore_model(training.model, state)
    restore_optimizer(training.optimizer, state["optimizer"])
    if training.average:
        training.average.restore(state.get("average", {}))
    training.course.restore(state["course"])
    if training.course.now.minibatch_size != training.step.minibatch_size:
        training.resize()
    training.thaw_if_due()
    training.results = state["results"]
    training.epoch_loss, training.epoch_updates = state["epoch_loss"], state["epoch_updates"]
    training.seconds = state["seconds"]
    training.checkpoint_sha256 = manifest.sha256
    return [*notes, f"goes on from the checkpoint of iteration {manifest.iteration}"]


def restore_model(model: nn.Module, state: dict[str, Any]) -> None:
    """Restore the parameters and buffers, also the buffers that a state dict leaves out.

    Raises:
        InputError: the checkpoint is of another model.
    """
    buffers = with_plain_names(dict(model.named_buffers()))
    try:
        load_plain_state(model, state["model"])
        with torch.no_grad():
            for name, value in with_plain_names(state["buffers"]).items():
                buffers[name].copy_(value)
    except KeyError as error:
        msg = (
            f"the checkpoint is of another model: this one has no {error}; put that one back, or choose another "
            "--output; what a forward pass makes must be registered in __init__ to be restored"
        )
        raise InputError(msg) from error
    except RuntimeError as error:
        msg = f"the checkpoint is of another model ({first_line(error)}); put that one back, or choose another --output"
        raise InputError(msg) from error


def restore_optimizer(optimizer: torch.optim.Optimizer, saved: dict[str, Any]) -> None:
    """Restore the optimizer's state in its own dtypes, which torch would change to those of the parameters.

    Raises:
        InputError: the checkpoint is of another optimizer.
    """
    try:
        optimizer.load_state_dict(saved)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        msg = f"the checkpoint is of another optimizer ({first_line(error)}); use that one, or another --output"
        raise InputError(msg) from error
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for place, values in saved.get("state", {}).items():  # an optimizer of others may have a form of its own
        for state in (each.state.get(parameters[place], {}) for each in optimizers_in(optimizer)):
            for key in state.keys() & values.keys():
                value, now = values[key], state[key]
                if isinstance(value, Tensor) and isinstance(now, Tensor) and now.dtype != value.dtype:
                    state[key] = value.to(now.device)
