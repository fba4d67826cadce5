"""Intervals of shares and means, and paired tests.

Sources
-------
- E. B. Wilson, "Probable inference, the law of succession, and statistical inference", Journal of
  the American Statistical Association 22 (1927): the interval of a share.
- C. J. Clopper, E. S. Pearson, "The use of confidence or fiducial limits illustrated in the case
  of the binomial", Biometrika 26 (1934): the exact interval of a share.
- Student, "The probable error of a mean", Biometrika 6 (1908): the intervals of a mean and of a
  mean of paired differences.
- Q. McNemar, "Note on the sampling error of the difference between correlated proportions or
  percentages", Psychometrika 12 (1947): two classifiers on the same images; here in its exact,
  binomial form.
- R. A. Fisher, "The Design of Experiments" (1935), section 21: the test by flipping signs.
- B. Phipson, G. K. Smyth, "Permutation P-values should never be zero", Statistical Applications
  in Genetics and Molecular Biology 9 (2010): the same from a sample of the flips.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import scipy  # its submodules load at first use: scipy.special takes a fifth of a second

from inkproof.errors import ConfigurationError, DataError
from inkproof.randomness import Use, uniform
from inkproof.wording import counted

__all__ = [
    "EXACT_FLIPS",
    "Estimate",
    "Over",
    "check_level",
    "cut",
    "exact_share_interval",
    "mcnemar_exact",
    "mean_interval",
    "mean_of",
    "numbers_of",
    "over_runs",
    "paired_interval",
    "sign_flip_test",
    "wilson_interval",
]

EXACT_FLIPS: Final = 20
"""Up to so many differences, :func:`sign_flip_test` goes through all 2**n flips."""

# Two sums that differ by less than this share of the sum of all sizes count as tied: flips of
# equal differences must tie although they are added in another order. Ties make p larger.
_TIE: Final = 1e-12
_CHUNK: Final = 1 << 20

Over = Literal["runs", "images", "both"]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number with what is known of its error.

    Parameters
    ----------
    value : the point estimate
    low, high : the interval's ends, or None where there is none (one run has no spread)
    level : the interval's confidence level, such as 0.95
    n : how many observations it rests on
    over : what varies: training ``runs``, test ``images``, or ``both``
    method : the interval's name, such as ``"Wilson"`` or ``"Student t (cut at 1)"``
    """

    value: float
    low: float | None
    high: float | None
    level: float
    n: int
    over: Over
    method: str


def wilson_interval(
    successes: int, n: int, level: float = 0.95, *, over: Over = "images"
) -> Estimate:
    """Estimate a share, such as an accuracy, with Wilson's score interval (1927).

    It holds its level near 0 and 1, where accuracies lie, and never leaves [0, 1].

    Parameters
    ----------
    successes : how many of the n, 0 to n
    n : how many independent observations, at least 1
    level : confidence level, between 0 and 1
    over : what the n are

    Returns
    -------
    the share, in [0, 1]; with 0 successes the interval begins at 0, with n it ends at 1

    Raises
    ------
    DataError : n is 0 (no share is defined), or successes is not in 0..n
    ConfigurationError : a level that is not between 0 and 1
    """
    check_level("wilson_interval", level)
    if n < 1:
        raise DataError(f"wilson_interval: n must be at least 1, got {n}")
    if not 0 <= successes <= n:
        raise DataError(f"wilson_interval: successes must be from 0 to n = {n}, got {successes}")
    share = successes / n
    z = float(scipy.special.ndtri(0.5 + level / 2))
    shrink = 1 / (1 + z * z / n)
    centre = shrink * (share + z * z / (2 * n))
    half = shrink * z * math.sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2)
    return Estimate(
        value=share,
        low=min(share, max(0.0, centre - half)),  # rounding may not push it past the share
        high=max(share, min(1.0, centre + half)),
        level=level,
        n=int(n),
        over=over,
        method="Wilson",
    )


def exact_share_interval(
    successes: int, n: int, level: float = 0.95, *, over: Over = "images"
) -> Estimate:
    """Estimate a share with Clopper and Pearson's interval (1934), which never falls short.

    Parameters
    ----------
    successes, n, level, over : as in :func:`wilson_interval`

    Returns
    -------
    the share, in [0, 1]; the interval covers with at least its level, for any n and any share

    Raises
    ------
    DataError, ConfigurationError : as for :func:`wilson_interval`
    """
    check_level("exact_share_interval", level)
    if n < 1:
        raise DataError(f"exact_share_interval: n must be at least 1, got {n}")
    if not 0 <= successes <= n:
        raise DataError(
            f"exact_share_interval: successes must be from 0 to n = {n}, got {successes}"
        )
    tail, misses = (1 - level) / 2, n - successes
    low = high = None
    if successes > 0:
        low = float(scipy.special.betaincinv(successes, misses + 1, tail))
    if misses > 0:
        high = float(scipy.special.betaincinv(successes + 1, misses, 1 - tail))
    return Estimate(
        value=successes / n,
        low=0.0 if low is None else low,
        high=1.0 if high is None else high,
        level=level,
        n=int(n),
        over=over,
        method="Clopper-Pearson",
    )


def mean_interval(
    values: npt.ArrayLike,
    level: float = 0.95,
    *,
    over: Over,
    least: float = -math.inf,
    most: float = math.inf,
) -> Estimate:
    """Estimate a mean with Student's t interval (1908).

    Parameters
    ----------
    values : numbers (n,), finite: one an independent run or image
    level : confidence level, between 0 and 1
    over : what the values are
    least, most : what a mean can be, such as 0 and 1 for a share; the interval is :func:`cut` there

    Returns
    -------
    the mean, in the values' unit; ``low`` and ``high`` are None for n = 1

    Raises
    ------
    DataError : no values, more than one axis, or a value that is not finite
    ConfigurationError : a level that is not between 0 and 1
    """
    check_level("mean_interval", level)
    found = _student(numbers_of("mean_interval", values), level, over, "Student t")
    return cut(found, least=least, most=most)


def over_runs(
    values: npt.ArrayLike,
    own: Callable[[], Estimate],
    level: float = 0.95,
    *,
    least: float = -math.inf,
    most: float = math.inf,
) -> Estimate:
    """Estimate the mean over training runs of what each gave on the same images.

    Where all runs tie, their spread of 0 is no measure of what another run would give: whole
    counts of right images tie by chance. Student's interval would have no width, so the first run's
    own interval over images is given in its place, and ``over`` and ``method`` say so. A single
    run has its own interval, too.

    Parameters
    ----------
    values : numbers (n,), finite: one a run
    own : gives the first run's own estimate over its images; asked only where it is needed
    level, least, most : as in :func:`mean_interval`

    Returns
    -------
    the mean, in the values' unit

    Raises
    ------
    DataError, ConfigurationError : as for :func:`mean_interval`
    """
    mean = mean_interval(values, level, over="runs", least=least, most=most)
    if mean.n == 1:
        return own()
    numbers = np.asarray(values, dtype=np.float64)
    if np.ptp(numbers) > _TIE * float(np.abs(numbers).max()):  # what rounding leaves is no spread
        return mean
    alone = own()
    return replace(
        alone,
        value=mean.value,
        low=None if alone.low is None else min(mean.value, alone.low),
        high=None if alone.high is None else max(mean.value, alone.high),
        method=f"{alone.method} (the {counted(mean.n, 'run')} tied)",
    )


def cut(estimate: Estimate, *, least: float, most: float) -> Estimate:
    """Cut an interval at what its true value can be, and say so in its method.

    Student's interval knows nothing of a share's ends, 0 and 1, nor of a loss's, 0, and with few
    runs reaches far beyond. The true value is never there: what is cut off never held it, so the
    interval covers exactly as often as before.

    Parameters
    ----------
    estimate : of a value that can be from ``least`` to ``most``
    least, most : its ends; infinite where it has none

    Returns
    -------
    the same where nothing is beyond; the estimate itself stays inside, whatever rounding did
    """
    if estimate.low is None or estimate.high is None:
        return estimate
    low, high = max(least, estimate.low), min(most, estimate.high)
    ends = [
        f"{end:g}" for end, at in ((least, low > estimate.low), (most, high < estimate.high)) if at
    ]
    if not ends:
        return estimate
    return replace(
        estimate,
        low=min(estimate.value, low),
        high=max(estimate.value, high),
        method=f"{estimate.method} (cut at {' and '.join(ends)})",
    )


def paired_interval(
    a: npt.ArrayLike, b: npt.ArrayLike, level: float = 0.95, *, over: Over
) -> Estimate:
    """Estimate the mean of b minus a, paired, with Student's t interval (1908).

    Parameters
    ----------
    a, b : numbers (n,), finite: row i of both comes from one pair (one seed, one image)
    level, over : as in :func:`mean_interval`

    Returns
    -------
    the mean of the differences; ``low`` and ``high`` are None for n = 1

    Raises
    ------
    DataError : no values, different lengths, or a value that is not finite
    ConfigurationError : a level that is not between 0 and 1
    """
    check_level("paired_interval", level)
    first, second = numbers_of("paired_interval", a), numbers_of("paired_interval", b)
    if len(first) != len(second):
        raise DataError(
            f"paired_interval: a and b must have one value a pair, got {len(first)} and"
            f" {len(second)}"
        )
    return _student(second - first, level, over, "paired Student t")


def mcnemar_exact(only_a: int, only_b: int) -> float:
    """Test whether two fixed classifiers differ on the same images: McNemar (1947), exact.

    Given how many images exactly one of them got right, each is a toss of a fair coin if both
    are equally good; the p-value is that of the two-sided binomial test with share one half. It
    speaks about these two trained networks only, not about what training again would give.

    Parameters
    ----------
    only_a, only_b : images that only the one, only the other got right, at least 0

    Returns
    -------
    p-value, in [0, 1] (0 only where it is below the smallest float); 1 when both are 0

    Raises
    ------
    DataError : a negative count
    """
    if only_a < 0 or only_b < 0:
        raise DataError(f"mcnemar_exact: counts must be at least 0, got {only_a} and {only_b}")
    fewer, total = min(only_a, only_b), only_a + only_b
    if total == 0:
        return 1.0
    return min(1.0, 2 * float(scipy.special.bdtr(fewer, total, 0.5)))  # equal tails overlap


def sign_flip_test(differences: npt.ArrayLike, *, draws: int = 99_999, seed: int = 0) -> float:
    """Test whether paired differences centre on 0 by flipping their signs (Fisher 1935).

    If swapping the two sides of a pair changes nothing, every choice of signs is as likely as
    the one that came. The p-value is the share of choices whose mean is at least as far from 0,
    two-sided. Up to ``EXACT_FLIPS`` differences all choices are gone through, so that p is at
    least 2 ** (1 - n); beyond, it is (b + 1) / (m + 1) from m random ones, of which b are as
    extreme (Phipson and Smyth 2010), drawn with a fixed key: the same input gives the same p.

    Parameters
    ----------
    differences : numbers (n,), finite; may be none
    draws : m, at least 1
    seed : another one draws other flips

    Returns
    -------
    p-value, in (0, 1]; 1 for no differences and for differences that are all 0

    Raises
    ------
    DataError : more than one axis, or a value that is not finite
    ConfigurationError : draws below 1
    """
    if draws < 1:
        raise ConfigurationError(f"sign_flip_test: draws must be at least 1, got {draws}")
    values = numbers_of("sign_flip_test", differences, least=0)
    largest = float(np.abs(values).max(initial=0.0))
    if largest == 0.0:
        return 1.0
    values = values / largest  # sums of the largest floats would overflow
    bound = abs(float(values.sum())) - _TIE * float(np.abs(values).sum())
    if len(values) <= EXACT_FLIPS:
        # The first sign stays: flipping all of them gives the same distance from 0.
        sums = values[:1]
        for value in values[1:]:
            sums = np.concatenate([sums + value, sums - value])
        return float(np.mean(np.abs(sums) >= bound))
    extreme = 0
    rows = max(1, _CHUNK // len(values))
    for index, begin in enumerate(range(0, draws, rows)):
        count = min(rows, draws - begin)
        heads = uniform(count * len(values), Use.RESAMPLING, seed=seed, index=index) < 0.5
        signs = np.where(heads.reshape(count, len(values)), 1.0, -1.0)
        extreme += int(np.count_nonzero(np.abs(signs @ values) >= bound))
    return (extreme + 1) / (draws + 1)


def _student(values: npt.NDArray[np.float64], level: float, over: Over, method: str) -> Estimate:
    n, mean = len(values), mean_of(values)
    low = high = None
    if n > 1:
        spread = math.sqrt(math.fsum((values - mean) ** 2) / (n - 1))
        half = float(scipy.special.stdtrit(n - 1, 0.5 + level / 2)) * spread / math.sqrt(n)
        low, high = mean - half, mean + half
    return Estimate(value=mean, low=low, high=high, level=level, n=n, over=over, method=method)


def mean_of(values: npt.NDArray[np.float64]) -> float:
    """Give the mean of at least one number; equal ones have exactly their own, and no spread."""
    first = float(values[0])
    return first + math.fsum(values - first) / len(values)


def numbers_of(where: str, values: npt.ArrayLike, *, least: int = 1) -> npt.NDArray[np.float64]:
    """Give numbers as float64 (n,), finite and at least ``least`` of them, or raise DataError."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise DataError(f"{where}: expected numbers with one axis, got shape {array.shape}")
    if len(array) < least:
        raise DataError(f"{where}: expected at least {least} value, got none")
    finite = np.isfinite(array)
    if not finite.all():
        row = int(np.argmin(finite))
        raise DataError(f"{where}: values must be finite, got {array[row]} at row {row}")
    return array


def check_level(where: str, level: float) -> None:
    """Raise ConfigurationError for a level that is not between 0 and 1."""
    if not 0 < level < 1:
        raise ConfigurationError(f"{where}: level must be between 0 and 1, got {level}")
