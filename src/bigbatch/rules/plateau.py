"""When a rate falls because the results no longer improve."""

import math
from dataclasses import dataclass, replace
from typing import Self


@dataclass(frozen=True)
class Plateau:
    """What was seen of the results so far, as torch's ReduceLROnPlateau (with a threshold of 0) counts it.

    Attributes:
        best: result so far; None before the first.
        waited: epochs in a row that were not better.
        reductions: how often the rate has fallen.

    >>> seen = Plateau()
    >>> for error in (9.0, 8.0, 8.0, 8.5, 7.0):
    ...     seen = seen.after(error, patience=1)
    >>> seen
    Plateau(best=7.0, waited=0, reductions=1)
    """

    best: float | None = None
    waited: int = 0
    reductions: int = 0

    def after(self, result: float, *, patience: int, better: str = "lower") -> Self:
        """Return what is seen after one more epoch.

        Args:
            result: of the epoch; NaN is no better than any.
            patience: epochs in a row without a better result that are waited for; the next one lowers the rate.
            better: "lower" or "higher".
        """
        if self._is_better(result, better):
            return replace(self, best=result, waited=0)
        if self.waited >= patience:
            return replace(self, waited=0, reductions=self.reductions + 1)
        return replace(self, waited=self.waited + 1)

    def _is_better(self, result: float, better: str) -> bool:
        if self.best is None:
            return not math.isnan(result)
        return result < self.best if better == "lower" else result > self.best
