"""What a step refuses, because it could not be exact or right with it."""

from collections.abc import Mapping
from typing import Final

import torch
from torch import nn

from bigbatch.errors import InputError, nearest
from bigbatch.processes.group import Processes, check_agreement
from bigbatch.step.worker_pass import PRECISIONS

WRAPPERS: Final = ("DistributedDataParallel", "DataParallel", "FullyShardedDataParallel")
DEVICES: Final = ("cpu", "cuda")


def check_model(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Refuse a model that couples the workers, and an optimizer with parameters that are not the model's.

    Raises:
        InputError: names it, and says what to do.
    """
    if type(model).__name__ in WRAPPERS:
        msg = f"the model is wrapped in {type(model).__name__}; pass the module inside: Step does the exchange itself"
        raise InputError(msg)
    for name, module in model.named_modules():
        if isinstance(module, nn.SyncBatchNorm):
            msg = (
                f"the model's '{name}' is SyncBatchNorm, which normalises over processes; use BatchNorm: "
                "its statistics are over the samples of one worker (arXiv 1706.02677, section 2.3)"
            )
            raise InputError(msg)
        if type(module).get_extra_state is not nn.Module.get_extra_state:
            msg = f"the model's '{name}' keeps extra state that is no tensor; keep it in buffers"
            raise InputError(msg)
    known = {id(parameter) for parameter in model.parameters()}
    if any(id(parameter) not in known for group in optimizer.param_groups for parameter in group["params"]):
        msg = (
            "the optimizer has parameters that are not the model's; a loss with parameters must be a part of the model"
        )
        raise InputError(msg)


def check_choices(device: torch.device, precision: str) -> None:
    """Refuse words that Step does not know.

    Raises:
        InputError: lists those that it knows.
    """
    choices = {"device": DEVICES, "precision": PRECISIONS}
    for (name, known), value in zip(choices.items(), (device.type, precision), strict=True):
        if value not in known:
            msg = f"{name} '{value}' is unknown; {nearest(value, list(known))}"
            raise InputError(msg)


def check_same(given: Mapping[str, str], model: nn.Module, processes: Processes) -> None:
    """Refuse to go on unless all processes were given the same, and a model of the same parameters and buffers.

    Raises:
        InputError: names the first rank that differs, and what differs.
    """
    tensors = [
        f"{name}: {tensor.dtype}, {list(tensor.shape)}{'' if tensor.requires_grad else ', frozen'}"
        for name, tensor in (*model.named_parameters(), *model.named_buffers())
    ]
    facts = {name: [value] for name, value in given.items()} | {"its parameters": tensors}
    check_agreement(facts, processes, next(model.parameters()).device)
