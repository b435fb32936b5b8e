"""The results of a sweep: a row for each configuration, over the seeds that have finished."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import mean
from typing import Any

from bigbatch.recipe.metrics import TOP_1_ERROR, Measure
from bigbatch.runs.record import FINISHED
from bigbatch.study.configuration import Configuration
from bigbatch.study.statistics import Elbow, Outcomes, Verdict, judge, summarise
from bigbatch.study.sweep.jobs import Job, Sweep
from bigbatch.study.sweep.states import DIVERGED, State, check_measures


@dataclass(frozen=True)
class Row:
    """A row of the sweep's table: a configuration and its results.

    Attributes:
        variant: its name.
        minibatch_size: samples per update.
        learning_rate: after scaling, before the schedule.
        iterations: of a run; their mean if the gradients decide; None if unknown.
        num_seeds: the number of runs that were asked for.
        num_diverged: the number of runs that ended in NaN or infinity.
        results: of each finished run, in the metric's unit, by its seed.
        verdict: of the comparison with the reference; None for the reference itself, and if nothing can be tested.
    """

    variant: str
    minibatch_size: int
    learning_rate: float
    iterations: int | None
    num_seeds: int
    num_diverged: int
    results: Mapping[int, float]
    verdict: Verdict | None = None

    @property
    def configuration(self) -> Configuration:
        """The variant and the minibatch size."""
        return Configuration(self.variant, self.minibatch_size)


@dataclass(frozen=True)
class Results:
    """All rows, and what follows from them.

    Attributes:
        reference: the row that the others are compared with.
        rows: in the order of the table, the reference among them.
        elbow: where the plain recipe leaves the reference's result; None if unknown.
        unfinished: the runs that count in no row, with their states.
        measure: what the runs are judged by.
        digits: the format of the results.
        remark: why there are no verdicts, if so.
    """

    reference: Row
    rows: tuple[Row, ...]
    elbow: Elbow | None
    unfinished: tuple[tuple[Job, State], ...]
    measure: Measure
    digits: str
    remark: str = ""


def gather(sweep: Sweep, states: Mapping[str, State], *, margin: float | None = None) -> Results:
    """Put the finished runs into rows, and compare the rows with the reference.

    A row with a diverged run is not tested: the results of its other runs would be too good.

    Args:
        sweep: the planned runs.
        states: of these runs, by name.
        margin: the largest difference that still counts as a match, in the metric's unit.

    Raises:
        InputError: the runs were judged by different metrics, or the metric has no such margin.
    """
    check_measures(sweep, states)
    rows = [_row([job for job in sweep.jobs if job.configuration == one], states) for one in sweep.configurations]
    reference = next(row for row in rows if row.configuration == sweep.reference)
    unfinished = tuple((job, states[job.name]) for job in sweep.jobs if states[job.name].kind != FINISHED)
    points = {row.configuration: Outcomes(list(row.results.values()), row.num_diverged) for row in rows}
    found = judge(points, sweep.reference, margin, measure=sweep.measure)
    judged = tuple(replace(row, verdict=found.verdicts.get(row.configuration)) for row in rows)
    remark = found.remark if found.reference or not found.remark else f"no verdicts: {found.remark}"
    return Results(reference, judged, found.elbow, unfinished, sweep.measure, found.digits, remark)


def _row(jobs: Sequence[Job], states: Mapping[str, State]) -> Row:
    """Return the row of jobs that differ only in their seeds."""
    first = jobs[0]
    finished = {job.recipe.seed: states[job.name] for job in jobs if states[job.name].kind == FINISHED}
    results = {seed: state.result for seed, state in finished.items()}
    measured = [state.iterations for state in finished.values() if state.iterations]
    return Row(
        *first.configuration,
        learning_rate=first.recipe.base_learning_rate,
        iterations=round(mean(measured)) if measured else first.iterations,
        num_seeds=len(jobs),
        num_diverged=sum(states[job.name].kind == DIVERGED for job in jobs),
        results={seed: result for seed, result in results.items() if result is not None},
    )


def to_json(sweep: Sweep, results: Results) -> dict[str, Any]:
    """Return the results as a table for programs."""
    return {
        "recipe": sweep.recipe.name,
        "output": str(sweep.output),
        "reference_minibatch_size": sweep.reference.minibatch_size,
        "metric": results.measure.to_json(),
        "rows": [_row_to_json(row, results) for row in results.rows],
        "elbow": vars(results.elbow) | {"text": str(results.elbow)} if results.elbow else None,
        "unfinished": [{"run": job.name, **_state_to_json(state, results)} for job, state in results.unfinished],
        "remark": results.remark,
    }


def _state_to_json(state: State, results: Results) -> dict[str, Any]:
    table = {name: value for name, value in vars(state).items() if name != "measure"}
    return table | ({"error": state.result} if results.measure == TOP_1_ERROR else {})


def _row_to_json(row: Row, results: Results) -> dict[str, Any]:
    """Return a row for programs. Errors have their old name too, which other programs read."""
    summary = summarise(list(row.results.values())) if row.results else None
    verdict, by_seed = row.verdict, {str(seed): result for seed, result in row.results.items()}
    return {
        "variant": row.variant,
        "minibatch_size": row.minibatch_size,
        "learning_rate": row.learning_rate,
        "iterations": row.iterations,
        "seeds_asked": row.num_seeds,
        "seeds_finished": len(row.results),
        "seeds_diverged": row.num_diverged,
        "results": by_seed,
        **({"errors": by_seed} if results.measure == TOP_1_ERROR else {}),
        "mean": summary.mean if summary else None,
        "std": summary.std if summary else None,
        "difference": difference_of(row, results.reference),
        "interval": vars(verdict.difference) if verdict and verdict.difference else None,
        "verdict": {"kind": verdict.kind, "text": str(verdict), "margin": verdict.margin} if verdict else None,
    }


def difference_of(row: Row, reference: Row) -> float | None:
    """Return the mean minus the reference's, in the metric's unit; None for the reference itself."""
    if row.configuration == reference.configuration or not (row.results and reference.results):
        return None
    return summarise(list(row.results.values())).mean - summarise(list(reference.results.values())).mean
