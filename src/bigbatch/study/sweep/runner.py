"""Run the jobs of a sweep side by side, until all have ended or a signal asks to stop."""

import time
from collections.abc import Sequence
from typing import Final, Protocol

from bigbatch.errors import InputError
from bigbatch.processes.stop_signals import StopSignals
from bigbatch.recipe.metrics import Measure
from bigbatch.runs.record import FAILED, FINISHED
from bigbatch.study.naming import result_in_words
from bigbatch.study.sweep.children import Child, Ending, ending_of, start
from bigbatch.study.sweep.gpus import gpus_of
from bigbatch.study.sweep.jobs import Job
from bigbatch.study.sweep.states import DIVERGED
from bigbatch.study.sweep.watching import Pace, Running

SECONDS_BETWEEN_LOOKS: Final = 0.1
SECONDS_BETWEEN_NEWS: Final = 1.0
MOST_FAILURES_IN_A_ROW: Final = 3


class Display(Protocol):
    """Shows the progress of a sweep."""

    def say(self, text: str) -> None:
        """Print a line."""

    def show(self, num_done: int, running: Sequence[Running], seconds_left: float | None) -> None:
        """Show how many runs have ended, and the progress of those that have not."""


class Runner:
    """Start jobs in their order, several at once.

    Args:
        jobs: to be run.
        num_done: the number of runs of the sweep that had ended before.
        at_once: how many runs are in progress at a time.
        processes: of each run; a run with fewer workers has as many as those.
        gpus: the machine's GPUs.
        display: shows the progress.
        pace: of the runs that had ended before.
        measure: what the runs are judged by.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        *,
        num_done: int,
        at_once: int,
        processes: int,
        gpus: list[str],
        display: Display,
        pace: Pace,
        measure: Measure,
    ) -> None:
        self.waiting, self.total = list(jobs), num_done + len(jobs)
        self.children: list[Child] = []
        self.endings: list[Ending] = []
        self.num_done, self.at_once, self.processes = num_done, at_once, processes
        self.gpus, self.display, self.pace, self.measure = gpus, display, pace, measure
        self.is_stopping = False
        self.news_at = time.monotonic()

    def run(self, signals: StopSignals) -> list[Ending]:
        """Run the jobs, and return how each started run ended. A signal makes the runs in progress save and stop."""
        while self.children or self.waiting:
            if signals.received and not self.is_stopping:
                self._stop(signals.received)
            while self.waiting and len(self.children) < self.at_once:
                self._start(self.waiting.pop(0))
            for child in [child for child in self.children if child.process.poll() is not None]:
                self.children.remove(child)
                self._end(child.running, ending_of(child, is_stopping=self.is_stopping))
            self._tell()
            time.sleep(SECONDS_BETWEEN_LOOKS if self.children else 0)
        return self.endings

    def _stop(self, received: str) -> None:
        self.is_stopping = True
        self.waiting.clear()
        again = "; interrupt again to end at once" if received == "SIGINT" else ""
        self.display.say(f"{received}: the runs in progress ({len(self.children)}) save and stop{again}")
        for child in self.children:
            child.process.terminate()

    def _start(self, job: Job) -> None:
        place = min(set(range(self.at_once)) - {child.place for child in self.children})
        own_gpus = gpus_of(place, processes=self.processes, gpus=self.gpus, at_once=self.at_once)
        try:
            processes = min(self.processes, job.recipe.initial_worker_count)
            self.children.append(start(job, processes=processes, place=place, environment=own_gpus))
        except InputError as error:
            self._end(None, Ending(job, FAILED, reason=str(error)))

    def _end(self, running: Running | None, ending: Ending) -> None:
        self.endings.append(ending)
        self.num_done += ending.kind in {FINISHED, DIVERGED}
        if running and ending.kind == FINISHED:
            running.watch.look()
            self.pace.add(running)
        seconds = f", {running.seconds:.0f} s" if running else ""
        said = describe(ending, self.measure)
        self.display.say(f"{self.num_done}/{self.total}  {ending.job.name}: {said}{seconds}")
        last = [ending.kind for ending in self.endings[-MOST_FAILURES_IN_A_ROW:]]
        if self.waiting and last == [FAILED] * MOST_FAILURES_IN_A_ROW:
            self.display.say(f"{len(last)} runs have failed one after the other: no more are started")
            self.waiting.clear()

    def _tell(self) -> None:
        if time.monotonic() - self.news_at < SECONDS_BETWEEN_NEWS:
            return
        running = [child.running for child in self.children]
        for run in running:
            run.watch.look()
        self.display.show(self.num_done, running, self.pace.seconds_left(self.waiting, running, at_once=self.at_once))
        self.news_at = time.monotonic()


def describe(ending: Ending, measure: Measure) -> str:
    """Return how a run ended, in a few words."""
    match ending.kind:
        case "finished":
            return result_in_words(ending.result, measure)
        case "diverged":
            return "diverged (a loss or gradient is NaN or infinite)"
        case "failed":
            return f"failed: {ending.reason}"
        case kind:
            return kind
