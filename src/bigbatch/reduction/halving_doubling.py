"""Recursive halving, whose mirror image is recursive doubling: among a power of two of members, 2 log2(p) steps.

In step j member i and member i xor 2^j hold partial sums of the same stretch. Each keeps one half of it, gives the
other half away, and adds what it is given: distances double, sizes halve, and after log2(p) steps each element's total
is with one member. The totals spread by the same steps backwards. Every member sends 2(p-1)/p of the buffer, as in a
ring, but waits 2 log2(p) times instead of 2(p-1) (Rabenseifner 2004; arXiv 1706.02677, section 4).

Because neighbours meet first, step j adds the sums of two neighbouring groups of 2^j members: a level of the canonical
tree.
"""

from collections.abc import Sequence

from bigbatch.reduction.schedule import Message, Round, owned


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
