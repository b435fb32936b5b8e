"""The weights alone: their hash, and a file for other programs."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from bigbatch.atomic_file import put_in_place, temporary_of
from bigbatch.errors import InputError


@dataclass(frozen=True)
class WeightsHashes:
    """The hashes of a training's weights.

    Attributes:
        weights_sha256: of its own weights.
        average_sha256: of the averaged ones, with the model's other state; None without an average.
    """

    weights_sha256: str
    average_sha256: str | None

    @classmethod
    def of(cls, weights: Mapping[str, Tensor], average: Mapping[str, Tensor] | None) -> Self:
        """Hash a model's state dict, and the same with the averages in place of the weights."""
        return cls(weights_sha256(weights), None if average is None else weights_sha256({**weights, **average}))

    def to_json(self) -> dict[str, str]:
        """Return the hashes by their names, without those that are None."""
        return {name: value for name, value in vars(self).items() if value is not None}


def export_weights(state: Mapping[str, Tensor], target: Path, *, metadata: Mapping[str, str]) -> None:
    """Write a model's state dict as a safetensors file.

    Raises:
        InputError: the file cannot be written.
    """
    temporary = temporary_of(target)
    try:
        tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}
        save_file(tensors, temporary, metadata=dict(metadata))
        put_in_place(temporary, target)
    except (OSError, SafetensorError) as error:
        msg = f"cannot write the weights to {target} ({error})"
        raise InputError(msg) from error
    finally:
        temporary.unlink(missing_ok=True)


def weights_sha256(state: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 over a state dict in name order: each tensor's name, dtype, shape and little-endian bytes.

    `num_batches_tracked` is left out: it only counts steps.

    >>> weights, counter = {"w": torch.zeros(2)}, {"num_batches_tracked": torch.ones(1)}
    >>> weights_sha256(weights) == weights_sha256(weights | counter)
    True
    """
    digest = sha256()
    for name in sorted(name for name in state if not name.endswith("num_batches_tracked")):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        content = tensor.as_strided((tensor.numel(),), (1,)).view(torch.uint8).numpy()  # one element has any stride
        digest.update(_little_endian(content, tensor.element_size()).data)
    return digest.hexdigest()


def _little_endian(content: np.ndarray[Any, np.dtype[np.uint8]], size: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    if sys.byteorder == "little":
        return content
    return np.ascontiguousarray(content.reshape(-1, size)[:, ::-1]).reshape(-1)
