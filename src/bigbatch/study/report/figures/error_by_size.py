"""Validation error against minibatch size (arXiv 1706.02677, figure 1): flat, then an elbow.

Runs that diverge end near 90 %, and an axis up to there would flatten all other points. So the axis ends at twice the
reference's error. Larger errors are written as numbers in a strip above it.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from bigbatch.figures import INK, SOFT, series_style
from bigbatch.printable import printable
from bigbatch.runs.record import FAILED
from bigbatch.study.report.figures.legend import legend_below
from bigbatch.study.report.figures.size_axis import size_axis
from bigbatch.study.report.grouping.labels import shortened
from bigbatch.study.report.grouping.series import Point, Series
from bigbatch.study.report.grouping.studies import Study
from bigbatch.study.statistics import Elbow, Summary, summarise

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT, ROW_HEIGHT = 9.0, 4.4, 0.3  # inches
HIGHEST: Final = 2.0  # times the reference's error
BAR_STDS: Final = 2
DODGE, DOTS = 0.09, -0.05  # doublings: between series, and from an error bar to its seeds
PADDING: Final = 0.06
LONGEST_NAME, LONGEST_LABEL = 22, 60


def draw_error_by_size(figure: "Figure", study: Study, margin: float | None, elbow: Elbow | None = None) -> None:
    """Draw mean ± 2 std over seeds at each minibatch size, a series for each recipe, every seed as a faint dot."""
    ceiling = _ceiling(study, margin)
    strips = [(series, notes) for series in study.series if (notes := _notes(series, ceiling))]
    figure.set_size_inches(WIDTH, HEIGHT + ROW_HEIGHT * (len(strips) + bool(strips)))
    strip, axes = _axes(figure, len(strips))
    _mark_reference(axes, study, margin, elbow)
    for i, series in enumerate(study.series):
        _draw_series(axes, series, i, ceiling)
    sizes = [point.minibatch_size for point in study.points]
    size_axis(axes, sizes)
    _limit(axes, study, margin, ceiling)
    axes.set_ylabel("validation error (%)")
    axes.grid(visible=True, axis="y")
    if strip:
        _draw_strip(strip, study, strips)
        size_axis(strip, sizes, labels=False)
    legend_below(figure, axes)


def _ceiling(study: Study, margin: float | None) -> float:
    """Return the error above which a point is written instead of drawn."""
    means = [summarise(point.errors).mean for point in study.points if point.errors]
    base = (
        summarise(study.reference.errors).mean if study.reference and study.reference.errors else min(means, default=0)
    )
    return max(HIGHEST * base, base + BAR_STDS * (margin or 0), base + 1)


def _notes(series: Series, ceiling: float) -> dict[int, str]:
    notes = {point.minibatch_size: _note(point, ceiling) for point in series.points}
    return {size: note for size, note in notes.items() if note}


def _note(point: Point, ceiling: float) -> str:
    """Return the text for a point above the axis; it is empty for a point within."""
    errors, failed = point.errors, sum(run.state == FAILED for run in point.runs)
    above = [error for error in errors if error > ceiling]
    parts = [f"{failed} failed"] if failed else []
    if above and summarise(errors).mean > ceiling:
        parts.insert(0, f"{summarise(errors).mean:.1f} %")
    elif above:
        parts.insert(0, f"{len(above)} of {len(errors)}: {max(above):.1f} %")
    return "\n".join(parts)


def _axes(figure: "Figure", rows: int) -> "tuple[Axes | None, Axes]":
    if not rows:
        return None, figure.subplots()
    strip, axes = figure.subplots(2, 1, height_ratios=[ROW_HEIGHT * (rows + 0.5), HEIGHT - 0.8])
    return strip, axes


def _mark_reference(axes: "Axes", study: Study, margin: float | None, elbow: Elbow | None) -> None:
    reference = study.reference
    if reference is None or not reference.errors:
        return
    mean = summarise(reference.errors).mean
    if margin:
        label = f"reference ± {margin:.2g} points"
        axes.axhspan(mean - margin, mean + margin, color=INK, alpha=0.12, linewidth=0, label=label)
    axes.axhline(mean, color=SOFT, linewidth=0.8)
    label = f"reference: minibatch {reference.minibatch_size}"
    axes.plot(
        [reference.minibatch_size], [mean], "o", markersize=11, markerfacecolor="none", markeredgecolor=INK, label=label
    )
    if elbow and elbow.minibatch_size is not None:
        axes.axvline(elbow.minibatch_size, color=SOFT, linewidth=1, linestyle=":", label="elbow")


def _draw_series(axes: "Axes", series: Series, number: int, ceiling: float) -> None:
    style = series_style(number)
    # The plain recipe stands in the middle, its variants on both sides.
    shift = DODGE * ((number + 1) // 2) * (1 if number % 2 else -1)
    points = [(point, summarise(point.errors)) for point in series.points if point.errors]
    if not points:
        return
    places = [point.minibatch_size * 2**shift for point, _ in points]
    bars = [_bar(summary, ceiling) for _, summary in points]
    means = [summary.mean for _, summary in points]
    label = printable(shortened(series.label, LONGEST_LABEL))
    axes.errorbar(places, means, bars, **style, elinewidth=1, capsize=2.5, label=label, zorder=3)
    for place, (point, summary) in zip(places, points, strict=True):
        if summary.count == 1:
            continue  # the mean is its only dot
        dots: dict[str, Any] = {"markersize": 3, "alpha": 0.4, "markeredgewidth": 0, "linestyle": "none"}
        axes.plot([place * 2**DOTS] * len(point.errors), point.errors, **(style | dots))


def _limit(axes: "Axes", study: Study, margin: float | None, ceiling: float) -> None:
    """End the axis around what lies below the ceiling."""
    summaries = [(point, summarise(point.errors)) for point in study.points if point.errors]
    drawn = [
        error for point, summary in summaries for error in (*point.errors, *_ends(summary, ceiling)) if error <= ceiling
    ]
    reference = study.reference
    if reference and reference.errors:
        mean = summarise(reference.errors).mean
        drawn += [mean - (margin or 0), mean + (margin or 0)]
    if drawn:
        space = PADDING * (max(drawn) - min(drawn)) or 1.0
        is_cut = any(error > ceiling for point, _ in summaries for error in point.errors)
        highest = min(max(drawn) + space, ceiling) if is_cut else max(drawn) + space
        axes.set_ylim(min(drawn) - space, highest)  # what is written above the axis is not drawn on it


def _ends(summary: Summary, ceiling: float) -> tuple[float, float]:
    bar = _bar(summary, ceiling)
    return summary.mean - bar, summary.mean + bar


def _bar(summary: Summary, ceiling: float) -> float:
    """Return half the length of a point's error bar; 0 if the point is written above the axis."""
    return 0.0 if summary.mean > ceiling else BAR_STDS * (summary.std or 0)


def _draw_strip(strip: "Axes", study: Study, strips: Sequence[tuple[Series, dict[int, str]]]) -> None:
    for row, (series, notes) in enumerate(reversed(strips)):
        style = series_style(study.series.index(series))
        for size, note in notes.items():
            strip.plot([size], [row], **(style | {"marker": "^", "markersize": 6, "linestyle": "none"}))
            place: dict[str, Any] = {"xytext": (6, 0), "textcoords": "offset points", "va": "center", "fontsize": 8}
            strip.annotate(note, (size, row), **place)
    strip.set_ylim(-0.6, len(strips) - 0.4)
    strip.set_yticks(
        range(len(strips)), [printable(shortened(series.label, LONGEST_NAME)) for series, _ in reversed(strips)]
    )
    strip.tick_params(axis="both", length=0, labelsize=8)
    strip.spines["left"].set_visible(False)
    strip.spines["bottom"].set(linestyle=(0, (4, 4)), color=SOFT)
    strip.set_title("above the axis, not to scale: mean error", loc="left", fontsize=8, color=SOFT)
