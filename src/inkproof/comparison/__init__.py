"""Is one network better than another: paired evidence over seeds, and a verdict.

Both were trained with the same seeds, which fix the hold-out, the batch order and the initial
weights, so the runs of one seed are a pair. What is estimated is the mean difference in accuracy,
and in log loss, over new training runs *and* new test images; a crossed random-effects interval
(:mod:`inkproof.statistics.crossed`) alone gives the verdict. Runs times images are never counted
as so many independent observations.
"""

from __future__ import annotations

from inkproof.comparison.pairs import MCNEMAR_SCOPE, Pair
from inkproof.comparison.ranking import Ranking, rank
from inkproof.comparison.sentences import Verdict
from inkproof.comparison.verdict import (
    LEAST_PAIRS,
    MARGIN,
    Comparison,
    compare,
    least_pairs,
)

__all__ = [
    "LEAST_PAIRS",
    "MARGIN",
    "MCNEMAR_SCOPE",
    "Comparison",
    "Pair",
    "Ranking",
    "Verdict",
    "compare",
    "least_pairs",
    "rank",
]
