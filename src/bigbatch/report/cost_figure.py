"""What each minibatch size costs: iterations, and time on the machine that was used."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from bigbatch.figures import plain_numbers, series_style
from bigbatch.printable import printable
from bigbatch.report.groups import Group
from bigbatch.report.labels import columns_for, shortened
from bigbatch.report.size_axis import size_axis
from bigbatch.runs.record import RunRecord, as_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 9.0, 3.6  # inches
LONGEST_LABEL: Final = 60
Cost = Callable[[RunRecord], float | None]


def seconds_of(run: RunRecord) -> float | None:
    """Return how long a run took, over all its attempts."""
    return as_number(run.summary.get("seconds"))


def iterations_of(run: RunRecord) -> float | None:
    """Return the run's number of iterations."""
    return run.num_iterations or None


def mean_cost(runs: Sequence[RunRecord], cost: Cost) -> float | None:
    """Return the mean of a cost over runs; None where none has recorded it."""
    values = [value for run in runs if (value := cost(run)) is not None]
    return sum(values) / len(values) if values else None


def draw_costs(figure: "Figure", group: Group) -> None:
    """Draw iterations and seconds of the finished runs over the minibatch size, a series for each recipe."""
    figure.set_size_inches(WIDTH, HEIGHT)
    left, right = figure.subplots(1, 2)
    _draw(left, group, iterations_of, "iterations")
    _draw(right, group, seconds_of, "seconds")
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=columns_for(labels))


def _draw(axes: "Axes", group: Group, cost: Cost, ylabel: str) -> None:
    for i, series in enumerate(group.series):
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
    size_axis(axes, [point.minibatch_size for point in group.points])
    plain_numbers(axes.yaxis)
    axes.grid(visible=True)
