"""The ledger: all runs below some folders, a row each, filtered and sorted."""

import math
import operator
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

from bigbatch.errors import InputError, nearest
from bigbatch.recipe.metrics import TOP_1_ERROR
from bigbatch.runs.json_table import as_number, as_text
from bigbatch.runs.record import RunRecord, read_record
from bigbatch.study.sweep.membership import Membership
from bigbatch.study.sweep.states import DIVERGED

Value = str | int | float | bool | None
Row = Mapping[str, Value]

DAMAGED: Final = "damaged"
TABLE: Final = ("run", "recipe", "minibatch", "error", "state", "when", "weights")
COLUMNS: Final = (
    *(*TABLE, "numerics", "variant", "iterations", "seconds", "processes", "device", "problem"),
    *("result", "metric", "unit", "better"),
)
RESULT: Final = "result"
ORDERED: Final = frozenset({"<", ">", "<=", ">="})
NEWEST_FIRST: Final = "-when"
DEPTH: Final = 5  # levels of folders that are searched
CONDITION: Final = re.compile(r"([\w.-]+?)\s*(<=|>=|!=|=|<|>)(.*)", re.DOTALL)
WRITTEN: Final = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}\S*")
COMPARISONS: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}


def find_runs(folder: Path) -> list[Path]:
    """Return the folders of all runs below a folder, sorted by name, or the folder itself if it is a run's.

    Raises:
        InputError: there is no such folder.
    """
    with suppress(OSError):  # a folder above it cannot be read
        if folder.is_dir():
            return sorted(_walk(folder, DEPTH, set()))
    msg = f"there is no folder {folder}"
    raise InputError(msg)


def _walk(folder: Path, depth: int, seen: set[str]) -> Iterator[Path]:
    """Yield the runs. A folder with two links to it counts once; one that cannot be read is left out."""
    real = os.path.realpath(folder)
    if real in seen:
        return
    seen.add(real)
    inner: list[Path] = []
    with suppress(OSError):
        if _is_run(folder):
            yield folder
            return  # below it are only its checkpoints
        inner = sorted(path for path in folder.iterdir() if not path.name.startswith(".") and path.is_dir())
    for path in inner if depth else ():
        yield from _walk(path, depth - 1, seen)


def _is_run(folder: Path) -> bool:
    """Tell whether a folder is a run's; a run that ended at once has a recipe but no run.json."""
    started = (folder / "recipe.toml").is_file() and (folder / "checkpoints").is_dir()
    return started or (folder / "run.json").is_file()


def read_row(path: Path, membership: Membership) -> Row:
    """Return the row of a run: the columns of the table first, then the others, then every field of the recipe.

    A damaged folder has a row too, which says what is damaged.

    Args:
        path: the run's folder.
        membership: knows the variants of sweeps' runs.
    """
    try:
        row = _row(read_record(path), membership)
    except InputError as error:
        row = {**dict.fromkeys(COLUMNS), "state": DAMAGED, "problem": str(error)}
    return {**row, "run": str(path)}


def _row(record: RunRecord, membership: Membership) -> dict[str, Value]:
    fields, last = record.recipe_fields, record.attempts[-1]
    found = membership.find(record)
    when = record.started
    values = (
        None,
        as_text(fields.get("name")),
        as_number(fields.get("minibatch_size")),
        record.result if record.metric == TOP_1_ERROR else None,
        DIVERGED if record.has_diverged else record.state,
        when if when and WRITTEN.fullmatch(when) else None,
        record.weights,
        as_text(fields.get("numerics")),
        found[0][0] if found else None,
        record.num_iterations,
        record.summary.seconds,
        last.processes,
        last.device,
        None,
        record.result,
        *(record.metric.name, record.metric.unit, record.metric.better),
    )
    columns = dict(zip(COLUMNS, values, strict=True))
    rest = {key: value if isinstance(value, Value) else str(value) for key, value in fields.items()}
    return columns | {key: value for key, value in rest.items() if key not in columns}


def select(rows: Sequence[Row], *, where: Sequence["Condition"] = (), sort: str = NEWEST_FIRST) -> list[Row]:
    """Return the rows for which all conditions hold, sorted by a field; "-" before it reverses the order.

    Runs without the field come last in both orders.

    Raises:
        InputError: no run has such a field, a number is compared with text, or results of several metrics are compared.

    >>> rows: list[Row] = [{"run": "a", "error": 2.5}, {"run": "b", "error": None}, {"run": "c", "error": 1.5}]
    >>> [row["run"] for row in select(rows, sort="error")], [row["run"] for row in select(rows, sort="-error")]
    (['c', 'a', 'b'], ['a', 'c', 'b'])
    """
    field = sort.removeprefix("-")
    known = sorted({key for row in rows for key in row})
    for name in (*(condition.field for condition in where), field):
        if rows and name not in known:
            msg = f"no run has a field '{name}'; {nearest(name, known)}"
            raise InputError(msg)
    _check_one_metric(rows, where, field)
    found = [(_order(row.get(field)), row) for row in rows if all(condition.holds(row) for condition in where)]
    present = [(order, row) for order, row in found if order is not None]
    present.sort(key=itemgetter(0), reverse=sort.startswith("-"))
    return [row for _, row in present] + [row for order, row in found if order is None]


def _check_one_metric(rows: Sequence[Row], where: Sequence["Condition"], field: str) -> None:
    """Refuse to order results of several metrics."""
    others = [condition for condition in where if condition.field != RESULT]
    if field != RESULT and not any(one.field == RESULT and one.comparison in ORDERED for one in where):
        return
    found = [row for row in rows if row.get(RESULT) is not None and all(one.holds(row) for one in others)]
    metrics = sorted({str(row.get("metric")) for row in found})
    if len(metrics) > 1:
        msg = f"results of {' and '.join(metrics)} cannot be compared; add --where metric={metrics[0]}, for example"
        raise InputError(msg)


def _order(value: Value) -> tuple[float, str] | None:
    """Return a sort key, with numbers before text; None if the value is missing or NaN."""
    number = as_number(value)
    if number is not None:
        return None if math.isnan(number) else (number, "")
    return None if value is None else (math.inf, _in_words(value))


@dataclass(frozen=True)
class Condition:
    """A condition on a field. A run without the field fulfils only `!=`.

    >>> small = parse_condition("minibatch<=256")
    >>> small.holds({"minibatch": 64}), small.holds({"minibatch": 512}), small.holds({"minibatch": None})
    (True, False, False)
    """

    field: str
    comparison: str
    value: str

    def holds(self, row: Row) -> bool:
        """Tell whether it holds for a run; numbers are compared as numbers, everything else as text.

        Raises:
            InputError: the field is a number, and the condition's value is not.
        """
        compare, found = COMPARISONS[self.comparison], row.get(self.field)
        if found is None:
            return self.comparison == "!="
        number = as_number(found)
        return bool(compare(_in_words(found), self.value) if number is None else compare(number, self._number()))

    def _number(self) -> float:
        try:
            return float(self.value)
        except ValueError as error:
            msg = f"--where {self.field}{self.comparison}{self.value}: {self.field} is a number, '{self.value}' is not"
            raise InputError(msg) from error


def parse_condition(text: str) -> Condition:
    """Parse a condition such as state=finished or error<2.

    Raises:
        InputError: the text has another form.
    """
    match = CONDITION.fullmatch(text)
    if match is None:
        msg = f"--where {text}: write FIELD=VALUE, or != < > <= >= for =, as in --where state=finished"
        raise InputError(msg)
    return Condition(*(part.strip() for part in match.groups()))


def _in_words(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
