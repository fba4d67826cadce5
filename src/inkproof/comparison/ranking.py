"""More than two models: every pair compared, and an order as far as it is resolved."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy.typing as npt

from inkproof.comparison.pairs import Runs
from inkproof.comparison.verdict import MARGIN, Comparison, gather, least_pairs, settle
from inkproof.errors import ConfigurationError
from inkproof.statistics import holm, ranks_with_ties
from inkproof.wording import counted

__all__ = ["Ranking", "rank"]


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Several models against one another.

    Parameters
    ----------
    comparisons : every pair, in the models' order; verdicts hold for all of them together
    ranks : model -> one more than the number of models that were shown to be more accurate;
        models of one rank are tied: nothing resolved puts one before the other
    least_pairs : of runs, below which none of the comparisons could come to a verdict
    explanation : the order, in one sentence
    """

    comparisons: tuple[Comparison, ...]
    ranks: Mapping[str, int]
    least_pairs: int
    explanation: str


def rank(
    models: Mapping[str, Runs],
    labels: npt.ArrayLike,
    *,
    level: float = 0.95,
    margin: float = MARGIN,
) -> Ranking:
    """Compare every two of several models.

    The chance that any verdict among them is false is kept at 1 - level by Holm's procedure, once
    for the differences and once for the equivalences.

    Parameters
    ----------
    models : name -> its runs, as for :func:`inkproof.compare`; at least two
    labels, level, margin : as there

    Raises
    ------
    ConfigurationError : fewer than two models, or what :func:`inkproof.compare` refuses
    DataError : what :func:`inkproof.compare` refuses
    """
    names = list(models)
    if len(names) < 2:
        raise ConfigurationError(f"rank: expected at least two models, got {names}")
    couples = list(itertools.combinations(names, 2))
    found = [
        gather(
            a,
            models[a],
            b,
            models[b],
            labels,
            level=level,
            margin=margin,
            comparisons=len(couples),
        )
        for a, b in couples
    ]
    differences = holm([one.p_value for one in found])
    equivalences = holm([one.p_equivalence for one in found])
    comparisons = tuple(
        settle(one, p_adjusted=p, p_equivalence=q, comparisons=len(found))
        for one, p, q in zip(found, differences, equivalences, strict=True)
    )
    better = set()
    for one in comparisons:
        if one.verdict.startswith("better"):
            better.add((one.b, one.a))
        elif one.verdict.startswith("worse"):
            better.add((one.a, one.b))
    ranks = ranks_with_ties(names, better)
    least = least_pairs(level, len(found))
    return Ranking(
        comparisons=comparisons,
        ranks=ranks,
        least_pairs=least,
        explanation=_explain(ranks, comparisons, least),
    )


def _explain(ranks: Mapping[str, int], comparisons: tuple[Comparison, ...], least: int) -> str:
    runs = min(len(one.pairs) for one in comparisons)
    together = f"{counted(len(comparisons), 'comparison')} together"
    if runs < least:
        return (
            f"No order among {counted(len(ranks), 'model')}: {together} take at least"
            f" {counted(least, 'pair')} of runs each, and there {'is' if runs == 1 else 'are'} but"
            f" {counted(runs, 'pair')}."
        )
    if len(set(ranks.values())) == 1:
        return f"No order among {counted(len(ranks), 'model')} is resolved by {together}."
    places = [
        " and ".join(name for name, place in ranks.items() if place == value)
        + (" (tied)" if list(ranks.values()).count(value) > 1 else "")
        for value in sorted(set(ranks.values()))
    ]
    return f"By accuracy, as far as {together} resolve it: {', then '.join(places)}."
