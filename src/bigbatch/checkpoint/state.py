"""Nested state as a table of named tensors and a JSON structure. It is no pickle, so loading it runs no code."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from bigbatch.errors import InputError


def flatten(state: Any, path: str = "") -> tuple[Any, dict[str, Tensor]]:  # noqa: ANN401 - any plain nest of tensors
    """Return the structure of a state, and its tensors by their paths in it.

    Args:
        state: tensors, None, bools, numbers and strings in dictionaries, lists and tuples.
        path: of this part in the whole state.

    Raises:
        InputError: it has a value of another type.

    >>> flatten({"lr": 0.1, "momentum": [torch.zeros(2)]})
    ({'dict': [['lr', 0.1], ['momentum', {'list': [{'tensor': '/momentum/0'}]}]]}, {'/momentum/0': tensor([0., 0.])})
    """
    if isinstance(state, Tensor):
        has_own = not state.is_contiguous() and is_dense(state.shape, state.stride())
        strides = {"strides": list(state.stride())} if has_own else {}
        return {"tensor": path, **strides}, {path: state}
    if state is None or type(state) in {bool, int, float, str}:
        return state, {}
    tensors: dict[str, Tensor] = {}
    items = state.items() if isinstance(state, Mapping) else enumerate(state) if type(state) in {list, tuple} else None
    if items is None or (isinstance(state, Mapping) and not all(type(key) in {int, str} for key in state)):
        msg = (
            "the state of the model or optimizer cannot be saved safely; keep plain values in it "
            f"({path.lstrip('/')} is a {type(state).__name__})"
        )
        raise InputError(msg)
    parts = []
    for key, value in items:
        structure, found = flatten(value, f"{path}/{key}")
        parts.append([key, structure] if isinstance(state, Mapping) else structure)
        tensors |= found
    return {"dict" if isinstance(state, Mapping) else type(state).__name__: parts}, tensors


def unflatten(structure: Any, read: Callable[[str], Tensor]) -> Any:  # noqa: ANN401 - as `flatten` takes it
    """Return the state of which `flatten` gave the structure and the tensors.

    Args:
        structure: from JSON; it may be damaged.
        read: returns the tensor of a path.

    Raises:
        ValueError: the structure is damaged.
    """
    if structure is None or isinstance(structure, bool | int | float | str):
        return structure
    if isinstance(structure, dict):
        match structure:
            case {"tensor": str(path)}:
                return _with_strides(read(path), structure.get("strides"))
            case {"dict": list(parts)}:
                return {_key(key): unflatten(value, read) for key, value in parts}
            case {"list": list(parts)}:
                return [unflatten(value, read) for value in parts]
            case {"tuple": list(parts)}:
                return tuple(unflatten(value, read) for value in parts)
    msg = "its structure is damaged"
    raise ValueError(msg)


def _key(key: object) -> int | str:
    if not isinstance(key, int | str):
        msg = "its structure is damaged"
        raise ValueError(msg)  # noqa: TRY004 - the file's fault, not a caller's
    return key


def _with_strides(tensor: Tensor, strides: Any) -> Tensor:  # noqa: ANN401 - from a file
    """Return the tensor in its old layout: an optimizer is slow if its state has another layout than the gradients."""
    if strides is None or not is_dense(tensor.shape, strides):
        return tensor
    return torch.empty_strided(tensor.shape, strides, dtype=tensor.dtype, device=tensor.device).copy_(tensor)


def is_dense(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Tell whether a tensor's elements fill its storage, each in a place of its own.

    >>> is_dense((2, 3), (1, 2)), is_dense((2, 3), (0, 1)), is_dense((2, 3), (1 << 60, 1))
    (True, False, False)
    """
    expected = 1
    for stride, size in sorted((stride, size) for stride, size in zip(strides, shape, strict=True) if size != 1):
        if stride != expected:
            return False
        expected *= size
    return True
