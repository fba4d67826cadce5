"""Sets of classes that hold the true one with a promised chance: split conformal prediction.

V. Vovk, A. Gammerman, G. Shafer, "Algorithmic Learning in a Random World" (2005), in the split
form; the score is one minus the probability of the true class, as in M. Sadinle, J. Lei,
L. Wasserman, "Least ambiguous set-valued classifiers with bounded error levels", Journal of the
American Statistical Association 114 (2019). The promise is for images drawn as those that set the
threshold were, whatever the model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy

from inkproof.errors import DataError
from inkproof.statistics.basic import check_level

__all__ = ["Conformal", "conformal_check", "conformal_threshold"]

_Probabilities = npt.NDArray[np.floating[Any]]
_Labels = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True, kw_only=True)
class Conformal:
    """A threshold, and what came of it on images that did not set it.

    Parameters
    ----------
    promised : the coverage that was asked for
    threshold : classes of at least this probability belong to an image's set; 0 admits all
    calibration_images : that set it
    images : that it was checked on
    covered : how many of their sets hold the true class
    mean_size : of a set, in classes
    sizes : how many sets have 0, 1, 2, ... classes
    p_value : the chance that a kept promise comes out so low, or lower
    """

    promised: float
    threshold: float
    calibration_images: int
    images: int
    covered: int
    mean_size: float
    sizes: tuple[int, ...]
    p_value: float

    @property
    def coverage(self) -> float:
        """The share of sets that hold the true class."""
        return self.covered / self.images


def conformal_threshold(
    probabilities: _Probabilities, labels: _Labels, coverage: float = 0.99
) -> float:
    """Set the least probability that admits a class to an image's set.

    Parameters
    ----------
    probabilities : (n, k), of images that the model did not train on
    labels : (n,)
    coverage : the promise, between 0 and 1

    Returns
    -------
    the threshold, in [0, 1]; 0, which admits all classes, where n is too small for the promise

    Raises
    ------
    DataError : shapes that do not fit each other, or no images
    ConfigurationError : a coverage that is not between 0 and 1
    """
    check_level("conformal_threshold", coverage)
    own = _own("conformal_threshold", probabilities, labels)
    rank = _rank(len(own), coverage)
    return 0.0 if rank > len(own) else float(np.sort(own)[len(own) - rank])


def conformal_check(
    calibration: tuple[_Probabilities, _Labels],
    test: tuple[_Probabilities, _Labels],
    coverage: float = 0.99,
) -> Conformal:
    """Set the threshold on one lot of images and check the promise on another.

    If the promise holds, the number covered follows a beta-binomial distribution (V. Vovk,
    "Conditional validity of inductive conformal predictors", ACML 2012), or lies higher where
    scores tie.

    Parameters
    ----------
    calibration, test : probabilities (n, k) and labels (n,) of each
    coverage : the promise, between 0 and 1

    Raises
    ------
    DataError, ConfigurationError : as for :func:`conformal_threshold`
    """
    threshold = conformal_threshold(*calibration, coverage)
    probabilities, labels = test
    own = _own("conformal_check", probabilities, labels)
    sizes = (np.asarray(probabilities) >= threshold).sum(axis=1)
    covered = int(np.count_nonzero(own >= threshold))
    n = len(calibration[1])
    rank = _rank(n, coverage)
    p_value = 1.0
    if rank <= n:
        p_value = _beta_binomial_below(covered, len(own), rank, n + 1 - rank)
    return Conformal(
        promised=coverage,
        threshold=threshold,
        calibration_images=n,
        images=len(own),
        covered=covered,
        mean_size=float(sizes.mean()),
        sizes=tuple(np.bincount(sizes).tolist()),
        p_value=p_value,
    )


def _rank(n: int, coverage: float) -> int:
    return math.ceil((n + 1) * coverage - 1e-9)


def _own(where: str, probabilities: _Probabilities, labels: _Labels) -> npt.NDArray[Any]:
    p = np.asarray(probabilities)
    if p.ndim != 2 or np.shape(labels) != p.shape[:1] or 0 in p.shape:
        raise DataError(
            f"{where}: expected probabilities (n, k) of at least one image and a label each, got"
            f" shapes {p.shape} and {np.shape(labels)}"
        )
    return np.asarray(p[np.arange(len(p)), labels])


def _beta_binomial_below(count: int, n: int, a: float, b: float) -> float:
    """Give the chance of at most ``count`` of n, where the share follows Beta(a, b)."""
    k = np.arange(count + 1)
    special = scipy.special
    logs = (
        special.gammaln(n + 1)
        - special.gammaln(k + 1)
        - special.gammaln(n - k + 1)
        + special.betaln(k + a, n - k + b)
        - special.betaln(a, b)
    )
    return min(1.0, float(np.exp(logs).sum()))
