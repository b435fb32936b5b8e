"""Three phases: sum inside each node of the cluster, all-reduce between the nodes, hand the total out inside.

With one slice the first process of a node is its leader, and takes the partial sums of the others. The leaders run
binary blocks, and each hands the total to its node. So one buffer a node crosses the network, instead of one a process
(arXiv 1706.02677, section 4).

With several slices the first processes of a node share that work. Each takes the others' partial sums of its slice,
runs binary blocks with the owners of that slice on the other nodes, and hands the total to its node. As many bytes
cross the network. It is also known as hierarchical all-reduce.

Neighbouring ranks share a node, so the phases are levels of the canonical tree.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from bigbatch.reduction.schedules.halving_doubling import binary_blocks
from bigbatch.reduction.schedules.schedule import Message, Round, Schedule, mirrored


def three_phase(nodes: Sequence[range], num_slices: int, rank: int, start: int, stop: int) -> Schedule:
    """Return the schedule of a process.

    Args:
        nodes: the ranks of each node of the cluster, contiguous and in order.
        num_slices: among how many processes of a node its work is divided; no node has fewer.
        rank: of the process.
        start: first element of the stretch to sum.
        stop: one past the last.

    >>> three_phase([range(2), range(2, 4)], 2, 3, 0, 8).partial
    (Round(sends=(Message(peer=2, start=0, stop=4, ranks=range(0, 0)),), \
receives=(Message(peer=2, start=4, stop=8, ranks=range(2, 3)),)), \
Round(sends=(Message(peer=1, start=4, stop=6, ranks=range(0, 0)),), \
receives=(Message(peer=1, start=6, stop=8, ranks=range(0, 2)),)))
    """
    node = next(ranks for ranks in nodes if rank in ranks)
    edges = [start + (stop - start) * i // num_slices for i in range(num_slices + 1)]
    slices = dict(zip(node, pairwise(edges), strict=False))  # of the owners among the node's ranks
    # Each begins with its successor: otherwise all of them would send to one process first.
    peers = [*node[rank - node.start + 1 :], *node[: rank - node.start]]
    gives = tuple(Message(peer, *slices[peer]) for peer in peers if peer in slices)
    if rank not in slices:
        inside, between = Round(gives), binary_blocks(nodes, rank, start, start)
    else:
        inside = Round(gives, tuple(Message(peer, *slices[rank], range(peer, peer + 1)) for peer in peers))
        between = _moved(binary_blocks(nodes, node.start, *slices[rank]), rank - node.start)
    return Schedule((inside, *between.partial), (*between.total, *mirrored((inside,))))


def _moved(schedule: Schedule, distance: int) -> Schedule:
    """Return the schedule of the same members, for whom not their first rank speaks, but one that many further on."""

    def moved(messages: tuple[Message, ...]) -> tuple[Message, ...]:
        return tuple(replace(message, peer=message.peer + distance) for message in messages)

    def all_moved(rounds: tuple[Round, ...]) -> tuple[Round, ...]:
        return tuple(Round(moved(round_.sends), moved(round_.receives)) for round_ in rounds)

    return Schedule(all_moved(schedule.partial), all_moved(schedule.total))
