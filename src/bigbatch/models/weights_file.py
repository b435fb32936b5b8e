"""Weights from a file: safetensors, or a state dict that torch has saved. Reading it runs no code of the file's."""

import pickle
import struct
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bigbatch.errors import InputError, first_line
from bigbatch.paths import is_file

if TYPE_CHECKING:
    from torch import Tensor

NESTED: Final = ("state_dict", "model_state_dict", "model")  # where training programs keep a model's state
DAMAGED: Final = (  # what torch and Python's pickle raise for a file that is none, or is cut
    *(OSError, EOFError, RuntimeError, ValueError, KeyError, IndexError, TypeError, AttributeError, AssertionError),
    *(OverflowError, MemoryError, struct.error),
)


@dataclass(frozen=True)
class WeightsFile:
    """The tensors of a file by name, and the SHA-256 of its bytes."""

    tensors: "Mapping[str, Tensor]"
    sha256: str


def read_weights(path: Path) -> WeightsFile:
    """Read a file of weights, onto the CPU.

    Args:
        path: a safetensors file (also of `bigbatch export`), or what `torch.save` has written: a state dict, alone or
            under "state_dict", "model_state_dict" or "model".

    Raises:
        InputError: there is no such file, it is damaged, it would run code, or it holds no tensors.
    """
    if not is_file(path):
        msg = f"model.weights: there is no file {path}"
        raise InputError(msg)
    try:
        sha256 = sha256_of_file(path)
        table = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    except pickle.UnpicklingError as error:
        msg = (
            f"model.weights: {path} is damaged, or holds more than tensors and would run code; "
            "save model.state_dict() alone"
        )
        raise InputError(msg) from error
    except DAMAGED as error:
        msg = f"model.weights: {path} cannot be read as weights ({first_line(error):.100})"
        raise InputError(msg) from error
    tensors = _tensors(table)
    if not tensors:
        msg = f"model.weights: {path} holds no state dict: no tensors by name"
        raise InputError(msg)
    return WeightsFile(tensors, sha256)


def sha256_of_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal digits."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _read_safetensors(path: Path) -> object:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(str(error)) from error


def _read_torch(path: Path) -> object:
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of older formats, which it reads or refuses all the same
        return torch.load(path, map_location="cpu", weights_only=True)


def _tensors(table: Any) -> "dict[str, Tensor]":  # noqa: ANN401 - from a file
    """Return the tensors of a state dict, which may stand within a larger table."""
    from torch import Tensor

    if not isinstance(table, Mapping):
        return {}
    for key in NESTED:
        if inner := _tensors(table.get(key)):
            return inner
    return {name: value for name, value in table.items() if isinstance(name, str) and isinstance(value, Tensor)}
