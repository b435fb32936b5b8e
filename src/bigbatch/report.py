"""Runs side by side: a table, and a figure of their error curves."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from bigbatch.errors import InputError
from bigbatch.runs import RunFolder

HASH_DIGITS: Final = 8
# Okabe and Ito 2008: told apart by colour-blind readers too.
COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X")


def summarise(folder: RunFolder) -> dict[str, Any]:
    """Return what a table row shows of a run.

    Raises:
        InputError: the folder holds no run, or one without a finished epoch.
    """
    summary, recipe = folder.read_summary(), folder.recipe
    if "validation_error" not in summary:
        msg = f"{folder.path} has no result yet (status: {summary.get('status', 'unknown')})"
        raise InputError(msg)
    return {
        "run": folder.path.name if summary["status"] == "finished" else f"{folder.path.name} ({summary['status']})",
        "minibatch": recipe.minibatch_size,
        "workers": recipe.worker_count,
        "rate": recipe.base_learning_rate,
        "iterations": summary["iterations"],
        "error %": summary["validation_error"],
        "seconds": summary["seconds"],
        "weights": summary["weights_sha256"][:HASH_DIGITS],
    }


def draw_error_curves(folders: Sequence[RunFolder], target: Path) -> None:
    """Draw the validation error of every epoch of every run, and write the figure (its suffix says the format).

    Raises:
        InputError: matplotlib is not installed, or the file cannot be written.
    """
    try:
        import matplotlib as mpl

        mpl.use("Agg")
        from matplotlib import pyplot as plt
    except ImportError as error:
        msg = "drawing needs matplotlib: pip install 'bigbatch[plot]'"
        raise InputError(msg) from error
    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    highest = 0.0
    for i, folder in enumerate(folders):
        epochs = folder.read_epochs()
        errors = [epoch["validation_error"] for epoch in epochs]
        highest = max([highest, *errors])
        row = summarise(folder)
        label = f"minibatch {row['minibatch']}, rate {row['rate']:g}: {row['error %']:.2f} %"
        style: Any = {
            "color": COLOURS[i % len(COLOURS)],
            "marker": MARKERS[i % len(MARKERS)],
            "markersize": 4,
            "linewidth": 1.5,
        }
        axes.plot([epoch["epoch"] for epoch in epochs], errors, label=label, **style)
    axes.set(xlabel="epoch", ylabel="validation error (%)", yscale="log", title=_title(folders))
    axes.yaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(
        mpl.ticker.FuncFormatter(lambda value, _: f"{value:g}" if f"{value:g}"[0] in "25" else "")
    )
    axes.grid(visible=True, which="both", alpha=0.25)
    axes.legend(title="median error of the last 5 epochs")
    try:
        figure.savefig(target, dpi=150)
    except (OSError, ValueError) as error:
        msg = f"cannot write the figure {target} ({error})"
        raise InputError(msg) from error
    finally:
        plt.close(figure)


def _title(folders: Sequence[RunFolder]) -> str:
    names = sorted({folder.recipe.name for folder in folders})
    return "Validation error of " + ", ".join(names)
