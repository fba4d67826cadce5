"""What the finished runs of a study come to, as the records of ``results.json``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy.typing as npt

from inkproof.comparison import Comparison, compare, rank
from inkproof.comparison.pairs import Runs
from inkproof.results import ComparisonResult, PairResult, RankingResult

__all__ = ["compared"]


def compared(
    models: Mapping[str, Runs], labels: npt.ArrayLike
) -> tuple[list[ComparisonResult], RankingResult | None]:
    """Compare every two models; more than two are ranked.

    Parameters
    ----------
    models : name -> seed -> probabilities of the test images, float32 (n, k)
    labels : the true classes, (n,)
    """
    names = list(models)
    if len(names) < 2:
        return [], None
    if len(names) == 2:
        a, b = names
        return [_record(compare(a, models[a], b, models[b], labels))], None
    ranking = rank(models, labels)
    return [_record(one) for one in ranking.comparisons], RankingResult(
        ranks=dict(ranking.ranks),
        least_pairs=ranking.least_pairs,
        explanation=ranking.explanation,
    )


def _record(comparison: Comparison) -> ComparisonResult:
    fields = {name: getattr(comparison, name) for name in ComparisonResult.model_fields}
    fields["pairs"] = [PairResult(**dataclasses.asdict(pair)) for pair in comparison.pairs]
    fields["findings"] = list(comparison.findings)
    return ComparisonResult(**fields)
