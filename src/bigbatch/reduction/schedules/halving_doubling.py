"""Halving and doubling, for any number of members: in blocks whose sizes are powers of two.

**A power of two of members** takes 2 log2(p) steps. In step j member i and member i xor 2^j hold partial sums of the
same stretch. Each keeps one half of it, gives the other half away, and adds what it is given. Distances double, sizes
halve, and after log2(p) steps each element's total is with one member. The totals spread by the same steps backwards.
Every member sends 2(p-1)/p of the buffer, as in a ring, but waits 2 log2(p) times instead of 2(p-1) (Rabenseifner
2004; arXiv 1706.02677, section 4).

**Any other number** makes binary blocks: 13 members make blocks of 8, 4 and 1. Each block halves by itself. Then the
smallest block hands its sums to the next larger one; each member sends to those that hold parts of its stretch. This
goes on up to the largest block, which then has the total. The totals come back the same way, and each block doubles
(Thakur, Rabenseifner and Gropp 2005; arXiv 1706.02677, section 4: "two additional steps").

Both keep the canonical tree. Neighbours meet first, so step j adds the sums of two neighbouring groups of 2^j members:
a level of the tree. The sums of the later blocks join one by one from the right. The tree folds what is left over in
that order: 13 = 8 + (4 + 1).
"""

from collections.abc import Sequence

from bigbatch.reduction.schedules.schedule import Message, Round, Schedule, mirrored, owned


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


def halving(members: Sequence[range], index: int, start: int, stop: int) -> tuple[Round, ...]:
    """Return the partial rounds of member `index`, which ends with `owned(start, stop, index, log2(len(members)))`.

    Args:
        members: a power of two of them; the ranks whose partial sums each one holds, contiguous and in order. The
            first rank of each sends and receives.
        index: which of the members this is.
        start: first element of the stretch to sum.
        stop: one past the last.
    """
    rounds = []
    for bit in range(len(members).bit_length() - 1):
        partner = index ^ 1 << bit
        first = partner >> bit << bit  # the partner's group is 2^bit members, of which this is the first
        group = range(members[first].start, members[first + (1 << bit) - 1].stop)
        give = Message(members[partner].start, *owned(start, stop, partner, bit + 1))
        take = Message(members[partner].start, *owned(start, stop, index, bit + 1), group)
        rounds.append(Round((give,), (take,)))
    return tuple(rounds)
