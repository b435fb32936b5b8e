"""Judge all points of a study at once, for the table of a sweep and for a report."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Final

from bigbatch.errors import InputError
from bigbatch.recipe.metrics import TOP_1_ERROR, Measure
from bigbatch.study.configuration import Configuration
from bigbatch.study.statistics.conditions import check_margin
from bigbatch.study.statistics.digits import digits_of_points
from bigbatch.study.statistics.elbow import Elbow, find_elbow
from bigbatch.study.statistics.equivalence import compare, noise_band
from bigbatch.study.statistics.summary import Summary, summarise
from bigbatch.study.statistics.verdict import Verdict

INSTALL: Final = "verdicts need scipy: pip install 'bigbatch[stats]'"


@dataclass(frozen=True)
class Outcomes:
    """How the runs of one point ended.

    Attributes:
        results: one for each seed that is finished.
        num_diverged: runs that ended in NaN or infinity.
    """

    results: Sequence[float]
    num_diverged: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether there are results, and no run diverged. If one did, the other runs' results alone look too good."""
        return bool(self.results) and not self.num_diverged


@dataclass(frozen=True)
class Judgement:
    """The verdicts on a study.

    Attributes:
        measure: what the results are.
        digits: the format of its numbers.
        reference: the reference's result over seeds; None if it has none to compare with.
        margin: the largest difference that counts as a match, in the metric's unit; None if there is none.
        is_stated: whether the margin was stated, and is not the reference's noise band.
        verdicts: on each other point that is whole, Holm-adjusted over all of them.
        elbow: of the reference's own recipe; None where it has no larger size, or there is no margin.
        remark: why there are no verdicts; empty if there are.
    """

    measure: Measure
    digits: str
    reference: Summary | None
    margin: float | None
    is_stated: bool
    verdicts: Mapping[Configuration, Verdict] = field(default_factory=dict)
    elbow: Elbow | None = None
    remark: str = ""


def judge(
    points: Mapping[Configuration, Outcomes],
    reference: Configuration | None,
    margin: float | None = None,
    *,
    measure: Measure = TOP_1_ERROR,
) -> Judgement:
    """Compare every whole point with the reference, all as one family of tests, and find the elbow.

    A point with a diverged run has no verdict, and lies beyond the elbow.

    Args:
        points: the runs' outcomes, the reference's among them.
        reference: the point with which all others are compared; None if there is none.
        margin: the largest difference that counts as a match, in the metric's unit; the reference's noise band if None.
        measure: what the results are.

    Raises:
        InputError: the margin is not above 0, or a result is not finite.

    >>> small, large = Configuration("recipe", 16), Configuration("recipe", 64)
    >>> found = judge({small: Outcomes([1.0, 1.1]), large: Outcomes([1.1], 1)}, small, margin=0.5)
    >>> found.verdicts, str(found.elbow)
    ({}, 'already left at 64, the first size measured above the reference, where runs diverged')
    """
    is_stated = margin is not None
    if margin is not None:
        check_margin(margin, measure)
    trusted = Outcomes([]) if reference is None else points.get(reference, Outcomes([]))
    digits = digits_of_points(measure, (point.results for point in (trusted, *points.values())))
    if reference is None or not trusted.is_whole:
        return Judgement(measure, digits, None, margin, is_stated, remark=_why_not(trusted))
    summary = summarise(trusted.results, name="reference")
    used = _noise_band_or_none(trusted.results) if margin is None else margin
    if not find_spec("scipy"):
        return Judgement(measure, digits, summary, used, is_stated, remark=INSTALL)
    others = {key: point.results for key, point in points.items() if key != reference and point.is_whole}
    verdicts = compare(others, trusted.results, measure=measure, margin=margin)
    return Judgement(measure, digits, summary, used, is_stated, verdicts, _elbow(points, reference, used, measure))


def family_note(verdicts: Iterable[Verdict | None]) -> str:
    """Say what holds for several verdicts together, and what does not; empty for fewer than two tested ones."""
    num_tested = sum(verdict is not None and verdict.p_different is not None for verdict in verdicts)
    if num_tested < 2:  # noqa: PLR2004
        return ""
    return f"verdicts hold for all {num_tested} rows together (Holm); each 90 % interval is that of its row alone"


def _why_not(reference: Outcomes) -> str:
    if reference.num_diverged:
        runs = "a run" if reference.num_diverged == 1 else f"{reference.num_diverged} runs"
        return f"{runs} of the reference diverged"
    return "the reference has no result"


def _noise_band_or_none(results: Sequence[float]) -> float | None:
    """Return two standard deviations of the reference's results; None where its seeds show no noise."""
    try:
        return noise_band(results)
    except InputError:
        return None


def _elbow(
    points: Mapping[Configuration, Outcomes], reference: Configuration, margin: float | None, measure: Measure
) -> Elbow | None:
    """Find the elbow, unless there is no larger size, or no margin."""
    curve = {size: point for (name, size), point in points.items() if name == reference[0] and size >= reference[1]}
    results = {size: point.results for size, point in curve.items() if point.is_whole}
    diverged = [size for size, point in curve.items() if point.num_diverged]
    if margin is None or len(results) + len(diverged) == 1:
        return None
    return find_elbow(results, reference=reference[1], measure=measure, margin=margin, diverged=diverged)
