"""Parameter groups: which parameters decay."""

from collections.abc import Iterator
from typing import Any, Final

from torch import nn

from bigbatch.recipe import Optimizer

Norms: Final = (
    nn.modules.batchnorm._NormBase,  # noqa: SLF001 - no public base class
    nn.GroupNorm,
    nn.LayerNorm,
    nn.RMSNorm,
)


def weight_decay_groups(model: nn.Module, recipe: Optimizer) -> list[dict[str, Any]]:
    """Divide the trainable parameters into those that decay and those that do not (arXiv 1706.02677, section 5.1)."""
    groups: dict[float, list[nn.Parameter]] = {recipe.weight_decay: [], 0.0: []}
    for parameter, decays in _trained(model, recipe):
        groups[recipe.weight_decay if decays else 0.0].append(parameter)
    return [{"params": parameters, "weight_decay": decay} for decay, parameters in groups.items() if parameters]


def layerwise_groups(model: nn.Module, recipe: Optimizer) -> list[dict[str, Any]]:
    """Divide in the same way. Parameters that do not decay get no layer's rate either, as in the authors' code.

    Also for a weight decay of 0: the two groups differ in `is_layerwise`.
    """
    groups: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    for parameter, decays in _trained(model, recipe):
        groups[decays].append(parameter)
    return [
        {"params": parameters, "weight_decay": recipe.weight_decay if decays else 0.0, "is_layerwise": decays}
        for decays, parameters in groups.items()
        if parameters
    ]


def _trained(model: nn.Module, recipe: Optimizer) -> Iterator[tuple[nn.Parameter, bool]]:
    """Yield each trainable parameter, and whether it is of those that decay."""
    norms = {id(p) for module in model.modules() if isinstance(module, Norms) for p in module.parameters()}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if id(parameter) in norms:
            yield parameter, recipe.weight_decay_on_norms
        else:
            yield parameter, recipe.weight_decay_on_biases or not _is_bias(name)


def _is_bias(name: str) -> bool:
    """Tell by its name: `bias`, an attention's `in_proj_bias`, a recurrent layer's `bias_hh_l0`."""
    last = name.rpartition(".")[2]
    return last.startswith("bias") or last.endswith("bias")
