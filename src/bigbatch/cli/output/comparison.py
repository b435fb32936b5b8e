"""A comparison of two runs as lines to read, or as a table for JSON."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from bigbatch.runs.comparison import Comparison, Parting
from bigbatch.runs.contract import Difference, in_words
from bigbatch.runs.record import FINISHED, RunRecord

WIDEST_NAME: Final = 32
LINE_BY_LINE: Final = "line by line"


def comparison_lines(comparison: Comparison) -> Iterator[str]:
    """Yield what changed inside the contract, what outside it, and the result; each line is to be made printable."""
    old, new = comparison.old, comparison.new
    yield f"old  {_introduce(old)}"
    yield f"new  {_introduce(new)}"
    if old.path.resolve() == new.path.resolve():
        yield "both are one folder"
    yield from _section("inside the contract, cannot matter", comparison.inside)
    yield from _section("outside the contract, can change the result", comparison.outside)
    yield from _section("result", comparison.results)
    yield ""
    yield from verdict(comparison)


def verdict(comparison: Comparison) -> Iterator[str]:
    """Yield whether the runs are the same, or where they part and what explains it."""
    old, new = comparison.old, comparison.new
    if comparison.is_identical:
        yield f"identical: {_what_is_the_same(comparison)}"
        return
    if comparison.parting:
        yield f"the runs part at {_where(comparison.parting)}"
        yield from _explain(comparison)
    elif comparison.has_same_weights is False:
        yield f"the weights differ, although {_count(comparison)} are the same {LINE_BY_LINE}"
        yield from _explain(comparison)
    elif comparison.num_iterations:
        yield f"the same as far as both have come: {_count(comparison)} {LINE_BY_LINE}"
    else:
        yield "nothing to compare: the two have recorded no iteration in common"
    if not comparison.has_same_length:
        yield f"{old.path} took {_iterations(old.num_iterations)}, {new.path} {new.num_iterations}"
        if comparison.parting is None and old.state == new.state == FINISHED:
            yield from _explain(comparison)
    if comparison.parting and comparison.has_same_weights:
        yield "yet their last weights are the same"


def comparison_table(comparison: Comparison) -> dict[str, Any]:
    """Return the comparison as a table: each difference as its old and new value."""
    parting = comparison.parting
    return {
        "old": str(comparison.old.path),
        "new": str(comparison.new.path),
        "inside": _pairs(comparison.inside),
        "outside": _pairs(comparison.outside),
        "result": _pairs(comparison.results),
        "is_identical": comparison.is_identical,
        "num_iterations_compared": comparison.num_iterations,
        "num_epochs_compared": comparison.num_epochs,
        "parting": {parting.unit: parting.number, "values": _pairs(parting.values)} if parting else None,
        "explanation": [] if comparison.is_identical else [difference.name for difference in comparison.explanation],
    }


def _pairs(differences: Sequence[Difference]) -> dict[str, list[object]]:
    return {difference.name: [difference.old, difference.new] for difference in differences}


def _introduce(run: RunRecord) -> str:
    return f"{run.path}  {run.state}, started {in_words(run.started)}"


def _section(title: str, differences: Sequence[Difference]) -> Iterator[str]:
    yield ""
    yield f"{title}:{'' if differences else ' nothing'}"
    width = min(WIDEST_NAME, max((len(difference.name) for difference in differences), default=0))
    for difference in differences:
        yield f"  {in_words(difference.name):<{width}}  {_change(difference)}"


def _change(difference: Difference) -> str:
    old, new = in_words(difference.old), in_words(difference.new)
    return old if repr(difference.old) == repr(difference.new) else f"{old} -> {new}"


def _where(parting: Parting) -> str:
    values = ", ".join(f"{value.name} {_change(value)}" for value in parting.values)
    counted = "iteration {} (counted from 0)" if parting.unit == "iteration" else "the evaluation after epoch {} alone"
    return f"{counted.format(parting.number)}: {values}"


def _explain(comparison: Comparison) -> Iterator[str]:
    if explanation := comparison.explanation:
        yield "what can explain it, the likeliest first:"
        yield from (f"  {in_words(difference.name)}: {_change(difference)}" for difference in explanation)
    else:
        yield "no recorded difference explains it: a fault of a machine, code that is not recorded, or our bug"


def _what_is_the_same(comparison: Comparison) -> str:
    weights = comparison.old.weights if comparison.has_same_weights else None
    lines = f"{_count(comparison)} {LINE_BY_LINE}"
    return f"weights_sha256 {in_words(weights)}, {lines}" if weights else f"{lines}; no hash of weights to compare"


def _count(comparison: Comparison) -> str:
    epochs = comparison.num_epochs
    return f"{_iterations(comparison.num_iterations)} and {epochs} epoch{'' if epochs == 1 else 's'}"


def _iterations(number: int) -> str:
    return f"{number} iteration{'' if number == 1 else 's'}"
