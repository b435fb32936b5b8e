"""Checkpoints: written whole or not at all, and loaded without running code."""

import io
import os
import sys
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Final
from zipfile import is_zipfile

import numpy as np
import torch
from torch import Tensor

from bigbatch.errors import InputError

FORMAT: Final = 1
PATTERN: Final = "epoch-*.pt"
KEPT: Final = 2


def save_checkpoint(folder: Path, state: Mapping[str, Any], *, epoch: int) -> Path:
    """Write `state` as the checkpoint of the epoch (counted from 1), and remove all but the last two.

    The file appears under its name complete: temporary file, fsync, rename, fsync of the folder.
    """
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **state}, buffer)
    _check_loadable(buffer)
    target = folder / f"epoch-{epoch:04d}.pt"
    write_atomically(target, buffer.getbuffer())
    for old in sorted(folder.glob(PATTERN), key=_epoch)[:-KEPT]:
        old.unlink()
    return target


def write_atomically(target: Path, content: bytes | memoryview) -> None:
    """Write a file so that a reader, or a crash, finds the old content or the new, never a part."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    descriptor = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def latest_checkpoint(folder: Path) -> Path | None:
    """Return the newest checkpoint of a folder, or None."""
    return max(folder.glob(PATTERN), key=_epoch, default=None)


def _epoch(path: Path) -> int:
    return int(path.stem.rpartition("-")[2])


def _check_loadable(buffer: io.BytesIO) -> None:
    """Refuse state that could be saved but never loaded again without running code, before it replaces anything."""
    buffer.seek(0)
    try:
        torch.load(buffer, weights_only=True)
    except UnpicklingError as error:
        reason = str(error).splitlines()[0]
        msg = f"the state of the model or optimizer cannot be saved safely; keep plain values in it ({reason})"
        raise InputError(msg) from error


def load_checkpoint(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Load a checkpoint; only tensors and plain values are read, no code.

    Raises:
        InputError: the file cannot be read, or another version of bigbatch wrote it.
    """
    if path.is_file() and not is_zipfile(path):  # torch would try its formats of old, with errors of every kind
        msg = f"cannot load the checkpoint {path} (cut short, or not one); remove it to go on from the one before"
        raise InputError(msg)
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except (OSError, RuntimeError, UnpicklingError) as error:
        reason = str(error).splitlines()[0]
        msg = f"cannot load the checkpoint {path} ({reason}); remove it to go on from the one before"
        raise InputError(msg) from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        msg = f"{path} is no checkpoint of this version of bigbatch (format {FORMAT})"
        raise InputError(msg)
    return state


def weights_sha256(state: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 over a state dict in name order: each tensor's name, dtype, shape and little-endian bytes.

    `num_batches_tracked` is left out: it counts steps and takes part in nothing.

    >>> weights, counter = {"w": torch.zeros(2)}, {"num_batches_tracked": torch.ones(1)}
    >>> weights_sha256(weights) == weights_sha256(weights | counter)
    True
    """
    digest = sha256()
    for name in sorted(name for name in state if not name.endswith("num_batches_tracked")):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        content = tensor.flatten().view(torch.uint8).numpy()
        digest.update(_little_endian(content, tensor.element_size()).data)
    return digest.hexdigest()


def _little_endian(content: np.ndarray[Any, np.dtype[np.uint8]], size: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    if sys.byteorder == "little":
        return content
    return np.ascontiguousarray(content.reshape(-1, size)[:, ::-1]).reshape(-1)
