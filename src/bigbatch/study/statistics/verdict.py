"""The three verdicts on a minibatch size, and their texts."""

from dataclasses import dataclass
from typing import Final, NamedTuple

from bigbatch.recipe.metrics import LOWER, Measure
from bigbatch.study.statistics.costs import as_results, mirrored
from bigbatch.study.statistics.seeds import MOST_SEEDS
from bigbatch.study.statistics.welch import Difference

MATCHES: Final = "matches"
WORSE: Final = "worse"
CANNOT_TELL: Final = "cannot tell"


@dataclass(frozen=True)
class Verdict:
    """The verdict on one minibatch size. `str()` gives it in a line.

    Attributes:
        kind: MATCHES, WORSE or CANNOT_TELL.
        difference: the result minus the reference's, with Welch's 1 - 2 alpha interval (90 % for alpha = 0.05). The
            interval is cut to results that are possible. Counted towards the worse, it ends below the margin where the
            verdict is "matches". It lies above zero where it is "worse", unless the best seed decides: then `reason`
            gives that seed's distance. None with fewer than two seeds on a side.
        margin: the largest difference that still counts as a match, in the metric's unit. None where none was given
            and the reference's single seed shows no noise.
        p_not_worse: of the one-sided test against "worse by the margin or more", Holm-adjusted; small speaks for a
            match. None if not tested.
        p_equivalent: of the two one-sided tests, Holm-adjusted; small speaks for a match that is no better either. None
            if not tested.
        p_different: of Welch's two-sided test, Holm-adjusted, or twice that of the best seed, whichever is smaller;
            small speaks for a difference. None if not tested.
        more_seeds: about how many more seeds the side with fewer needs for a verdict with a probability of 80 %, if the
            other side has as many. None if decided, not tested, or more than 1000 a side are needed.
        reason: the verdict's text after its kind.

    >>> shown = Difference(0.03, -0.08, 0.14, 0.9)
    >>> print(Verdict(MATCHES, shown, 0.3, 0.001, 0.001, 0.6, None, "+0.03 ± 0.11, within 0.30"))
    matches: +0.03 ± 0.11, within 0.30
    """

    kind: str
    difference: Difference | None
    margin: float | None
    p_not_worse: float | None
    p_equivalent: float | None
    p_different: float | None
    more_seeds: int | None
    reason: str

    def __str__(self) -> str:
        return f"{self.kind} {self.reason}" if self.kind == WORSE else f"{self.kind}: {self.reason}"


def untested(reason: str, margin: float | None) -> Verdict:
    """Return the verdict on runs that cannot be tested."""
    return Verdict(CANNOT_TELL, None, margin, None, None, None, None, reason)


class Adjusted(NamedTuple):
    """The p-values of one size, adjusted for all sizes, as `Verdict` describes them.

    `welch` is Welch's part of `different`.
    """

    not_worse: float
    equivalent: float
    welch: float
    different: float


def kind_of(mean: float, p: Adjusted, alpha: float) -> str:
    """Decide, by a difference of costs. Worse by less than the margin is a match, even if a difference shows."""
    if p.not_worse <= alpha or (p.different <= alpha and mean < 0):
        return MATCHES
    return WORSE if p.different <= alpha else CANNOT_TELL


class Words(NamedTuple):
    """How verdicts are put: of which metric, and with how many digits. Differences come as those of costs."""

    measure: Measure
    digits: str

    def of_worse(self, costs: Difference, lowest: float, p: Adjusted, alpha: float) -> str:
        """Say by how much a size is worse; if Welch's test does not show it, by how much its best seed is."""
        if p.welch > alpha:
            return f"by {costs.mean:{self.digits}}: every seed by {lowest:{self.digits}} or more"
        return f"by {costs.unsigned(self.digits)}"

    def of_match(self, costs: Difference, margin: float, p: Adjusted, alpha: float) -> str:
        """Say why a size matches."""
        shown = format(as_results(costs, self.measure), self.digits)
        if p.equivalent <= alpha:
            return f"{shown}, within {margin:{self.digits}}"
        if p.different <= alpha and costs.mean < 0:
            return f"better by {mirrored(costs).unsigned(self.digits)}"
        is_lower = self.measure.better == LOWER
        return f"{shown}, {'below' if is_lower else 'above'} {margin if is_lower else -margin:+{self.digits}}"


def more_text(seeds: int | None) -> str:
    """Say how many more seeds a verdict needs."""
    if seeds is None:
        return f"more than {MOST_SEEDS} seeds a side would be needed"
    return "1 more seed" if seeds == 1 else f"{seeds} more seeds"
