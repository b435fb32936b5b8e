"""Gradient aggregation: the sum over the workers of a minibatch, behind one small interface."""

from collections.abc import Sequence
from typing import Final

from torch import Tensor

from bigbatch.reduction.base import Processes, Reduction
from bigbatch.reduction.exact import ExactReduction
from bigbatch.reduction.native import NativeReduction

REDUCTIONS: Final = ("exact", "native")

__all__ = ["REDUCTIONS", "Processes", "Reduction", "make_reduction"]


def make_reduction(kind: str, like: Sequence[Tensor], *, worker_count: int, processes: Processes) -> Reduction:
    """Make the reduction of that kind, "exact" or "native", for leaves of the shapes of `like`."""
    if kind == "native":
        return NativeReduction(like, processes=processes)
    return ExactReduction(like, worker_count=worker_count, processes=processes)
