"""What an exchange needs of a wire: to send a tensor to a peer and to receive one; and the wire over Gloo."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

import torch.distributed as dist
from torch import Tensor

from bigbatch.processes.lost_peer import lost

TAG: Final = 0


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

    Messages from one process to another arrive in the order in which they were sent. They are received in the order in
    which the receives were posted.

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


@dataclass(frozen=True)
class PendingWork:
    """A message under way, and the peer that is to be named if it never arrives."""

    work: dist.Work
    tensor: Tensor  # Gloo keeps no reference to what it sends
    peer: int  # its rank in the default group

    def wait(self) -> None:
        """Wait for the message.

        Raises:
            PeerLostError: a process ended, or did not answer within the group's timeout.
        """
        try:
            self.work.wait()
        except RuntimeError as error:
            raise lost(error, self.peer) from error


class ProcessGroupTransport:
    """Messages over a torch process group whose point-to-point messages may be posted ahead: Gloo.

    Args:
        group: used for nothing else at the same time.
    """

    def __init__(self, group: dist.ProcessGroup) -> None:
        self.group = group
        self.rank, self.world_size = group.rank(), group.size()
        self.global_ranks = dist.get_process_group_ranks(group)

    def send(self, tensor: Tensor, peer: int) -> PendingWork:
        """Start to send."""
        return self._start(self.group.send, tensor, peer)

    def receive(self, into: Tensor, peer: int) -> PendingWork:
        """Start to receive."""
        return self._start(self.group.recv, into, peer)

    def _start(
        self, operation: Callable[[list[Tensor], int, int], dist.Work], tensor: Tensor, peer: int
    ) -> PendingWork:
        try:
            return PendingWork(operation([tensor], peer, TAG), tensor, self.global_ranks[peer])
        except RuntimeError as error:
            raise lost(error, self.global_ranks[peer]) from error
