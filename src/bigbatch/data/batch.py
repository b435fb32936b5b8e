"""A batch is whatever `collate` returns: tensors within tuples, dictionaries, lists and objects."""

import copy
import pickle
from collections.abc import Mapping, MutableMapping
from dataclasses import fields, is_dataclass
from hashlib import sha256
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

Batch = Any  # collated samples; (inputs, targets) for classification

PLAIN: Final = (str, bytes, int, float, complex, bool, type(None))
NUMBERS: Final = "biufc"  # numpy's kinds of numbers


def to_device(batch: Batch, device: torch.device) -> Batch:
    """Move a batch, and keep the type of everything in it.

    Moved are tensors, arrays of numbers (as tensors) and objects with a method `to(device)`, at any depth of tuples,
    lists, dictionaries and dataclasses. All else stays as it is.
    """
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, np.ndarray):
        return torch.as_tensor(batch).to(device, non_blocking=True) if batch.dtype.kind in NUMBERS else batch
    if callable(getattr(batch, "to", None)) and not isinstance(batch, type):
        return batch.to(device)
    if isinstance(batch, tuple | list):
        moved = [to_device(value, device) for value in batch]
        return type(batch)(*moved) if hasattr(batch, "_fields") else type(batch)(moved)  # a named tuple, or a plain one
    if isinstance(batch, MutableMapping) or (is_dataclass(batch) and not isinstance(batch, type)):
        return _with_parts_on(batch, device)
    return batch


def _with_parts_on(batch: Any, device: torch.device) -> Any:  # noqa: ANN401 - a dictionary or a dataclass
    """Return a copy, because a constructor may take other arguments than the parts."""
    moved = copy.copy(batch)
    if isinstance(moved, MutableMapping):
        for key, value in batch.items():
            moved[key] = to_device(value, device)
    else:
        for field in fields(moved):
            object.__setattr__(moved, field.name, to_device(getattr(batch, field.name), device))  # it may be frozen
    return moved


def batch_digest(batch: Batch) -> bytes:
    """Return the SHA-256 of a batch's content. Equal content has an equal digest, in whichever object it is."""
    return sha256(_content(batch)).digest()


def _content(value: Any) -> bytes:  # noqa: ANN401 - anything in a batch
    if isinstance(value, Tensor):
        return _tensor_bytes(value)
    if isinstance(value, np.ndarray) and value.dtype != object:
        return value.tobytes()
    if isinstance(value, Mapping):
        return b"".join(batch_digest(part) for _, part in sorted(value.items(), key=lambda item: str(item[0])))
    if isinstance(value, tuple | list):
        return b"".join(map(batch_digest, value))
    if isinstance(value, (*PLAIN, np.generic)):
        return repr(value).encode()
    return _object_bytes(value)


def _tensor_bytes(tensor: Tensor) -> bytes:
    dense = tensor.detach().cpu()
    dense = (dense if dense.layout == torch.strided else dense.to_dense()).contiguous()
    # A single element may have any stride, and a view as bytes needs 1. numpy knows no bfloat16.
    return dense.as_strided((dense.numel(),), (1,)).view(torch.uint8).numpy().tobytes()


def _object_bytes(value: object) -> bytes:
    """Return the bytes of an object's content; never of its address, which is another one when it is made again."""
    if callable(to_bytes := getattr(value, "tobytes", None)):  # an image of PIL's
        content = to_bytes()
        return content if isinstance(content, bytes) else repr(content).encode()
    if parts := getattr(value, "__dict__", None):
        return _content(parts)
    try:
        return pickle.dumps(value)
    except (pickle.PicklingError, TypeError, AttributeError):
        return type(value).__qualname__.encode()
