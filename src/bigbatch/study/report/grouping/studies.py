"""Studies: which runs can be compared with one reference, and what they prove.

Runs can be compared if they are of one sweep, or of the same data and model, and are judged by the same metric.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from bigbatch.errors import InputError
from bigbatch.printable import printable
from bigbatch.recipe import NOT_OF_THE_RESULT, effective_fields
from bigbatch.recipe.metrics import Measure
from bigbatch.reduction.options import NATIVE
from bigbatch.runs.contract import FOR_PEOPLE
from bigbatch.runs.record import RunRecord
from bigbatch.study import statistics
from bigbatch.study.comparable import measured_by
from bigbatch.study.naming import noun_of
from bigbatch.study.report.grouping.labels import shortened
from bigbatch.study.report.grouping.measures import OF_THE_SEED, size_of
from bigbatch.study.report.grouping.plainness import DATA_AND_MODEL, METRICS
from bigbatch.study.report.grouping.series import Point, Series, reference_size_of, split_into_series
from bigbatch.study.statistics import Judgement, Outcomes, digits_of_points

LONGEST_TITLE: Final = 80
HASH_DIGITS: Final = 8

Place = tuple[tuple[str, Measure, str], str | None]  # what can be compared, and the data


@dataclass(frozen=True)
class Study:
    """Runs that can be compared with each other, and with no others.

    Attributes:
        title: the data and the model, in words.
        series: the plain recipe first, then its variants.
        reference_size: the minibatch size of the reference; None if no recipe says one.
        measure: what the runs are judged by.
    """

    title: str
    series: Sequence[Series]
    reference_size: int | None
    measure: Measure

    @property
    def points(self) -> list[Point]:
        """All points, the plain recipe's first."""
        return [point for series in self.series for point in series.points]

    @property
    def runs(self) -> list[RunRecord]:
        """All runs, in the order of the points."""
        return [run for point in self.points for run in point.runs]

    @property
    def reference(self) -> Point | None:
        """The plain recipe at the reference's minibatch size, if any run is of it."""
        return next((p for p in self.series[0].points if p.minibatch_size == self.reference_size), None)

    @property
    def digits(self) -> str:
        """The format of its numbers."""
        first = [self.reference] if self.reference else []
        return digits_of_points(self.measure, (point.results for point in (*first, *self.points)))


def split_into_studies(runs: Iterable[RunRecord]) -> tuple[list[Study], list[RunRecord]]:
    """Return the studies, the largest first, and the runs that belong to none: their recipe says no minibatch size."""
    runs = list(runs)
    unplaced = [run for run in runs if size_of(run) is None]
    placed = [run for run in runs if size_of(run) is not None]
    variants = _recorded_names(placed)
    studies = [_study(members, variants) for members in _comparable(placed, variants)]
    for tell_apart in (_with_metric, _with_data, _with_folder):
        titles = Counter(study.title for study in studies)
        studies = [tell_apart(study, studies) if titles[study.title] > 1 else study for study in studies]
    return sorted(studies, key=lambda study: -len(study.runs)), unplaced


def check_one_unit(studies: Sequence[Study], margin: float | None) -> None:
    """Refuse a margin for studies of several metrics: it would mean something else in each.

    Raises:
        InputError: with the metrics.
    """
    measures = sorted({study.measure.label for study in studies})
    if margin is not None and len(measures) > 1:
        msg = f"one margin cannot hold for {' and '.join(measures)}; report the runs of each alone, or leave it out"
        raise InputError(msg)


def judge(study: Study, margin: float | None = None) -> Judgement:
    """Compare every point of the study with its reference, as `statistics.judge` does.

    Args:
        study: the runs.
        margin: the largest difference that counts as a match, in the metric's unit; the reference's noise band if None.

    Raises:
        InputError: the metric has no such margin.
    """
    outcomes = {point.configuration: Outcomes(point.results, point.num_diverged) for point in study.points}
    reference = study.reference.configuration if study.reference else None
    return statistics.judge(outcomes, reference, margin, measure=study.measure)


def _recorded_names(runs: Sequence[RunRecord]) -> dict[Path, str]:
    """Return the variants that sweeps have recorded, by the run's path; only of sweeps whose reference is here."""
    sweeps = {run.path.parent for run in runs if _is_reference(run)}
    return {run.path: variant for run in runs if (variant := _variant_of(run)) and run.path.parent in sweeps}


def _comparable(runs: Sequence[RunRecord], variants: Mapping[Path, str]) -> Iterable[list[RunRecord]]:
    """Return the runs of each study.

    A sweep's runs belong to its reference, whatever model they vary. So do those of another sweep with the same
    reference, and the runs of the same model that are of no sweep. Runs of different metrics never belong together.
    """
    references: dict[Path, str] = {}
    of_models: dict[str, str] = {}
    for run in filter(_is_reference, runs):
        recipe = _recipe_of(run)
        references.setdefault(run.path.parent, recipe)
        of_models.setdefault(_model_of(run), recipe)
    placed: dict[Place, list[RunRecord]] = {}
    for run in runs:
        model = _model_of(run)
        name = references[run.path.parent] if run.path in variants else of_models.get(model, model)
        kind = name, run.metric, measured_by(run.metric, run.recipe_fields)
        placed.setdefault((kind, run.summary.data_fingerprint), []).append(run)
    return _joined(placed)


def _joined(placed: dict[Place, list[RunRecord]]) -> Iterable[list[RunRecord]]:
    """Add runs that ended before they saw the data to the study of their name, if there is only one."""
    for key in [key for key in placed if key[1] is None]:
        others = [other for other in placed if other[0] == key[0] and other != key]
        if len(others) == 1:
            placed[others[0]] += placed.pop(key)
    return placed.values()


def _is_reference(run: RunRecord) -> bool:
    return bool(run.summary.is_reference and _variant_of(run))


def _variant_of(run: RunRecord) -> str | None:
    """Return the variant that a sweep has recorded; of a native reduction none, because sweeps are exact."""
    return None if run.summary.reduction == NATIVE else run.summary.variant


def _model_of(run: RunRecord) -> str:
    return repr(sorted((name, repr(v)) for name, v in run.recipe_fields.items() if name.startswith(DATA_AND_MODEL)))


def _recipe_of(run: RunRecord) -> str:
    """Return what the training depends on, without the seeds."""
    fields = effective_fields(run.recipe_fields)
    left_out = (*NOT_OF_THE_RESULT, *OF_THE_SEED, *FOR_PEOPLE, METRICS)
    return repr(sorted((name, repr(value)) for name, value in fields.items() if not name.startswith(left_out)))


def _study(runs: Sequence[RunRecord], variants: Mapping[Path, str]) -> Study:
    series = split_into_series(runs, variants)
    plain = series[0].points[0].runs[0]
    return Study(_title(plain), series, reference_size_of(series[0]), plain.metric)


def _title(run: RunRecord) -> str:
    fields = run.recipe_fields
    width = f" of width {fields['model.width']}" if fields.get("model.width") else ""
    arguments = "".join(
        f", {name.removeprefix('model.arguments.')} {value}"
        for name, value in fields.items()
        if name.startswith("model.arguments.")
    )
    text = f"{fields.get('data.name', 'unknown data')} with {fields.get('model.name', 'an unknown model')}{width}"
    return shortened(printable(text + arguments), LONGEST_TITLE)


def _with_metric(study: Study, studies: Sequence[Study]) -> Study:
    """Add the metric to the title: another study of the same data is judged by another one."""
    others = {other.measure for other in studies if other.title == study.title}
    title = f"{study.title}, by {printable(noun_of(study.measure))}"
    return replace(study, title=title) if len(others) > 1 else study


def _with_data(study: Study, _: Sequence[Study]) -> Study:
    """Add the data's hash to the title: another study has data of the same name."""
    plain = study.runs[0]
    fingerprint = plain.summary.data_fingerprint or "not recorded"
    return replace(study, title=f"{study.title} (data {printable(fingerprint[:HASH_DIGITS])})")


def _with_folder(study: Study, _: Sequence[Study]) -> Study:
    """Add the folder to the title: a sweep with another reference has the same data."""
    folder = printable(study.runs[0].path.parent.name)
    return replace(study, title=f"{study.title}, in {shortened(folder, LONGEST_TITLE)}")
