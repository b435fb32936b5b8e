"""How our figures look, and how they are written; without torch."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from bigbatch.errors import InputError

# Okabe and Ito 2008: told apart by colour-blind readers too.
COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X")


def series_style(number: int) -> dict[str, Any]:
    """Return the colour and marker of the number-th series of a figure."""
    return {
        "color": COLOURS[number % len(COLOURS)],
        "marker": MARKERS[number % len(MARKERS)],
        "markersize": 4,
        "linewidth": 1.5,
    }


@contextmanager
def written_figure(target: Path, *, columns: int = 1) -> Iterator[Any]:
    """Give matplotlib's axes (a list of them for several columns) to draw on, and write the figure at the end.

    Raises:
        InputError: matplotlib is not installed, or the file cannot be written; its suffix says the format.
    """
    try:
        import matplotlib as mpl

        mpl.use("Agg")
        from matplotlib import pyplot as plt
    except ImportError as error:
        msg = "drawing needs matplotlib: pip install 'bigbatch[plot]'"
        raise InputError(msg) from error
    figure, axes = plt.subplots(1, columns, figsize=(7 if columns == 1 else 5 * columns, 4.2), layout="constrained")
    try:
        yield axes
        figure.savefig(target, dpi=150)
    except (OSError, ValueError) as error:
        msg = f"cannot write the figure {target} ({error})"
        raise InputError(msg) from error
    finally:
        plt.close(figure)


def plain_numbers(axis: Any) -> None:  # noqa: ANN401 - matplotlib's axis
    """Label a logarithmic axis with plain numbers, also at 2 and 5."""
    from matplotlib.ticker import FuncFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(FuncFormatter(lambda value, _: f"{value:g}" if f"{value:g}"[0] in "25" else ""))
