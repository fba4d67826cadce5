"""What it would take: the chance of a verdict, and the runs or images that would bring one.

A plan takes the difference and the variances that were found as if they were the true ones. They
are not, above all where there are few runs: a plan is a guide to the next study, no promise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import scipy

from inkproof.errors import ConfigurationError
from inkproof.statistics.basic import check_level
from inkproof.statistics.crossed import Crossed, degrees_of_freedom, least_share

__all__ = ["MOST_RUNS", "TARGET", "Plan", "plan", "power"]

TARGET: Final = 0.8
"""The chance of a verdict that a plan aims at."""
MOST_RUNS: Final = 1000
"""More runs than these count as no number of them."""
MOST_IMAGES: Final = 1000
"""Up to so many times the test images are planned."""

_NODES: Final = 200

Claim = Literal["difference", "equivalence", "either"]


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
    claim: Claim = "difference",
) -> float:
    """Expect how often a study resolves a true difference.

    The mean of the study's table is taken as normal, and MS_runs as following a chi-squared
    distribution, whose quantiles are gone through; for each the interval is formed as
    :func:`inkproof.statistics.crossed_interval` does, with the other mean squares as expected.

    Parameters
    ----------
    found : the variances, as another study estimated them
    difference : the true mean difference, in the unit of ``found``
    runs, images : of the study, at least 2 each
    level : its intervals' confidence level
    margin : within which a difference counts as none, above 0; for the last two claims
    claim : ``difference``: the interval lies on one side of 0, and on the right one;
        ``equivalence``: two one-sided tests place it within the margin; ``either`` of them

    Returns
    -------
    a chance, in [0, 1]

    Raises
    ------
    ConfigurationError : fewer than two runs or images, a level not between 0 and 1, or no margin
        where there must be one
    """
    check_level("power", level)
    if runs < 2 or images < 2:
        raise ConfigurationError(
            f"power: runs and images must be at least 2, got {runs} and {images}"
        )
    if claim != "difference" and not (margin is not None and margin > 0):
        raise ConfigurationError(f"power: margin must be above 0 for {claim}, got {margin}")
    size, rest = abs(difference), found.rest_variance
    cells = runs * images
    ms_runs, ms_images = images * found.run_variance + rest, runs * found.image_variance + rest
    spread = math.sqrt((ms_runs + ms_images - rest) / cells)
    share = (np.arange(_NODES) + 0.5) / _NODES
    drawn = ms_runs * scipy.special.chdtri(runs - 1, 1 - share) / (runs - 1)
    drawn = np.maximum(drawn, least_share(runs) * rest)
    error = np.sqrt((drawn + ms_images - rest) / cells)
    df = degrees_of_freedom(drawn, ms_images, rest, runs, images)
    beyond = np.asarray(scipy.special.stdtrit(df, 0.5 + level / 2)) * error
    inside: npt.NDArray[np.floating[Any]] = np.zeros(_NODES)
    if margin is not None:
        inside = np.maximum(0.0, margin - np.asarray(scipy.special.stdtrit(df, level)) * error)
    if spread == 0:
        outside, within = float(size > 0), float(margin is not None and size < margin)
        return {"difference": outside, "equivalence": within}.get(claim, max(outside, within))
    right = _below((size - beyond) / spread)
    if claim == "difference":
        return float(right.mean())
    within_chance = _below((inside - size) / spread) - _below((-inside - size) / spread)
    if claim == "equivalence":
        return float(within_chance.mean())
    # Both at once are counted once.
    both = np.maximum(0.0, _below((inside - size) / spread) - _below((beyond - size) / spread))
    return float(np.minimum(1.0, right + within_chance - both).mean())


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
        return power(
            found,
            difference=found.estimate.value,
            runs=runs,
            images=images,
            level=level,
            margin=margin,
            claim="either",
        )

    runs = _least(lambda n: chance(n, found.images) >= target, max(2, least_runs), MOST_RUNS)
    images = _least(
        lambda n: chance(max(found.runs, least_runs), n) >= target,
        found.images,
        MOST_IMAGES * found.images,
    )
    return Plan(chance=chance(found.runs, found.images), runs=runs, images=images, target=target)


def _below(z: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
    """Give the chance that a standard normal variable is below."""
    return np.asarray(scipy.special.ndtr(z))


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
