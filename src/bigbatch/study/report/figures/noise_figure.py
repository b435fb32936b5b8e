"""The gradient noise scale over the training, where runs have measured it."""

from typing import TYPE_CHECKING, Final

from bigbatch.figures import plain_numbers, series_style, whole_numbers
from bigbatch.study.report.figures.curves import Curve, noise_curve
from bigbatch.study.report.grouping.groups import Group
from bigbatch.study.report.grouping.points import Point

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 9.0, 4.2  # inches
NUM_MARKERS: Final = 6


def noise_curves(group: Group) -> list[tuple[Point, Curve]]:
    """Return the noise scale of each point of the plain recipe whose runs have measured it."""
    curves = [(point, noise_curve(point.counted)) for point in group.series[0].points]
    return [(point, curve) for point, curve in curves if len(curve) > 1]


def draw_noise_scale(figure: "Figure", group: Group) -> None:
    """Draw the noise scale of each minibatch size over the epochs."""
    figure.set_size_inches(WIDTH, HEIGHT)
    axes = figure.subplots()
    for i, (point, curve) in enumerate(noise_curves(group)):
        style = series_style(i) | {"markersize": 3.5, "linewidth": 1.2}
        label = f"{point.minibatch_size}"
        axes.plot(*zip(*curve, strict=True), **style, markevery=(0.02 * (i % 5), 1 / NUM_MARKERS), label=label)
    axes.set(yscale="log", xlabel="epoch", ylabel="noise scale (samples)")
    plain_numbers(axes.yaxis)
    whole_numbers(axes.xaxis)
    axes.grid(visible=True)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", title="minibatch size")
