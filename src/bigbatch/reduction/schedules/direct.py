"""Direct: every process owns a slice. All send it their part of that slice; it adds them up and sends the sum to all.

There are two rounds for any number of processes, and each process sends 2(p-1) messages of 1/p of the buffer. This
waits the least, as long as a message's own cost is small beside the latency. One process evaluates the canonical tree
for each slice.
"""

from bigbatch.reduction.schedules.schedule import Message, Round, Schedule, mirrored


def direct(world_size: int, rank: int, start: int, stop: int) -> Schedule:
    """Return the schedule of a process.

    >>> direct(3, 0, 0, 7).partial[0].sends
    (Message(peer=1, start=2, stop=4, ranks=range(0, 0)), Message(peer=2, start=4, stop=7, ranks=range(0, 0)))
    """
    edges = [start + (stop - start) * i // world_size for i in range(world_size + 1)]
    # Each begins with its successor: otherwise all of them would send to one process first.
    peers = [(rank + i) % world_size for i in range(1, world_size)]
    gives = tuple(Message(peer, edges[peer], edges[peer + 1]) for peer in peers)
    takes = tuple(Message(peer, edges[rank], edges[rank + 1], range(peer, peer + 1)) for peer in peers)
    partial = (Round(gives, takes),)
    return Schedule(partial, mirrored(partial))
