"""Learning rates over the epochs: warmup and schedule of each minibatch size, as they were used."""

from typing import TYPE_CHECKING, Final

from bigbatch.figures import plain_numbers, series_style, whole_numbers
from bigbatch.printable import printable
from bigbatch.study.report.figures.curves import Curve, rate_curve
from bigbatch.study.report.grouping.groups import Group
from bigbatch.study.report.grouping.labels import shortened
from bigbatch.study.report.grouping.points import Point

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 9.0, 4.2  # inches
LOWEST: Final = 1e-2  # times the highest rate of the smallest curve: a cosine ends at 0
MOST_CURVES: Final = 20
NUM_MARKERS: Final = 6
LONGEST_LABEL: Final = 34


def draw_schedules(figure: "Figure", group: Group) -> None:
    """Draw the learning rate of a run of each point; of points with the same rates only the first."""
    curves = distinct_curves(group)
    figure.set_size_inches(WIDTH, HEIGHT)
    axes = figure.subplots()
    for i, (point, curve) in enumerate(curves):
        style = series_style(i) | {"markersize": 3.5, "linewidth": 1.2}
        axes.plot(
            *zip(*curve, strict=True), **style, markevery=(0.02 * (i % 5), 1 / NUM_MARKERS), label=_label(group, point)
        )
    highest = [max(rate for _, rate in curve) for _, curve in curves]
    axes.set(yscale="log", ylim=(LOWEST * min(highest), 1.5 * max(highest)), xlabel="epoch", ylabel="learning rate")
    plain_numbers(axes.yaxis)
    whole_numbers(axes.xaxis)
    axes.grid(visible=True)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", title="minibatch size")


def distinct_curves(group: Group) -> list[tuple[Point, Curve]]:
    """Return each point's rates, the highest first; those that another point has are left out."""
    found: dict[str, tuple[Point, Curve]] = {}
    for point in group.points:
        curve = next((c for run in (*point.counted, *point.runs) if (c := _positive(rate_curve(run)))), [])
        if len(curve) > 1:
            found.setdefault(repr(curve), (point, curve))
    ordered = sorted(found.values(), key=lambda pair: -max(rate for _, rate in pair[1]))
    return ordered[:MOST_CURVES]


def _positive(curve: Curve) -> Curve:
    return [(epoch, rate) for epoch, rate in curve if rate > 0]


def _label(group: Group, point: Point) -> str:
    is_plain = point.series == group.series[0].label
    name = str(point.minibatch_size) if is_plain else f"{point.minibatch_size}, {point.series}"
    return printable(shortened(name, LONGEST_LABEL))
