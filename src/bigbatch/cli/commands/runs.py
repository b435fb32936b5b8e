"""`bigbatch runs`."""

import argparse
import sys
from collections.abc import Sequence
from typing import Any, Final

from bigbatch.cli.options.argument_types import file_or_folder, named
from bigbatch.cli.options.parser import Commands, add_command, add_json
from bigbatch.cli.output.json import print_json
from bigbatch.cli.output.tables import cell, print_table
from bigbatch.printable import printable
from bigbatch.recipe.metrics import Measure
from bigbatch.recipe.numerics import PORTABLE
from bigbatch.runs.contract import in_words
from bigbatch.runs.folder import RUNS_FOLDER
from bigbatch.runs.json_table import as_number
from bigbatch.study.ledger import NEWEST_FIRST, TABLE, Row, find_runs, parse_condition, read_row, select
from bigbatch.study.naming import ANY_METRIC, heading_of, result_in_words
from bigbatch.study.sweep.membership import Membership

HASH_DIGITS: Final = 8
UNWRAPPED: Final = 10_000  # a row is a line, however long a run's name


def add_runs(commands: Commands) -> None:
    """Add the command with its options."""
    parser = add_command(commands, "runs", "List the runs in folders, a row for each run.")
    parser.add_argument(
        "folders", type=file_or_folder, nargs="*", metavar="FOLDER", help="folders to search (default: runs)"
    )
    parser.add_argument(
        "--where",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="list only runs with this value, such as state=finished, minibatch>=256 or model.width=16; may be "
        "repeated, then all must hold",
    )
    parser.add_argument(
        "--sort",
        type=named,
        default=NEWEST_FIRST,
        metavar="FIELD",
        help="sort by this field; -FIELD puts the largest first (default: -when, the newest first)",
    )
    add_json(parser, note=", with all fields that --where and --sort know")
    parser.set_defaults(run=runs_command)


def runs_command(options: argparse.Namespace) -> None:
    """Print a row for each run below the folders, as a table or as JSON."""
    conditions = [parse_condition(text) for text in options.where]
    folders = options.folders or [RUNS_FOLDER] * RUNS_FOLDER.is_dir()
    paths = dict.fromkeys(path for folder in folders for path in find_runs(folder))
    membership = Membership()
    rows = [read_row(path, membership) for path in paths]
    for reason in membership.damaged.values():
        print(printable(f"bigbatch: warning: {reason}"), file=sys.stderr)
    selected = select(rows, where=conditions, sort=options.sort)
    if options.json:
        print_json(selected)
    elif selected:
        _print_table(selected)
    elif rows:
        print(f"none of the {len(rows)} runs fulfils every --where")
    else:
        print(f"no runs in {', '.join(map(str, options.folders or [RUNS_FOLDER]))}; bigbatch train makes one")


def _print_table(rows: Sequence[Row]) -> None:
    from rich.table import Table

    measures = {found for row in rows if (found := _measure(row))}
    heading_of_results = heading_of(measures.pop()) if len(measures) == 1 else ANY_METRIC
    headings = [*TABLE, *["numerics"] * any(row["numerics"] == PORTABLE for row in rows)]
    table = Table()
    table.add_column("run", overflow="fold")  # whole, to be copied
    for heading in headings[1:]:
        is_number = heading in {"minibatch", "error"}
        title = heading_of_results if heading == "error" else heading
        table.add_column(title, justify="right" if is_number else "left", no_wrap=True)
    for row in rows:
        result = _result(row, has_noun=heading_of_results == ANY_METRIC)
        cells = (result if heading == "error" else _in_words(heading, row[heading]) for heading in headings)
        table.add_row(*map(cell, cells))
    print_table(table, width_of_a_file=UNWRAPPED)


def _measure(row: Row) -> Measure | None:
    """Return what a run is judged by; None of a damaged one."""
    return Measure(str(row["metric"]), str(row["unit"]), str(row["better"])) if row["metric"] else None


def _result(row: Row, *, has_noun: bool) -> str:
    """Return a run's result, with its metric and unit where the heading does not say them."""
    measure, result = _measure(row), as_number(row["result"])
    if measure is None or result is None:
        return "-"
    return result_in_words(result, measure) if has_noun else measure.number(result)


def _in_words(heading: str, value: Any) -> str:  # noqa: ANN401 - whatever a run says
    if value is None:
        return "-"
    match heading:
        case "when":
            return str(value)[: len("2026-11-24T05:45")].replace("T", " ")
        case "weights":
            return str(value)[:HASH_DIGITS]
        case "run":
            return str(value)
        case _:
            return in_words(value)
