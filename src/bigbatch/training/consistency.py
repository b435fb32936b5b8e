"""Compare the processes at times: their weights must be the same, and their times should be."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median
from typing import Final

import torch
from torch import Tensor, nn

from bigbatch.errors import DisagreementError
from bigbatch.processes.group import Processes, gather_rows

# A process is a straggler if all three hold.
SLOW: Final = 1.5  # it computes this many times as long as the median of the others,
LEAST_WAIT: Final = 0.05  # the others spend this part of the time waiting,
LEAST_SECONDS: Final = 2.0  # and it has computed for this long, as less can be chance
INTEGERS: Final = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
MULTIPLIER: Final = 0x9E3779B97F4A7C15  # odd, so that a product keeps every bit of a tensor's part
WORDS: Final = 2**64


@dataclass(frozen=True)
class Timing:
    """The times of each process since the last comparison, by rank.

    Attributes:
        compute_seconds: spent on its workers, reading their samples included.
        wait_seconds: spent on waiting for the sums after that.
    """

    compute_seconds: list[float]
    wait_seconds: list[float]

    @property
    def straggler(self) -> int | None:
        """The rank that keeps the others waiting, if one does."""
        slowest = max(range(len(self.compute_seconds)), key=lambda rank: self.compute_seconds[rank])
        others = [seconds for rank, seconds in enumerate(self.compute_seconds) if rank != slowest]
        if not others or self.compute_seconds[slowest] < max(LEAST_SECONDS, SLOW * median(others)):
            return None
        return slowest if self.waiting_for(slowest) >= LEAST_WAIT else None

    def waiting_for(self, rank: int) -> float:
        """Return the part of their time that the other processes have waited."""
        seconds = list(zip(self.compute_seconds, self.wait_seconds, strict=True))
        return median(wait / max(wait + compute, 1e-9) for r, (compute, wait) in enumerate(seconds) if r != rank)

    def describe(self, rank: int) -> str:
        """Return a sentence on a straggler."""
        others = median(seconds for r, seconds in enumerate(self.compute_seconds) if r != rank)
        ratio = self.compute_seconds[rank] / max(others, 1e-9)
        return (
            f"rank {rank} is slow: it computes {ratio:.2f} times as long as the median of the others, "
            f"who wait {self.waiting_for(rank):.0%} of their time"
        )


def compare_processes(
    model: nn.Module, processes: Processes, *, iteration: int, compute_seconds: float, wait_seconds: float
) -> Timing:
    """Check that all processes hold the same parameters and buffers, bit for bit, and return the times of each.

    It costs one small all-reduce, and one pass over the weights.

    Raises:
        DisagreementError: the text names the ranks that differ, and is the same on every process.
    """
    device = next(model.parameters()).device
    row = [checksum((*model.parameters(), *model.buffers())), int(1e6 * compute_seconds), int(1e6 * wait_seconds)]
    rows = gather_rows(row, processes, device).tolist() if processes.world_size > 1 else [row]
    if odd := odd_ones([row[0] for row in rows]):
        msg = (
            f"{' and '.join(f'rank {rank}' for rank in odd)} no longer holds the weights of the other processes, after "
            f"{iteration} iterations: a fault of its machine, or code of yours that runs on some ranks only"
        )
        raise DisagreementError(msg)
    return Timing([row[1] / 1e6 for row in rows], [row[2] / 1e6 for row in rows])


def odd_ones(values: list[int]) -> list[int]:
    """Return the places of the values that differ from most; all places if there is no such majority.

    >>> odd_ones([7, 7, 7]), odd_ones([7, 8, 7]), odd_ones([7, 8])
    ([], [1], [0, 1])
    """
    (value, count), *others = Counter(values).most_common()
    if others and count == others[0][1]:
        return list(range(len(values)))
    return [place for place, other in enumerate(values) if other != value]


@torch.no_grad()
def checksum(tensors: Iterable[Tensor]) -> int:
    """Return a number that any single flipped bit changes. It combines each tensor's sum of its bits as integers.

    >>> weights = torch.zeros(3)
    >>> checksum([weights]) == checksum([weights.clone()])
    True
    >>> checksum([weights]) == checksum([torch.tensor([0.0, -0.0, 0.0])])
    False
    """
    parts = [_as_integers(tensor).sum(dtype=torch.int64) for tensor in tensors]
    total = 0
    for part in torch.stack(parts).tolist():
        total = (total * MULTIPLIER + part) % WORDS
    return total - WORDS if total >= WORDS // 2 else total  # as int64 has it


def _as_integers(tensor: Tensor) -> Tensor:
    real = torch.view_as_real(tensor) if tensor.is_complex() else tensor
    return real if real.dtype in {torch.bool, *INTEGERS.values()} else real.view(INTEGERS[real.element_size()])
