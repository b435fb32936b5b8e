"""The result of a run: the median of its last 5 epochs, or of fewer for a schedule that settles later."""

from collections.abc import Iterable
from dataclasses import replace

from bigbatch.runs.folder import LAST_EPOCHS, run_result
from bigbatch.runs.record import RunRecord


def judged_by_last(runs: Iterable[RunRecord], number: int) -> list[RunRecord]:
    """Return the runs with the median of their last `number` epochs as their results.

    The paper's last 5 of 90 epochs lie on the last step of its schedule, where the error is constant (arXiv 1706.02677,
    section 5.1). On a cosine over 15 epochs it still falls: the median of five is the error two epochs before the end.

    Args:
        runs: with at least the last 5 epochs of each.
        number: 1 to 5; with 5 nothing changes.
    """
    return list(runs) if number == LAST_EPOCHS else [_judged(run, number) for run in runs]


def _judged(run: RunRecord, number: int) -> RunRecord:
    """Return the run with its new result. If no epoch can be read, only the last one's is known, from run.json."""
    results = [line.result for line in run.epochs if line.result is not None]
    if run.result is None:
        return run
    last = run.summary.final_result if number == 1 else None
    result = run_result(results, last=number) if results else last
    return replace(run, summary=replace(run.summary, result=result))


def result_in_words(number: int, noun: str) -> str:
    """Say what the result of a run is.

    Args:
        number: of the last epochs that count.
        noun: what the metric measures.

    >>> result_in_words(1, "error"), result_in_words(5, "mean IoU")
    ('error after the last epoch', 'median mean IoU of the last 5 epochs')
    """
    return f"{noun} after the last epoch" if number == 1 else f"median {noun} of the last {number} epochs"
