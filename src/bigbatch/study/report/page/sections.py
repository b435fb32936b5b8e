"""A section of the page for each study: words, figures and tables."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from bigbatch.recipe.metrics import LOWER, MEAN_LOSS, TOP_1_ERROR, Measure
from bigbatch.study.naming import axis_of, capitalised, label_of, noun_of
from bigbatch.study.report.figures.costs import draw_costs
from bigbatch.study.report.figures.curves import loss_curve, rate_curve, result_curve
from bigbatch.study.report.figures.curves_by_size import draw_noise_scales, draw_rates, noise_curves
from bigbatch.study.report.figures.drawing import Draw, Drawing, render
from bigbatch.study.report.figures.panels import draw_panels, has_curves
from bigbatch.study.report.figures.results_by_size import draw_results_by_size
from bigbatch.study.report.grouping.studies import Study
from bigbatch.study.report.grouping.varying import Varying, find_varying
from bigbatch.study.report.page.tables import Row, common_folder, point_rows, study_rows
from bigbatch.study.report.page.words import headline, notes, sentences
from bigbatch.study.statistics import Judgement, family_note

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BY_SIZE_NAME: Final = "by-size"
NOT_OF_A_FILE: Final = re.compile(r"[^a-z0-9]+")
BY_SIZE: Final = (
    "{label} against minibatch size",
    """The mean over seeds, with bars of two standard deviations. Each faint dot is one seed. The shaded band is the
    reference plus and minus the margin: a size matches if its mean is shown to lie {inside}. The dotted
    line is the elbow. {beyond}. After figure 1 of Goyal et al. 2017.""",
)
LOSSES: Final = (
    "Training loss: each minibatch size over the reference",
    """Strong lines are means over seeds, faint lines single seeds, and the grey line is the reference. Dashed lines are
    runs that count in no mean. A curve has at most 200 points, each the mean of its neighbours. After figures 2 to 4
    of Goyal et al. 2017.""",
)
RESULTS: Final = (
    "{label}: each minibatch size over the reference",
    """After every epoch. The titles give the {noun} that is judged: mean and standard deviation over seeds.""",
)
RATES: Final = (
    "Learning rates",
    "The rates that one run of each used. Equal curves are drawn once.",
)
COSTS: Final = (
    "Iterations and time",
    "Means over the finished runs. The times depend on the machines, and on what else ran there.",
)
NOISE: Final = (
    "Gradient noise scale",
    """tr(Σ) / |G|², in samples. Minibatches much larger than this gain little. Numerator and denominator are averaged
    separately, over about a twentieth of the training and over the seeds (McCandlish et al. 2018).""",
)


@dataclass(frozen=True)
class PageFigure:
    """A figure with the words around it.

    Attributes:
        name: of its PNG, without the suffix.
        title: what it shows.
        caption: how to read it.
        summary: what it shows, for readers who cannot see it.
        drawing: the figure itself.
    """

    name: str
    title: str
    caption: str
    summary: str
    drawing: Drawing


@dataclass(frozen=True)
class Section:
    """The section of one study; the figure of results by size, if there is one, comes first."""

    title: str
    measure: Measure
    noun: str
    results: str
    headline: str
    sentences: Sequence[str]
    figures: Sequence[PageFigure]
    points: Sequence[Row]
    elbow: str | None
    notes: Sequence[str]
    note: str
    varying: Sequence[Varying]
    runs: Sequence[Row]
    folder: str

    @property
    def has_sizes(self) -> bool:
        """Whether the first figure is that of results by size."""
        return bool(self.figures) and self.figures[0].name.endswith(BY_SIZE_NAME)


def section_of(study: Study, findings: Judgement, *, number: int) -> Section:
    """Return the section of a study, the number-th of the page (from 1)."""
    varying, folder = find_varying(study.runs), common_folder(study.runs)
    return Section(
        title=study.title,
        measure=study.measure,
        noun=noun_of(study.measure),
        results="Errors" if study.measure == TOP_1_ERROR else "Results",
        headline=headline(study, findings),
        sentences=list(sentences(study, findings)),
        figures=list(_figures(study, findings, f"group-{number}-" if number > 1 else "")),
        points=list(point_rows(study, findings)),
        elbow=str(findings.elbow) if findings.elbow else None,
        notes=list(notes(study, findings, varying)),
        note=family_note(findings.verdicts.values()),
        varying=varying,
        runs=study_rows(study),
        folder=folder,
    )


def _figures(study: Study, findings: Judgement, prefix: str) -> Iterator[PageFigure]:
    def figure(name: str, title: str, caption: str, draw: Draw) -> PageFigure:
        drawing = render(draw, prefix=f"{prefix}{name}")
        title, caption = (" ".join(text.format(**words).split()) for text in (title, caption))
        return PageFigure(prefix + name, title, caption, f"{title}. {headline(study, findings)}", drawing)

    measure, words = study.measure, _words(study.measure)
    has_sizes = len({point.minibatch_size for point in study.points if point.counted}) > 1
    if has_sizes:
        draw = partial(_draw_by_size, study=study, findings=findings)
        yield figure(f"{words['file']}-{BY_SIZE_NAME}", *BY_SIZE, draw)
    if has_curves(study, loss_curve):
        draw = partial(draw_panels, study=study, curve_of=loss_curve, measure=MEAN_LOSS, ylabel="loss")
        yield figure("training-loss", *LOSSES, draw)
    if has_curves(study, result_curve):
        ylabel = axis_of(measure).removeprefix("validation ")
        draw = partial(draw_panels, study=study, curve_of=result_curve, measure=measure, ylabel=ylabel)
        yield figure(f"validation-{words['file']}", *RESULTS, draw)
    if has_curves(study, rate_curve):
        yield figure("learning-rate", *RATES, partial(draw_rates, study=study))
    if has_sizes:
        yield figure("cost", *COSTS, partial(draw_costs, study=study))
    if noise_curves(study):
        yield figure("noise-scale", *NOISE, partial(draw_noise_scales, study=study))


def _words(measure: Measure) -> dict[str, str]:
    """Return what titles and captions say of the metric."""
    noun, is_lower = noun_of(measure), measure.better == LOWER
    values = "errors" if measure == TOP_1_ERROR else "values"
    beyond = "above the axis are written over it" if is_lower else "below the axis are written under it"
    return {
        "label": capitalised(label_of(measure)),
        "noun": noun,
        "file": NOT_OF_A_FILE.sub("-", noun.lower()).strip("-") or "metric",
        "inside": "below the upper edge" if is_lower else "above the lower edge",
        "beyond": f"Mean {values} {beyond}",
    }


def _draw_by_size(figure: "Figure", study: Study, findings: Judgement) -> None:
    draw_results_by_size(figure, study, findings.margin, findings.elbow)
