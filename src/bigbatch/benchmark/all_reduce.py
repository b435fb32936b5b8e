"""How fast each all-reduce is, by size, beside the backend's own in the same run."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
import torch.distributed as dist

from bigbatch.processes.join import Machine
from bigbatch.processes.lost_peer import communicating
from bigbatch.reduction.communicator import Communicator
from bigbatch.reduction.exchange import AllReduce
from bigbatch.reduction.options import NATIVE
from bigbatch.reduction.tree import Node

SIZES: Final = (4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 10 << 20, 100 << 20)  # bytes
LONGEST_BURST: Final = 20


@dataclass(frozen=True)
class Timing:
    """Seconds of one all-reduce: the slowest process's, over the rounds.

    Attributes:
        median: of the rounds.
        lower: quartile.
        upper: quartile.
        ratio: median over the rounds of this algorithm's seconds by the native one's.
    """

    median: float
    lower: float
    upper: float
    ratio: float


def bench_all_reduce(
    machine: Machine, *, sizes: Sequence[int] = SIZES, rounds: int, seconds_per_size: float
) -> dict[str, Any]:
    """Time every algorithm at every size, in turn within each round.

    A turn is a burst of all-reduces, one behind the other. In a burst it hardly matters that processes start a little
    apart.

    Args:
        machine: one of several processes.
        sizes: of the buffers, in bytes.
        rounds: turns of each algorithm.
        seconds_per_size: about how long the rounds of a size may take. There are fewer rounds if need be, but at least
            3.

    Returns:
        For each size and algorithm its `Timing` as a dictionary.
    """
    processes = machine.processes
    communicator = Communicator(processes, processes.world_size, machine.device, NATIVE)
    algorithms = communicator.different_algorithms()
    results: dict[str, dict[str, Any]] = {}
    for size in sizes:
        timings = _time_size(algorithms, machine, size, rounds, seconds_per_size)
        results[str(size)] = {name: vars(timing) for name, timing in timings.items()}
    communicator.close()
    return {
        "processes": processes.world_size,
        "device": str(machine.device),
        "rounds": rounds,
        "seconds_by_bytes": results,
    }


def _time_size(
    algorithms: dict[str, AllReduce], machine: Machine, size: int, rounds: int, seconds: float
) -> dict[str, Timing]:
    rank = machine.processes.rank
    buffer = torch.zeros(size // 4, device=machine.device)
    node = Node(rank, rank + 1, buffer)
    for all_reduce in algorithms.values():  # warm up
        _burst(all_reduce, node, machine, 1)
    once = _slowest(torch.tensor([_burst(all_reduce, node, machine, 1) for all_reduce in algorithms.values()]), machine)
    burst = int(min(LONGEST_BURST, max(1, seconds / (rounds * float(once.sum())))))
    rounds = int(min(rounds, max(3, seconds / (burst * float(once.sum())))))
    times = torch.zeros(rounds, len(algorithms), dtype=torch.float64)
    names = list(algorithms)
    for number in range(rounds):
        for turn in range(len(names)):
            column = (turn + number) % len(names)  # none is always the first
            times[number, column] = _burst(algorithms[names[column]], node, machine, burst) / burst
    table = _slowest(times, machine).numpy()
    native = table[:, names.index(NATIVE)]
    timings = {}
    for i, name in enumerate(names):
        lower, median, upper = np.quantile(table[:, i], (0.25, 0.5, 0.75)).tolist()
        timings[name] = Timing(median, lower, upper, float(np.median(table[:, i] / native)))
    return timings


def _burst(all_reduce: AllReduce, node: Node[torch.Tensor], machine: Machine, number: int) -> float:
    """Return the seconds of some all-reduces, one behind the other."""
    with communicating():
        dist.barrier()
    _synchronize(machine)
    start = time.perf_counter()
    for _ in range(number):
        all_reduce([node], node.value)
    _synchronize(machine)
    return time.perf_counter() - start


def _slowest(times: torch.Tensor, machine: Machine) -> torch.Tensor:
    times = times.to(machine.device)
    with communicating():
        dist.all_reduce(times, dist.ReduceOp.MAX)
    return times.cpu()


def _synchronize(machine: Machine) -> None:
    if machine.device.type == "cuda":
        torch.cuda.synchronize(machine.device)
