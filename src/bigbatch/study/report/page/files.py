"""The report as files: one page that needs nothing else, its figures as PNG, and the runs it was made from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from bigbatch.atomic_file import write_atomically
from bigbatch.errors import InputError
from bigbatch.printable import printable
from bigbatch.recipe.metrics import TOP_1_ERROR
from bigbatch.runs.folder import LAST_EPOCHS
from bigbatch.runs.provenance import package_version
from bigbatch.study.naming import common_noun, noun_of
from bigbatch.study.report import PAGE
from bigbatch.study.report.figures.drawing import Drawing
from bigbatch.study.report.grouping.studies import check_one_unit, judge, split_into_studies
from bigbatch.study.report.page.sections import Section, section_of
from bigbatch.study.report.page.tables import justify, unplaced_rows
from bigbatch.study.report.reading.last_epochs import judged_by_last, result_in_words
from bigbatch.study.report.reading.runs_file import Runs, runs_to_json

RESULTS: Final = "runs.json"
NEEDED: Final = {"matplotlib": "plot", "jinja2": "plot", "scipy": "stats"}  # package: the extra that installs it
MADE_WITH: Final = ("bigbatch", "matplotlib", "jinja2", "scipy", "numpy")


@dataclass(frozen=True)
class Report:
    """A report, ready to be written.

    Attributes:
        sections: one for each study.
        files: the content of each file of its folder, by name.
    """

    sections: Sequence[Section]
    files: Mapping[str, bytes]


def missing_extras() -> str | None:
    """Return what to install for the page, or None if all of it is there."""
    missing = [package for package in NEEDED if find_spec(package) is None]
    extras = dict.fromkeys(NEEDED[package] for package in missing)
    return f"{', '.join(missing)}: pip install 'bigbatch[{','.join(extras)}]'" if missing else None


def make_report(runs: Runs, *, command: str, margin: float | None = None, last_epochs: int = LAST_EPOCHS) -> Report:
    """Make the report of runs.

    Args:
        runs: read and condensed.
        command: the command line, which the page repeats.
        margin: the largest difference that counts as a match, in the metric's unit; the reference's noise band if None.
        last_epochs: a run's result is the median of this many, 1 to 5.

    Raises:
        InputError: the margin is not above 0 or would be one of several metrics, or an extra is not installed.
    """
    studies, unplaced = split_into_studies(judged_by_last(runs.records, last_epochs))
    check_one_unit(studies, margin)
    sections = [section_of(study, judge(study, margin), number=i) for i, study in enumerate(studies, 1)]
    measures = {study.measure for study in studies}
    noun = common_noun(measures)
    page = _render(
        sections=sections,
        unplaced=unplaced_rows(unplaced),
        unreadable=runs.unreadable,
        command=command,
        noun=noun,
        question="accuracy" if noun == noun_of(TOP_1_ERROR) else noun,
        has_metrics=len(measures) > 1,
        last_epochs=last_epochs,
        versions={package: package_version(package) for package in MADE_WITH},
    )
    images = {f"{figure.name}.png": figure.drawing.png for section in sections for figure in section.figures}
    return Report(sections, {PAGE: page.encode(), **images, RESULTS: runs_to_json(runs).encode()})


def write_report(report: Report, folder: Path) -> None:
    """Write the files of a report into a folder; other files there stay.

    Raises:
        InputError: the folder is a run's, or cannot be written.
    """
    if (folder / "run.json").exists() or (folder / "recipe.toml").exists():
        msg = f"{folder} holds a run; choose another --output for the report"
        raise InputError(msg)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in report.files.items():
            write_atomically(folder / name, content)
    except OSError as error:
        msg = f"cannot write the report to {folder} ({error.strerror}); choose another --output"
        raise InputError(msg) from error


def _render(**values: object) -> str:
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    here = files("bigbatch.study.report.page")

    def visible(value: object) -> object:
        """Spell out invisible characters; jinja2 escapes the rest."""
        return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, finalize=visible, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"justify": justify, "drawn": _drawn, "result_in_words": result_in_words}
    template = environment.from_string((here / "template.html.j2").read_text("utf-8"))
    style = Markup((here / "style.css").read_text("utf-8"))  # noqa: S704 - a file of ours
    return template.render(style=style, **values)


def _drawn(drawing: Drawing) -> str:
    from markupsafe import Markup

    return Markup(drawing.svg)  # noqa: S704 - matplotlib has escaped its text
