"""The words for a metric's values in tables, sentences and figures."""

from collections.abc import Iterable
from typing import Final

from bigbatch.printable import printable
from bigbatch.recipe.metrics import LOWER, PER_CENT, Measure

ANY_METRIC: Final = "result"  # the word for the values of several metrics
LONGEST: Final = 40  # characters of a name or a unit: a file may be foreign


def noun_of(measure: Measure) -> str:
    """Return what a value is called, in the middle of a sentence.

    >>> from bigbatch.recipe.metrics import MEAN_IOU, TOP_1_ERROR
    >>> noun_of(TOP_1_ERROR), noun_of(MEAN_IOU)
    ('error', 'mean IoU')
    """
    return _short(measure.label.removeprefix("validation "))


def in_full(measure: Measure) -> str:
    """Return a metric with its unit and direction.

    >>> from bigbatch.recipe.metrics import MEAN_IOU
    >>> in_full(MEAN_IOU)
    'mean IoU (%, higher is better)'
    """
    unit = f"{_short(measure.unit)}, " if measure.unit else ""
    return f"{noun_of(measure)} ({unit}{measure.better} is better)"


def mean_of(measure: Measure) -> str:
    """Return what the mean over seeds is called.

    >>> from bigbatch.recipe.metrics import MEAN_IOU, TOP_1_ERROR
    >>> mean_of(TOP_1_ERROR), mean_of(MEAN_IOU)
    ('mean error', 'average mean IoU')
    """
    noun = noun_of(measure)
    return f"{'average' if noun.startswith('mean ') else 'mean'} {noun}"


def common_noun(measures: Iterable[Measure]) -> str:
    """Return what the values of some metrics are called: "result" if the metrics are several."""
    nouns = set(map(noun_of, measures))
    return nouns.pop() if len(nouns) == 1 else ANY_METRIC


def heading_of(measure: Measure) -> str:
    """Return the heading of a column of values.

    >>> from bigbatch.recipe.metrics import PERPLEXITY, TOP_1_ERROR
    >>> heading_of(TOP_1_ERROR), heading_of(PERPLEXITY)
    ('error %', 'perplexity')
    """
    return with_unit(noun_of(measure), measure)


def label_of(measure: Measure) -> str:
    """Return what a value on the validation data is called, in the middle of a sentence."""
    return f"validation {noun_of(measure)}"


def axis_of(measure: Measure) -> str:
    """Return the label of an axis of values on the validation data.

    >>> from bigbatch.recipe.metrics import MEAN_IOU, PERPLEXITY
    >>> axis_of(MEAN_IOU), axis_of(PERPLEXITY)
    ('validation mean IoU (%)', 'validation perplexity')
    """
    unit = f" ({_short(measure.unit)})" if measure.unit else ""
    return f"{label_of(measure)}{unit}"


def with_unit(text: str, measure: Measure) -> str:
    """Return the text of a value with the metric's unit, if it has one."""
    return f"{text} {_short(measure.unit)}" if measure.unit else text


def result_in_words(result: float | None, measure: Measure) -> str:
    """Return a result with the metric's noun; nothing if there is none.

    >>> from bigbatch.recipe.metrics import PERPLEXITY, TOP_1_ERROR
    >>> result_in_words(2.5, TOP_1_ERROR), result_in_words(6.3125, PERPLEXITY)
    ('error 2.50 %', 'perplexity 6.312')
    """
    return "" if result is None else f"{noun_of(measure)} {with_unit(measure.number(result), measure)}"


def difference_in_words(text: str, measure: Measure) -> str:
    """Return the text of a difference with its unit: one of percentages is in points."""
    return f"{text} points" if measure.unit == PER_CENT else with_unit(text, measure)


def margin_in_words(text: str, measure: Measure) -> str:
    """Return the text of a margin with its unit; one of a plain number names the metric.

    >>> from bigbatch.recipe.metrics import PERPLEXITY, TOP_1_ERROR
    >>> margin_in_words("0.81", TOP_1_ERROR), margin_in_words("0.076", PERPLEXITY)
    ('0.81 percentage points', '0.076 in perplexity')
    """
    if measure.unit == PER_CENT:
        return f"{text} percentage points"
    return with_unit(text, measure) if measure.unit else f"{text} in {noun_of(measure)}"


def worse_side(measure: Measure) -> str:
    """Return on which side of a value the worse ones lie: "above" or "below"."""
    return "above" if measure.better == LOWER else "below"


def _short(text: str) -> str:
    shown = printable(text)
    return shown if len(shown) <= LONGEST else f"{shown[: LONGEST - 1]}…"


def capitalised(text: str) -> str:
    """Return the text with a capital first letter, to begin a sentence."""
    return text[:1].upper() + text[1:]
