"""A model's state by plain names: those that it has without torch.compile, which puts `_orig_mod.` before them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from torch import Tensor, nn

COMPILED: Final = "_orig_mod."


def plain_name(name: str) -> str:
    """Return the name of a parameter or buffer as in the model that was not compiled.

    >>> plain_name("_orig_mod.0.weight"), plain_name("body._orig_mod.bias")
    ('0.weight', 'body.bias')
    """
    return name.replace(COMPILED, "")


def with_plain_names(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return a table of a model's parts by their plain names."""
    return {plain_name(name): value for name, value in state.items()}


def plain_state(model: "nn.Module") -> "dict[str, Tensor]":
    """Return a model's state dict by plain names. The tensors are the model's own."""
    return with_plain_names(model.state_dict())


def load_plain_state(model: "nn.Module", state: "Mapping[str, Tensor]") -> None:
    """Load a state that has plain names, or that of a compiled model, into a model that may be compiled.

    Raises:
        KeyError: the state lacks a tensor.
        RuntimeError: torch's own complaint about tensors of another model.
    """
    plain = with_plain_names(state)
    own = {plain_name(name): name for name in model.state_dict()}
    model.load_state_dict({own.get(name, name): value for name, value in plain.items()})
