"""The mean over runs and images that both vary: a crossed random-effects interval.

Cell (r, i) of a table holds what run r gave on image i, here a difference of two models. It is
taken as  mean + run r + image i + rest (r, i),  each part drawn anew for another run or image. The
mean of the table varies with all three:

    variance of the mean = var(run) / R + var(image) / N + var(rest) / (R N)

With one number a cell the rest is the interaction, and the analysis of variance estimates the
three from the mean squares of rows, columns and rest (Searle, Casella, McCulloch, "Variance
Components", 1992, chapter 4; for large tables of any distribution Owen, "The pigeonhole
bootstrap", Annals of Applied Statistics 1, 2007; Gao and Owen, "Efficient moment calculations for
variance components in large unbalanced crossed random effects models", Electronic Journal of
Statistics 11, 2017). In mean squares the variance of the mean is (MS_runs + MS_images - MS_rest) /
(R N); its degrees of freedom are Satterthwaite's ("An approximate distribution of estimates of
variance components", Biometrics Bulletin 2, 1946).

Three guards, for few runs:

- An image part below 0 is taken as 0, so the variance is never below that of the runs' means.
- MS_runs has the expectation of MS_rest at least. It is not let fall below what it would fall
  below once in a thousand times if that were its expectation: whole counts of right images may
  tie over a few runs by chance, and the interval would have no width.
- Satterthwaite's formula puts estimates where it means expectations, which makes the degrees too
  many just when MS_runs came out too small: with three runs the interval then covers 92 % where it
  says 95. Their geometric mean with the fewest that they can be, min(R, N) - 1, covers 94.2 to
  96.3 % with three runs, 95.0 to 95.9 % with six, whatever the shares of runs and images
  (docs/statistics.md, and benchmarks/coverage.py on tables like those of MNIST).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import scipy

from inkproof.errors import ConfigurationError, DataError
from inkproof.statistics.basic import Estimate, check_level

__all__ = ["METHOD", "Crossed", "crossed_interval", "degrees_of_freedom", "least_share"]

METHOD: Final = "crossed random effects, Satterthwaite"
_TIE_RISK: Final = 0.001
_MOST_DEGREES: Final = 1e9
_MOST_EXACT: Final = 1 << 31
"""Up to here the largest whole number times how many there are has a square that int64 holds."""


@dataclass(frozen=True, kw_only=True)
class Crossed:
    """The mean of a table of runs by images, with what varies.

    Parameters
    ----------
    estimate : the mean over new runs and new images
    runs, images : R and N
    run_variance, image_variance, rest_variance : the variance of each part, in one cell, at
        least 0; 0 where there is but one run or one image
    standard_error : of the mean; 0 if no cell differs from another
    df : its degrees of freedom
    """

    estimate: Estimate
    runs: int
    images: int
    run_variance: float
    image_variance: float
    rest_variance: float
    standard_error: float
    df: float

    def at_level(self, level: float) -> Crossed:
        """Give the same with an interval of another level."""
        check_level("crossed_interval", level)
        half = float(scipy.special.stdtrit(self.df, 0.5 + level / 2)) * self.standard_error
        value = self.estimate.value
        estimate = replace(self.estimate, low=value - half, high=value + half, level=level)
        return replace(self, estimate=estimate)

    def p_value(self) -> float:
        """Test whether the mean is 0, two-sided: in [0, 1]; 1 where there is no interval."""
        if self.estimate.low is None:
            return 1.0
        if self.standard_error == 0:
            return 1.0 if self.estimate.value == 0 else 0.0
        t = abs(self.estimate.value) / self.standard_error
        return min(1.0, 2 * float(scipy.special.stdtr(self.df, -t)))

    def p_equivalent(self, margin: float) -> float:
        """Test whether the mean lies within a margin of 0: two one-sided tests.

        D. J. Schuirmann, "A comparison of the two one-sided tests procedure and the power
        approach", Journal of Pharmacokinetics and Biopharmaceutics 15 (1987): the larger p-value.

        Parameters
        ----------
        margin : above 0, in the estimate's unit

        Raises
        ------
        ConfigurationError : a margin that is not above 0
        """
        if not margin > 0 or not math.isfinite(margin):
            raise ConfigurationError(f"p_equivalent: margin must be above 0, got {margin}")
        if self.estimate.low is None:
            return 1.0
        room = margin - abs(self.estimate.value)
        if self.standard_error == 0:
            return 0.0 if room > 0 else 1.0
        return float(scipy.special.stdtr(self.df, -room / self.standard_error))


def crossed_interval(table: npt.ArrayLike, level: float = 0.95) -> Crossed:
    """Estimate a table's mean over new runs and new images.

    Parameters
    ----------
    table : numbers (runs, images), finite, at least one of each
    level : confidence level, between 0 and 1

    Returns
    -------
    the mean and the parts of its variance; with one run or one image it has no interval, since
    nothing shows how another would differ

    Raises
    ------
    DataError : not two axes, none of one of them, or a number that is not finite
    ConfigurationError : a level that is not between 0 and 1
    """
    check_level("crossed_interval", level)
    cells = np.asarray(table)
    if cells.ndim != 2 or 0 in cells.shape:
        raise DataError(
            "crossed_interval: expected a table of at least one run and one image, (runs, images),"
            f" got shape {cells.shape}"
        )
    runs, images = cells.shape
    if _sums_are_exact(cells):
        mean, ms_runs, ms_images, rest = _of_whole_numbers(cells)
    else:
        mean, ms_runs, ms_images, rest = _of_numbers(cells.astype(np.float64))
    bare = Estimate(
        value=mean, low=None, high=None, level=level, n=runs, over="both", method=METHOD
    )
    if runs == 1 or images == 1:
        return Crossed(
            estimate=bare,
            runs=runs,
            images=images,
            run_variance=0.0,
            image_variance=0.0,
            rest_variance=0.0,
            standard_error=0.0,
            df=0.0,
        )
    ms_runs = max(ms_runs, least_share(runs) * rest)
    variance = (ms_runs + max(0.0, ms_images - rest)) / (runs * images)
    return Crossed(
        estimate=bare,
        runs=runs,
        images=images,
        run_variance=max(0.0, (ms_runs - rest) / images),
        image_variance=max(0.0, (ms_images - rest) / runs),
        rest_variance=rest,
        standard_error=math.sqrt(variance),
        df=float(degrees_of_freedom(np.array([ms_runs]), ms_images, rest, runs, images)[0]),
    ).at_level(level)


def _of_numbers(cells: npt.NDArray[np.float64]) -> tuple[float, float, float, float]:
    """Give the mean and the mean squares of runs, images and rest; the cells are used up."""
    if not np.isfinite(cells).all():
        row, column = (int(at) for at in np.argwhere(~np.isfinite(cells))[0])
        raise DataError(
            f"crossed_interval: numbers must be finite, got {cells[row, column]} in run {row},"
            f" image {column}"
        )
    runs, images = cells.shape
    # From one cell on, equal cells have exactly their own mean and no spread.
    origin = float(cells[0, 0])
    cells -= origin
    offset = math.fsum(cells.sum(axis=1)) / cells.size
    if runs == 1 or images == 1:
        return origin + offset, 0.0, 0.0, 0.0
    cells -= offset
    of_run, of_image = cells.mean(axis=1), cells.mean(axis=0)
    cells -= of_run[:, np.newaxis]
    cells -= of_image
    return (
        origin + offset,
        images * float(of_run @ of_run) / (runs - 1),
        runs * float(of_image @ of_image) / (images - 1),
        float(np.vdot(cells, cells)) / ((runs - 1) * (images - 1)),
    )


def _sums_are_exact(cells: npt.NDArray[Any]) -> bool:
    """Say whether the cells are whole numbers so small that no sum of squares overflows."""
    if not np.issubdtype(cells.dtype, np.integer):
        return False
    # A sum of squares is at most the square of the sum of sizes.
    return max(int(cells.max()), -int(cells.min())) * cells.size <= _MOST_EXACT


def _of_whole_numbers(cells: npt.NDArray[Any]) -> tuple[float, float, float, float]:
    """Do the same of whole numbers whose sums are exact."""
    runs, images = cells.shape
    of_run = cells.sum(axis=1, dtype=np.int64)
    of_image = cells.sum(axis=0, dtype=np.int64)
    total = int(of_run.sum())
    mean = total / cells.size
    if runs == 1 or images == 1:
        return mean, 0.0, 0.0, 0.0
    # Sums of squares times the number of cells, without rounding.
    by_run = runs * int(of_run @ of_run) - total**2
    by_image = images * int(of_image @ of_image) - total**2
    squares = sum(int(np.square(row, dtype=np.int64).sum()) for row in cells)
    rest = cells.size * squares - total**2 - by_run - by_image
    return (
        mean,
        by_run / cells.size / (runs - 1),
        by_image / cells.size / (images - 1),
        rest / cells.size / ((runs - 1) * (images - 1)),
    )


def least_share(runs: int) -> float:
    """Give the share of MS_rest that MS_runs is not let fall below."""
    return float(scipy.special.chdtri(runs - 1, 1 - _TIE_RISK)) / (runs - 1)


def degrees_of_freedom(
    ms_runs: npt.NDArray[np.float64], ms_images: float, rest: float, runs: float, images: float
) -> npt.NDArray[np.float64]:
    """Give the degrees of freedom of MS_runs + max(0, MS_images - MS_rest), guarded.

    Parameters
    ----------
    ms_runs : (n,), at least 0
    ms_images, rest : mean squares, at least 0
    runs, images : R and N, each at least 2

    Returns
    -------
    float64 (n,), at least min(R, N) - 1
    """
    fewest = min(runs, images) - 1
    part = max(0.0, ms_images - rest)
    total = ms_runs + part
    safe = np.where(total > 0, total, 1.0)
    # As shares of the total, so that the squares of small numbers do not vanish.
    squares = (ms_runs / safe) ** 2 / (runs - 1)
    if part > 0:
        squares = squares + (ms_images / safe) ** 2 / (images - 1)
        squares = squares + (rest / safe) ** 2 / ((runs - 1) * (images - 1))
    squares = np.maximum(squares, fewest / _MOST_DEGREES**2)
    # Satterthwaite's formula goes below what they can be where a difference is next to nothing.
    return np.asarray(np.where(total > 0, np.maximum(fewest, np.sqrt(fewest / squares)), fewest))
