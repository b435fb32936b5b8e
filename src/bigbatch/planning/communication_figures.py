"""Figures of what it costs to sum gradients: measured among processes, and predicted for a cluster."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bigbatch.figures import series_style, written_figure
from bigbatch.planning.prediction import Prediction


def draw_all_reduces(result: dict[str, Any], target: Path) -> None:
    """Draw the time of every all-reduce, with quartiles, against the size of its buffer.

    Args:
        result: of `bench_all_reduce`.
        target: the file; its suffix chooses the format.

    Raises:
        InputError: matplotlib is not installed, or the file cannot be written.
    """
    table = result["seconds_by_bytes"]
    sizes = [int(size) for size in table]
    with written_figure(target) as axes:
        for i, name in enumerate(next(iter(table.values()))):
            low, middle, high = (
                [1e3 * timings[name][key] for timings in table.values()] for key in ("lower", "median", "upper")
            )
            style = series_style(i)
            axes.plot(sizes, middle, label=name, **style)
            axes.fill_between(sizes, low, high, color=style["color"], alpha=0.15, linewidth=0)
        axes.set(xscale="log", yscale="log", xlabel="size of the buffer", ylabel="milliseconds")
        axes.set_xticks(sizes, [size_in_words(size) for size in sizes], rotation=30)
        axes.minorticks_off()
        axes.set_title(f"All-reduce among {result['processes']} processes: median and quartiles")
        axes.grid(visible=True, alpha=0.25)
        axes.legend()


def size_in_words(num_bytes: int) -> str:
    """Return a number of bytes with its largest whole unit.

    >>> size_in_words(4096), size_in_words(10 << 20), size_in_words(1000)
    ('4 KB', '10 MB', '1000 B')
    """
    for unit, name in ((1 << 20, "MB"), (1 << 10, "KB")):
        if num_bytes % unit == 0:
            return f"{num_bytes // unit} {name}"
    return f"{num_bytes} B"


def draw_predictions(predictions: Sequence[Prediction], target: Path) -> None:
    """Draw images/s beside the ideal, and the parts of an iteration, against the number of machines.

    Raises:
        InputError: matplotlib is not installed, or the file cannot be written.
    """
    nodes = [prediction.nodes for prediction in predictions]
    with written_figure(target, columns=2) as (speed, parts):
        predicted = [prediction.images_per_second for prediction in predictions]
        ideal = [p.images_per_second / p.efficiency for p in predictions]
        speed.plot(nodes, ideal, label="ideal: each machine as if alone", color="0.5", linestyle="--")
        speed.plot(nodes, predicted, label="predicted", **series_style(0))
        speed.set(xscale="log", yscale="log", ylabel="images/s")
        hidden = [p.seconds - p.exposed_seconds for p in predictions]
        parts.plot(nodes, [p.seconds for p in predictions], label="an iteration", **series_style(0))
        parts.plot(nodes, hidden, label="computation, with waiting for the slowest", **series_style(2))
        parts.plot(
            nodes, [p.communication_seconds for p in predictions], label="the sum, if not hidden", **series_style(1)
        )
        parts.set(xscale="log", yscale="log", ylabel="seconds")
        for axes in (speed, parts):
            axes.set_xticks(nodes, [str(number) for number in nodes])
            axes.minorticks_off()
            axes.set(xlabel="machines")
            axes.grid(visible=True, alpha=0.25)
            axes.legend()
