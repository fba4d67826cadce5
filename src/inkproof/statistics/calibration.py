"""Whether a model's probabilities mean what they say.

The *confidence* of an image is the probability of the class that the model chose for it. Among
images of one confidence that share should be right.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import scipy

from inkproof.errors import ConfigurationError, DataError
from inkproof.randomness import Use, uniform
from inkproof.statistics.basic import Estimate, check_level

__all__ = [
    "BINS",
    "HIGHEST_TEMPERATURE",
    "LOWEST_TEMPERATURE",
    "Reliability",
    "Temperature",
    "accuracy_by_coverage",
    "brier_scores",
    "expected_calibration_error",
    "fit_temperature",
    "reliability",
    "tempered",
]

BINS: Final = 15
"""Equal widths of confidence, as in Guo et al. (2017)."""
LOWEST_TEMPERATURE: Final = 0.05
HIGHEST_TEMPERATURE: Final = 20.0
"""Temperatures are searched between the two."""
_DRAWS: Final = 500
_TINY: Final = 1e-30  # of what a network calls impossible; a logarithm needs it

_Probabilities = npt.NDArray[np.floating[Any]]
_Labels = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """Images by confidence, for a reliability diagram; bins without images are left out.

    Parameters
    ----------
    confidence : the mean confidence of each bin, ascending
    accuracy : the share of its images that are right
    images : how many it holds
    """

    confidence: tuple[float, ...]
    accuracy: tuple[float, ...]
    images: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Temperature:
    """By what the logits are divided so that the probabilities fit better.

    Parameters
    ----------
    value : above 1 the network was too sure, below 1 not sure enough
    loss_before, loss_after : mean log loss of the images that it was fitted on, nats
    at_bound : whether no value from 0.05 to 20 is the best one: the loss falls up to a bound, as
        where no image is wrong, and ``value`` is that bound; or it is as low from 1 up to a bound,
        as where every image is right for certain, and ``value`` is 1
    images : how many it was fitted on
    """

    value: float
    loss_before: float
    loss_after: float
    at_bound: bool
    images: int


def brier_scores(probabilities: _Probabilities, labels: _Labels) -> npt.NDArray[np.float64]:
    """Give each image's Brier score: the squared distance from the true class' certainty.

    G. W. Brier, "Verification of forecasts expressed in terms of probability", Monthly Weather
    Review 78 (1950), in its original form, which sums over all classes.

    Parameters
    ----------
    probabilities : (n, k), in [0, 1]
    labels : (n,), 0 .. k-1

    Returns
    -------
    float64 (n,), from 0, sure and right, to 2, sure and wrong

    Raises
    ------
    DataError : shapes that do not fit each other
    """
    p = _checked("brier_scores", probabilities, labels)
    own = p[np.arange(len(p)), labels]
    return np.asarray(np.square(p).sum(axis=1) - 2 * own + 1, dtype=np.float64)


def reliability(probabilities: _Probabilities, labels: _Labels, *, bins: int = BINS) -> Reliability:
    """Sort images into bins of equal width of confidence.

    Parameters
    ----------
    probabilities : (n, k), in [0, 1]
    labels : (n,)
    bins : how many, at least 1

    Raises
    ------
    DataError : shapes that do not fit each other, or no images
    ConfigurationError : bins below 1
    """
    confidence, right = _confidence("reliability", probabilities, labels)
    place = _bins_of("reliability", confidence, bins)
    images = np.bincount(place, minlength=bins)
    filled = images > 0
    sums = np.bincount(place, weights=confidence, minlength=bins)[filled]
    hits = np.bincount(place, weights=right, minlength=bins)[filled]
    return Reliability(
        confidence=tuple((sums / images[filled]).tolist()),
        accuracy=tuple((hits / images[filled]).tolist()),
        images=tuple(images[filled].tolist()),
    )


def expected_calibration_error(
    probabilities: _Probabilities,
    labels: _Labels,
    level: float = 0.95,
    *,
    bins: int = BINS,
    draws: int = _DRAWS,
    seed: int = 0,
) -> Estimate:
    """Estimate how far confidence is from accuracy: mean over images, by bins of confidence.

    C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, "On calibration of modern neural networks", ICML
    2017. Bins whose two means are equal in truth differ by chance, so the number is above 0 even
    for a perfectly calibrated model, the more so the fewer images there are. The interval is a
    basic bootstrap over images (A. C. Davison, D. V. Hinkley, "Bootstrap Methods and their
    Application", 1997, section 5.2), which turns that round: it may lie below the number.

    Parameters
    ----------
    probabilities : (n, k), in [0, 1]
    labels : (n,)
    level : the interval's confidence level
    bins : of equal width
    draws, seed : of the bootstrap

    Returns
    -------
    the error and its interval, shares from 0 to 1; for one image there is no interval

    Raises
    ------
    DataError : shapes that do not fit each other, or no images
    ConfigurationError : a level not between 0 and 1, bins or draws below 1
    """
    where = "expected_calibration_error"
    check_level(where, level)
    if draws < 1:
        raise ConfigurationError(f"{where}: draws must be at least 1, got {draws}")
    confidence, right = _confidence(where, probabilities, labels)
    place = _bins_of(where, confidence, bins)
    apart = right - confidence
    n = len(apart)
    value = float(np.abs(np.bincount(place, weights=apart, minlength=bins)).sum()) / n
    low = high = None
    if n > 1:
        again = np.empty(draws)
        for draw in range(draws):
            u = uniform(n, Use.RESAMPLING, seed=seed, index=draw)
            picked = np.minimum((u * n).astype(np.intp), n - 1)
            sums = np.bincount(place[picked], weights=apart[picked], minlength=bins)
            again[draw] = np.abs(sums).sum() / n
        ends = np.quantile(again, [(1 + level) / 2, (1 - level) / 2])
        low, high = (min(1.0, max(0.0, 2 * value - float(end))) for end in ends)
    return Estimate(
        value=value,
        low=low,
        high=high,
        level=level,
        n=n,
        over="images",
        method="basic bootstrap",
    )


def fit_temperature(probabilities: _Probabilities, labels: _Labels) -> Temperature:
    """Find the one number that, dividing the logits, gives the least log loss (Guo et al. 2017).

    It changes no prediction. Fit it on validation images, never on those that judge.

    Parameters
    ----------
    probabilities : (n, k), in [0, 1]; their logarithms are the logits, up to a constant
    labels : (n,)

    Raises
    ------
    DataError : shapes that do not fit each other, or no images
    """
    p = _checked("fit_temperature", probabilities, labels)
    logits = np.log(np.maximum(p, _TINY))
    logits -= logits.max(axis=1, keepdims=True)
    own = logits[np.arange(len(p)), labels]

    def loss(log_temperature: float) -> float:
        scale = math.exp(-log_temperature)
        return float(np.mean(np.log(np.exp(scale * logits).sum(axis=1)) - scale * own))

    # The loss is convex in 1/T, so it has one valley in log T.
    ends = math.log(LOWEST_TEMPERATURE), math.log(HIGHEST_TEMPERATURE)
    found = scipy.optimize.minimize_scalar(
        loss, bounds=ends, method="bounded", options={"xatol": 1e-6}
    )
    best, before, after = float(found.x), loss(0.0), float(found.fun)
    # In a flat stretch the search stops anywhere. Of equals a bound counts, since then nothing
    # between is best, and 1 before all, since it changes nothing.
    at_bound = min(best - ends[0], ends[1] - best) < 1e-3
    for end in ends:
        if loss(end) <= min(before, after):
            best, after, at_bound = end, loss(end), True
    if after >= before:
        best, after = 0.0, before
    return Temperature(
        value=math.exp(best),
        loss_before=before,
        loss_after=after,
        at_bound=at_bound,
        images=len(p),
    )


def tempered(probabilities: _Probabilities, temperature: float) -> npt.NDArray[np.float64]:
    """Divide the logits by a temperature.

    Parameters
    ----------
    probabilities : (n, k), in [0, 1]
    temperature : above 0; 1 changes nothing

    Returns
    -------
    float64 (n, k), each row adding up to 1

    Raises
    ------
    ConfigurationError : a temperature that is not above 0
    """
    if not temperature > 0 or not math.isfinite(temperature):
        raise ConfigurationError(f"tempered: temperature must be above 0, got {temperature}")
    logits = np.log(np.maximum(np.asarray(probabilities, dtype=np.float64), _TINY)) / temperature
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def accuracy_by_coverage(
    probabilities: _Probabilities, labels: _Labels, coverages: npt.ArrayLike
) -> list[float]:
    """Give the accuracy where the model answers only the images that it is surest of.

    R. El-Yaniv, Y. Wiener, "On the foundations of noise-free selective classification", Journal
    of Machine Learning Research 11 (2010). Images of one confidence count by their share, so that
    their order does not matter.

    Parameters
    ----------
    probabilities : (n, k), in [0, 1]
    labels : (n,)
    coverages : the shares of images that are answered, above 0 and up to 1

    Returns
    -------
    a share of right answers for each coverage

    Raises
    ------
    DataError : shapes that do not fit each other, or no images
    ConfigurationError : a coverage that is not above 0 and up to 1
    """
    confidence, right = _confidence("accuracy_by_coverage", probabilities, labels)
    shares = np.asarray(coverages, dtype=np.float64)
    if not ((shares > 0) & (shares <= 1)).all():
        raise ConfigurationError(
            f"accuracy_by_coverage: coverages must be above 0 and up to 1, got {shares.tolist()}"
        )
    _, place, counts = np.unique(-confidence, return_inverse=True, return_counts=True)
    hits = np.bincount(place, weights=right)
    answered = np.concatenate([[0.0], np.cumsum(counts)])
    correct = np.concatenate([[0.0], np.cumsum(hits)])
    wanted = shares * len(right)
    return [float(v) for v in np.interp(wanted, answered, correct) / wanted]


def _checked(where: str, probabilities: _Probabilities, labels: _Labels) -> npt.NDArray[np.float64]:
    p = np.asarray(probabilities, dtype=np.float64)
    if p.ndim != 2 or np.shape(labels) != p.shape[:1] or 0 in p.shape:
        raise DataError(
            f"{where}: expected probabilities (n, k) of at least one image and a label each, got"
            f" shapes {p.shape} and {np.shape(labels)}"
        )
    return p


def _confidence(
    where: str, probabilities: _Probabilities, labels: _Labels
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    p = _checked(where, probabilities, labels)
    return p.max(axis=1), (p.argmax(axis=1) == labels).astype(np.float64)


def _bins_of(where: str, confidence: npt.NDArray[np.float64], bins: int) -> npt.NDArray[np.intp]:
    if bins < 1:
        raise ConfigurationError(f"{where}: bins must be at least 1, got {bins}")
    # Right-closed, as in the paper: a confidence of exactly 0.4 belongs to what ends there.
    return np.clip(np.ceil(confidence * bins).astype(np.intp) - 1, 0, bins - 1)
