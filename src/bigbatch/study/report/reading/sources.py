"""Read the runs of a report: from folders at any depth, and from the runs.json of earlier reports."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from bigbatch.errors import InputError
from bigbatch.recipe import Recipe
from bigbatch.runs.folder import RunFolder
from bigbatch.runs.record import RunRecord, read_record
from bigbatch.study.ledger import find_runs
from bigbatch.study.report.reading.condense import condense
from bigbatch.study.report.reading.runs_file import Runs, Unreadable, read_runs_file
from bigbatch.study.sweep.manifest import NAME as SWEEP
from bigbatch.study.sweep.membership import Membership

RESULTS_SUFFIX: Final = ".json"


def read_runs(paths: Iterable[Path]) -> Runs:
    """Read and condense all runs of folders and of runs.json files; a run that is named twice counts once.

    Folders are read before files. A file may come from another machine, whose folders have the same names. It does if
    none of its runs is the one that is known by the same path. Then the file's name is put before their paths.

    Raises:
        InputError: a path holds no run, or none that can be read.
    """
    records: dict[Path, RunRecord] = {}
    unreadable: dict[str, str] = {}
    for path in sorted(paths, key=_is_file_of_runs):
        found = list(_each(path))
        runs = [condense(run) for run in found if isinstance(run, RunRecord)]
        known = [run for run in runs if run.path in records]
        is_elsewhere = _is_file_of_runs(path) and known and not any(_is_same(run, records[run.path]) for run in known)
        for run in map(partial(_put_under, path), runs) if is_elsewhere else runs:
            records.setdefault(run.path, run)
        for bad in found:
            if isinstance(bad, Unreadable):
                unreadable.setdefault(bad.path, bad.reason)
    if not records:
        raise InputError(next(iter(unreadable.values()), "there is no run in these files"))
    return Runs(list(records.values()), [Unreadable(*bad) for bad in unreadable.items()])


def _is_file_of_runs(path: Path) -> bool:
    return path.suffix == RESULTS_SUFFIX


def _is_same(one: RunRecord, other: RunRecord) -> bool:
    """Tell whether two records with the same path are of the same run, perhaps at different times."""
    return one.started == other.started


def _put_under(file: Path, run: RunRecord) -> RunRecord:
    return replace(run, path=file / run.path.relative_to(run.path.anchor))


def _each(path: Path) -> Iterator[RunRecord | Unreadable]:
    if _is_file_of_runs(path):
        kept = read_runs_file(path)
        yield from kept.records
        yield from kept.unreadable
        return
    membership = Membership()
    for folder in _run_folders(path):
        try:
            yield _with_variant(_with_recipe(read_record(folder)), membership)
        except InputError as error:
            yield Unreadable(str(folder), str(error))
    yield from (Unreadable(str(folder / SWEEP), reason) for folder, reason in membership.damaged.items())


def _with_variant(run: RunRecord, membership: Membership) -> RunRecord:
    """Return the run with its variant, and whether it is the reference, if a sweep's folder records them."""
    found = membership.find(run)
    if not found:
        return run
    (variant, _), is_reference = found
    return replace(run, summary=replace(run.summary, variant=variant, is_reference=is_reference))


def _run_folders(path: Path) -> list[Path]:
    try:
        folders = find_runs(path)
    except InputError as error:
        msg = f"{path} holds no run (there is no such folder)"
        raise InputError(msg) from error
    if not folders:
        msg = f"{path} holds no run, and no folder in it does"
        raise InputError(msg)
    return folders


def _with_recipe(run: RunRecord) -> RunRecord:
    """Return the run with the recipe of its recipe.toml if its run.json, of an older version, has none."""
    if run.summary.recipe is not None:
        return run
    recipe: Recipe = RunFolder(run.path).recipe
    return replace(run, summary=replace(run.summary, recipe=recipe.to_dict()))
