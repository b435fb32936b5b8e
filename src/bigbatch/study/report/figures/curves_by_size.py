"""Curves over the epochs, one for each point: the learning rate that was used, and the gradient noise scale."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from bigbatch.figures import plain_numbers, series_style, whole_numbers
from bigbatch.printable import printable
from bigbatch.study.report.figures.curves import Curve, noise_curve, rate_curve
from bigbatch.study.report.grouping.labels import shortened
from bigbatch.study.report.grouping.series import Point
from bigbatch.study.report.grouping.studies import Study

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 9.0, 4.2  # inches
LOWEST: Final = 1e-2  # times the highest rate of the lowest curve: a cosine ends at 0
MOST_CURVES: Final = 20
NUM_MARKERS: Final = 6
LONGEST_LABEL: Final = 34

PointCurve = tuple[Point, Curve]


def draw_rates(figure: "Figure", study: Study) -> None:
    """Draw the learning rate of each point; of points with the same rates only the first."""
    curves = rate_curves(study)
    axes = _draw_curves(figure, study, curves, ylabel="learning rate")
    highest = [max(rate for _, rate in curve) for _, curve in curves]
    axes.set(ylim=(LOWEST * min(highest), 1.5 * max(highest)))


def draw_noise_scales(figure: "Figure", study: Study) -> None:
    """Draw the gradient noise scale of each point that `noise_curves` finds."""
    _draw_curves(figure, study, noise_curves(study), ylabel="noise scale (samples)")


def rate_curves(study: Study) -> list[PointCurve]:
    """Return the rates of one run of each point, the highest first; repeated curves are left out."""
    found: dict[str, PointCurve] = {}
    for point in study.points:
        curve = next((c for run in (*point.counted, *point.runs) if (c := _positive(rate_curve(run)))), [])
        if len(curve) > 1:
            found.setdefault(repr(curve), (point, curve))
    ordered = sorted(found.values(), key=lambda pair: -max(rate for _, rate in pair[1]))
    return ordered[:MOST_CURVES]


def noise_curves(study: Study) -> list[PointCurve]:
    """Return the noise scale of each point of the plain recipe whose runs have measured it."""
    curves = [(point, noise_curve(point.counted)) for point in study.series[0].points]
    return [(point, curve) for point, curve in curves if len(curve) > 1]


def _draw_curves(figure: "Figure", study: Study, curves: Sequence[PointCurve], *, ylabel: str) -> "Axes":
    figure.set_size_inches(WIDTH, HEIGHT)
    axes = figure.subplots()
    for i, (point, curve) in enumerate(curves):
        style = series_style(i) | {"markersize": 3.5, "linewidth": 1.2, "markevery": (0.02 * (i % 5), 1 / NUM_MARKERS)}
        axes.plot(*zip(*curve, strict=True), **style, label=_label(study, point))
    axes.set(yscale="log", xlabel="epoch", ylabel=ylabel)
    plain_numbers(axes.yaxis)
    whole_numbers(axes.xaxis)
    axes.grid(visible=True)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", title="minibatch size")
    return axes


def _positive(curve: Curve) -> Curve:
    return [(epoch, rate) for epoch, rate in curve if rate > 0]


def _label(study: Study, point: Point) -> str:
    is_plain = point.series == study.series[0].label
    name = str(point.minibatch_size) if is_plain else f"{point.minibatch_size}, {point.series}"
    return printable(shortened(name, LONGEST_LABEL))
