"""The tables of a report: a row for each run, and a row for each point with its verdict; all cells are text."""

from collections.abc import Collection, Iterator, Sequence
from typing import Final

from bigbatch.recipe.metrics import Measure
from bigbatch.runs.json_table import as_number
from bigbatch.runs.record import FINISHED, RunRecord
from bigbatch.study.naming import ANY_METRIC, heading_of, noun_of, with_unit
from bigbatch.study.report.grouping.measures import iterations_of, mean_cost, rate_of, seconds_of, size_of, workers_of
from bigbatch.study.report.grouping.series import Point
from bigbatch.study.report.grouping.studies import Study
from bigbatch.study.statistics import Judgement, Summary, Verdict, summarise

Row = dict[str, str]

HASH_DIGITS: Final = 8
NOTHING: Final = "–"  # noqa: RUF001 - a dash, in a table
LEFT: Final = frozenset({"run", "recipe", "state", "weights", "verdict"})


def run_rows(runs: Sequence[RunRecord]) -> list[Row]:
    """Return a row for each run, for the terminal. Results of several metrics say which each is."""
    measures = {run.metric for run in runs}
    return [_run_row(run, measures) for run in runs]


def _run_row(run: RunRecord, measures: Collection[Measure]) -> Row:
    """Return a run's row; the state of an unfinished run stands behind its name."""
    name = run.path.name or str(run.path)
    heading, result = _result(run, measures)
    return {
        "run": name if run.state == FINISHED else f"{name} ({run.state})",
        "minibatch": _number(size_of(run)),
        "workers": _number(workers_of(run)),
        "rate": _number(rate_of(run)),
        "iterations": _number(iterations_of(run)),
        heading: result,
        "seconds": _decimals(seconds_of(run), 1),
        "weights": (run.weights or NOTHING)[:HASH_DIGITS],
    }


def _result(run: RunRecord, measures: Collection[Measure]) -> tuple[str, str]:
    """Return the heading for a run's result, and the cell."""
    if len(measures) == 1:
        heading = heading_of(run.metric)
        return heading, NOTHING if run.result is None else run.metric.number(run.result)
    shown = NOTHING if run.result is None else with_unit(run.metric.number(run.result), run.metric)
    return ANY_METRIC, f"{noun_of(run.metric)} {shown}"


def common_folder(runs: Sequence[RunRecord]) -> str:
    """Return the folder that all runs lie in; empty if there is none."""
    folders = {str(run.path.parent) for run in runs}
    return folders.pop() if len(folders) == 1 else ""


def study_rows(study: Study) -> list[Row]:
    """Return a row for each run of a study, for the page."""
    folder = common_folder(study.runs)
    return [_page_row(run, point, (study.measure,), folder) for point in study.points for run in point.runs]


def unplaced_rows(runs: Sequence[RunRecord]) -> list[Row]:
    """Return a row for each run that belongs to no study."""
    measures = {run.metric for run in runs}
    return [_page_row(run, None, measures) for run in runs]


def _page_row(run: RunRecord, point: Point | None, measures: Collection[Measure], folder: str = "") -> Row:
    """Return a run's row for the page: its place below a folder, whether it counts, and why not."""
    row = _run_row(run, measures)
    heading, result = _result(run, measures)
    return {
        "run": run.path.name if folder else str(run.path),
        "recipe": point.series if point else NOTHING,
        "minibatch": row["minibatch"],
        "seed": _number(run.recipe_fields.get("seed")),
        "state": _state(run, point),
        "iterations": row["iterations"],
        "seconds": row["seconds"],
        heading: result,
        "weights": row["weights"],
    }


def point_rows(study: Study, findings: Judgement | None) -> Iterator[Row]:
    """Yield a row for each point: its cost, its result over seeds, and its verdict if there is one."""
    for point in study.points:
        yield _point_row(study, point, findings)


def _point_row(study: Study, point: Point, findings: Judgement | None) -> Row:
    verdict = findings.verdicts.get(point.configuration) if findings else None
    runs = point.counted or list(point.runs)
    summary = summarise(point.results) if point.results else None
    return {
        "recipe": point.series,
        "minibatch": _number(point.minibatch_size),
        "workers": _number(workers_of(runs[0])),
        "rate": _number(rate_of(runs[0])),
        "iterations": _number(mean_cost(point.counted, iterations_of)),
        "seconds": _decimals(mean_cost(point.counted, seconds_of), 1),
        "seeds": _seeds(point),
        heading_of(study.measure): _over_seeds(summary, study.digits),
        "difference": _interval(verdict, study.digits),
        "verdict": "the reference" if point is study.reference and not point.num_diverged else _verdict(point, verdict),
    }


def _over_seeds(summary: Summary | None, digits: str) -> str:
    if summary is None:
        return NOTHING
    return f"{summary.mean:{digits}}" if summary.std is None else f"{summary:{digits}}"


def _verdict(point: Point, verdict: Verdict | None) -> str:
    if verdict:
        return str(verdict)
    if point.num_diverged:
        return f"{point.num_diverged} of {len(point.runs)} diverged"
    return "no reference to compare with" if point.results else "no finished run"


def _interval(verdict: Verdict | None, digits: str) -> str:
    found = verdict.difference if verdict else None
    if found is None:
        return NOTHING
    mean, low, high = (f"{number:+z{digits}}" for number in (found.mean, found.low, found.high))
    return f"{mean} [{low}, {high}]"


def _seeds(point: Point) -> str:
    counted, others = len(point.counted), len(point.runs) - len(point.counted)
    return f"{counted} (+{others})" if others else str(counted)


def _state(run: RunRecord, point: Point | None) -> str:
    if run.state != FINISHED:
        reason = run.summary.error
        return f"{run.state}: {reason}" if reason else run.state
    if run.has_skipped_updates:
        return "finished, not counted (it skipped updates that were not finite)"
    is_counted = point is None or run in point.counted
    return run.state if is_counted else "finished, not counted (a repeated seed, or no result)"


def _number(value: object) -> str:
    """Return a number to four digits, or as a whole number."""
    number = as_number(value)
    if number is None:
        return NOTHING
    if isinstance(number, int) or number.is_integer():
        return f"{int(number)}" if abs(number) < 10_000 else f"{int(number):,}"  # noqa: PLR2004
    return f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.4g}"  # noqa: PLR2004


def _decimals(number: float | None, count: int) -> str:
    return NOTHING if number is None else f"{number:,.{count}f}"


def justify(heading: str) -> str:
    """Return the side to which a column is aligned."""
    return "left" if heading in LEFT else "right"
