"""Intervals over runs that need no normal distribution, and that of a correlation.

They speak about new training runs on the same images; a verdict does not rest on them.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt
import scipy

from inkproof.errors import ConfigurationError, DataError
from inkproof.randomness import Use, uniform
from inkproof.statistics.basic import Estimate, check_level, mean_of, numbers_of

__all__ = ["LEAST_BCA", "bca_interval", "correlation_interval", "sign_flip_interval"]

LEAST_BCA: Final = 20
"""From fewer runs a bootstrap interval falls short of its level."""
_EXACT: Final = 16
_DRAWS: Final = 9_999
_CHUNK: Final = 1 << 22


def sign_flip_interval(
    differences: npt.ArrayLike, level: float = 0.95, *, seed: int = 0
) -> Estimate:
    """Estimate the centre of symmetric differences by turning the sign-flip test round.

    The interval holds every centre that the two-sided test by flipped signs does not reject at
    1 - level. Its ends are order statistics of the means of all subsets (J. A. Hartigan, "Using
    subsample values as typical values", Journal of the American Statistical Association 64, 1969),
    or of random subsets where there are more than 16 differences; it covers with its level at
    least, up to what the number of subsets allows.

    Parameters
    ----------
    differences : (n,), finite: one a pair of runs
    level : confidence level, between 0 and 1
    seed : of the random subsets

    Returns
    -------
    the mean; ``low`` and ``high`` are None where n is too small to reject anything (fewer than
    six at 0.95)

    Raises
    ------
    DataError : none at all, more than one axis, or a value that is not finite
    ConfigurationError : a level that is not between 0 and 1
    """
    check_level("sign_flip_interval", level)
    values = numbers_of("sign_flip_interval", differences)
    n = len(values)
    mean = mean_of(values)
    low = high = None
    if n <= _EXACT:
        subsets = (np.arange(1, 1 << n)[:, np.newaxis] >> np.arange(n)) & 1
        means = (subsets @ values) / subsets.sum(axis=1)
        place = math.floor((1 - level) * 2.0 ** (n - 1) + 1e-9)
    else:
        picked = uniform(_DRAWS * n, Use.RESAMPLING, seed=seed, index=1).reshape(_DRAWS, n) < 0.5
        sizes = picked.sum(axis=1)
        means = (picked @ values)[sizes > 0] / sizes[sizes > 0]
        place = math.floor((1 - level) / 2 * (len(means) + 1) + 1e-9)
    if place >= 1:
        means = np.sort(means)
        # Rounding, or a level near 0, may not push an end past the mean.
        low, high = min(mean, float(means[place - 1])), max(mean, float(means[-place]))
    return Estimate(
        value=mean,
        low=low,
        high=high,
        level=level,
        n=n,
        over="runs",
        method="sign flips turned round",
    )


def bca_interval(
    values: npt.ArrayLike, level: float = 0.95, *, draws: int = _DRAWS, seed: int = 0
) -> Estimate:
    """Estimate a mean with the bootstrap, bias-corrected and accelerated.

    B. Efron, "Better bootstrap confidence intervals", Journal of the American Statistical
    Association 82 (1987).

    Parameters
    ----------
    values : (n,), finite: one a run
    level : confidence level, between 0 and 1
    draws : resamples
    seed : another one draws others

    Returns
    -------
    the mean; ``low`` and ``high`` are None for fewer than ``LEAST_BCA`` values

    Raises
    ------
    DataError : none at all, more than one axis, or a value that is not finite
    ConfigurationError : a level not between 0 and 1, or draws below 1
    """
    check_level("bca_interval", level)
    if draws < 1:
        raise ConfigurationError(f"bca_interval: draws must be at least 1, got {draws}")
    sample = numbers_of("bca_interval", values)
    n = len(sample)
    mean = mean_of(sample)
    low = high = None
    if n >= LEAST_BCA:
        apart = sample - mean
        spread = float(apart @ apart)
        low = high = mean
        if spread > 0:
            means = np.sort(_resampled_means(apart, draws, seed))
            below = (np.count_nonzero(means < 0) + 0.5 * np.count_nonzero(means == 0)) / draws
            bias = float(scipy.special.ndtri(min(max(below, 1 / draws), 1 - 1 / draws)))
            # Of a mean, the jackknife's acceleration is the skewness / 6 sqrt(n).
            acceleration = float((apart**3).sum()) / (6 * spread**1.5)
            ends = []
            for tail in ((1 - level) / 2, (1 + level) / 2):
                z = bias + float(scipy.special.ndtri(tail))
                share = scipy.special.ndtr(bias + z / (1 - acceleration * z))
                ends.append(mean + float(np.quantile(means, float(share))))
            low, high = ends
    return Estimate(
        value=mean, low=low, high=high, level=level, n=n, over="runs", method="BCa bootstrap"
    )


def correlation_interval(
    a: npt.ArrayLike, b: npt.ArrayLike, level: float = 0.95
) -> Estimate | None:
    """Estimate the correlation of two models' scores over the seeds that they share.

    Pearson's coefficient with the interval of R. A. Fisher's transformation ("On the probable
    error of a coefficient of correlation deduced from a small sample", Metron 1, 1921).

    Parameters
    ----------
    a, b : (n,), finite; row i of both is of one seed
    level : confidence level, between 0 and 1

    Returns
    -------
    the coefficient, in [-1, 1]; no interval for fewer than four seeds; None where one of the two
    does not vary, or there are fewer than three seeds

    Raises
    ------
    DataError : different lengths, or a value that is not finite
    ConfigurationError : a level that is not between 0 and 1
    """
    check_level("correlation_interval", level)
    first, second = (numbers_of("correlation_interval", values) for values in (a, b))
    if len(first) != len(second):
        raise DataError(
            f"correlation_interval: a and b must have one value a seed, got {len(first)} and"
            f" {len(second)}"
        )
    n = len(first)
    if n < 3 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    r = float(np.clip(np.corrcoef(first, second)[0, 1], -1, 1))
    low = high = None
    if n > 3:
        if abs(r) > 1 - 1e-12:
            low = high = r
        else:
            half = float(scipy.special.ndtri(0.5 + level / 2)) / math.sqrt(n - 3)
            low, high = math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half)
    return Estimate(value=r, low=low, high=high, level=level, n=n, over="runs", method="Fisher's z")


def _resampled_means(
    values: npt.NDArray[np.float64], draws: int, seed: int
) -> npt.NDArray[np.float64]:
    n = len(values)
    rows = max(1, _CHUNK // n)
    means = []
    for index, begin in enumerate(range(0, draws, rows)):
        count = min(rows, draws - begin)
        u = uniform(count * n, Use.RESAMPLING, seed=seed, index=2 + index)
        picked = np.minimum((u * n).astype(np.intp), n - 1)
        means.append(values[picked].reshape(count, n).mean(axis=1))
    return np.concatenate(means)
