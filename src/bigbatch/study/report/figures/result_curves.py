"""The figure of single runs: what each measured on the validation data over its epochs."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from bigbatch.errors import InputError
from bigbatch.figures import plain_numbers, series_style, whole_numbers
from bigbatch.printable import printable
from bigbatch.recipe.metrics import Measure
from bigbatch.runs.json_table import as_text
from bigbatch.runs.record import FINISHED, RunRecord
from bigbatch.study.naming import axis_of, capitalised, label_of, noun_of
from bigbatch.study.report.figures.curves import result_curve
from bigbatch.study.report.figures.value_axis import is_logarithmic
from bigbatch.study.report.grouping.measures import rate_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 7.0, 4.8  # inches
MOST_IN_LEGEND: Final = 10


def draw_result_curves(figure: "Figure", runs: Sequence[RunRecord], *, title: str) -> None:
    """Draw what every run measured after every epoch, also of those that have not finished.

    Up to 10 runs look different. Of more, those with the same minibatch size and rate look the same.

    Args:
        figure: to draw on.
        runs: to draw.
        title: of the legend of up to 10 runs, whose labels end with their results.

    Raises:
        InputError: the runs are judged by several metrics.
    """
    measure = _only_metric(runs)
    figure.set_size_inches(WIDTH, HEIGHT)
    axes = figure.subplots()
    is_few = len(runs) <= MOST_IN_LEGEND
    labels = [f"{_name(run)}: {_result(run)}" if is_few else _name(run) for run in runs]
    counts = Counter(labels)
    numbers = {label: i for i, label in enumerate(counts)}
    for i, (run, label) in enumerate(zip(runs, labels, strict=True)):
        curve, is_first = result_curve(run), labels.index(label) == i
        shown = label if is_few else f"{label} ({counts[label]} runs)"
        style = series_style(i if is_few else numbers[label]) | ({} if is_few else {"alpha": 0.6, "linewidth": 0.9})
        name = printable(shown) if is_few or is_first else None
        axes.plot([x for x, _ in curve], [y for _, y in curve], label=name, **style)
    axes.set(xlabel="epoch", ylabel=axis_of(measure), title=_title(runs))
    values = [value for run in runs for _, value in result_curve(run)]
    if values and is_logarithmic(measure, min(values), max(values), judge=measure):
        axes.set(yscale="log")
        plain_numbers(axes.yaxis)
    whole_numbers(axes.xaxis)
    axes.grid(visible=True, which="both", alpha=0.5)
    handles, names = axes.get_legend_handles_labels()
    figure.legend(
        handles, names, title=title if is_few else None, ncols=1 if len(names) == 1 else 2, loc="outside lower center"
    )


def _name(run: RunRecord) -> str:
    rate = rate_of(run)
    return f"minibatch {run.recipe_fields.get('minibatch_size')}, rate {'?' if rate is None else format(rate, 'g')}"


def _result(run: RunRecord) -> str:
    result = "no result" if run.result is None else printable(run.metric.text(run.result))
    return result if run.state == FINISHED else f"{result} ({run.state})"


def _title(runs: Sequence[RunRecord]) -> str:
    names = sorted({as_text(run.recipe_fields.get("name")) or "?" for run in runs})
    return printable(f"{capitalised(label_of(runs[0].metric))} of {', '.join(names)}")


def _only_metric(runs: Sequence[RunRecord]) -> Measure:
    measures = {run.metric for run in runs}
    if len(measures) > 1:
        names = " and by ".join(sorted(map(noun_of, measures)))
        msg = f"a figure cannot compare runs that are judged by {names}; name only runs of one metric"
        raise InputError(msg)
    return runs[0].metric
