"""The verdict in words: a headline, at most three sentences, and notes to the table."""

from collections import Counter
from collections.abc import Iterator, Sequence

from bigbatch.recipe.metrics import LOWER, TOP_1_ERROR
from bigbatch.runs.record import FINISHED
from bigbatch.study.naming import capitalised, difference_in_words, mean_of, noun_of, with_unit, worse_side
from bigbatch.study.report.grouping.measures import iterations_of, mean_cost
from bigbatch.study.report.grouping.series import Point, Series
from bigbatch.study.report.grouping.studies import Study
from bigbatch.study.report.grouping.varying import Varying, warnings_of
from bigbatch.study.statistics import CANNOT_TELL, MATCHES, WORSE, Judgement, Summary


def headline(study: Study, findings: Judgement) -> str:
    """Return what matters most: how far the plain recipe matches, and whether a variant matches farther."""
    reference = study.reference_size
    if not findings.verdicts:
        return _nothing_judged(study, findings)
    matching = _matching(study.series[0], study, findings)
    largest = largest_matching(study, findings)
    if largest and largest.minibatch_size == min(matching):
        plain = f"Minibatch {largest.minibatch_size:,} matches the reference of {reference:,}"
    elif largest:
        plain = f"Minibatches of up to {largest.minibatch_size:,} match the reference of {reference:,}"
    elif matching:
        plain = f"Minibatch {max(matching):,} matches the reference of {reference:,}, but not all below"
    elif not any(point.minibatch_size > (reference or 0) for point in study.series[0].points):
        plain = f"The recipe has not been measured at a minibatch size larger than the reference, {reference}"
    else:
        plain = f"No minibatch size larger than the reference, {reference}, has been shown to match it"
    reached = largest.minibatch_size if largest else max(matching, default=0)
    return f"{plain}.{_farther(study, findings, reached)}"


def _farther(study: Study, findings: Judgement, size: int) -> str:
    """Say which variants match at the largest size, if one does beyond what the plain recipe reaches."""
    reached = {series.label: max(_matching(series, study, findings), default=0) for series in study.series[1:]}
    farthest = max(reached.values(), default=0)
    if farthest <= size:
        return ""
    variants = [label for label, largest in reached.items() if largest == farthest]
    return f" Of the variants, {_and(variants)} {'match' if len(variants) > 1 else 'matches'} at {farthest:,}."


def _nothing_judged(study: Study, findings: Judgement) -> str:
    size = study.reference_size
    if findings.reference is None and study.reference and study.reference.num_diverged:
        return f"{capitalised(findings.remark)} (minibatch {size}), so nothing can be compared with it."
    if findings.reference is None:
        return f"There is no finished run of the reference (minibatch {size}), so nothing can be compared with it."
    if findings.remark:
        return f"{capitalised(findings.remark)}."
    if len(study.points) > 1:
        return f"There is nothing to judge: no point but the reference (minibatch {size}) has all its runs' results."
    return f"There is nothing but the reference (minibatch {size}) yet, so nothing can be compared with it."


def largest_matching(study: Study, findings: Judgement) -> Point | None:
    """Return the largest point of the plain recipe up to which every measured size from the reference on matches."""
    largest = None
    for point in study.series[0].points:
        if point.minibatch_size > (study.reference_size or 0):
            verdict = findings.verdicts.get(point.configuration)
            if verdict is None or verdict.kind != MATCHES:
                break
            largest = point
    return largest


def _matching(series: Series, study: Study, findings: Judgement) -> list[int]:
    """Return the sizes of a series, larger than the reference, that match."""
    larger = [point for point in series.points if point.minibatch_size > (study.reference_size or 0)]
    verdicts = [(point.minibatch_size, findings.verdicts.get(point.configuration)) for point in larger]
    return [size for size, verdict in verdicts if verdict and verdict.kind == MATCHES]


def sentences(study: Study, findings: Judgement) -> Iterator[str]:
    """Yield at most three sentences behind the headline; the table has the rest."""
    if findings.reference is not None:
        yield f"The reference's {noun_of(study.measure)} is {_seeds(findings.reference, findings)}."
    if findings.verdicts:
        yield _counts(Counter(verdict.kind for verdict in findings.verdicts.values()))
        yield from _savings(study, findings) if largest_matching(study, findings) else _elbow(findings)


def _seeds(summary: Summary, findings: Judgement) -> str:
    if summary.std is None:
        return f"{with_unit(f'{summary.mean:{findings.digits}}', findings.measure)} in a single run"
    text = with_unit(f"{summary:{findings.digits}}", findings.measure)
    return f"{text} (mean ± standard deviation of {summary.count} seeds)"


def _counts(kinds: Counter[str]) -> str:
    """Say how many rows of the table got each verdict."""
    parts = [
        f"{kinds[MATCHES]} {'matches' if kinds[MATCHES] == 1 else 'match'}",
        f"{kinds[WORSE]} {'is' if kinds[WORSE] == 1 else 'are'} worse",
        f"{kinds[CANNOT_TELL]} cannot be told yet",
    ]
    said = [part for part in parts if not part.startswith("0 ")]
    return f"Of the {kinds.total()} compared with it, {_and(said)}." if kinds.total() > 1 else f"Compared: {said[0]}."


def _savings(study: Study, findings: Judgement) -> Iterator[str]:
    largest, reference = largest_matching(study, findings), study.reference
    if largest and reference:
        few, many = mean_cost(largest.counted, iterations_of), mean_cost(reference.counted, iterations_of)
        if few and many:
            yield f"Minibatch {largest.minibatch_size:,} took {few:,.0f} updates instead of {many:,.0f}."


def _elbow(findings: Judgement) -> Iterator[str]:
    if findings.elbow and findings.elbow.first_beyond is not None:
        size = findings.elbow.first_beyond
        verb = "exceeds" if findings.measure.better == LOWER else "falls below"
        yield f"From {size:,} on, the {mean_of(findings.measure)} {verb} the reference's by more than the margin."


def notes(study: Study, findings: Judgement, varying: Sequence[Varying]) -> Iterator[str]:
    """Yield how to read the table, and which runs it leaves out and why; only what applies."""
    if findings.verdicts:
        yield _margin(findings)
    yield from _left_out(study)
    if outside := warnings_of(varying):
        yield f"The runs differ in more than the recipe: {', '.join(outside)}. That can change a result."


def _margin(findings: Judgement) -> str:
    if findings.margin is None:
        return (
            "The reference's seeds show no noise, so there is no margin to match within: run more seeds, or state one."
        )
    origin = "as stated" if findings.is_stated else "twice the standard deviation of its seeds"
    margin = difference_in_words(f"{findings.margin:{findings.digits}}", findings.measure)
    if findings.measure == TOP_1_ERROR:
        return f"A row matches if it is shown to err by less than {margin} above the reference ({origin})."
    distance = f"less than {margin} {worse_side(findings.measure)} the reference's"
    return f"A row matches if its {noun_of(findings.measure)} is shown to be {distance} ({origin})."


def _left_out(study: Study) -> Iterator[str]:
    states = Counter(run.state for run in study.runs if run.state != FINISHED)
    if states:
        listed = _and([f"{count} {state}" for state, count in states.items()])
        yield f"{states.total()} of {len(study.runs)} runs have not finished ({listed}): shown, and in no mean."
    if diverged := [_diverged(point) for point in study.series[0].points if point.num_diverged]:
        yield f"The loss became NaN or infinite at {_and(diverged)}, so the other runs there are not judged."
    plain = [point for point in study.series[0].points if not point.num_diverged]
    if empty := [f"{point.minibatch_size:,}" for point in plain if not point.results]:
        yield f"No run has finished at {_and(empty)}."
    finished = [run for run in study.runs if run.state == FINISHED]
    if skipped := sum(run.has_skipped_updates for run in finished):
        yield f"{skipped} finished runs skipped updates that were not finite: they are in no mean."
    repeated = len(finished) - skipped - sum(len(point.counted) for point in study.points)
    if repeated:
        yield f"{repeated} finished runs repeat a seed or have no result: they are in no mean."


def _diverged(point: Point) -> str:
    return f"{point.minibatch_size:,} ({point.num_diverged} of {len(point.runs)} runs)"


def _and(parts: Sequence[str]) -> str:
    """Return a list as it is read aloud.

    >>> _and(["a", "b", "c"])
    'a, b and c'
    """
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else "".join(parts)
