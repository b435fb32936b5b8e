"""The processes that share a minibatch."""

from dataclasses import dataclass

import torch.distributed as dist


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
