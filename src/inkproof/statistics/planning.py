"""What it would take: the chance of a verdict, and the runs or images that would bring one.

A plan takes the difference and the variances that were found as if they were the true ones. They
are not, above all where there are few runs: a plan is a guide to the next study, no promise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import scipy

from inkproof.errors import ConfigurationError
from inkproof.statistics.basic import check_level
from inkproof.statistics.crossed import Crossed, degrees_of_freedom, standard_error

__all__ = ["MOST_RUNS", "TARGET", "Plan", "plan", "power"]

TARGET: Final = 0.8
"""The chance of a verdict that a plan aims at."""
MOST_RUNS: Final = 1000
"""More runs than these count as no number of them."""
MOST_IMAGES: Final = 1000
"""Up to so many times the test images are planned."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What would resolve a comparison, if what was found were true.

    Parameters
    ----------
    chance : of a verdict from a study like this one
    runs : pairs of runs in all that bring the chance to ``target``, on as many images; None if
        no number up to ``MOST_RUNS`` does
    images : test images in all that do so with as many runs; None if up to ``MOST_IMAGES``
        times as many do not
    target : the chance aimed at
    """

    chance: float
    runs: int | None
    images: int | None
    target: float


def power(
    found: Crossed,
    *,
    difference: float,
    runs: int,
    images: int,
    level: float = 0.95,
    margin: float | None = None,
) -> float:
    """Expect how often a study resolves a true difference.

    The statistic follows a noncentral t distribution (Student's, shifted by difference over
    standard error), at the degrees of freedom that are expected.

    Parameters
    ----------
    found : the variances, as another study estimated them
    difference : the true mean difference, in the unit of ``found``
    runs, images : of the study, at least 2 each
    level : its intervals' confidence level
    margin : None for the chance that the interval lies on one side of 0, on the right one; a
        margin above 0 for the chance that both one-sided tests place it within

    Returns
    -------
    a chance, in [0, 1]

    Raises
    ------
    ConfigurationError : fewer than two runs or images, or a level not between 0 and 1
    """
    check_level("power", level)
    if runs < 2 or images < 2:
        raise ConfigurationError(
            f"power: runs and images must be at least 2, got {runs} and {images}"
        )
    error = standard_error(found, runs=runs, images=images)
    size = abs(difference)
    if error == 0:
        return float(size > 0) if margin is None else float(size < margin)
    df = degrees_of_freedom(found, runs=runs, images=images)
    if margin is None:
        return _above(df, size / error, float(scipy.special.stdtrit(df, 0.5 + level / 2)))
    bound = float(scipy.special.stdtrit(df, level))
    return max(
        0.0,
        _above(df, (margin - size) / error, bound) + _above(df, (margin + size) / error, bound) - 1,
    )


def plan(
    found: Crossed,
    *,
    level: float = 0.95,
    margin: float,
    least_runs: int = 2,
    target: float = TARGET,
) -> Plan:
    """Plan what would resolve a comparison: a difference, or none beyond the margin.

    Parameters
    ----------
    found : what the study found, with at least two runs and images
    level : the verdict's confidence level
    margin : within which a difference counts as none, in the unit of ``found``
    least_runs : fewer give no verdict
    target : the chance of a verdict to reach

    Raises
    ------
    ConfigurationError : as for :func:`power`
    """

    def chance(runs: int, images: int) -> float:
        if runs < least_runs:
            return 0.0
        value = found.estimate.value
        return max(
            power(found, difference=value, runs=runs, images=images, level=level, margin=width)
            for width in (None, margin)
        )

    runs = _least(lambda n: chance(n, found.images) >= target, max(2, least_runs), MOST_RUNS)
    images = _least(
        lambda n: chance(max(found.runs, least_runs), n) >= target,
        found.images,
        MOST_IMAGES * found.images,
    )
    return Plan(chance=chance(found.runs, found.images), runs=runs, images=images, target=target)


def _above(df: float, shift: float, bound: float) -> float:
    """Give the chance that a noncentral t variable exceeds a bound."""
    if shift > bound + 40:
        return 1.0
    if shift < bound - 40:
        return 0.0
    if df > 1e5:  # normal to five digits, and SciPy's series is slow there
        return float(scipy.special.ndtr(shift - bound))
    return 1 - float(scipy.special.nctdtr(df, shift, bound))


def _least(enough: Callable[[int], bool], first: int, most: int) -> int | None:
    """Find the least number from ``first`` to ``most`` that is enough, by doubling and halving."""
    low, high = first - 1, first
    while not enough(high):
        if high >= most:
            return None
        low, high = high, min(most, 2 * high)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
