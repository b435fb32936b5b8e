"""Binary blocks: halving and doubling for any number of members, in blocks whose sizes are powers of two.

13 members make blocks of 8, 4 and 1. Each block halves by itself. Then the smallest block hands its sums to the next
larger one, each member to those that hold parts of its stretch, and so on up to the largest, which then has the total;
the totals come back the same way, and each block doubles (Thakur, Rabenseifner and Gropp 2005; arXiv 1706.02677,
section 4: "two additional steps").

The sums of the later members join one by one from the right: the way in which the canonical tree folds what is left
over, 13 = 8 + (4 + 1).
"""

from collections.abc import Sequence

from bigbatch.reduction.halving_doubling import halving
from bigbatch.reduction.schedule import Message, Round, Schedule, mirrored, owned


def binary_blocks(members: Sequence[range], rank: int, start: int, stop: int) -> Schedule:
    """Return the schedule of a process; one that speaks for no member has empty rounds.

    Args:
        members: the ranks whose partial sums each one holds, contiguous and in order. The first rank of each sends and
            receives.
        rank: of the process.
        start: first element of the stretch to sum.
        stop: one past the last.

    >>> members = [range(rank, rank + 1) for rank in range(3)]
    >>> for round_ in binary_blocks(members, 2, 0, 8).partial:
    ...     print([(message.peer, message.start, message.stop) for message in round_.sends])
    []
    [(0, 0, 4), (1, 4, 8)]
    """
    blocks = block_sizes(len(members))
    num_halvings, num_joins = len(members).bit_length() - 1, len(blocks) - 1
    partial = [Round()] * (num_halvings + num_joins)
    index = next((i for i, ranks in enumerate(members) if ranks.start == rank), None)
    if index is None:
        return Schedule(tuple(partial), tuple(partial))
    b = next(b for b, block in enumerate(blocks) if index in block)
    block, own = blocks[b], index - blocks[b].start
    halvings = halving(members[block.start : block.stop], own, start, stop)
    partial[: len(halvings)] = halvings
    mine = owned(start, stop, own, len(halvings))
    if b + 1 < len(blocks):  # the smaller block joins in the round that counts from the smallest
        smaller = blocks[b + 1]
        source = members[smaller.start + own % len(smaller)].start
        ranks = range(members[smaller.start].start, members[-1].stop)
        partial[num_halvings + num_joins - 1 - b] = Round(receives=(Message(source, *mine, ranks),))
    if b > 0:
        larger = blocks[b - 1]
        bits = len(larger).bit_length() - 1
        gives = [
            Message(members[larger.start + i].start, *owned(start, stop, i, bits))
            for i in range(own, len(larger), len(block))
        ]
        partial[num_halvings + num_joins - b] = Round(sends=tuple(gives))
    return Schedule(tuple(partial), mirrored(tuple(partial)))


def block_sizes(count: int) -> list[range]:
    """Return the blocks of that many members, the largest first.

    >>> block_sizes(13)
    [range(0, 8), range(8, 12), range(12, 13)]
    """
    blocks, start = [], 0
    for bit in reversed(range(count.bit_length())):
        if count >> bit & 1:
            blocks.append(range(start, start + (1 << bit)))
            start += 1 << bit
    return blocks
