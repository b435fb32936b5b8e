"""Which algorithm for which size: a short measurement on this group, kept for the next time."""

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, Final

import torch
import torch.distributed as dist
from torch import Tensor

from bigbatch.paths import cache_folder
from bigbatch.processes.lost_peer import communicating
from bigbatch.reduction.exchange import CHUNK_BYTES, AllReduce
from bigbatch.reduction.tree import Node

SIZES: Final = (1 << 12, 1 << 16, 1 << 20, 1 << 22)  # bytes
REPETITIONS: Final = 5


@dataclass(frozen=True)
class Choice:
    """The fastest algorithm by size.

    Attributes:
        seconds: for each measured size in bytes, rising: the seconds of each algorithm.
    """

    seconds: Mapping[int, Mapping[str, float]]

    def __call__(self, num_bytes: int) -> str:
        """Return the fastest algorithm at the measured size that is nearest, in proportion.

        >>> choice = Choice({4096: {"direct": 1.0, "three-phase": 2.0}, 65536: {"direct": 5.0, "three-phase": 3.0}})
        >>> choice(0), choice(16383), choice(16385)
        ('direct', 'direct', 'three-phase')
        """
        sizes = list(self.seconds)
        place = sum(num_bytes * num_bytes > lower * upper for lower, upper in pairwise(sizes))
        candidates = self.seconds[sizes[place]]
        return min(candidates, key=lambda name: candidates[name])


def choose(
    algorithms: Mapping[str, AllReduce], run: Sequence[Node[None]], group: dist.ProcessGroup, machines: str
) -> Choice:
    """Return what an earlier run on the same machines has measured, if rank 0 has kept it; otherwise measure now.

    Args:
        algorithms: to choose from.
        run: the nodes that this process will hold.
        group: of the processes; all of them call this, and all choose the same.
        machines: what the times depend on.
    """
    key = sha256(repr((machines, [*algorithms], SIZES, CHUNK_BYTES, torch.__version__)).encode()).hexdigest()
    table = torch.zeros(len(SIZES), len(algorithms), dtype=torch.float64)
    if group.rank() == 0:
        table = _kept_table(key, algorithms, table)
    with communicating():
        dist.broadcast(table, group=group, group_src=0)
    if not table.all():
        table = measure(algorithms, run, group)
        if group.rank() == 0:
            _keep(key, table)
    return Choice(
        {size: dict(zip(algorithms, row, strict=True)) for size, row in zip(SIZES, table.tolist(), strict=True)}
    )


def measure(algorithms: Mapping[str, AllReduce], run: Sequence[Node[None]], group: dist.ProcessGroup) -> Tensor:
    """Return the median seconds of each size (row) and algorithm (column), those of the slowest process."""
    table = torch.zeros(len(SIZES), len(algorithms), dtype=torch.float64)
    for i, size in enumerate(SIZES):
        nodes = [Node(node.start, node.stop, torch.zeros(size // 4)) for node in run]
        for j, all_reduce in enumerate(algorithms.values()):
            times = []
            for _ in range(1 + REPETITIONS):  # the first warms up
                start = time.perf_counter()
                all_reduce(nodes, nodes[0].value)
                times.append(time.perf_counter() - start)
            table[i, j] = median(times[1:])
    with communicating():
        dist.all_reduce(table, dist.ReduceOp.MAX, group=group)
    return table


def _kept_table(key: str, algorithms: Mapping[str, AllReduce], otherwise: Tensor) -> Tensor:
    """Return what was kept, or `otherwise` if there is none or the file is damaged."""
    with suppress(KeyError, TypeError, ValueError, RuntimeError):
        table = torch.tensor(_read()[key], dtype=torch.float64)
        if table.shape == (len(SIZES), len(algorithms)):
            return table
    return otherwise


def _keep(key: str, table: Tensor) -> None:
    """Write the file anew. Where that is not allowed, the next run measures again."""
    from bigbatch.atomic_file import write_atomically

    with suppress(OSError, RuntimeError):  # RuntimeError: a user without a home
        path = kept_file()
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps({**_read(), key: table.tolist()}).encode())


def _read() -> dict[str, Any]:
    with suppress(OSError, ValueError, RuntimeError):
        content = json.loads(kept_file().read_text())
        if isinstance(content, dict):
            return content
    return {}


def kept_file() -> Path:
    """Return where measurements are kept: in the user's cache folder."""
    return cache_folder() / "all_reduce.json"
