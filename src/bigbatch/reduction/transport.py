"""What an exchange needs of a wire: to send a tensor to a peer and to receive one."""

from typing import Protocol

from torch import Tensor


class Pending(Protocol):
    """A message under way."""

    def wait(self) -> None:
        """Return when the tensor may be read (received) or written to again (sent).

        Raises:
            PeerLostError: the peer ended, or did not answer within the timeout.
        """
        ...


class Transport(Protocol):
    """Messages between the processes of a group.

    Messages from one process to another arrive in the order in which they were sent, and are received in the order
    in which the receives were posted.

    Attributes:
        rank: of this process.
        world_size: how many there are.
    """

    rank: int
    world_size: int

    def send(self, tensor: Tensor, peer: int) -> Pending:
        """Start to send a one-dimensional, contiguous tensor."""
        ...

    def receive(self, into: Tensor, peer: int) -> Pending:
        """Start to receive a tensor of the same dtype and size."""
        ...
