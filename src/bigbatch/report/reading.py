"""The runs of a report: from folders of runs, folders of those, and files that earlier reports wrote."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from bigbatch.errors import InputError
from bigbatch.ledger import find_runs
from bigbatch.recipe import Recipe
from bigbatch.report.condense import condense
from bigbatch.report.results import Runs, Unreadable, read_results
from bigbatch.run_record import RunRecord, read_record
from bigbatch.runs import RunFolder

RESULTS_SUFFIX: Final = ".json"


def read_runs(paths: Iterable[Path]) -> Runs:
    """Read and condense all runs of folders and of runs.json files; one that is named twice counts once.

    Raises:
        InputError: a path holds no run, or none that can be read.
    """
    records: dict[str, RunRecord] = {}
    unreadable: dict[str, str] = {}
    for path in paths:
        for found in _each(path):
            if isinstance(found, Unreadable):
                unreadable.setdefault(found.path, found.reason)
            else:
                records.setdefault(str(found.path), condense(found))
    if not records:
        raise InputError(next(iter(unreadable.values()), "there is no run in these files"))
    return Runs(list(records.values()), [Unreadable(*bad) for bad in unreadable.items()])


def _each(path: Path) -> Iterator[RunRecord | Unreadable]:
    if path.suffix == RESULTS_SUFFIX:
        kept = read_results(path)
        yield from kept.records
        yield from kept.unreadable
        return
    for folder in _run_folders(path):
        try:
            yield _with_recipe(read_record(folder))
        except InputError as error:
            yield Unreadable(str(folder), str(error))


def _run_folders(path: Path) -> list[Path]:
    try:
        folders = find_runs(path)
    except InputError as error:
        msg = f"{path} holds no run (there is no such folder)"
        raise InputError(msg) from error
    if not folders:
        msg = f"{path} holds no run, nor does a folder in it"
        raise InputError(msg)
    return folders


def _with_recipe(run: RunRecord) -> RunRecord:
    """Return the run with the recipe of its recipe.toml where its run.json, of an older kind, holds none."""
    if "recipe" in run.summary:
        return run
    recipe: Recipe = RunFolder(run.path).recipe
    return replace(run, summary={**run.summary, "recipe": recipe.to_dict()})
