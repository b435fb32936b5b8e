"""Statistics of repeated runs: does a minibatch size lose accuracy, and from which size on?

Everything here takes results of one metric, one for each seed. Inside, they are counted as costs: a result, or its
negative where higher is better. So what is said of two errors is said of two accuracies, mirrored.

The modules:
    costs: results as costs, and differences of costs in the metric's own direction.
    possible: the values that a metric can have.
    digits: how many digits are shown.
    summary: mean ± std.
    welch: two means compared.
    lowest_seed: whether every seed of a size is far worse than the reference.
    equivalence: the three verdicts over several sizes.
    holm: p-values of several tests at once.
    seeds: how many seeds a verdict needs.
    elbow: the size at which the results leave the reference's.
    judgement: all of these for the points of a study.
"""

from bigbatch.study.statistics.conditions import check_margin
from bigbatch.study.statistics.digits import digits_of_points
from bigbatch.study.statistics.elbow import Elbow, find_elbow
from bigbatch.study.statistics.equivalence import compare, noise_band
from bigbatch.study.statistics.holm import holm_adjusted
from bigbatch.study.statistics.judgement import INSTALL, Judgement, Outcomes, family_note, judge
from bigbatch.study.statistics.seeds import seeds_needed
from bigbatch.study.statistics.summary import Summary, summarise
from bigbatch.study.statistics.verdict import CANNOT_TELL, MATCHES, WORSE, Verdict
from bigbatch.study.statistics.welch import Difference, difference

__all__ = [
    "CANNOT_TELL",
    "INSTALL",
    "MATCHES",
    "WORSE",
    "Difference",
    "Elbow",
    "Judgement",
    "Outcomes",
    "Summary",
    "Verdict",
    "check_margin",
    "compare",
    "difference",
    "digits_of_points",
    "family_note",
    "find_elbow",
    "holm_adjusted",
    "judge",
    "noise_band",
    "seeds_needed",
    "summarise",
]
