"""Results against minibatch size (arXiv 1706.02677, figure 1): flat, then an elbow.

Runs that diverge end near 90 % of errors, and an axis up to there would flatten all other points. So the axis ends at
twice the reference's error. Larger errors are written as numbers in a strip above it. Where higher is better, the strip
lies below.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from bigbatch.figures import INK, SOFT, series_style
from bigbatch.printable import printable
from bigbatch.recipe.metrics import LOWER, PER_CENT, Measure
from bigbatch.runs.record import FAILED
from bigbatch.study.naming import axis_of, difference_in_words, mean_of, with_unit, worse_side
from bigbatch.study.report.figures.legend import legend_below
from bigbatch.study.report.figures.size_axis import size_axis
from bigbatch.study.report.figures.value_axis import Ending, ending_of
from bigbatch.study.report.grouping.labels import shortened
from bigbatch.study.report.grouping.series import Point, Series
from bigbatch.study.report.grouping.studies import Study
from bigbatch.study.statistics import Elbow, Summary, summarise

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT, ROW_HEIGHT = 9.0, 4.4, 0.3  # inches
BAR_STDS: Final = 2
DODGE, DOTS = 0.09, -0.05  # doublings: between series, and from an error bar to its seeds
PADDING: Final = 0.06
LONGEST_NAME, LONGEST_LABEL = 22, 60


def draw_results_by_size(figure: "Figure", study: Study, margin: float | None, elbow: Elbow | None = None) -> None:
    """Draw mean ± 2 std over seeds at each minibatch size, a series for each recipe, every seed as a faint dot."""
    ending = _ending(study, margin)
    strips = [(series, notes) for series in study.series if (notes := _notes(series, ending))]
    figure.set_size_inches(WIDTH, HEIGHT + ROW_HEIGHT * (len(strips) + bool(strips)))
    strip, axes = _axes(figure, len(strips), is_above=study.measure.better == LOWER)
    _mark_reference(axes, study, margin, elbow)
    for i, series in enumerate(study.series):
        _draw_series(axes, series, i, ending)
    sizes = [point.minibatch_size for point in study.points]
    size_axis(axes, sizes)
    _limit(axes, study, margin, ending)
    axes.set_ylabel(axis_of(study.measure))
    axes.grid(visible=True, axis="y")
    if strip:
        _draw_strip(strip, study, strips)
        size_axis(strip, sizes, labels=False)
    legend_below(figure, axes)


def _ending(study: Study, margin: float | None) -> Ending:
    """Return the result beyond which a point is written instead of drawn."""
    means = [summarise(point.results).mean for point in study.points if point.results]
    reference = study.reference.results if study.reference else []
    base = summarise(reference).mean if reference else study.measure.best(means or [0.0])
    return ending_of(study.measure, base, margin)


def _notes(series: Series, ending: Ending) -> dict[int, str]:
    notes = {point.minibatch_size: _note(point, ending) for point in series.points}
    return {size: note for size, note in notes.items() if note}


def _note(point: Point, ending: Ending) -> str:
    """Return the text for a point beyond the axis; it is empty for a point within."""
    results, failed = point.results, sum(run.state == FAILED for run in point.runs)
    beyond = [result for result in results if ending.is_beyond(result)]
    parts = [f"{failed} failed"] if failed else []
    if beyond and ending.is_beyond(summarise(results).mean):
        parts.insert(0, _rounded(summarise(results).mean, ending.measure))
    elif beyond:
        parts.insert(0, f"{len(beyond)} of {len(results)}: {_rounded(ending.worst(beyond), ending.measure)}")
    return "\n".join(parts)


def _rounded(result: float, measure: Measure) -> str:
    return with_unit(f"{result:.1f}" if measure.unit == PER_CENT else f"{result:.3g}", measure)


def _axes(figure: "Figure", rows: int, *, is_above: bool) -> "tuple[Axes | None, Axes]":
    """Return a strip for the results beyond the axis, if there are any, and the axes of the others."""
    if not rows:
        return None, figure.subplots()
    heights = [ROW_HEIGHT * (rows + 0.5), HEIGHT - 0.8]
    if is_above:
        strip, axes = figure.subplots(2, 1, height_ratios=heights)
    else:
        axes, strip = figure.subplots(2, 1, height_ratios=heights[::-1])
    return strip, axes


def _mark_reference(axes: "Axes", study: Study, margin: float | None, elbow: Elbow | None) -> None:
    reference = study.reference
    if reference is None or not reference.results:
        return
    mean = summarise(reference.results).mean
    if margin:
        label = f"reference ± {difference_in_words(f'{margin:.2g}', study.measure)}"
        axes.axhspan(mean - margin, mean + margin, color=INK, alpha=0.12, linewidth=0, label=label)
    axes.axhline(mean, color=SOFT, linewidth=0.8)
    label = f"reference: minibatch {reference.minibatch_size}"
    axes.plot(
        [reference.minibatch_size], [mean], "o", markersize=11, markerfacecolor="none", markeredgecolor=INK, label=label
    )
    if elbow and elbow.minibatch_size is not None:
        axes.axvline(elbow.minibatch_size, color=SOFT, linewidth=1, linestyle=":", label="elbow")


def _draw_series(axes: "Axes", series: Series, number: int, ending: Ending) -> None:
    style = series_style(number)
    # The plain recipe stands in the middle, its variants on both sides.
    shift = DODGE * ((number + 1) // 2) * (1 if number % 2 else -1)
    points = [(point, summarise(point.results)) for point in series.points if point.results]
    if not points:
        return
    places = [point.minibatch_size * 2**shift for point, _ in points]
    bars = [_bar(summary, ending) for _, summary in points]
    means = [summary.mean for _, summary in points]
    label = printable(shortened(series.label, LONGEST_LABEL))
    axes.errorbar(places, means, bars, **style, elinewidth=1, capsize=2.5, label=label, zorder=3)
    for place, (point, summary) in zip(places, points, strict=True):
        if summary.count == 1:
            continue  # the mean is its only dot
        dots: dict[str, Any] = {"markersize": 3, "alpha": 0.4, "markeredgewidth": 0, "linestyle": "none"}
        axes.plot([place * 2**DOTS] * len(point.results), point.results, **(style | dots))


def _limit(axes: "Axes", study: Study, margin: float | None, ending: Ending) -> None:
    """End the axis around what does not lie beyond its ending."""
    summaries = [(point, summarise(point.results)) for point in study.points if point.results]
    values = [value for point, summary in summaries for value in (*point.results, *_ends(summary, ending))]
    drawn = [value for value in values if not ending.is_beyond(value)]
    reference = study.reference
    if reference and reference.results:
        mean = summarise(reference.results).mean
        drawn += [mean - (margin or 0), mean + (margin or 0)]
    if not drawn:
        return
    space = PADDING * (max(drawn) - min(drawn)) or 1.0
    ends = [min(drawn) - space, max(drawn) + space]
    is_cut = any(ending.is_beyond(result) for point, _ in summaries for result in point.results)
    if is_cut:  # what is written beside the axis is not drawn on it
        ends = [min(end, ending.value) if study.measure.better == LOWER else max(end, ending.value) for end in ends]
    axes.set_ylim(*ends)


def _ends(summary: Summary, ending: Ending) -> tuple[float, float]:
    bar = _bar(summary, ending)
    return summary.mean - bar, summary.mean + bar


def _bar(summary: Summary, ending: Ending) -> float:
    """Return half the length of a point's error bar; 0 if the point is written beside the axis."""
    return 0.0 if ending.is_beyond(summary.mean) else BAR_STDS * (summary.std or 0)


def _draw_strip(strip: "Axes", study: Study, strips: Sequence[tuple[Series, dict[int, str]]]) -> None:
    marker = "^" if study.measure.better == LOWER else "v"
    for row, (series, notes) in enumerate(reversed(strips)):
        style = series_style(study.series.index(series))
        for size, note in notes.items():
            strip.plot([size], [row], **(style | {"marker": marker, "markersize": 6, "linestyle": "none"}))
            place: dict[str, Any] = {"xytext": (6, 0), "textcoords": "offset points", "va": "center", "fontsize": 8}
            strip.annotate(note, (size, row), **place)
    strip.set_ylim(-0.6, len(strips) - 0.4)
    strip.set_yticks(
        range(len(strips)), [printable(shortened(series.label, LONGEST_NAME)) for series, _ in reversed(strips)]
    )
    strip.tick_params(axis="both", length=0, labelsize=8)
    strip.spines["left"].set_visible(False)
    strip.spines["bottom"].set(linestyle=(0, (4, 4)), color=SOFT)
    title = f"{worse_side(study.measure)} the axis, not to scale: {mean_of(study.measure)}"
    strip.set_title(title, loc="left", fontsize=8, color=SOFT)
