"""Is one network better than another: paired evidence over seeds, and a verdict.

Both were trained with the same seeds, which fix the hold-out, the batch order and the initial
weights, so the runs of one seed are a pair. What is estimated is the mean difference in test
accuracy over new training runs, on these test images; Student's paired t interval over the seeds
is its interval and alone, with enough pairs, gives the verdict. How the difference would fall out
on other images it does not say.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from inkproof.errors import ConfigurationError, DataError
from inkproof.evaluation import check_labels, check_probabilities, log_losses
from inkproof.findings import Finding, Severity, Status
from inkproof.statistics import Estimate, mcnemar_exact, paired_interval, sign_flip_test
from inkproof.wording import counted, nats, points, seeds_listed

__all__ = [
    "LEAST_PAIRS",
    "MCNEMAR_SCOPE",
    "Comparison",
    "Pair",
    "Verdict",
    "compare",
    "least_pairs",
]

LEAST_PAIRS: Final = 6
"""No verdict from fewer pairs: with five, the sign-flip test cannot go below 0.06."""
MCNEMAR_SCOPE: Final = "these two networks only"
"""What a pair's McNemar test speaks about: training again would give other networks."""

_TITLES: Final[Mapping[str, tuple[str, Severity]]] = {
    "IPC001": ("Difference resolved", "info"),
    "IPC002": ("Enough pairs of runs", "warning"),
    "IPC003": ("Every seed has its partner", "warning"),
    "IPC004": ("Accuracy and log loss agree", "info"),
    "IPC005": ("Two different networks", "warning"),
}

Verdict = Literal["better", "worse", "not resolved"]
_Runs = Mapping[int, npt.NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True)
class Pair:
    """The runs of one seed, on the same test images.

    Parameters
    ----------
    seed : of both runs
    only_a_right, only_b_right : images that one of the two networks got right and the other not
    p_mcnemar : exact two-sided McNemar test; it speaks about these two networks only
    """

    seed: int
    only_a_right: int
    only_b_right: int
    p_mcnemar: float


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Model b against model a; a positive difference means that b is better.

    Parameters
    ----------
    a, b : the models' names
    images : how many test images both were judged on
    difference : mean of accuracy of b minus accuracy of a, a share; paired Student t over runs
    log_loss_difference : mean of test loss of a minus that of b, nats; paired Student t over runs
    p_runs : two-sided sign-flip test over the runs' differences in accuracy; None for one pair
    pairs : the seeds that both have, ascending
    verdict : on b: ``better`` or ``worse`` if the interval of ``difference`` does not hold 0 and
        there are at least ``least_pairs(level)`` pairs; otherwise ``not resolved``
    explanation : one sentence that follows from these numbers
    findings : IPC001 to IPC005
    """

    a: str
    b: str
    images: int
    difference: Estimate
    log_loss_difference: Estimate
    p_runs: float | None
    pairs: tuple[Pair, ...]
    verdict: Verdict
    explanation: str
    findings: tuple[Finding, ...]


@dataclass(frozen=True, kw_only=True)
class _Judged:
    """One pair with what the estimates are made from."""

    pair: Pair
    right_a: int
    right_b: int
    loss_a: float
    loss_b: float
    identical: bool


def least_pairs(level: float) -> int:
    """Count the pairs that a verdict takes at a confidence level.

    With n pairs the smallest p-value of a two-sided sign-flip test is 2 ** (1 - n). Where even
    that is above 1 - level, only the form of the t distribution could settle anything; so a
    verdict takes as many as bring it down, and never fewer than ``LEAST_PAIRS``: 6 at 0.95, 8 at
    0.99.

    Raises
    ------
    ConfigurationError : a level that is not between 0 and 1
    """
    if not 0 < level < 1:
        raise ConfigurationError(f"least_pairs: level must be between 0 and 1, got {level}")
    return max(LEAST_PAIRS, math.ceil(1 - math.log2(1 - level) - 1e-9))


def compare(
    name_a: str,
    runs_a: _Runs,
    name_b: str,
    runs_b: _Runs,
    labels: npt.ArrayLike,
    *,
    level: float = 0.95,
) -> Comparison:
    """Compare two models by what their runs predicted for the same test images.

    Parameters
    ----------
    name_a, name_b : what the models are called
    runs_a, runs_b : seed -> class probabilities, float32 (n, k); only seeds that both have count
    labels : the true classes, integers (n,), 0 .. k-1
    level : the intervals' confidence level, between 0 and 1

    Returns
    -------
    the comparison; with one common seed there is no interval and the verdict is "not resolved"

    Raises
    ------
    DataError : no seed in common, no images, or probabilities of another shape than (n, k), not
        finite, outside [0, 1] or not adding up to 1
    ConfigurationError : a level that is not between 0 and 1
    """
    where = f"compare {name_a} with {name_b}"
    least = least_pairs(level)
    judged, images = _judge(where, name_a, runs_a, name_b, runs_b, labels)
    # Whole images first, then shares: sums of whole numbers have no rounding.
    difference = _divided(
        paired_interval(
            [one.right_a for one in judged], [one.right_b for one in judged], level, over="runs"
        ),
        images,
    )
    log_loss = paired_interval(
        [one.loss_b for one in judged], [one.loss_a for one in judged], level, over="runs"
    )
    p_runs = None
    if len(judged) > 1:
        p_runs = sign_flip_test([one.right_b - one.right_a for one in judged])
    verdict: Verdict = "not resolved"
    if len(judged) >= least and _sign(difference) != 0:
        verdict = "better" if _sign(difference) > 0 else "worse"
    pairs = tuple(one.pair for one in judged)
    same = [one.pair.seed for one in judged if one.identical]
    explanation = _explain(
        name_a, name_b, difference, verdict, images=images, least=least, pairs=pairs, same=same
    )
    findings = (
        _resolved(explanation, verdict, difference, p_runs, images),
        _enough_pairs(len(pairs), least, level),
        _all_paired(name_a, name_b, sorted(runs_a), sorted(runs_b)),
        _measures_agree(name_a, name_b, difference, log_loss, least),
        _different_networks(name_a, name_b, same, len(pairs)),
    )
    return Comparison(
        a=name_a,
        b=name_b,
        images=images,
        difference=difference,
        log_loss_difference=log_loss,
        p_runs=p_runs,
        pairs=pairs,
        verdict=verdict,
        explanation=explanation,
        findings=findings,
    )


def _judge(
    where: str, name_a: str, runs_a: _Runs, name_b: str, runs_b: _Runs, labels: npt.ArrayLike
) -> tuple[list[_Judged], int]:
    seeds = sorted(runs_a.keys() & runs_b.keys())
    if not seeds:
        raise DataError(
            f"{where}: expected a seed that both have, got {seeds_listed(sorted(runs_a))} and"
            f" {seeds_listed(sorted(runs_b))}"
        )
    shape = np.shape(runs_a[seeds[0]])
    if len(shape) != 2:
        raise DataError(
            f"{where}: {name_a}, seed {seeds[0]}: probabilities must have shape (images, classes),"
            f" got {shape}"
        )
    truth = check_labels(labels, classes=shape[1], where=where)
    judged = []
    for seed in seeds:
        a, b = (
            check_probabilities(
                runs[seed],
                images=len(truth),
                classes=shape[1],
                where=f"{where}: {name}, seed {seed}: probabilities",
            )
            for name, runs in ((name_a, runs_a), (name_b, runs_b))
        )
        right_a, right_b = a.argmax(axis=1) == truth, b.argmax(axis=1) == truth
        only_a = int(np.count_nonzero(right_a & ~right_b))
        only_b = int(np.count_nonzero(right_b & ~right_a))
        judged.append(
            _Judged(
                pair=Pair(
                    seed=int(seed),
                    only_a_right=only_a,
                    only_b_right=only_b,
                    p_mcnemar=mcnemar_exact(only_a, only_b),
                ),
                right_a=int(np.count_nonzero(right_a)),
                right_b=int(np.count_nonzero(right_b)),
                loss_a=float(np.mean(log_losses(a, truth))),
                loss_b=float(np.mean(log_losses(b, truth))),
                identical=bool(np.array_equal(a, b)),
            )
        )
    return judged, len(truth)


def _explain(
    a: str,
    b: str,
    difference: Estimate,
    verdict: Verdict,
    *,
    images: int,
    least: int,
    pairs: tuple[Pair, ...],
    same: list[int],
) -> str:
    on = f"these {counted(images, 'test image')}"
    if len(same) == len(pairs):
        return (
            f"Not resolved: {b} and {a} gave the same probabilities for {on} in"
            f" {'all ' if len(pairs) > 1 else ''}{counted(len(pairs), 'pair')} of runs, so there is"
            " no difference to find."
        )
    if difference.low is None or difference.high is None:
        more = pairs[0].only_b_right - pairs[0].only_a_right
        won = f"{abs(more):,} {'more' if more > 0 else 'fewer'}" if more else "as many"
        return (
            f"Not resolved: in one pair of runs (seed {pairs[0].seed}) {b} got {won} of {on} right"
            f" {'than' if more else 'as'} {a} ({points(abs(difference.value))} points), and one"
            " pair shows nothing of how new training runs vary."
        )
    basis = f"over new training runs, from {counted(len(pairs), 'pair')} of runs, on {on}"
    level = f"{100 * difference.level:g} % interval"
    if verdict != "not resolved":
        ends = sorted((abs(difference.low), abs(difference.high)))
        return (
            f"{b} is {'ahead of' if verdict == 'better' else 'behind'} {a} by"
            f" {points(abs(difference.value))} points of accuracy ({level} {points(ends[0])} to"
            f" {points(ends[1])} {basis})."
        )
    if difference.low == difference.high == 0 and len(pairs) >= least:
        return (
            f"Not resolved: {b} and {a} got equally many of {on} right in each of"
            f" {counted(len(pairs), 'pair')} of runs."
        )
    came_out = f"{b} came out {_stand(difference.value)} {a}"
    interval = f"{level} from {_end(difference.low)} to {_end(difference.high)} {basis}"
    if len(pairs) < least:
        return (
            f"Not resolved: a verdict takes at least {counted(least, 'pair')} of runs; {came_out}"
            f" ({interval})."
        )
    return f"Not resolved: {came_out} ({interval}), so either may be the better one."


def _resolved(
    explanation: str, verdict: Verdict, difference: Estimate, p_runs: float | None, images: int
) -> Finding:
    return _finding(
        "IPC001",
        "failed" if verdict == "not resolved" else "passed",
        explanation,
        {
            "verdict": verdict,
            "difference": difference.value,
            "low": difference.low,
            "high": difference.high,
            "level": difference.level,
            "pairs": difference.n,
            "images": images,
            "p_runs": p_runs,
        },
    )


def _enough_pairs(pairs: int, least: int, level: float) -> Finding:
    enough = pairs >= least
    explanation = (
        f"There {'is' if pairs == 1 else 'are'} {counted(pairs, 'pair')} of runs; a verdict at"
        f" {100 * level:g} % takes at least {counted(least, 'pair')}"
    )
    if enough:
        explanation += "."
    else:
        smallest = 2.0 ** (1 - pairs)
        explanation += (
            f", since a two-sided sign-flip test over {counted(pairs, 'pair')} cannot go below"
            f" p = {smallest:.3g}."
        )
    return _finding(
        "IPC002",
        "passed" if enough else "failed",
        explanation,
        {"pairs": pairs, "least": least, "level": level},
    )


def _all_paired(a: str, b: str, seeds_a: list[int], seeds_b: list[int]) -> Finding:
    only_a = [int(seed) for seed in seeds_a if seed not in seeds_b]
    only_b = [int(seed) for seed in seeds_b if seed not in seeds_a]
    left_out = [
        f"{seeds_listed(seeds)} of {name}" for name, seeds in ((a, only_a), (b, only_b)) if seeds
    ]
    return _finding(
        "IPC003",
        "failed" if left_out else "passed",
        f"Left out, for want of a run of the other model with the same seed:"
        f" {' and '.join(left_out)}."
        if left_out
        else f"{a} and {b} were trained with the same seeds.",
        {"only_a": only_a, "only_b": only_b},
    )


def _measures_agree(
    a: str, b: str, difference: Estimate, log_loss: Estimate, least: int
) -> Finding:
    evidence = {
        "difference": difference.value,
        "log_loss_difference": log_loss.value,
        "log_loss_low": log_loss.low,
        "log_loss_high": log_loss.high,
    }
    if difference.n < least or log_loss.low is None or log_loss.high is None:
        explanation = f"To say whether they agree takes at least {counted(least, 'pair')} of runs."
        return _finding("IPC004", "not applicable", explanation, evidence)
    if _sign(difference) * _sign(log_loss) >= 0:
        ends = sorted((log_loss.low, log_loss.high))
        explanation = (
            f"The test loss of {b} came out {_loss_side(log_loss.value, ' nats')} that of {a}"
            f" ({100 * log_loss.level:g} % interval from {_loss_side(ends[0])} to"
            f" {_loss_side(ends[1])}), which does not contradict the accuracies."
        )
        return _finding("IPC004", "passed", explanation, evidence)
    oftener, other = (b, a) if difference.value > 0 else (a, b)
    ends = sorted((abs(log_loss.low), abs(log_loss.high)))
    explanation = (
        f"{oftener} is right more often, but its test loss is {nats(abs(log_loss.value))} nats"
        f" above that of {other} ({100 * log_loss.level:g} % interval {nats(ends[0])} to"
        f" {nats(ends[1])}): where it is wrong, it is too sure of it."
    )
    return _finding("IPC004", "failed", explanation, evidence)


def _different_networks(a: str, b: str, same: list[int], pairs: int) -> Finding:
    if same:
        explanation = (
            f"In the runs of {seeds_listed(same)}, {a} and {b} gave the same probabilities for"
            " every image: one may be a copy of the other."
        )
    else:
        explanation = (
            f"{a} and {b} gave different probabilities in {'each of ' if pairs > 1 else ''}"
            f"{counted(pairs, 'pair')} of runs."
        )
    return _finding("IPC005", "failed" if same else "passed", explanation, {"same": same})


def _finding(code: str, status: Status, explanation: str, evidence: Mapping[str, Any]) -> Finding:
    title, severity = _TITLES[code]
    return Finding(
        code=code,
        title=title,
        severity=severity,
        status=status,
        explanation=explanation,
        evidence=evidence,
    )


def _sign(estimate: Estimate) -> int:
    """Say on which side of 0 the interval lies; 0 if it holds 0 or there is none."""
    if estimate.low is None or estimate.high is None:
        return 0
    return int(estimate.low > 0) - int(estimate.high < 0)


def _divided(estimate: Estimate, by: int) -> Estimate:
    return replace(
        estimate,
        value=estimate.value / by,
        low=None if estimate.low is None else estimate.low / by,
        high=None if estimate.high is None else estimate.high / by,
    )


def _stand(difference: float) -> str:
    if difference == 0:
        return "level with"
    side = "ahead of" if difference > 0 else "behind"
    return f"{points(abs(difference))} points of accuracy {side}"


def _end(difference: float) -> str:
    if difference == 0:
        return "level"
    return f"{points(abs(difference))} {'ahead' if difference > 0 else 'behind'}"


def _loss_side(difference: float, unit: str = "") -> str:
    if difference == 0:
        return "level with" if unit else "level"
    side = "above" if difference < 0 else "below"
    return f"{nats(abs(difference))}{unit} {side}"
