"""Two models: the evidence, and the verdict that follows from it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy.typing as npt
import scipy

from inkproof.comparison import checks
from inkproof.comparison.pairs import Judged, Pair, Runs, judge
from inkproof.comparison.sentences import Verdict, explain, explain_few, explain_same, outlook
from inkproof.errors import ConfigurationError
from inkproof.findings import Finding
from inkproof.statistics import (
    LEAST_BCA,
    Crossed,
    Estimate,
    Plan,
    bca_interval,
    correlation_interval,
    crossed_interval,
    paired_interval,
    plan,
    sign_flip_interval,
    sign_flip_test,
)

__all__ = [
    "LEAST_PAIRS",
    "MARGIN",
    "Comparison",
    "Evidence",
    "compare",
    "decide",
    "gather",
    "least_pairs",
    "settle",
    "weigh",
]

LEAST_PAIRS: Final = 6
"""No verdict from fewer pairs: with five, the sign-flip test cannot go below 0.06."""
MARGIN: Final = 0.002
"""A difference in accuracy within 0.2 points counts as none worth having."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Model b against model a; a positive difference means that b is better.

    Parameters
    ----------
    a, b : the models' names
    images : how many test images both were judged on
    telling_images : how many of them some pair of runs disagrees on
    difference : mean of accuracy of b minus accuracy of a, a share, over new runs and new images:
        the crossed random-effects interval, on which alone the verdict rests
    log_loss_difference : mean of log loss of a minus that of b, nats, in the same way
    p_value : two-sided test of the difference in accuracy, from the same standard error
    p_adjusted : the same by Holm's procedure where ``comparisons`` is more than 1
    margin : within which a difference in accuracy counts as none, a share
    within : the difference with the interval of level 1 - 2 (1 - level) that must lie within the
        margin for ``equivalent``
    p_equivalence : two one-sided tests that the difference lies within the margin; by Holm too
    over_runs : the difference with Student's paired t interval: new runs, these images
    exact_over_runs : the same with the interval of the sign-flip test; None for one pair
    bootstrap_over_runs : the same with the BCa bootstrap; None for fewer than 20 pairs
    p_runs : two-sided sign-flip test over the runs' differences in accuracy; None for one pair
    correlation : of the two models' accuracies over the seeds; None where one does not vary
    pairs : the seeds that both have, ascending
    comparisons : how many were made together
    verdict : on b
    explanation : one sentence that follows from these numbers
    outlook : one sentence on what would resolve it; empty where it is resolved
    plan : the numbers behind it; None where it is resolved or cannot be planned
    findings : IPC001 to IPC007
    """

    a: str
    b: str
    images: int
    telling_images: int
    difference: Estimate
    log_loss_difference: Estimate
    p_value: float
    p_adjusted: float
    margin: float
    within: Estimate
    p_equivalence: float
    over_runs: Estimate
    exact_over_runs: Estimate | None
    bootstrap_over_runs: Estimate | None
    p_runs: float | None
    correlation: Estimate | None
    pairs: tuple[Pair, ...]
    comparisons: int
    verdict: Verdict
    explanation: str
    outlook: str
    plan: Plan | None
    findings: tuple[Finding, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """What two models' runs show, before it is settled what that comes to."""

    a: str
    b: str
    seeds_a: list[int]
    seeds_b: list[int]
    judged: Judged
    accuracy: Crossed
    within: Estimate
    log_loss: Crossed
    p_value: float
    p_equivalence: float
    level: float
    margin: float


def least_pairs(level: float, comparisons: int = 1) -> int:
    """Count the pairs of runs, and the images that tell, which a verdict takes each.

    With n pairs the smallest p-value of a two-sided sign-flip test is 2 ** (1 - n). Where even
    that is above 1 - level, only the form of the t distribution could settle anything; so a
    verdict takes as many as bring it down, and never fewer than ``LEAST_PAIRS``: 6 at 0.95, 8 at
    0.99. Of several comparisons the first step of Holm's procedure divides 1 - level by their
    number: three at 0.95 take 7 pairs.

    Raises
    ------
    ConfigurationError : a level that is not between 0 and 1, or comparisons below 1
    """
    if not 0 < level < 1:
        raise ConfigurationError(f"least_pairs: level must be between 0 and 1, got {level}")
    if comparisons < 1:
        raise ConfigurationError(f"least_pairs: comparisons must be at least 1, got {comparisons}")
    return max(LEAST_PAIRS, math.ceil(1 - math.log2((1 - level) / comparisons) - 1e-9))


def compare(
    name_a: str,
    runs_a: Runs,
    name_b: str,
    runs_b: Runs,
    labels: npt.ArrayLike,
    *,
    level: float = 0.95,
    margin: float = MARGIN,
) -> Comparison:
    """Compare two models by what their runs predicted for the same test images.

    Parameters
    ----------
    name_a, name_b : what the models are called
    runs_a, runs_b : seed -> class probabilities, float32 (n, k); only seeds that both have count
    labels : the true classes, integers (n,), 0 .. k-1
    level : the intervals' confidence level, above 0.5 and below 1
    margin : a difference in accuracy within it counts as none worth having, a share above 0

    Returns
    -------
    the comparison; with one common seed there is no interval and the verdict is "not resolved"

    Raises
    ------
    DataError : no seed in common, no images, or probabilities of another shape than (n, k), not
        finite, outside [0, 1] or not adding up to 1
    ConfigurationError : a level or a margin that is out of range
    """
    evidence = gather(name_a, runs_a, name_b, runs_b, labels, level=level, margin=margin)
    return settle(
        evidence, p_adjusted=evidence.p_value, p_equivalence=evidence.p_equivalence, comparisons=1
    )


def gather(
    name_a: str,
    runs_a: Runs,
    name_b: str,
    runs_b: Runs,
    labels: npt.ArrayLike,
    *,
    level: float,
    margin: float,
    comparisons: int = 1,
) -> Evidence:
    """Work out what does not depend on what other comparisons show.

    Parameters
    ----------
    comparisons : how many are made together
    others : as for :func:`compare`
    """
    if not 0.5 < level < 1:
        raise ConfigurationError(f"compare: level must be between 0.5 and 1, got {level}")
    if not 0 < margin < 1:
        raise ConfigurationError(f"compare: margin must be between 0 and 1, got {margin}")
    judged = judge(name_a, runs_a, name_b, runs_b, labels)
    return weigh(
        judged,
        a=name_a,
        b=name_b,
        seeds_a=sorted(runs_a),
        seeds_b=sorted(runs_b),
        level=level,
        margin=margin,
        comparisons=comparisons,
    )


def weigh(
    judged: Judged,
    *,
    a: str,
    b: str,
    seeds_a: list[int],
    seeds_b: list[int],
    level: float,
    margin: float,
    comparisons: int = 1,
) -> Evidence:
    """Estimate the differences and test them, each by itself."""
    accuracy = crossed_interval(judged.gained, level)
    p_equivalence = accuracy.p_equivalent(margin)
    if judged.telling < least_pairs(level, comparisons):
        # Too few images for a normal distribution. The difference is at most the share of images
        # that two runs disagree on: exactly binomial.
        p_equivalence = float(scipy.special.bdtr(judged.telling, judged.images, margin))
    return Evidence(
        a=a,
        b=b,
        seeds_a=seeds_a,
        seeds_b=seeds_b,
        judged=judged,
        accuracy=accuracy,
        within=(
            accuracy.estimate
            if accuracy.estimate.low is None
            else accuracy.at_level(2 * level - 1).estimate
        ),
        log_loss=crossed_interval(judged.saved, level),
        p_value=accuracy.p_value(),
        p_equivalence=p_equivalence,
        level=level,
        margin=margin,
    )


def settle(
    evidence: Evidence, *, p_adjusted: float, p_equivalence: float, comparisons: int
) -> Comparison:
    """Come to a verdict.

    Parameters
    ----------
    evidence : of the two models
    p_adjusted, p_equivalence : the two p-values, adjusted for as many ``comparisons``
    """
    judged, level = evidence.judged, evidence.level
    difference = evidence.accuracy.estimate
    pairs, images = len(judged.pairs), judged.images
    least = least_pairs(level, comparisons)
    verdict = decide(
        evidence, p_adjusted=p_adjusted, p_equivalence=p_equivalence, comparisons=comparisons
    )
    words = _explanation(evidence, verdict, least, p_adjusted)
    planned, next_step = None, ""
    if verdict == "not resolved":
        if difference.low is not None:
            planned = plan(
                evidence.accuracy,
                level=1 - (1 - level) / comparisons,
                margin=evidence.margin,
                least_runs=least,
            )
        next_step = outlook(
            planned,
            pairs=pairs,
            images=images,
            least=least,
            telling=judged.telling,
            within=p_equivalence <= 1 - level,
        )
    runs_differ = [b - a for a, b in zip(judged.right_a, judged.right_b, strict=True)]
    shares_a, shares_b = ([n / images for n in right] for right in (judged.right_a, judged.right_b))
    exact = bootstrap = p_runs = None
    if pairs > 1:
        p_runs = sign_flip_test(runs_differ)
        exact = sign_flip_interval([n / images for n in runs_differ], level)
    if pairs >= LEAST_BCA:
        bootstrap = bca_interval([n / images for n in runs_differ], level)
    return Comparison(
        a=evidence.a,
        b=evidence.b,
        images=images,
        telling_images=judged.telling,
        difference=difference,
        log_loss_difference=evidence.log_loss.estimate,
        p_value=evidence.p_value,
        p_adjusted=p_adjusted,
        margin=evidence.margin,
        within=evidence.within,
        p_equivalence=p_equivalence,
        over_runs=paired_interval(shares_a, shares_b, level, over="runs"),
        exact_over_runs=exact,
        bootstrap_over_runs=bootstrap,
        p_runs=p_runs,
        correlation=correlation_interval(shares_a, shares_b, level),
        pairs=judged.pairs,
        comparisons=comparisons,
        verdict=verdict,
        explanation=words,
        outlook=next_step,
        plan=planned,
        findings=(
            checks.resolved(words, verdict, evidence.accuracy, p_adjusted, p_runs),
            checks.enough_pairs(pairs, least, level, comparisons),
            checks.all_paired(evidence.a, evidence.b, evidence.seeds_a, evidence.seeds_b),
            checks.measures_agree(
                evidence.a, evidence.b, difference, evidence.log_loss.estimate, least
            ),
            checks.different_networks(evidence.a, evidence.b, list(judged.same), pairs),
            checks.enough_images(judged.telling, images, least),
            checks.stands_among_several(evidence.p_value, p_adjusted, level, comparisons),
        ),
    )


def decide(
    evidence: Evidence, *, p_adjusted: float, p_equivalence: float, comparisons: int
) -> Verdict:
    """Give the verdict alone; arguments as for :func:`settle`."""
    judged, level = evidence.judged, evidence.level
    difference = evidence.accuracy.estimate
    least = least_pairs(level, comparisons)
    if len(judged.pairs) < least or difference.low is None:
        return "not resolved"
    within = p_equivalence <= 1 - level
    if judged.telling < least or p_adjusted > 1 - level:
        return "equivalent" if within else "not resolved"
    if difference.value > 0:
        return "better but within the margin" if within else "better"
    return "worse but within the margin" if within else "worse"


def _explanation(evidence: Evidence, verdict: Verdict, least: int, p_adjusted: float) -> str:
    a, b, judged = evidence.a, evidence.b, evidence.judged
    difference = evidence.accuracy.estimate
    pairs, images = len(judged.pairs), judged.images
    prefix = "" if verdict == "equivalent" else "Not resolved: "
    if len(judged.same) == pairs:
        return prefix + explain_same(a, b, pairs, images)
    if pairs < least or difference.low is None:
        return explain_few(a, b, difference, judged.pairs, least=least, images=images)
    sentence = explain(
        a,
        b,
        difference,
        evidence.within,
        verdict,
        margin=evidence.margin,
        pairs=pairs,
        images=images,
    )
    if verdict == "not resolved" and checks.side(difference) != 0:
        reason = (
            "too few images tell them apart"
            if p_adjusted <= 1 - evidence.level
            else "beside the other comparisons this is not enough"
        )
        sentence = sentence.replace("so either may be the better one", f"but {reason}")
    return sentence
