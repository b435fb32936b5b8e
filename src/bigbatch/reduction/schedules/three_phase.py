"""Three phases: sum inside each node of the cluster, all-reduce between the nodes, hand the total out inside.

The first process of a node is its leader, and takes the partial sums of the others. The leaders run binary blocks, and
each hands the total to its node. So one buffer a node crosses the network, instead of one a process (arXiv 1706.02677,
section 4). Neighbouring ranks share a node, so the phases are levels of the canonical tree.
"""

from collections.abc import Sequence

from bigbatch.reduction.schedules.halving_doubling import binary_blocks
from bigbatch.reduction.schedules.schedule import Message, Round, Schedule, mirrored


def three_phase(nodes: Sequence[range], rank: int, start: int, stop: int) -> Schedule:
    """Return the schedule of a process.

    Args:
        nodes: the ranks of each node of the cluster, contiguous and in order.
        rank: of the process.
        start: first element of the stretch to sum.
        stop: one past the last.
    """
    node = next(ranks for ranks in nodes if rank in ranks)
    if rank == node.start:
        inside = Round(receives=tuple(Message(peer, start, stop, range(peer, peer + 1)) for peer in node[1:]))
    else:
        inside = Round(sends=(Message(node.start, start, stop),))
    between = binary_blocks(nodes, rank, start, stop)
    return Schedule((inside, *between.partial), (*between.total, *mirrored((inside,))))
