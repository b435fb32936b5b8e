"""The runs.json of a report: small enough to commit, and all that is needed to draw the report again."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from errno import EFBIG, EINVAL
from pathlib import Path
from typing import Any, Final

from bigbatch.errors import InputError
from bigbatch.paths import is_file
from bigbatch.runs.json_table import JsonTable, as_table, as_text
from bigbatch.runs.metrics import EpochLine, IterationLine
from bigbatch.runs.record import KeptMetrics, RunRecord, kept_record

FORMAT: Final = "bigbatch report 1"
LARGEST_BYTES: Final = 1 << 28


@dataclass(frozen=True)
class Unreadable:
    """A folder that looks like a run's and cannot be read as one, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class Runs:
    """The runs of a report, in order, and what could not be read."""

    records: Sequence[RunRecord]
    unreadable: Sequence[Unreadable]


def runs_to_json(runs: Runs) -> str:
    """Return condensed runs as JSON, one line for each."""
    lines = ",\n".join(json.dumps(_table_of(run), separators=(",", ":"), allow_nan=False) for run in runs.records)
    unreadable = json.dumps([[bad.path, bad.reason] for bad in runs.unreadable])
    return f'{{"format": "{FORMAT}", "runs": [\n{lines}\n], "unreadable": {unreadable}}}\n'


def read_runs_file(path: Path) -> Runs:
    """Read the runs that an earlier report wrote.

    Raises:
        InputError: the file cannot be read, or is not one that a report wrote.
    """
    table = _load(path)
    runs, unreadable = table.get("runs"), table.get("unreadable")
    if table.get("format") != FORMAT or not isinstance(runs, list) or not isinstance(unreadable, list):
        why = "it lacks its runs" if table.get("format") == FORMAT else f"its format is not '{FORMAT}'"
        msg = f"{path} is not the runs.json of a report ({why}); name folders of runs, or what `bigbatch report` wrote"
        raise InputError(msg)
    try:
        return Runs([_record_of(as_table(run)) for run in runs], [Unreadable(*_texts(bad, 2)) for bad in unreadable])
    except InputError as error:
        msg = f"{path}: {error}"
        raise InputError(msg) from error


def _load(path: Path) -> Mapping[str, Any]:
    try:
        return as_table(json.loads(_read(path)))
    except (OSError, ValueError, RecursionError) as error:
        msg = f"cannot read the runs in {path} ({getattr(error, 'strerror', None) or error})"
        raise InputError(msg) from error


def _read(path: Path) -> bytes:
    if not is_file(path):  # opening a pipe would wait for its writer
        raise OSError(EINVAL, "there is no such file")
    if path.stat().st_size > LARGEST_BYTES:
        raise OSError(EFBIG, f"it is larger than {LARGEST_BYTES:,} bytes")
    return path.read_bytes()


def _table_of(run: RunRecord) -> dict[str, Any]:
    return {
        "path": str(run.path),
        "state": run.state,
        "summary": run.summary.to_json(),
        "iterations": _columns(run.iterations),
        "epochs": _columns(run.epochs),
    }


def _record_of(table: Mapping[str, Any]) -> RunRecord:
    iterations = map(IterationLine.read, _lines(table.get("iterations"), "iteration"))
    epochs = map(EpochLine.read, _lines(table.get("epochs"), "epoch"))
    (path,) = _texts([table.get("path")], 1)
    return kept_record(
        Path(path), table.get("state"), table.get("summary"), KeptMetrics(list(iterations), list(epochs))
    )


def _columns(lines: Sequence[JsonTable]) -> dict[str, list[Any]]:
    """Return the lines as one column for each name, which halves the bytes."""
    tables = [line.to_json() for line in lines]
    names = dict.fromkeys(name for table in tables for name in table)
    return {name: [table.get(name) for table in tables] for name in names}


def _lines(columns: object, counter: str) -> list[dict[str, Any]]:
    table = as_table(columns)
    lists = [column for column in table.values() if isinstance(column, list)]
    is_even = len(lists) == len(table) and len({len(column) for column in lists}) <= 1
    if (
        not is_even
        or not all(isinstance(number, int) for number in table.get(counter, []))
        or (table and counter not in table)
    ):
        msg = f"the columns of a run's {counter}s do not fit together"
        raise InputError(msg)
    lines = [dict(zip(table, row, strict=True)) for row in zip(*lists, strict=True)]
    return [{name: value for name, value in line.items() if value is not None} for line in lines]


def _texts(values: object, count: int) -> list[str]:
    texts = [as_text(value) for value in values] if isinstance(values, list) else []
    known = [text for text in texts if text is not None and "\0" not in text]
    if not len(known) == len(texts) == count:
        msg = "a run's path is missing"
        raise InputError(msg)
    return known
