"""What the parts of the data contribute to the metrics, gathered from all processes: the same bits on every one."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch
import torch.distributed as dist
from safetensors.torch import load, save
from torch import Tensor

from bigbatch.checkpoint.state import flatten, unflatten
from bigbatch.errors import InputError
from bigbatch.processes.group import Processes
from bigbatch.processes.lost_peer import communicating

STRUCTURE: Final = "structure"  # no path of a tensor, as those begin with a slash


def plain(contribution: Any, *, metric: str) -> Any:  # noqa: ANN401 - whatever a metric returns
    """Return a contribution with copies of its tensors on the CPU.

    Raises:
        InputError: it holds something else than tensors and plain values.
    """
    try:
        structure, tensors = flatten(contribution, "/part")
    except InputError as error:
        msg = (
            f"{metric}: what a part of the data contributes must be tensors, numbers, strings and None, also in "
            f"lists, tuples and dictionaries; found {str(error).rpartition('(')[2].rstrip(')')}"
        )
        raise InputError(msg) from error
    copies = {path: tensor.detach().to("cpu", copy=True) for path, tensor in tensors.items()}
    return unflatten(structure, copies.__getitem__)


def gather(mine: Mapping[int, Any], processes: Processes, device: torch.device) -> list[Any]:
    """Return the contributions of all parts, in order. All processes call it together.

    They travel as tensors and JSON, never as pickles, which would run code.

    Args:
        mine: this process's contributions, by the number of their part.
        processes: that take part.
        device: on which their backend communicates.

    Raises:
        PeerLostError: another process ended, or did not answer in time.
    """
    found = dict(mine)
    if processes.world_size > 1:
        found = {}
        for packed in _all_gather(_pack(mine), processes, device):
            found |= _unpack(packed)
    return [found[number] for number in sorted(found)]


def _pack(value: Mapping[int, Any]) -> bytes:
    structure, tensors = flatten(value)
    text = np.frombuffer(json.dumps(structure).encode(), dtype=np.uint8).copy()
    whole = {path: tensor.contiguous().clone() for path, tensor in tensors.items()}
    packed: bytes = save({**whole, STRUCTURE: torch.from_numpy(text)})
    return packed


def _unpack(packed: bytes) -> dict[int, Any]:
    tensors = load(packed)
    structure = json.loads(tensors.pop(STRUCTURE).numpy().tobytes())
    value: dict[int, Any] = unflatten(structure, tensors.__getitem__)
    return value


def _all_gather(packed: bytes, processes: Processes, device: torch.device) -> Sequence[bytes]:
    """Return the bytes of every process. Their lengths differ, so all are filled up to the longest."""
    length = torch.tensor([len(packed)], device=device)
    lengths = [torch.zeros_like(length) for _ in range(processes.world_size)]
    with communicating():
        dist.all_gather(lengths, length, group=processes.group)
        longest = max(int(other) for other in lengths)
        row = torch.zeros(longest, dtype=torch.uint8, device=device)
        row[: len(packed)] = torch.frombuffer(bytearray(packed), dtype=torch.uint8).to(device)
        rows: list[Tensor] = [torch.zeros_like(row) for _ in lengths]
        dist.all_gather(rows, row, group=processes.group)
    return [other[: int(size)].cpu().numpy().tobytes() for other, size in zip(rows, lengths, strict=True)]
