"""A transport between the threads of one process: it lets tests try many world sizes in little time."""

from collections import deque
from dataclasses import dataclass, field
from threading import Condition

from torch import Tensor

from bigbatch.errors import PeerLostError


@dataclass
class Receive:
    """A posted receive, which waits for its message."""

    link: "Link"
    into: Tensor
    is_done: bool = False

    def wait(self) -> None:
        """Wait for the message."""
        with self.link.changed:
            if not self.link.changed.wait_for(lambda: self.is_done, self.link.timeout_seconds):
                msg = "no message came within the timeout"
                raise PeerLostError(msg)


class Sent:
    """A message that was copied when it was sent."""

    def wait(self) -> None:
        """Return at once."""


@dataclass
class Link:
    """One direction between two processes: messages and receives meet in their order."""

    timeout_seconds: float
    messages: deque[Tensor] = field(default_factory=deque)
    receives: deque[Receive] = field(default_factory=deque)
    changed: Condition = field(default_factory=Condition)

    def match(self) -> None:
        """Hand the messages that have come to the receives that wait for them."""
        while self.messages and self.receives:
            receive = self.receives.popleft()
            message = self.messages.popleft()
            assert (message.dtype, message.shape) == (receive.into.dtype, receive.into.shape)
            receive.into.copy_(message)
            receive.is_done = True
        self.changed.notify_all()


class InMemoryTransport:
    """One member's end of the links; `connect` makes those of a whole group."""

    def __init__(self, rank: int, links: list[list[Link]]) -> None:
        self.rank, self.world_size, self.links = rank, len(links), links

    @classmethod
    def connect(cls, world_size: int, *, timeout_seconds: float = 60.0) -> list["InMemoryTransport"]:
        """Return a transport for each rank of a new group."""
        links = [[Link(timeout_seconds) for _ in range(world_size)] for _ in range(world_size)]
        return [cls(rank, links) for rank in range(world_size)]

    def send(self, tensor: Tensor, peer: int) -> Sent:
        """Copy the tensor into the link."""
        link = self.links[self.rank][peer]
        with link.changed:
            link.messages.append(tensor.clone())
            link.match()
        return Sent()

    def receive(self, into: Tensor, peer: int) -> Receive:
        """Wait in the link for the next message."""
        link = self.links[peer][self.rank]
        receive = Receive(link, into)
        with link.changed:
            link.receives.append(receive)
            link.match()
        return receive
