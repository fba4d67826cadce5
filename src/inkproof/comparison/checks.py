"""What is checked of a comparison: findings IPC001 to IPC007."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from inkproof.comparison.sentences import Verdict
from inkproof.findings import Finding, Severity, Status
from inkproof.statistics import Crossed, Estimate
from inkproof.wording import counted, nats, seeds_listed

__all__ = [
    "all_paired",
    "different_networks",
    "enough_images",
    "enough_pairs",
    "measures_agree",
    "resolved",
    "side",
    "stands_among_several",
]

_TITLES: Final[Mapping[str, tuple[str, Severity]]] = {
    "IPC001": ("Difference resolved", "info"),
    "IPC002": ("Enough pairs of runs", "warning"),
    "IPC003": ("Every seed has its partner", "warning"),
    "IPC004": ("Accuracy and log loss agree", "info"),
    "IPC005": ("Two different networks", "warning"),
    "IPC006": ("Enough images tell them apart", "warning"),
    "IPC007": ("Holds among several comparisons", "info"),
}


def resolved(
    explanation: str,
    verdict: Verdict,
    accuracy: Crossed,
    p_adjusted: float,
    p_runs: float | None,
) -> Finding:
    """IPC001: whether the evidence comes to a verdict."""
    difference = accuracy.estimate
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
            "standard_error": accuracy.standard_error,
            "degrees_of_freedom": accuracy.df,
            "run_variance": accuracy.run_variance,
            "image_variance": accuracy.image_variance,
            "rest_variance": accuracy.rest_variance,
            "pairs": accuracy.runs,
            "images": accuracy.images,
            "p_adjusted": p_adjusted,
            "p_runs": p_runs,
        },
    )


def enough_pairs(pairs: int, least: int, level: float, comparisons: int) -> Finding:
    """IPC002: whether there are as many pairs as a verdict takes."""
    enough = pairs >= least
    among = f" in each of {counted(comparisons, 'comparison')}" if comparisons > 1 else ""
    explanation = (
        f"There {'is' if pairs == 1 else 'are'} {counted(pairs, 'pair')} of runs; a verdict at"
        f" {100 * level:g} %{among} takes at least {counted(least, 'pair')}"
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


def all_paired(a: str, b: str, seeds_a: list[int], seeds_b: list[int]) -> Finding:
    """IPC003: whether runs were left out for want of a partner."""
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


def measures_agree(a: str, b: str, difference: Estimate, log_loss: Estimate, least: int) -> Finding:
    """IPC004: whether the model that is right more often has the better loss too."""
    evidence = {
        "difference": difference.value,
        "log_loss_difference": log_loss.value,
        "log_loss_low": log_loss.low,
        "log_loss_high": log_loss.high,
    }
    if difference.n < least or log_loss.low is None or log_loss.high is None:
        explanation = f"To say whether they agree takes at least {counted(least, 'pair')} of runs."
        return _finding("IPC004", "not applicable", explanation, evidence)
    if side(difference) * side(log_loss) >= 0:
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


def different_networks(a: str, b: str, same: list[int], pairs: int) -> Finding:
    """IPC005: whether the two models are really two."""
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


def enough_images(telling: int, images: int, least: int) -> Finding:
    """IPC006: whether enough images separate the two for an interval over images."""
    enough = telling >= least
    explanation = (
        f"Of {counted(images, 'test image')} {telling:,} {'is' if telling == 1 else 'are'} right by"
        " one and wrong by the other model in some pair of runs; to say which model is better takes"
        f" at least {counted(least, 'such image')}"
    )
    explanation += "." if enough else ", as many as it takes pairs of runs, for the same reason."
    return _finding(
        "IPC006",
        "passed" if enough else "failed",
        explanation,
        {"telling": telling, "images": images, "least": least},
    )


def stands_among_several(
    p_value: float, p_adjusted: float, level: float, comparisons: int
) -> Finding:
    """IPC007: whether a difference that would stand alone stands beside the others, too."""
    evidence = {"p_value": p_value, "p_adjusted": p_adjusted, "comparisons": comparisons}
    if comparisons == 1:
        return _finding("IPC007", "not applicable", "This is the only comparison.", evidence)
    numbers = f"p = {p_value:.3g}, by Holm's procedure {p_adjusted:.3g}"
    family = counted(comparisons, "comparison")
    if p_value > 1 - level:
        explanation = f"Alone it would show no difference either ({numbers} among {family})."
        return _finding("IPC007", "not applicable", explanation, evidence)
    if p_adjusted > 1 - level:
        explanation = (
            f"Alone it would show a difference, among {family} it does not ({numbers}): of many"
            " comparisons some come out by chance."
        )
        return _finding("IPC007", "failed", explanation, evidence)
    explanation = f"The difference holds among {family}, too ({numbers})."
    return _finding("IPC007", "passed", explanation, evidence)


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


def side(estimate: Estimate) -> int:
    """Say on which side of 0 the interval lies; 0 if it holds 0 or there is none."""
    if estimate.low is None or estimate.high is None:
        return 0
    return int(estimate.low > 0) - int(estimate.high < 0)


def _loss_side(difference: float, unit: str = "") -> str:
    if difference == 0:
        return "level with" if unit else "level"
    side = "above" if difference < 0 else "below"
    return f"{nats(abs(difference))}{unit} {side}"
