"""What the runs of a group prove: a verdict on each point, and the elbow."""

from bigbatch.study import statistics
from bigbatch.study.report.grouping.groups import Group
from bigbatch.study.report.grouping.points import Point
from bigbatch.study.statistics import Judgement, Outcomes


def judge(group: Group, margin: float | None = None) -> Judgement:
    """Compare every point of the group with its reference, as `statistics.judge` does.

    Args:
        group: the runs.
        margin: the largest difference that counts as a match, percentage points; the reference's noise band if None.

    Raises:
        InputError: the margin is not above 0.
    """
    points = {point.key: outcomes_of(point) for point in group.points}
    return statistics.judge(points, group.reference.key if group.reference else None, margin)


def outcomes_of(point: Point) -> Outcomes:
    """Return what came of a point's runs."""
    return Outcomes(point.errors, point.num_diverged)
