"""Which parameters the workers of a minibatch have used: one that nobody has used keeps no gradient, as in torch."""

from collections.abc import Sequence

import torch
from torch import Tensor


class Usage:
    """Collect, worker by worker, which parameters have a gradient.

    The flags are summed over all workers of all processes, so all decide alike. They are looked at only where this
    process has a parameter that none of its workers used: a look waits for a GPU.

    Args:
        num_parameters: those that train.
        device: where the flags are summed.

    Attributes:
        all: the flags of a worker that has used every parameter.
    """

    def __init__(self, num_parameters: int, device: torch.device) -> None:
        self.num_parameters = num_parameters
        self.all = torch.ones(num_parameters, device=device)
        self.unused_here: set[int] = set()
        self.unused_by_worker: list[int] = []

    def clear(self) -> None:
        """Begin a minibatch."""
        self.unused_here = set(range(self.num_parameters))

    def begin(self) -> None:
        """Begin a worker."""
        self.unused_by_worker = []

    def add(self, places: Sequence[int], gradients: Sequence[Tensor | None]) -> None:
        """Note which of the parameters at these places the worker has used."""
        self.unused_by_worker += [place for place, grad in zip(places, gradients, strict=True) if grad is None]

    def of_worker(self) -> Tensor:
        """Return the worker's flags: 1 for a parameter that it has used, else 0."""
        self.unused_here.intersection_update(self.unused_by_worker)
        if not self.unused_by_worker:
            return self.all
        flags = [1.0] * self.num_parameters
        for place in self.unused_by_worker:
            flags[place] = 0.0
        return self.all.new_tensor(flags)

    def unused(self, used: Tensor) -> list[int]:
        """Return the places of the parameters that no worker has used, from the summed flags."""
        if not self.unused_here:
            return []
        counts = used.tolist()
        return [place for place in sorted(self.unused_here) if not counts[place]]
