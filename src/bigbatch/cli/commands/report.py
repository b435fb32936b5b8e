"""`bigbatch report`."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bigbatch.cli.options.argument_types import figure_file, file_or_folder, last_epochs
from bigbatch.cli.options.judgement import add_margin
from bigbatch.cli.options.parser import Commands, add_command
from bigbatch.cli.output.tables import cell, print_table
from bigbatch.errors import InputError
from bigbatch.printable import printable
from bigbatch.runs.folder import LAST_EPOCHS
from bigbatch.study.naming import common_noun
from bigbatch.study.report import AUTO, KINDS, PAGE

if TYPE_CHECKING:
    from bigbatch.study.report.page.files import Report
    from bigbatch.study.report.page.tables import Row
    from bigbatch.study.report.reading.runs_file import Runs

DEFAULT_FOLDER: Final = Path("report")
NOT_ON_THE_TERMINAL: Final = frozenset({"workers", "rate", "iterations", "seconds"})  # of a point


def add_report(commands: Commands) -> None:
    """Add the command with its options."""
    parser = add_command(
        commands, "report", "Compare runs in a table, judge their results, and write a page with figures."
    )
    parser.add_argument(
        "runs",
        type=file_or_folder,
        nargs="+",
        metavar="RUNS",
        help="the folder of a run, a folder of runs, or the runs.json of an earlier report",
    )
    parser.add_argument(
        "--output",
        type=file_or_folder,
        metavar="DIR",
        help=f"write {PAGE}, its figures as PNG and runs.json to this folder (default: {DEFAULT_FOLDER}; "
        "with --figure: none)",
    )
    add_margin(parser)
    parser.add_argument(
        "--last-epochs",
        type=last_epochs,
        default=LAST_EPOCHS,
        metavar="N",
        help=f"the result of a run is the median of its last N epochs, 1 to {LAST_EPOCHS} (default: {LAST_EPOCHS}); "
        "use 1 if it still improves there",
    )
    parser.add_argument(
        "--figure", type=figure_file, metavar="FILE", help="write only one figure, to this file (.png, .svg or .pdf)"
    )
    parser.add_argument(
        "--figure-kind",
        choices=(AUTO, *KINDS),
        default=AUTO,
        help="results over epochs (curves) or over minibatch sizes (sizes) "
        "(default: auto: sizes if several sizes have several seeds, otherwise curves)",
    )
    parser.set_defaults(run=report_command)


def report_command(options: argparse.Namespace) -> None:
    """Print the table of the runs, and write the page, or the figure that is asked for."""
    from bigbatch.study.report.page.tables import run_rows
    from bigbatch.study.report.reading.last_epochs import judged_by_last, result_in_words
    from bigbatch.study.report.reading.sources import read_runs

    runs = read_runs(options.runs)
    _print_rows(run_rows(judged_by_last(runs.records, options.last_epochs)))
    noun = common_noun(run.metric for run in runs.records)
    print(f"{noun}: {result_in_words(options.last_epochs, noun)}")
    for bad in runs.unreadable:
        print(printable(f"left out: {bad.reason}"))
    if options.figure:
        from bigbatch.study.report.figures.standalone import draw_figure

        judged = {"margin": options.margin, "last_epochs": options.last_epochs}
        draw_figure(runs.records, options.figure, kind=options.figure_kind, **judged)
        print(printable(f"figure: {options.figure}"))
    if options.output or not options.figure:
        _write_page(runs, options, shlex.join(["bigbatch", *options.arguments]))


def _write_page(runs: "Runs", options: argparse.Namespace, command: str) -> None:
    from bigbatch.study.report.page.files import make_report, missing_extras, write_report

    if missing := missing_extras():
        msg = f"there is no page without {missing}"
        if options.output:
            raise InputError(msg)
        print(f"bigbatch: {msg}", file=sys.stderr)
        return
    folder = options.output or DEFAULT_FOLDER
    report = make_report(runs, command=command, margin=options.margin, last_epochs=options.last_epochs)
    write_report(report, folder)
    _print_findings(report)
    print(printable(f"page: {folder / PAGE}"))


def _print_findings(report: "Report") -> None:
    for section in report.sections:
        _print_rows([_shortened(row) for row in section.points])
        if section.note:
            print(section.note)
        print(printable(f"{section.title}: {section.headline}"))


def _shortened(row: "Row") -> "Row":
    return {name: text for name, text in row.items() if name not in NOT_ON_THE_TERMINAL}


def _print_rows(rows: Sequence["Row"]) -> None:
    from rich.table import Table

    from bigbatch.study.report.page.tables import justify

    table = Table()
    for heading in rows[0] if rows else ():
        table.add_column(heading, overflow="fold", justify="right" if justify(heading) == "right" else "left")
    for row in rows:
        table.add_row(*map(cell, row.values()))
    print_table(table)
