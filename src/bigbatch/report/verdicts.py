"""What the runs of a group prove: a verdict on each point, and the elbow."""

from collections.abc import Mapping
from dataclasses import dataclass

from bigbatch.errors import InputError
from bigbatch.report.groups import Group, Point
from bigbatch.statistics import Elbow, Summary, Verdict, compare, find_elbow, noise_band, summarise

Key = tuple[str, int]


@dataclass(frozen=True)
class Findings:
    """What the runs of a group prove.

    Attributes:
        reference: the reference's error over seeds; None if no run of it has finished.
        margin: the largest difference that counts as a match, percentage points; None if there is none to be had.
        is_stated: whether the margin was stated, and is not the reference's noise band.
        verdicts: on each other point that has a result, Holm-adjusted over all of them.
        elbow: of the plain recipe; None where it has no larger size, or there is no margin.
    """

    reference: Summary | None
    margin: float | None
    is_stated: bool
    verdicts: Mapping[Key, Verdict]
    elbow: Elbow | None


def judge(group: Group, margin: float | None = None) -> Findings:
    """Compare every point of the group with its reference.

    A point with a run that diverged is not tested: the runs that are left would be the lucky ones.

    Args:
        group: the runs.
        margin: the largest difference that counts as a match, percentage points; the reference's noise band if None.

    Raises:
        InputError: the margin is not above 0, or scipy is not installed.
    """
    reference = group.reference
    trusted = reference.errors if reference and not reference.num_diverged else []
    if not trusted:
        return Findings(None, margin, margin is not None, {}, None)
    others = {point.key: point.errors for point in group.points if point is not reference and is_whole(point)}
    verdicts = compare(others, trusted, margin=margin)
    used = noise_band_or_none(reference) if margin is None else margin
    return Findings(summarise(trusted), used, margin is not None, verdicts, _elbow(group, used))


def is_whole(point: Point) -> bool:
    """Tell whether a point has results, and none of its runs diverged."""
    return bool(point.errors) and not point.num_diverged


def noise_band_or_none(reference: Point | None) -> float | None:
    """Return two standard deviations of the reference's errors; None where its seeds show no noise."""
    try:
        return noise_band(reference.errors) if reference else None
    except InputError:
        return None


def _elbow(group: Group, margin: float | None) -> Elbow | None:
    size = group.reference_size
    errors = {point.minibatch_size: point.errors for point in group.series[0].points if is_whole(point)}
    if margin is None or size is None or max(errors, default=0) <= size:
        return None
    return find_elbow(errors, reference=size, margin=margin)
