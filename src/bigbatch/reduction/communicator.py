"""What a training keeps for its communication: a group, the algorithms over it, and where they run."""

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any, Final

import torch
import torch.distributed as dist
from torch import Tensor
from torch.futures import Future

from bigbatch.errors import InputError
from bigbatch.processes.group import Processes, silent_meeting
from bigbatch.processes.lost_peer import communicating
from bigbatch.processes.place import find_place
from bigbatch.reduction.choice import Choice, choose
from bigbatch.reduction.communication import Communication, StreamCommunication, ThreadCommunication
from bigbatch.reduction.exchange import AllReduce, Exchange
from bigbatch.reduction.library_collectives import DirectCollectives, NativeAllReduce
from bigbatch.reduction.options import AUTO, NATIVE
from bigbatch.reduction.schedules.direct import direct
from bigbatch.reduction.schedules.halving_doubling import binary_blocks
from bigbatch.reduction.schedules.schedule import MakeSchedule
from bigbatch.reduction.schedules.three_phase import three_phase
from bigbatch.reduction.transport import ProcessGroupTransport
from bigbatch.reduction.tree import Node, merge_run, run_of
from bigbatch.rules.sampling import process_workers

NUM_LANES: Final = 4  # on CPUs: with fewer the wire idles between the rounds of a bucket
MANY_PROCESSES: Final = 64  # from here on half the lanes: each has a connection to every process


@dataclass(frozen=True)
class Lane:
    """One of the ways on which sums travel side by side, each in its own order.

    Attributes:
        group: of its own: messages of different lanes never mix.
        algorithms: over that group, by name.
        communication: the thread or stream that runs them.
    """

    group: dist.ProcessGroup
    algorithms: dict[str, AllReduce]
    communication: Communication


class Communicator:
    """All-reduces of partial sums, beside the computation.

    All processes make it together, and submit the same sums in the same order. Sums take the lanes in turn: one has the
    wire while another waits for a message or adds up.

    Args:
        processes: who takes part; more than one.
        worker_count: workers of a minibatch (k), in contiguous blocks.
        device: of the tensors.
        all_reduce: the algorithm, one of `options.ALL_REDUCES`.

    Raises:
        InputError: the algorithm cannot be used here.
        PeerLostError: another process did not come.
    """

    def __init__(self, processes: Processes, worker_count: int, device: torch.device, all_reduce: str = AUTO) -> None:
        self.name, self.world_size, self.worker_count = all_reduce, processes.world_size, worker_count
        self.device = device
        ranks = range(processes.world_size)
        blocks = [process_workers(worker_count, rank=rank, world_size=len(ranks)) for rank in ranks]
        self.nodes: list[range] | None = None  # the ranks of each machine
        is_nccl = device.type == "cuda" and "nccl" in dist.get_backend(processes.group)
        if is_nccl:
            self.lanes = [_cuda_lane(_new_group(processes, device), blocks, device)]
        else:
            num_lanes = NUM_LANES if len(ranks) < MANY_PROCESSES else NUM_LANES // 2
            groups = [_new_group(processes, device) for _ in range(1 if processes.group else num_lanes)]
            self.nodes = cluster_nodes(_local_ranks(groups[0]))
            self.lanes = [_cpu_lane(group, blocks, self.nodes) for group in groups]
            if device.type == "cuda":  # a GPU that several processes share, which NCCL does not allow
                self.lanes = [_staged(lane) for lane in self.lanes]
        self.given_group = processes.group
        self.turn = 0
        self.algorithms = self.lanes[0].algorithms
        self.choice: Choice | None = None
        if all_reduce == AUTO:
            self.choice = self._choose(run_of(blocks[processes.rank], worker_count))
        elif all_reduce not in self.algorithms:
            where = "NCCL" if is_nccl else "ranks that do not count through each machine's processes"
            msg = f"--all-reduce {all_reduce} does not work with {where}; use {AUTO}"
            raise InputError(msg)

    def submit(self, nodes: Sequence[Node[Tensor]], out: Tensor) -> Future[Tensor]:
        """Start to sum into `out` over all processes.

        Args:
            nodes: this process's, in their order; siblings merge first. Their buffers are used up.
            out: where the total goes; it may be one of those buffers.

        Returns:
            A future that holds `out` when the sum is done or has failed; `finish` tells which.
        """
        lane = self.lanes[self.turn]
        self.turn = (self.turn + 1) % len(self.lanes)
        all_reduce = lane.algorithms[self.algorithm_for(out.nbytes)]
        return lane.communication.submit(lambda: all_reduce(merge_run(nodes, self.worker_count, Tensor.add_), out), out)

    def algorithm_for(self, num_bytes: int) -> str:
        """Return the name of the algorithm for a buffer of that size."""
        return self.choice(num_bytes) if self.choice else self.name

    def different_algorithms(self) -> dict[str, AllReduce]:
        """Return the algorithms by name, without those that here do the same as another one."""
        same = set()
        if self.nodes and len(self.nodes) == self.world_size:
            same = {"three-phase", "hierarchical"}  # one process a machine: halving-doubling
        elif self.nodes and len(self.nodes) == 1:
            same = {"hierarchical"}  # one machine: direct
        elif self.nodes and min(map(len, self.nodes)) == 1:
            same = {"hierarchical"}  # a process that is alone on its machine: one slice, as three-phase has
        return {name: algorithm for name, algorithm in self.algorithms.items() if name not in same}

    def finish(self) -> None:
        """Wait for all that was submitted.

        Raises:
            PeerLostError: a process ended, or did not answer within the group's timeout.
        """
        for lane in self.lanes:
            lane.communication.finish()

    def wait(self) -> None:
        """Wait until the device has computed all that it was given; meanwhile notice that another process is lost.

        Raises:
            PeerLostError: a process ended, or did not answer within the group's timeout.
        """
        for lane in self.lanes:
            lane.communication.wait(_timeout(lane.group, self.device.type).total_seconds())

    def describe(self) -> dict[str, Any]:
        """Return what a run's folder records: the algorithm, and for "auto" the times that it is chosen by."""
        if not self.choice:
            return {"algorithm": self.name}
        milliseconds = {
            str(size): {name: round(1000 * time, 3) for name, time in times.items()}
            for size, times in self.choice.seconds.items()
        }
        chosen = {str(size): self.choice(size) for size in self.choice.seconds}
        return {"algorithm": self.name, "chosen_by_bytes": chosen, "milliseconds_by_bytes": milliseconds}

    def close(self) -> None:
        """End the threads and the groups."""
        for lane in self.lanes:
            lane.communication.close()
            if dist.is_initialized() and lane.group is not self.given_group:
                dist.destroy_process_group(lane.group)

    def _choose(self, run: list[Node[None]]) -> Choice:
        exact = {name: algorithm for name, algorithm in self.different_algorithms().items() if name != NATIVE}
        if len(exact) == 1:
            return Choice({0: dict.fromkeys(exact, 0.0)})
        return choose(exact, run, self.lanes[0].group, f"{platform.node()} {self.nodes or self.world_size}")


def _cpu_lane(group: dist.ProcessGroup, blocks: Sequence[range], nodes: Sequence[range] | None) -> Lane:
    transport = ProcessGroupTransport(group)
    ranks = [range(rank, rank + 1) for rank in range(transport.world_size)]
    schedules: dict[str, MakeSchedule] = {
        "halving-doubling": partial(binary_blocks, ranks),
        "direct": partial(direct, transport.world_size),
    }
    if nodes is not None:
        schedules["three-phase"] = partial(three_phase, nodes, 1)
        schedules["hierarchical"] = partial(three_phase, nodes, min(map(len, nodes)))
    algorithms: dict[str, AllReduce] = {
        name: Exchange(schedule, transport, blocks) for name, schedule in schedules.items()
    }
    return Lane(group, algorithms | {NATIVE: NativeAllReduce(group)}, ThreadCommunication())


def _cuda_lane(group: dist.ProcessGroup, blocks: Sequence[range], device: torch.device) -> Lane:
    algorithms: dict[str, AllReduce] = {
        "direct": DirectCollectives(group, blocks),
        NATIVE: NativeAllReduce(group),
    }
    return Lane(group, algorithms, StreamCommunication(device))


def _staged(lane: Lane) -> Lane:
    """Return a lane that copies a GPU's buffers to the host, sums there, and copies the total back."""

    def staged(all_reduce: AllReduce, nodes: Sequence[Node[Tensor]], out: Tensor) -> None:
        on_host = [Node(node.start, node.stop, node.value.to("cpu", copy=True)) for node in nodes]
        all_reduce(on_host, on_host[-1].value)
        out.copy_(on_host[-1].value)

    return replace(lane, algorithms={name: partial(staged, sums) for name, sums in lane.algorithms.items()})


def cluster_nodes(local_ranks: Sequence[int]) -> list[range] | None:
    """Return the ranks of each machine, or None if they are not neighbours.

    >>> cluster_nodes([0, 1, 2, 0, 1]), cluster_nodes([0, 0, 1, 1])
    ([range(0, 3), range(3, 5)], None)
    """
    starts = [rank for rank, local_rank in enumerate(local_ranks) if local_rank == 0]
    nodes = [range(start, stop) for start, stop in zip(starts, [*starts[1:], len(local_ranks)], strict=True)]
    counted = [local_rank for node in nodes for local_rank in range(len(node))]
    return nodes if counted == list(local_ranks) else None


def _local_ranks(group: dist.ProcessGroup) -> list[int]:
    """Return the local rank of every process. A process without one is taken to be alone on its machine."""
    place = find_place(os.environ)
    ranks = torch.zeros(group.size(), dtype=torch.int64)
    ranks[group.rank()] = place.local_rank if place else 0
    with communicating():
        dist.all_reduce(ranks, group=group)
    return ranks.tolist()


def _new_group(processes: Processes, device: torch.device) -> dist.ProcessGroup:
    """Return a group of the same processes, with the same timeout, for this use alone.

    A group that the user has given is used itself: for a second one torch would need the processes outside it, too.
    """
    if processes.group is not None:
        return processes.group
    assert dist.group.WORLD is not None
    with communicating(), silent_meeting():  # torch would take its default of 30 minutes instead
        own: dist.ProcessGroup = dist.new_group(timeout=_timeout(dist.group.WORLD, device.type))
    return own


def _timeout(group: dist.ProcessGroup, device: str) -> timedelta:
    timeout: timedelta = group._get_backend(torch.device(device)).options._timeout  # noqa: SLF001 - no public way
    return timeout
