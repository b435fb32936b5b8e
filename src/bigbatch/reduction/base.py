"""What a reduction is: the sum of the workers' leaves, the same on every process."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch.distributed as dist
from torch import Tensor

from bigbatch.errors import PeerLostError


@dataclass(frozen=True)
class Processes:
    """The processes that share a minibatch; without a group, this process alone.

    Attributes:
        rank: of this process.
        world_size: how many there are (p).
        group: torch's process group; None for the default one.
    """

    rank: int = 0
    world_size: int = 1
    group: dist.ProcessGroup | None = None

    @classmethod
    def current(cls, group: dist.ProcessGroup | None = None) -> "Processes":
        """Return the processes of torch's initialised group, or this process alone if there is none."""
        if not (dist.is_available() and dist.is_initialized()):
            return cls()
        return cls(dist.get_rank(group), dist.get_world_size(group), group)


class Reduction(Protocol):
    """The sum over all workers of a minibatch of a list of tensors each, called leaf."""

    def add(self, worker: int, leaf: Sequence[Tensor | None]) -> None:
        """Add the leaf of one of this process's workers, in the order of the workers; None counts as zeros.

        The tensors are copied: the caller may reuse them.
        """
        ...

    def clear(self) -> None:
        """Forget the leaves that were added since the last sum."""
        ...

    def all_reduce(self) -> list[Tensor]:
        """Return the sum over the workers of all processes, and start anew.

        The tensors are views of one buffer, valid until the next call of `add`.
        """
        ...


@contextmanager
def communicating() -> Iterator[None]:
    """Name an error of a collective for what it is, so that the launcher can tell it from its cause.

    Raises:
        PeerLostError: another process ended, or did not answer within the group's timeout.
    """
    try:
        yield
    except RuntimeError as error:
        msg = f"another process ended or stopped answering ({error})"
        raise PeerLostError(msg) from error
