"""The processes that share a minibatch: their ranks, their messages, and a check that all were given the same."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

import torch
import torch.distributed as dist
from torch import Tensor

from bigbatch.errors import InputError
from bigbatch.processes.lost_peer import communicating

TEXT_BYTES: Final = 160


@dataclass(frozen=True)
class Processes:
    """The processes that share a minibatch; without a group, this process alone.

    Attributes:
        rank: of this process.
        world_size: the number of processes (p).
        group: torch's process group; None for the default one.
    """

    rank: int = 0
    world_size: int = 1
    group: dist.ProcessGroup | None = None

    @classmethod
    def current(cls, group: dist.ProcessGroup | None = None) -> "Processes":
        """Return the processes of torch's initialised group, or this process alone if there is none."""
        if not (dist.is_available() and dist.is_initialized()):
            return cls()
        return cls(dist.get_rank(group), dist.get_world_size(group), group)


def silent_meeting() -> AbstractContextManager[None]:
    """Drop what the processes' meeting prints on standard output, which is for a command's own words, such as JSON.

    Gloo of torch 2.8 tells there of its connections, from C++.
    """
    from bigbatch.silence import silenced

    return silenced(sys.__stdout__)


def communication_device(processes: Processes) -> torch.device:
    """Return the device whose tensors the backend of these processes exchanges."""
    is_nccl = "nccl" in dist.get_backend(processes.group)
    return torch.device("cuda", torch.cuda.current_device()) if is_nccl else torch.device("cpu")


def check_agreement(facts: Mapping[str, Sequence[str]], processes: Processes, device: torch.device) -> None:
    """Raise an error unless all processes have the same facts. It is called once, before anything is summed.

    Gloo itself does not check: other dtypes or shapes give wrong sums, and other sizes abort the process.

    Args:
        facts: the lines that describe each fact, by its name. All processes give the same names.
        processes: that take part.
        device: on which the group's backend communicates.

    Raises:
        InputError: names the first rank that differs from rank 0, and the line; the same text on every process.
    """
    if processes.world_size == 1:
        return
    hashes = [_short_hash("\n".join(lines)) for lines in facts.values()]
    different = _first_difference(gather_rows(hashes, processes, device))
    if different is None:
        return
    name, lines = list(facts.items())[different[1]]
    with communicating():
        length = torch.tensor(len(lines), device=device)
        dist.all_reduce(length, dist.ReduceOp.MAX, group=processes.group)
    padded = [*lines, *[""] * (int(length) - len(lines))]
    different = _first_difference(gather_rows([_short_hash(line) for line in padded], processes, device))
    assert different is not None
    rank, place = different
    text = list(padded[place].encode()[:TEXT_BYTES].ljust(TEXT_BYTES, b"\0"))
    texts = [bytes(row).rstrip(b"\0").decode(errors="replace") for row in gather_rows(text, processes, device).tolist()]
    msg = f"rank {rank} differs from rank 0 in {name}: {texts[rank] or 'nothing'} instead of {texts[0] or 'nothing'}"
    raise InputError(msg)


def broadcast(tensors: Iterable[Tensor], processes: Processes) -> None:
    """Give every process the tensors of rank 0, as bytes: of any dtype and layout, on any device.

    Raises:
        PeerLostError: a process ended, or did not answer in time.
    """
    if processes.world_size == 1:
        return
    parts = [part for tensor in tensors for part in dense_parts(tensor.detach())]
    with communicating(), torch.no_grad():
        for part in parts:
            source = as_bytes(part).to(parts[0].device)  # where the group's backend communicates
            if source.numel():  # a sparse one may have no values
                dist.broadcast(source, group=processes.group, group_src=0)
                if source.data_ptr() != part.data_ptr():
                    part.copy_(source.to(part.device).view(part.dtype).view(part.shape))


def dense_parts(tensor: Tensor) -> list[Tensor]:
    """Return what holds a tensor's values, each value once: of a sparse one its indices and values.

    >>> [list(part.shape) for part in dense_parts(torch.ones(1, 3).expand(5, 3))]
    [[3]]
    >>> dense_parts(torch.ones(2, device="meta"))
    []
    """
    if tensor.is_meta:
        return []
    if tensor.layout == torch.sparse_coo:
        return [tensor._indices(), tensor._values()]  # noqa: SLF001 - also of one that is not coalesced
    if tensor.layout in {torch.sparse_csr, torch.sparse_bsr}:
        return [tensor.crow_indices(), tensor.col_indices(), tensor.values()]
    if tensor.layout in {torch.sparse_csc, torch.sparse_bsc}:
        return [tensor.ccol_indices(), tensor.row_indices(), tensor.values()]
    return [tensor[tuple(slice(None) if stride else 0 for stride in tensor.stride())]] if tensor.numel() else []


def as_bytes(tensor: Tensor) -> Tensor:
    """Return a dense tensor's bytes, uint8, in one dimension; a view where its elements lie in order."""
    dense = tensor.resolve_conj().resolve_neg().contiguous()
    return dense.as_strided((dense.numel(),), (1,)).view(torch.uint8)  # a single element may have any stride


def set_on_any(flags: list[bool], processes: Processes, device: torch.device) -> list[bool]:
    """Return the flags that are set on any process.

    Raises:
        PeerLostError: a process ended, or did not answer in time.
    """
    if processes.world_size == 1 or not flags:
        return flags
    agreed = torch.tensor(flags, dtype=torch.int32, device=device)
    with communicating():
        dist.all_reduce(agreed, dist.ReduceOp.MAX, group=processes.group)
    return [bool(flag) for flag in agreed.tolist()]


def gather_rows(row: list[int], processes: Processes, device: torch.device) -> Tensor:
    """Return the rows of all processes, int64, shape (world_size, len(row)).

    Raises:
        PeerLostError: a process ended, or did not answer in time.
    """
    table = torch.zeros(processes.world_size, len(row), dtype=torch.int64, device=device)
    table[processes.rank] = torch.tensor(row)
    with communicating():
        dist.all_reduce(table, group=processes.group)
    return table


def _first_difference(table: Tensor) -> tuple[int, int] | None:
    """Return the first column in which a row differs from row 0, as (row, column)."""
    for column, values in enumerate(table.t().tolist()):
        for row, value in enumerate(values):
            if value != values[0]:
                return row, column
    return None


def _short_hash(text: str) -> int:
    return int.from_bytes(sha256(text.encode()).digest()[:7], "little")
