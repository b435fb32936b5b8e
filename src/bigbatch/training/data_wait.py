"""How long a training waits for its samples, and what helps where that is long."""

import time
from collections.abc import Iterable, Iterator
from typing import Any, Final

SHARE: Final = 0.2  # of an epoch: more is worth a line of advice
LEAST_SECONDS: Final = 5.0  # in an epoch: less is not worth a person's time


class DataWait:
    """The seconds that this process waits for batches.

    Attributes:
        seconds: in this epoch so far.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self.has_advised = False

    def timed(self, batches: Iterable[Any]) -> Iterator[Any]:
        """Yield the batches, and count the seconds until each is there."""
        waiting = iter(batches)
        while True:
            start = time.perf_counter()
            batch = next(waiting, waiting)
            self.seconds += time.perf_counter() - start
            if batch is waiting:
                return
            yield batch

    def end_epoch(self) -> float:
        """Return the seconds of the epoch, and begin the next one."""
        seconds, self.seconds = self.seconds, 0.0
        return seconds

    def advice(self, waited: float, seconds: float, *, loader_workers: int) -> str | None:
        """Return what helps, once, if an epoch has waited long.

        Args:
            waited: seconds for its samples.
            seconds: of the epoch in all, without the evaluation.
            loader_workers: processes that read ahead.
        """
        if self.has_advised or waited < max(LEAST_SECONDS, SHARE * seconds):
            return None
        self.has_advised = True
        helps = (
            f"more than {loader_workers} loader_workers, smaller files or a faster disk may help"
            if loader_workers
            else "let processes read ahead: --loader-workers 2"
        )
        return f"note: {waited / seconds:.0%} of the epoch went by waiting for samples; {helps}"
