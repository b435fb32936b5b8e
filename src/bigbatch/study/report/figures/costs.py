"""What each minibatch size costs: iterations, and time on the machine that was used."""

from typing import TYPE_CHECKING, Final

from bigbatch.figures import plain_numbers, series_style
from bigbatch.printable import printable
from bigbatch.study.report.figures.legend import legend_below
from bigbatch.study.report.figures.size_axis import size_axis
from bigbatch.study.report.grouping.labels import shortened
from bigbatch.study.report.grouping.measures import Cost, iterations_of, mean_cost, seconds_of
from bigbatch.study.report.grouping.studies import Study

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 9.0, 3.6  # inches
LONGEST_LABEL: Final = 60


def draw_costs(figure: "Figure", study: Study) -> None:
    """Draw iterations and seconds of the finished runs over the minibatch size, a series for each recipe."""
    figure.set_size_inches(WIDTH, HEIGHT)
    left, right = figure.subplots(1, 2)
    _draw(left, study, iterations_of, "iterations")
    _draw(right, study, seconds_of, "seconds")
    legend_below(figure, left)


def _draw(axes: "Axes", study: Study, cost: Cost, ylabel: str) -> None:
    for i, series in enumerate(study.series):
        pairs = [(point.minibatch_size, mean_cost(point.counted, cost)) for point in series.points]
        known = [(size, value) for size, value in pairs if value]
        if not known:
            continue
        axes.plot(
            [s for s, _ in known],
            [v for _, v in known],
            **series_style(i),
            label=printable(shortened(series.label, LONGEST_LABEL)),
        )
    axes.set(yscale="log", ylabel=ylabel)
    size_axis(axes, [point.minibatch_size for point in study.points])
    plain_numbers(axes.yaxis)
    axes.grid(visible=True)
