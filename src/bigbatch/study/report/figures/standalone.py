"""One figure as a file of its own: results over epochs or over minibatch sizes, whichever suits the runs."""

from collections.abc import Sequence
from pathlib import Path

from bigbatch.errors import InputError
from bigbatch.figures import figure_style, write_figure
from bigbatch.runs.folder import LAST_EPOCHS
from bigbatch.runs.record import RunRecord
from bigbatch.study.naming import common_noun
from bigbatch.study.report import AUTO, SIZES
from bigbatch.study.report.figures.result_curves import draw_result_curves
from bigbatch.study.report.figures.results_by_size import draw_results_by_size
from bigbatch.study.report.grouping.studies import Study, judge, split_into_studies
from bigbatch.study.report.reading.last_epochs import judged_by_last, result_in_words


def draw_figure(
    runs: Sequence[RunRecord],
    target: Path,
    *,
    kind: str = AUTO,
    margin: float | None = None,
    last_epochs: int = LAST_EPOCHS,
) -> None:
    """Draw results over epochs, or over minibatch sizes.

    Args:
        runs: to draw.
        target: the file; its suffix gives the format.
        kind: CURVES, SIZES, or AUTO: SIZES if all runs have the same data and model, there are several minibatch sizes,
            and several seeds of one.
        margin: half the width of the reference's band, in the metric's unit; two standard deviations if None.
        last_epochs: a run's result is the median of this many, 1 to 5.

    Raises:
        InputError: matplotlib is not installed, the file cannot be written, or the figure does not suit the runs.
    """
    runs = judged_by_last(runs, last_epochs)
    studies, _ = split_into_studies(runs)
    with figure_style():
        from matplotlib.figure import Figure

        figure = Figure(layout="constrained")
        if kind == SIZES or (kind == AUTO and suits_sizes(studies)):
            study = _only(studies)
            findings = judge(study, margin)
            draw_results_by_size(figure, study, findings.margin, findings.elbow)
        else:
            noun = common_noun(run.metric for run in runs)
            draw_result_curves(figure, runs, title=result_in_words(last_epochs, noun))
        write_figure(figure, target)


def suits_sizes(studies: Sequence[Study]) -> bool:
    """Tell whether there are several minibatch sizes, and several seeds of one."""
    points = studies[0].points if len(studies) == 1 else []
    return len({point.minibatch_size for point in points}) > 1 and any(len(point.results) > 1 for point in points)


def _only(studies: Sequence[Study]) -> Study:
    if len(studies) != 1 or not any(point.results for point in studies[0].points):
        msg = "the figure of minibatch sizes needs finished runs of one data set, model and metric; name only those"
        raise InputError(msg)
    return studies[0]
