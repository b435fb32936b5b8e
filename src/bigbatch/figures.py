"""How our figures look, and how they are written; without torch."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from bigbatch.errors import InputError

# Okabe and Ito 2008: told apart by colour-blind readers too.
COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X")
LINES: Final = ("-", "--", "-.", (0, (1, 1)), (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)), (0, (6, 2)))
INK, SOFT, RULE, PAPER = "#1b1f24", "#57606a", "#d0d7de", "#ffffff"  # text, what is of less weight, lines, ground
DPI: Final = 150
STYLE: Final[Any] = {
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.edgecolor": SOFT,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "text.parse_math": False,  # a dollar sign in a name starts no formula
    "svg.fonttype": "none",  # text stays text: searched, read aloud, set in the page's font
    "svg.hashsalt": "bigbatch",  # the same figure is the same bytes
}


def series_style(number: int) -> dict[str, Any]:
    """Return the colour, marker and dashes of the number-th series: two series differ by more than their colour."""
    turn = number // len(COLOURS)  # the second time round, a colour comes with another marker and other dashes
    return {
        "color": COLOURS[number % len(COLOURS)],
        "marker": MARKERS[(number + 2 * turn) % len(MARKERS)],
        "linestyle": LINES[(number + turn) % len(LINES)],
        "markersize": 4,
        "linewidth": 1.5,
    }


@contextmanager
def figure_style() -> Iterator[None]:
    """Let matplotlib draw in our style within the block.

    Raises:
        InputError: matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
    except ImportError as error:
        msg = "drawing needs matplotlib: pip install 'bigbatch[plot]'"
        raise InputError(msg) from error
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # a name in a script that the font lacks
        yield


@contextmanager
def written_figure(target: Path, *, columns: int = 1) -> Iterator[Any]:
    """Give matplotlib's axes (an array of them for several columns) to draw on, and write the figure at the end.

    Raises:
        InputError: matplotlib is not installed, or the file cannot be written; its suffix says the format.
    """
    with figure_style():
        from matplotlib.figure import Figure

        figure = Figure((7 if columns == 1 else 5 * columns, 4.2), layout="constrained")
        yield figure.subplots(1, columns)
        write_figure(figure, target)


def write_figure(figure: Any, target: Path) -> None:  # noqa: ANN401 - matplotlib's figure
    """Write a figure.

    Raises:
        InputError: the file cannot be written; its suffix says the format.
    """
    try:
        figure.savefig(target, dpi=DPI)
    except (OSError, ValueError) as error:
        msg = f"cannot write the figure {target} ({error})"
        raise InputError(msg) from error


def whole_numbers(axis: Any) -> None:  # noqa: ANN401 - matplotlib's axis
    """Put ticks at whole numbers only."""
    axis.get_major_locator().set_params(integer=True)


def plain_numbers(axis: Any) -> None:  # noqa: ANN401 - matplotlib's axis
    """Label a logarithmic axis with plain numbers, also at 2 and 5 times a power of ten."""
    from matplotlib.ticker import FuncFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(FuncFormatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else ""))
