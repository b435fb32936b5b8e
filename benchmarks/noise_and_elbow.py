"""Does the gradient noise scale, measured at the reference, foretell the elbow? From the committed runs of the studies.

Run from the repository's root, after the studies: python benchmarks/noise_and_elbow.py [NAME ...]
"""

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import geometric_mean
from typing import Any

from bigbatch.figures import INK, SOFT, plain_numbers, series_style, written_figure
from bigbatch.planning.noise import mean_noise_scale, measured_noise
from bigbatch.runs.record import RunRecord
from bigbatch.study.report.grouping.series import Point
from bigbatch.study.report.grouping.studies import Study, judge, split_into_studies
from bigbatch.study.report.reading.runs_file import read_runs_file
from bigbatch.study.statistics import Elbow
from card import RESULTS, write_card

NAME = "noise_and_elbow"
STUDIES = (
    *("digits_figure1", "fashion_mnist_figure1", "cifar10_figure1", "imagenette_figure1"),
    "tinyshakespeare_figure1",
)
PARTS = {"early": (0, 1 / 3), "middle": (1 / 3, 2 / 3), "late": (2 / 3, 1), "whole": (0, 1)}
FEWEST_MEASURED = 9  # lines of a run with an estimate, three for each third


@dataclass(frozen=True)
class Case:
    """A study's noise and elbow.

    Attributes:
        name: of the data.
        measured_at: the minibatch size of the runs that measured the noise: the reference, or the next of two workers.
        seeds: how many runs these were.
        scales: the gradient noise scale in samples, of each part of the training.
        rule: of scaling, and the optimizer.
        elbow: of that rule.
    """

    name: str
    measured_at: int
    seeds: int
    scales: dict[str, float]
    rule: str
    elbow: Elbow

    @property
    def factor(self) -> float:
        """The elbow over the noise scale of the whole training."""
        return (self.elbow.minibatch_size or math.inf) / self.scales["whole"]


def case_of(name: str) -> Case:
    """Read the study's runs, and take noise and elbow from them."""
    study = split_into_studies(read_runs_file(RESULTS / f"{name}.json").records)[0][0]
    elbow = judge(study).elbow
    if elbow is None:
        msg = f"{name} has no elbow"
        raise ValueError(msg)
    point = where_measured(study)
    scales = {part: noise_scale(point.counted, *bounds) for part, bounds in PARTS.items()}
    recipe = point.counted[0].recipe
    rule = f"{recipe.scaling.rule}, {recipe.optimizer.name}"
    return Case(name.removesuffix("_figure1"), point.minibatch_size, len(point.counted), scales, rule, elbow)


def where_measured(study: Study) -> Point:
    """Return the plain recipe at the smallest size, from the reference on, whose runs have measured noise."""
    reference = study.reference_size or 0
    points = sorted(study.series[0].points, key=lambda point: point.minibatch_size)
    return next(
        point
        for point in points
        if point.minibatch_size >= reference
        and point.counted
        and all(len(measured_noise(run)) >= FEWEST_MEASURED for run in point.counted)
    )


def noise_scale(runs: Sequence[RunRecord], start: float, stop: float) -> float:
    """Return the noise scale of a part of the training, over all runs."""
    every = (measured_noise(run) for run in runs)
    return mean_noise_scale([noise for run in every for noise in run[round(start * len(run)) : round(stop * len(run))]])


def draw(axes: Any, cases: Sequence[Case]) -> None:  # noqa: ANN401 - matplotlib's axes
    """Draw the elbow over the noise scale: bars to the scales of the thirds, and over the elbow's interval."""
    ends = [
        *(scale for case in cases for scale in case.scales.values()),
        *(end for case in cases for end in span(case)),
    ]
    ends = [end for end in ends if math.isfinite(end)]
    lowest, highest = min(ends) / 2, max(ends) * 2
    axes.plot([lowest, highest], [lowest, highest], color=SOFT, linewidth=1, linestyle=":", label="elbow = noise scale")
    for i, case in enumerate(cases):
        place, elbow = case.scales["whole"], case.elbow.minibatch_size or case.elbow.largest
        thirds = [min(case.scales[part], highest) for part in ("early", "middle", "late")]
        low, high = span(case)
        style = series_style(i) | {"linestyle": "none", "markersize": 7}
        bars = {
            "xerr": [[place - min([place, *thirds])], [max([place, *thirds]) - place]],
            "yerr": [[elbow - min(low, elbow)], [max(high, elbow) - elbow]],
        }
        axes.errorbar(place, elbow, **bars, **style, elinewidth=1.2, capsize=3, label=case.name.replace("_", "-"))
        if case.elbow.high is None:
            axes.annotate("↑", (place, high), ha="center", va="bottom", color=INK)
    axes.set(xscale="log", yscale="log", xlim=(lowest, highest), ylim=(lowest, highest))
    axes.set(xlabel="gradient noise scale at the reference (samples), bar: over its thirds")
    axes.set(ylabel="elbow (minibatch size), bar: 95 %")
    plain_numbers(axes.xaxis)
    plain_numbers(axes.yaxis)
    axes.grid(visible=True)
    axes.legend(loc="upper left")


def span(case: Case) -> tuple[float, float]:
    """Return the elbow's interval, cut off at the sizes that were measured."""
    return case.elbow.low or case.elbow.largest, case.elbow.high or case.elbow.largest


def table_of(cases: Sequence[Case]) -> str:
    """Return noise and elbow side by side, in Markdown."""
    lines = [
        "| data | rule | measured at | noise scale early, middle, late | whole | elbow | elbow / noise scale |",
        "|---|---|---|---|---|---|---|",
    ]
    for case in cases:
        thirds = ", ".join(f"{case.scales[part]:,.0f}" for part in ("early", "middle", "late"))
        where = f"{case.measured_at}, {case.seeds} seeds"
        cells = (
            case.name,
            case.rule,
            where,
            thirds,
            f"{case.scales['whole']:,.0f}",
            str(case.elbow),
            f"{case.factor:.2g}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def verdict(cases: Sequence[Case]) -> str:
    """Say what the noise scale foretells: the order of magnitude, and the order of the cases."""
    factors = [case.factor for case in cases]
    by_noise, by_elbow = (
        [case.name for case in sorted(cases, key=key)]
        for key in (lambda case: case.scales["whole"], lambda case: case.elbow.minibatch_size or math.inf)
    )
    order = "The order of the elbows is that of the noise scales" if by_noise == by_elbow else "Their orders differ"
    return (
        f"The elbow is {min(factors):.2g} to {max(factors):.2g} times the noise scale of the whole training, in the "
        f"geometric mean {geometric_mean(factors):.2g}. {order}. {len(cases)} points fit no law."
    )


def main() -> None:
    """Write table, figure and verdict."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("studies", nargs="*", metavar="NAME", default=STUDIES)
    cases = [case_of(name) for name in parser.parse_args().studies]
    with written_figure(RESULTS / f"{NAME}.png") as axes:
        draw(axes, cases)
    result = [{**vars(case), "elbow": vars(case.elbow), "factor": case.factor} for case in cases]
    body = f"{table_of(cases)}\n\n{verdict(cases)}\n\n![The elbow against the noise scale]({NAME}.png)"
    write_card(NAME, "Does the gradient noise scale foretell the elbow?", result, body)


if __name__ == "__main__":
    main()
