"""What a run is judged by: a metric's name, its unit and which way is better; without torch."""

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Final

from bigbatch.errors import InputError, nearest
from bigbatch.user_code import is_user_code

LOWER, HIGHER = DIRECTIONS = ("lower", "higher")
PER_CENT: Final = "%"


@dataclass(frozen=True)
class Measure:
    """What a metric measures, as a recipe names it and a run records it.

    Attributes:
        name: its words, joined by dashes, such as "top-1-error".
        unit: "%", another unit, or "" for a plain number.
        better: "lower" or "higher".

    Raises:
        InputError: it has no name, or another direction.
    """

    name: str
    unit: str
    better: str

    def __post_init__(self) -> None:
        if not self.name or self.better not in DIRECTIONS:
            msg = f"a metric has a name and is better if it is lower or higher, not ('{self.name}', '{self.better}')"
            raise InputError(msg)

    def is_better(self, value: float, other: float) -> bool:
        """Tell whether a value is better than another; every number is better than NaN.

        >>> MEAN_IOU.is_better(99.0, 98.0), TOP_1_ERROR.is_better(99.0, 98.0), TOP_1_ERROR.is_better(3.0, math.nan)
        (True, False, True)
        """
        return self.cost(value) < self.cost(other)

    def cost(self, value: float) -> float:
        """Return a number that is the lower, the better the value is; infinity for NaN."""
        return cost(value, better=self.better)

    def best(self, values: Iterable[float]) -> float:
        """Return the best of some values."""
        return min(values, key=self.cost)

    def epochs_since_best(self, values: Sequence[float]) -> int:
        """Return how many of the last values are no better than the best before them.

        >>> MEAN_IOU.epochs_since_best([50.0, 60.0, 60.0, 55.0]), MEAN_IOU.epochs_since_best([])
        (2, 0)
        """
        costs = list(map(self.cost, values))
        return len(costs) - 1 - costs.index(min(costs)) if costs else 0

    @property
    def title(self) -> str:
        """The name in words.

        >>> [measure.title for measure in (TOP_1_ERROR, MEAN_IOU, Measure("word-error-rate", "%", "lower"))]
        ['top-1 error', 'mean IoU', 'word error rate']
        """
        return TITLES.get(self.name, self.name.replace("-", " "))

    @property
    def label(self) -> str:
        """What a value on the validation data is called in a sentence, such as "validation mean IoU"."""
        return "validation error" if self == TOP_1_ERROR else f"validation {self.title}"

    @property
    def heading(self) -> str:
        """The label with the unit in brackets, as it stands at an axis or above a column.

        >>> TOP_1_ERROR.heading, PERPLEXITY.heading
        ('validation error (%)', 'validation perplexity')
        """
        return f"{self.label} ({self.unit})" if self.unit else self.label

    def number(self, value: float) -> str:
        """Return a value without its unit: two decimals of a percentage, four digits of anything else.

        >>> TOP_1_ERROR.number(2.4567), PERPLEXITY.number(23.4567), MEAN_LOSS.number(0.01234567)
        ('2.46', '23.46', '0.01235')
        """
        return f"{value:.2f}" if self.unit == PER_CENT else f"{value:.4g}"

    def text(self, value: float) -> str:
        """Return a value with its unit.

        >>> TOP_1_ERROR.text(2.4567), PERPLEXITY.text(23.4567)
        ('2.46 %', '23.46')
        """
        return f"{self.number(value)} {self.unit}".rstrip()

    def to_json(self) -> dict[str, str]:
        """Return it as plain values."""
        return asdict(self)


def cost(value: float, *, better: str) -> float:
    """Return a number that is the lower, the better a value is in this direction; infinity for NaN."""
    if math.isnan(value):
        return math.inf
    return value if better == LOWER else -value


TOP_1_ERROR: Final = Measure("top-1-error", PER_CENT, LOWER)
TOP_5_ERROR: Final = Measure("top-5-error", PER_CENT, LOWER)
MEAN_LOSS: Final = Measure("mean-loss", "", LOWER)
PERPLEXITY: Final = Measure("perplexity", "", LOWER)
MEAN_IOU: Final = Measure("mean-iou", PER_CENT, HIGHER)
AVERAGE_PRECISIONS: Final = tuple(
    Measure(f"coco-{kind}-{threshold}", PER_CENT, HIGHER)
    for kind in ("box", "mask")
    for threshold in ("ap", "ap50", "ap75")
)
UNKNOWN: Final = Measure("unknown-metric", "", LOWER)  # of a damaged file
MEASURES: Final[Mapping[str, Measure]] = {
    measure.name: measure
    for measure in (TOP_1_ERROR, TOP_5_ERROR, MEAN_LOSS, PERPLEXITY, MEAN_IOU, *AVERAGE_PRECISIONS)
}
TITLES: Final[Mapping[str, str]] = {
    "top-1-error": "top-1 error",
    "top-5-error": "top-5 error",
    "mean-iou": "mean IoU",
    **{ap.name: f"{ap.name.split('-')[1]} {ap.name.split('-')[2].upper()}" for ap in AVERAGE_PRECISIONS},
}


def find_measure(name: str) -> Measure | None:
    """Return the measure of a metric that a recipe names; None for one of the user's own, which says it itself."""
    return MEASURES.get(name)


def check_metric_names(names: Sequence[str]) -> None:
    """Refuse names of metrics that are neither ours nor `package.module:callable`, none at all, and repeated ones.

    Raises:
        InputError: with the nearest known name.
    """
    if not names:
        msg = "metrics must name at least one metric, by which the run is judged"
        raise InputError(msg)
    for name in names:
        if name not in MEASURES and not is_user_code(name):
            msg = f"unknown metric '{name}'; {nearest(name, list(MEASURES))} (or package.module:callable)"
            raise InputError(msg)
        if names.count(name) > 1:
            msg = f"metrics names '{name}' twice"
            raise InputError(msg)


def read_measure(value: object) -> Measure:
    """Return the measure that a table of JSON is; `UNKNOWN` if it is none."""
    if isinstance(value, dict) and value.keys() == {"name", "unit", "better"}:
        texts = {name: text for name, text in value.items() if isinstance(text, str)}
        with suppress(InputError, TypeError):  # a TypeError: one of them is no text
            return Measure(**texts)
    return UNKNOWN
