"""A comparison in words."""

from __future__ import annotations

from typing import Literal

from inkproof.comparison.pairs import Pair
from inkproof.statistics import Estimate, Plan
from inkproof.wording import counted, points

__all__ = ["Verdict", "ends_of", "explain", "explain_few", "explain_same", "outlook", "stand"]

Verdict = Literal[
    "better",
    "worse",
    "equivalent",
    "better but within the margin",
    "worse but within the margin",
    "not resolved",
]
"""On model b, against model a."""


def explain(
    a: str,
    b: str,
    difference: Estimate,
    within: Estimate,
    verdict: Verdict,
    *,
    margin: float,
    pairs: int,
    images: int,
) -> str:
    """Say in one sentence what an interval, which must be there, and the verdict come to."""
    basis = (
        f"over new training runs and new test images, from {counted(pairs, 'pair')} of runs on"
        f" {counted(images, 'image')}"
    )
    within_margin = f"within the margin of {100 * margin:g} points"
    came_out = f"{b} came out {stand(difference.value)} {a}"
    if verdict == "equivalent":
        return (
            f"{b} and {a} are equally accurate {within_margin}: {came_out} ({ends_of(within)}"
            f" {basis})."
        )
    if verdict == "not resolved":
        return (
            f"Not resolved: {came_out} ({ends_of(difference)} {basis}), so either may be the"
            " better one."
        )
    side = "ahead of" if difference.value > 0 else "behind"
    ends = sorted((abs(difference.low or 0.0), abs(difference.high or 0.0)))
    sentence = (
        f"{b} is {side} {a} by {points(abs(difference.value))} points of accuracy"
        f" ({100 * difference.level:g} % interval {points(ends[0])} to {points(ends[1])} {basis})"
    )
    if verdict in ("better", "worse"):
        return f"{sentence}."
    return f"{sentence}, which is {within_margin}."


def explain_few(
    a: str, b: str, difference: Estimate, pairs: tuple[Pair, ...], *, least: int, images: int
) -> str:
    """Say why fewer pairs than a verdict takes give none."""
    on = f"these {counted(images, 'test image')}"
    if difference.low is None:
        more = pairs[0].only_b_right - pairs[0].only_a_right
        won = f"{abs(more):,} {'more' if more > 0 else 'fewer'}" if more else "as many"
        if len(pairs) > 1:
            return f"Not resolved: one test image cannot show how {b} and {a} compare."
        return (
            f"Not resolved: in one pair of runs (seed {pairs[0].seed}) {b} got {won} of {on} right"
            f" {'than' if more else 'as'} {a} ({points(abs(difference.value))} points), and one"
            " pair shows nothing of how new training runs vary."
        )
    return (
        f"Not resolved: a verdict takes at least {counted(least, 'pair')} of runs; {b} came out"
        f" {stand(difference.value)} {a} ({ends_of(difference)} over new training runs and new"
        f" test images, from {counted(len(pairs), 'pair')} of runs on {counted(images, 'image')})."
    )


def explain_same(a: str, b: str, pairs: int, images: int) -> str:
    """Say that two models gave the same probabilities throughout."""
    return (
        f"{b} and {a} gave the same probabilities for these {counted(images, 'test image')} in"
        f" {'all ' if pairs > 1 else ''}{counted(pairs, 'pair')} of runs, so there is no"
        " difference to find."
    )


def outlook(
    found: Plan | None, *, pairs: int, images: int, least: int, telling: int, within: bool
) -> str:
    """Say what would resolve a comparison, in one sentence.

    Parameters
    ----------
    found : None where one pair, or one image, shows no variances to plan from
    pairs, images : what the study had
    least : the pairs that a verdict takes
    telling : the images that some pair disagrees on
    within : whether the images alone place the difference within the margin
    """
    missing = least - pairs
    if found is None:
        wanted = ["more test images"] if images == 1 else []
        if missing > 0:
            wanted.append(f"at least {counted(missing, 'more pair')} of runs")
        return f"What would resolve it: {' and '.join(wanted)}; how many in all shows only then."
    if telling == 0 and within and missing > 0:
        return (
            f"What would resolve it: {counted(missing, 'more pair')} of runs, if they agree on"
            " these images as well."
        )
    if telling == 0:
        return (
            "What would resolve it: other test images, or many more; no pair of runs disagreed on"
            " any of these, so no number of runs would."
        )
    with_runs = (
        f"with {'these' if missing <= 0 else 'at least'} {counted(max(pairs, least), 'pair')}"
    )
    as_found = (
        f"if the difference and its spread are as found, for a chance of {100 * found.target:g} %"
    )
    more_images = None
    if found.images is not None:
        more_images = _rounded_up(found.images - images)
    if found.runs is not None:
        more = f"about {counted(max(1, missing, found.runs - pairs), 'more pair')} of runs"
        if more_images:
            more += f", or about {counted(more_images, 'more test image')} {with_runs}"
        elif more_images is None:
            more += ", while more test images alone would not do"
        return f"What would resolve it: {more}, {as_found}."
    if more_images:
        return (
            "What would resolve it: no number of runs on these test images, but about"
            f" {counted(more_images, 'more test image')} {with_runs} of runs, {as_found}."
        )
    return (
        "What would resolve it: no number of runs on these test images, nor more test images"
        f" {with_runs} of runs; it takes both, {as_found}."
    )


def stand(difference: float) -> str:
    """Write where b stands: ``0.05 points of accuracy ahead of``."""
    if difference == 0:
        return "level with"
    side = "ahead of" if difference > 0 else "behind"
    return f"{points(abs(difference))} points of accuracy {side}"


def ends_of(estimate: Estimate) -> str:
    """Write an interval: ``95 % interval from 0.10 behind to 0.20 ahead``."""
    ends = (_end(end) for end in (estimate.low, estimate.high) if end is not None)
    return f"{100 * estimate.level:g} % interval from {' to '.join(ends)}"


def _end(difference: float) -> str:
    if difference == 0:
        return "level"
    return f"{points(abs(difference))} {'ahead' if difference > 0 else 'behind'}"


def _rounded_up(count: int) -> int:
    """Round a planned number up to two digits: it is no more certain than that."""
    if count < 100:
        return max(0, count)
    step = int(10 ** (len(str(count)) - 2))
    return -(-count // step) * step
