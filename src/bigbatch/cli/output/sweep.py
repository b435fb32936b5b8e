"""What `bigbatch sweep` prints: the runs that are planned, and in the end a row for each variant and size."""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from bigbatch.cli.output.json import print_json
from bigbatch.cli.output.tables import cell, print_table
from bigbatch.printable import printable
from bigbatch.runs.record import FAILED
from bigbatch.study.naming import heading_of, margin_in_words, noun_of
from bigbatch.study.sweep.jobs import Job, Sweep
from bigbatch.study.sweep.states import DIVERGED, MISSING, SKIPPED, State

if TYPE_CHECKING:
    from bigbatch.study.sweep.children import Ending
    from bigbatch.study.sweep.results import Results, Row

NOTHING: Final = "-"
CLAUSE_END: Final = re.compile("[:;]")


def print_planned(sweep: Sweep, states: Mapping[str, State], *, as_json: bool) -> None:
    """Print the runs in their order, and which of them are there already."""
    rows = [_planned(job, states[job.name]) for job in sweep.jobs]
    if as_json:
        print_json(rows)
        return
    from rich.table import Table

    table = Table()
    for heading in rows[0]:
        is_text = heading in {"run", "state"}
        table.add_column(heading, justify="left" if is_text else "right", overflow="fold")
    for job, row in zip(sweep.jobs, rows, strict=True):
        at_most = "" if job.recipe.is_fixed else "≤ "
        row["iterations"] = f"{at_most}{_number(job.iterations)}"
        table.add_row(*(cell(_number(value)) for value in row.values()))
    print_table(table)
    print(printable(f"{len(rows)} runs in {sweep.output}; nothing was started"))


def _planned(job: Job, state: State) -> dict[str, object]:
    return {
        "run": job.name,
        "minibatch": job.recipe.minibatch_size,
        "rate": job.recipe.base_learning_rate,
        job.recipe.length.unit: job.recipe.length.amount,
        "iterations": job.iterations,
        "state": state.kind,
    }


def print_results(
    sweep: Sweep,
    states: Mapping[str, State],
    endings: "Sequence[Ending]",
    *,
    margin: float | None,
    as_json: bool,
) -> None:
    """Print the table, what is left out of it, and what can be done next."""
    from bigbatch.study.sweep.results import gather, to_json

    results = gather(sweep, states, margin=margin)
    if as_json:
        print_json(to_json(sweep, results))
        return
    has_rows = any(row.results or row.num_diverged for row in results.rows)
    if has_rows:
        _print_rows(results)
    reasons = {ending.job.name: ending.reason for ending in endings if ending.reason}
    conclusions = _conclusions(results) if has_rows else []
    for line in (*_unfinished(results, reasons), *conclusions, _next(sweep, results)):
        print(printable(line))


def _print_rows(results: "Results") -> None:
    from rich.table import Table

    table = Table()
    result = heading_of(results.measure)
    for heading in ("variant", "minibatch", "rate", "iterations", "seeds", result, "difference", "verdict"):
        is_text = heading in {"variant", "verdict"}
        table.add_column(heading, justify="left" if is_text else "right", overflow="fold")
    for row in results.rows:
        table.add_row(*map(cell, _cells(row, results)))
    print_table(table)


def _cells(row: "Row", results: "Results") -> list[str]:
    from bigbatch.study.statistics import summarise
    from bigbatch.study.sweep.results import difference_of

    difference = difference_of(row, results.reference)
    return [
        row.variant,
        str(row.minibatch_size),
        _number(row.learning_rate),
        _number(row.iterations),
        f"{len(row.results)}/{row.num_seeds}",
        f"{summarise(list(row.results.values())):{results.digits}}" if row.results else NOTHING,
        NOTHING if difference is None else f"{difference:+z{results.digits}}",
        _verdict(row, results),
    ]


def _verdict(row: "Row", results: "Results") -> str:
    if row.num_diverged:
        return f"{row.num_diverged} of {row.num_seeds} diverged"
    if row.configuration == results.reference.configuration:
        return "the reference"
    return str(row.verdict) if row.verdict else NOTHING


def _unfinished(results: "Results", reasons: Mapping[str, str]) -> list[str]:
    """Say which runs no row counts; of those that were not started, how many."""
    lines = []
    for job, state in results.unfinished:
        if state.kind == MISSING and job.name not in reasons:
            continue
        kind = FAILED if job.name in reasons else state.kind
        detail = reasons.get(job.name) or CLAUSE_END.split(state.detail)[0]
        log = f" ({job.folder.path.parent / 'logs' / job.name}.log)" if kind in {FAILED, DIVERGED} else ""
        lines.append(f"{kind}: {job.name}{': ' if detail else ''}{detail}{log}")
    num_missing = sum(state.kind == MISSING and job.name not in reasons for job, state in results.unfinished)
    return lines + ([f"runs not started: {num_missing}"] if num_missing else [])


def _conclusions(results: "Results") -> list[str]:
    from bigbatch.study.statistics import family_note

    lines = []
    margin = next((row.verdict.margin for row in results.rows if row.verdict and row.verdict.margin), None)
    if margin is not None:
        shown = margin_in_words(f"{margin:{results.digits}}", results.measure)
        lines.append(f"margin: {shown}; ± is a standard deviation, in verdicts a 90 % interval")
    if note := family_note(row.verdict for row in results.rows):
        lines.append(note)
    if results.elbow:
        noun = noun_of(results.measure)
        lines.append(f"elbow, where the {noun} leaves the reference's by more than the margin: {results.elbow}")
    return lines + ([results.remark] if results.remark else [])


def _next(sweep: Sweep, results: "Results") -> str:
    num_left = sum(state.kind not in {DIVERGED, SKIPPED} for _, state in results.unfinished)
    if num_left:
        done = len(sweep.jobs) - num_left
        return f"{done} of {len(sweep.jobs)} runs are done; the same command goes on, and repeats none of them"
    return f"bigbatch report {sweep.output} draws it; bigbatch runs {sweep.output} lists the runs"


def _number(value: object) -> str:
    if value is None:
        return NOTHING
    return f"{value:.4g}" if isinstance(value, float) else str(value)
