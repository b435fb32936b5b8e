"""A panel for each point: its curves over those of the reference (arXiv 1706.02677, figures 2 to 4)."""

import math
from typing import TYPE_CHECKING, Any, Final

from bigbatch.figures import SOFT, series_style, whole_numbers
from bigbatch.printable import printable
from bigbatch.recipe.metrics import Measure
from bigbatch.study.naming import with_unit
from bigbatch.study.report.figures.curves import Curve, CurveOf, mean_curve
from bigbatch.study.report.figures.value_axis import limits_of, set_limits
from bigbatch.study.report.grouping.labels import shortened
from bigbatch.study.report.grouping.series import Point
from bigbatch.study.report.grouping.studies import Study
from bigbatch.study.statistics import summarise

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, ROW_HEIGHT, HEAD = 9.0, 2.1, 0.5  # inches
COLUMNS: Final = 3
MOST_PANELS: Final = 30
LONGEST_TITLE: Final = 34


def has_curves(study: Study, curve_of: CurveOf) -> bool:
    """Tell whether any run of the study has such a curve."""
    return any(len(curve_of(run)) > 1 for run in study.runs)


def draw_panels(figure: "Figure", study: Study, curve_of: CurveOf, *, measure: Measure, ylabel: str) -> None:
    """Draw the mean curve of each point over the reference's; single seeds are faint, runs that do not count dashed.

    Args:
        figure: to draw on.
        study: its points are drawn.
        curve_of: returns the curve of a run.
        measure: of the curves' values.
        ylabel: the name of the curve's values.
    """
    points = _shown(study, curve_of)
    columns = min(COLUMNS, len(points))
    rows = math.ceil(len(points) / columns)
    figure.set_size_inches(WIDTH, ROW_HEIGHT * rows + HEAD)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    reference = mean_curve([curve_of(run) for run in study.reference.counted]) if study.reference else []
    for axes, point in zip(grid.flat, points, strict=False):
        _draw_panel(axes, study, point, curve_of, reference)
    for axes in grid.flat[len(points) :]:
        axes.set_axis_off()
    _label(grid, len(points), ylabel)
    curves = [curve_of(run) for point in points for run in point.runs]
    if any(curves):
        set_limits(grid[0, 0], measure, *limits_of(measure, curves, reference), judge=study.measure)
    for axes, point in zip(grid.flat, points, strict=False):
        _say_what_is_beyond(axes, mean_curve([curve_of(run) for run in point.counted]))
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles[:1], labels[:1], loc="outside lower center")


def _shown(study: Study, curve_of: CurveOf) -> list[Point]:
    """Return the points to draw: all but the reference, unless there is nothing else."""
    points = [p for p in study.points if any(len(curve_of(run)) > 1 for run in p.runs)]
    return ([p for p in points if p is not study.reference] or points)[:MOST_PANELS]


def _draw_panel(axes: "Axes", study: Study, point: Point, curve_of: CurveOf, reference: Curve) -> None:
    number = [series.label for series in study.series].index(point.series)
    colour: dict[str, Any] = {"color": series_style(number)["color"]}
    if reference and point is not study.reference:
        label = f"reference, minibatch {study.reference_size}"
        # Wide, so that it can be seen behind the others.
        axes.plot(*_columns(reference), color=SOFT, alpha=0.45, linewidth=3.2, label=label)
    for run in point.runs:
        line = (
            {"alpha": 0.35, "linewidth": 0.7} if run in point.counted else {"linestyle": (0, (3, 2)), "linewidth": 0.9}
        )
        axes.plot(*_columns(curve_of(run)), **colour, **line)
    axes.plot(*_columns(mean_curve([curve_of(run) for run in point.counted])), **colour, linewidth=1.3)
    axes.set_title(_title(study, point), loc="left")
    axes.grid(visible=True)


def _title(study: Study, point: Point) -> str:
    name = f"minibatch {point.minibatch_size}"
    if point.series != study.series[0].label:
        name = f"{point.minibatch_size}, {point.series}"
    return f"{printable(shortened(name, LONGEST_TITLE))}\n{_result(study, point)}"


def _result(study: Study, point: Point) -> str:
    summary = summarise(point.results) if point.results else None
    if summary is None:
        return "no result"
    if summary.std is None:
        return f"{with_unit(f'{summary.mean:{study.digits}}', study.measure)} (one run)"
    return with_unit(f"{summary:{study.digits}}", study.measure)


def _label(grid: Any, count: int, ylabel: str) -> None:  # noqa: ANN401 - an array of axes
    rows, columns = grid.shape
    for i, axes in enumerate(grid.flat):
        is_lowest = i + columns >= count
        axes.tick_params(labelbottom=is_lowest)
        whole_numbers(axes.xaxis)
        if is_lowest:
            axes.set_xlabel("epoch")
    for row in range(rows):
        grid[row, 0].set_ylabel(ylabel)


def _say_what_is_beyond(axes: "Axes", curve: Curve) -> None:
    if not curve:
        return
    (low, high), end = axes.get_ylim(), curve[-1][1]
    place: dict[str, Any] = {"xycoords": "axes fraction", "ha": "center", "fontsize": 8}
    if end > high:
        axes.annotate(f"▲ above the axis: {end:.3g} at the end", (0.5, 0.94), va="top", **place)
    if end < low:
        axes.annotate(f"▼ below the axis: {end:.3g} at the end", (0.5, 0.06), va="bottom", **place)


def _columns(curve: Curve) -> tuple[list[float], list[float]]:
    return [x for x, _ in curve], [y for _, y in curve]
