"""One figure of a few runs: the validation error of each over its epochs."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from bigbatch.figures import figure_text, plain_numbers, series_style, whole_numbers
from bigbatch.report.curves import error_curve
from bigbatch.report.tables import rate_of
from bigbatch.run_record import FINISHED, RunRecord, as_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 7.0, 4.2  # inches
MOST_IN_LEGEND: Final = 12


def draw_error_curves(figure: "Figure", runs: Sequence[RunRecord]) -> None:
    """Draw the validation error after every epoch of every run, also of those that have not finished."""
    figure.set_size_inches(WIDTH, HEIGHT)
    axes = figure.subplots()
    for i, run in enumerate(runs):
        curve = error_curve(run)
        axes.plot([x for x, _ in curve], [y for _, y in curve], label=figure_text(_label(run)), **series_style(i))
    axes.set(xlabel="epoch", ylabel="validation error (%)", yscale="log", title=_title(runs))
    plain_numbers(axes.yaxis)
    whole_numbers(axes.xaxis)
    axes.grid(visible=True, which="both", alpha=0.5)
    handles, labels = axes.get_legend_handles_labels()
    is_long = len(runs) > MOST_IN_LEGEND
    place = {"loc": "outside right upper"} if is_long else {"loc": "outside lower center"}
    figure.legend(handles, labels, title="median error of the last 5 epochs", ncols=1 if is_long else 2, **place)


def _label(run: RunRecord) -> str:
    size, rate, error = run.recipe_fields.get("minibatch_size"), rate_of(run), run.validation_error
    result = "no result" if error is None else f"{error:.2f} %"
    state = "" if run.state == FINISHED else f" ({run.state})"
    return f"minibatch {size}, rate {rate if rate is None else format(rate, 'g')}: {result}{state}"


def _title(runs: Sequence[RunRecord]) -> str:
    names = sorted({as_text(run.recipe_fields.get("name")) or "?" for run in runs})
    return figure_text("Validation error of " + ", ".join(names))
