"""Carry out a schedule: send, receive and add partial sums in the order of the canonical tree, and spread the totals.

A large buffer is cut into chunks that run through the rounds one behind the other. So the wire is busy while a chunk is
added up. All receives are posted before the first message is sent. Then a message costs one latency: its receiver need
not ask for it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import torch
from torch import Tensor

from bigbatch.reduction.schedules.schedule import MakeSchedule, Message, Schedule
from bigbatch.reduction.transport import Pending, Transport
from bigbatch.reduction.tree import Node, merge_run, run_of

CHUNK_BYTES: Final = 2 << 20
LEAD: Final = 3  # turns of a chunk's successors for each of its own: measured; deeper first, or the wire runs dry

# (this process's run of partial sums of a buffer, where the total goes) -> None
AllReduce = Callable[[Sequence[Node[Tensor]], Tensor], None]


class Exchange:
    """An exact all-reduce: any schedule, any transport, the bits of the canonical tree.

    It holds one buffer of its own for what it receives, as large as the largest buffer to sum. Where the workers do not
    divide into aligned blocks, it is that times the nodes of a neighbour's run.

    Args:
        make_schedule: the algorithm.
        transport: to the other processes.
        blocks: the contiguous workers of each process, in the order of the ranks.
        chunk_bytes: about how large a chunk is.
    """

    def __init__(
        self,
        make_schedule: MakeSchedule,
        transport: Transport,
        blocks: Sequence[range],
        *,
        chunk_bytes: int = CHUNK_BYTES,
    ) -> None:
        self.make_schedule, self.transport, self.blocks = make_schedule, transport, blocks
        self.chunk_bytes = chunk_bytes
        self.plans: dict[tuple[int, int], list[ChunkPlan]] = {}
        self.scratch: dict[torch.dtype, Tensor] = {}

    def __call__(self, nodes: Sequence[Node[Tensor]], out: Tensor) -> None:
        """Write the sum over all processes into `out`.

        Args:
            nodes: this process's run; its buffers are used up. One of them may be `out` itself.
            out: one-dimensional, contiguous.

        Raises:
            PeerLostError: a process ended, or did not answer within the transport's timeout.
        """
        plans = self._plans(out.numel(), out.itemsize)
        scratch = self._scratch(out, sum(plan.scratch_size for plan in plans))
        chunks = []
        for plan in plans:
            chunks.append(Chunk(plan, self.transport, nodes, out, scratch[: plan.scratch_size]))
            scratch = scratch[plan.scratch_size :]
        num_rounds = len(plans[0].rounds)
        turns = order_of_turns(len(chunks), num_rounds)
        for place, number in turns:
            if number < num_rounds:
                chunks[place].post_receives(number)
        progress = [chunk.progress() for chunk in chunks]
        for place, _ in turns:
            next(progress[place], None)
        for chunk in chunks:
            chunk.wait_until_sent()

    def _plans(self, numel: int, itemsize: int) -> list["ChunkPlan"]:
        """Return how the chunks of a buffer of this size run; it is worked out once."""
        if (numel, itemsize) not in self.plans:
            num_chunks = max(1, -(-numel * itemsize // self.chunk_bytes))
            edges = [numel * i // num_chunks for i in range(num_chunks + 1)]
            self.plans[numel, itemsize] = [
                ChunkPlan.of(self.make_schedule(self.transport.rank, start, stop), start, stop, self.blocks)
                for start, stop in pairwise(edges)
            ]
        return self.plans[numel, itemsize]

    def _scratch(self, out: Tensor, size: int) -> Tensor:
        if out.dtype not in self.scratch or self.scratch[out.dtype].numel() < size:
            self.scratch[out.dtype] = out.new_empty(size)
        return self.scratch[out.dtype]


def order_of_turns(num_chunks: int, num_rounds: int) -> list[tuple[int, int]]:
    """Return the order in which the chunks take their turns, as (chunk, turn), the same on every process.

    In turn 0 a chunk sends its first messages. In turn t it waits for those of round t - 1 and sends those of round t.
    All chunks begin at once. Then the first go ahead of the later ones, and the wire is always busy.

    >>> order_of_turns(2, 2)
    [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2), (1, 2)]
    """
    turns = [(chunk, turn) for chunk in range(num_chunks) for turn in range(1, num_rounds + 1)]
    first = [(chunk, 0) for chunk in range(num_chunks)]
    return first + sorted(turns, key=lambda turn: (turn[0] + LEAD * turn[1], turn[0]))


@dataclass(frozen=True)
class RoundPlan:
    """A round of a chunk; what is empty is left out.

    Attributes:
        is_partial: whether its messages are partial sums, in the scratch, or totals, in the buffer itself.
        sends: what goes out.
        receives: what comes in; a partial sum is one message for each node (start, stop) of the peer's run.
    """

    is_partial: bool
    sends: list[Message]
    receives: list[tuple[Message, list[Node[None]]]]


@dataclass(frozen=True)
class ChunkPlan:
    """What this process does for a chunk.

    Attributes:
        start: first element of the chunk in the buffer.
        stop: one past the last.
        worker_count: over how many workers the sum goes (k).
        rounds: in their order.
        scratch_size: elements that it receives as partial sums.
    """

    start: int
    stop: int
    worker_count: int
    rounds: list[RoundPlan]
    scratch_size: int

    @classmethod
    def of(cls, schedule: Schedule, start: int, stop: int, blocks: Sequence[range]) -> "ChunkPlan":
        """Work out which nodes each message of the schedule holds."""
        rounds, scratch_size = [], 0
        for number, round_ in enumerate((*schedule.partial, *schedule.total)):
            is_partial = number < len(schedule.partial)
            receives = []
            for message in round_.receives:
                run: list[Node[None]] = [Node(0, 0, None)]
                if is_partial:
                    workers = range(blocks[message.ranks[0]].start, blocks[message.ranks[-1]].stop)
                    run = run_of(workers, blocks[-1].stop)
                    scratch_size += len(run) * (message.stop - message.start)
                if message.start < message.stop:
                    receives.append((message, run))
            sends = [message for message in round_.sends if message.start < message.stop]
            rounds.append(RoundPlan(is_partial, sends, receives))
        return cls(start, stop, blocks[-1].stop, rounds, scratch_size)


class Chunk:
    """A stretch of the buffer on its way through the rounds.

    Args:
        plan: what to do.
        transport: to the other processes.
        run: this process's partial sums of the whole buffer.
        out: the whole buffer of totals.
        scratch: for the partial sums that are received.
    """

    def __init__(
        self, plan: ChunkPlan, transport: Transport, run: Sequence[Node[Tensor]], out: Tensor, scratch: Tensor
    ) -> None:
        self.plan, self.transport, self.out, self.scratch = plan, transport, out, scratch
        # What it holds: the partial sums of the elements from `start` on, which become fewer.
        self.start = plan.start
        self.run = [Node(node.start, node.stop, node.value[plan.start : plan.stop]) for node in run]
        self.arrivals: list[list[tuple[Pending, Node[Tensor]]]] = []
        self.sent: list[Pending] = []

    def post_receives(self, number: int) -> None:
        """Post the receives of a round."""
        arrivals = []
        for message, nodes in self.plan.rounds[number].receives:
            for node in nodes:
                into = self._place(message, is_partial=self.plan.rounds[number].is_partial)
                pending = self.transport.receive(into, message.peer)
                arrivals.append((pending, Node(node.start, node.stop, into)))
        self.arrivals.append(arrivals)

    def progress(self) -> Iterator[None]:
        """Go through the rounds, and yield where a message is waited for."""
        self._place_total()
        for round_, arrivals in zip(self.plan.rounds, self.arrivals, strict=True):
            for message in round_.sends:
                self._send(message, is_partial=round_.is_partial)
            yield
            for pending, _ in arrivals:
                pending.wait()
            if round_.is_partial and arrivals:
                self._merge(round_.receives[0][0], [node for _, node in arrivals])
                self._place_total()

    def wait_until_sent(self) -> None:
        """Wait until all buffers may be written to."""
        for pending in self.sent:
            pending.wait()

    def _place(self, message: Message, *, is_partial: bool) -> Tensor:
        """Return where a message goes: a total into its place, a partial sum into the next part of the scratch."""
        if not is_partial:
            return self.out[message.start : message.stop]
        into = self.scratch[: message.stop - message.start]
        self.scratch = self.scratch[message.stop - message.start :]
        return into

    def _send(self, message: Message, *, is_partial: bool) -> None:
        stretch = slice(message.start - self.start, message.stop - self.start)
        stretches = (
            [node.value[stretch] for node in self.run] if is_partial else [self.out[message.start : message.stop]]
        )
        self.sent += [self.transport.send(tensor, message.peer) for tensor in stretches]

    def _merge(self, kept: Message, received: list[Node[Tensor]]) -> None:
        """Keep the stretch that has come, and merge the nodes that are siblings."""
        stretch = slice(kept.start - self.start, kept.stop - self.start)
        own = [Node(node.start, node.stop, node.value[stretch]) for node in self.run]
        nodes = sorted([*own, *received], key=lambda node: node.start)
        self.run, self.start = merge_run(nodes, self.plan.worker_count, Tensor.add_), kept.start

    def _place_total(self) -> None:
        """Move a total, the root of the tree, to its place in the buffer."""
        first = self.run[0]
        if (first.start, first.stop) == (0, self.plan.worker_count):
            place = self.out[self.start : self.start + first.value.numel()]
            if first.value.data_ptr() != place.data_ptr():
                place.copy_(first.value)
