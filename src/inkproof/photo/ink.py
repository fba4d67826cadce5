"""From pixels to ink: how much a pixel stands out from the paper around it.

Paper may be white, brown or a blackboard, lit unevenly, and ink darker or lighter than it. An ink
map has 0 for paper and about 1 for the full ink of the picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from inkproof.photo.pixels import (
    enlarge,
    gaussian_filter,
    grey_closing,
    label,
    luma,
    uniform_filter,
)

__all__ = ["InkMap", "grey_levels", "median", "page_ink", "percentile", "shrunk", "single_ink"]

Array = npt.NDArray[np.float32]

_LEAST_CONTRAST: Final = 0.03  # of the paper's level: fainter marks are taken for paper
_COARSE: Final = 160  # the longer side on which paper is levelled
_COARSEST: Final = 64  # the same where one digit fills the picture
_SIGMAS: Final = 4.0


@dataclass(frozen=True, kw_only=True)
class InkMap:
    """Where ink is.

    Parameters
    ----------
    ink : float32 (height, width), 0 paper, about 1 full ink
    mask : bool (height, width), what counts as ink
    light_on_dark : whether the ink is lighter than the paper
    """

    ink: Array
    mask: npt.NDArray[np.bool_]
    light_on_dark: bool


def grey_levels(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Make a picture grey: (height, width) as it is, or (height, width, 3) by luma."""
    if picture.ndim == 2:
        return picture
    return luma(picture)


def shrunk(grey: npt.NDArray[np.uint8], longest: int) -> tuple[npt.NDArray[np.uint8], float]:
    """Average a picture down by a whole factor, so that no side is longer; also the factor."""
    factor = -(-max(grey.shape) // longest)
    if factor <= 1:
        return grey, 1.0
    return np.asarray(Image.fromarray(grey).reduce(factor)), float(factor)


def single_ink(grey: npt.NDArray[np.uint8]) -> InkMap | None:
    """Find the ink of a picture with one digit, whose strokes may fill much of it.

    Parameters
    ----------
    grey : uint8 (height, width)

    Returns
    -------
    the ink, or None where nothing stands out
    """
    levels = grey.astype(np.float32)
    light = _lighter_than_border(levels)
    return _ink(levels, light=light, window=0.45)


def page_ink(grey: npt.NDArray[np.uint8]) -> InkMap | None:
    """Find the ink of a page, most of which is paper.

    Parameters
    ----------
    grey : uint8 (height, width)

    Returns
    -------
    the ink, or None where nothing stands out
    """
    levels = gaussian_filter(grey.astype(np.float32), 0.7)
    # Strokes are thin, so they stand out from the mean around them to one side; the edges of
    # shadows do so to both sides alike.
    side = max(9, max(grey.shape) // 8)
    around = uniform_filter(levels, side)
    np.subtract(levels, around, out=around)
    some = around[::3, ::3].ravel()
    np.clip(around, percentile(some, 0.02), percentile(some, 99.98), out=around)
    light = float(np.einsum("ij,ij,ij->", around, around, around, dtype=np.float64)) > 0
    return _ink(levels, light=light, window=0.2)


def median(values: npt.NDArray[np.floating[Any]]) -> float:
    """Give the median of floats (n,), n at least 1, rounded to their dtype.

    NumPy's own imports its masked arrays, which takes as long as to read a digit.
    """
    middle = values.size // 2
    if values.size % 2:
        return float(np.partition(values, middle)[middle])
    ordered = np.partition(values, middle)
    return float(np.stack([ordered[:middle].max(), ordered[middle]]).mean())


def percentile(values: npt.NDArray[np.floating[Any]], share: float) -> float:
    """Give a percentile of floats (n,), n at least 1, with linear interpolation; see `median`.

    Definition 7 of Hyndman and Fan, "Sample quantiles in statistical packages", The American
    Statistician 50 (1996), as NumPy's.
    """
    place = (values.size - 1) * (share / 100)
    index = int(place)
    ordered = np.partition(values, index)
    low = ordered[index]
    high = ordered[index + 1 :].min() if index + 1 < values.size else low
    rest = place - index
    # From the nearer side, so that neither end is missed by a rounding.
    if rest < 0.5:
        return float(low + (high - low) * rest)
    return float(high - (high - low) * (1 - rest))


def _ink(levels: Array, *, light: bool, window: float) -> InkMap | None:
    """Level the paper and cut off its noise."""
    turned = 255 - levels if light else levels
    paper = _paper(turned, window)
    # Light falls on paper and ink alike, so that ink takes a share of the paper's light. A dark
    # board gives little light, and chalk adds to it.
    ink = paper - turned
    ink /= 255 if light else np.maximum(paper, 40, out=paper)
    thin = ink[:: max(1, ink.shape[0] // 700), :: max(1, ink.shape[1] // 700)]
    floor = median(thin.ravel())
    lower = floor - thin[thin <= floor]
    noise = 1.4826 * median(lower) * 1.48
    least = max(_LEAST_CONTRAST, _SIGMAS * noise)
    ink -= min(floor, 0.05)
    strong = ink[ink > least]
    if strong.size < 6:
        return None
    full = percentile(strong, 80)
    full = percentile(strong[strong > 0.5 * full], 75)
    threshold = max(0.8 * least, 0.38 * full)
    # Hysteresis: weak places count where they hang together with strong ones.
    found = label(ink > max(0.7 * least, 0.27 * full))
    kept = np.zeros(found.count + 1, dtype=bool)
    kept[found.labels[ink > max(threshold, 0.5 * full)]] = True
    kept[0] = False
    ink /= full
    np.clip(ink, 0, 1.5, out=ink)
    return InkMap(ink=ink, mask=found.select(kept), light_on_dark=light)


def _paper(levels: Array, window: float) -> Array:
    """Estimate the paper's level under the ink, from what is around each place.

    The window is wider than any stroke, so paper is always in it, and narrower than most shadows.
    """
    height, width = levels.shape
    factor = max(1.0, max(height, width) / (_COARSE if window < 0.4 else _COARSEST))
    size = (max(1, round(width / factor)), max(1, round(height / factor)))
    coarse = np.asarray(Image.fromarray(levels).resize(size, Image.Resampling.BOX))
    side = max(3, round(window * max(coarse.shape)) | 1)
    # Closing: a dark stroke narrower than the window takes the level of the paper at its sides.
    high = grey_closing(gaussian_filter(coarse, 0.6, mode="nearest"), side)
    high = gaussian_filter(high, side / 8, mode="nearest")
    return high if factor == 1 else enlarge(high, (height, width))


def _lighter_than_border(levels: Array) -> bool:
    """Say whether what stands out from a plane through the border is lighter than it."""
    small: Any = Image.fromarray(levels)
    small.thumbnail((48, 48), Image.Resampling.BOX)
    values = np.asarray(small, dtype=np.float64)
    height, width = values.shape
    down, right = np.mgrid[0:height, 0:width]
    terms = np.stack([np.ones(values.size), down.ravel(), right.ravel()], axis=1)
    edge = max(1, min(height, width) // 12)
    on_border = np.ones(values.shape, dtype=bool)
    on_border[edge : height - edge, edge : width - edge] = False
    if on_border.all():
        on_border[:] = True
    rows = on_border.ravel()
    flat = values.ravel()
    weights = np.ones(int(rows.sum()))
    plane = np.zeros(3)
    for _ in range(5):  # least absolute deviations, by reweighting: strokes may touch the border
        root = np.sqrt(weights)[:, np.newaxis]
        plane, *_ = np.linalg.lstsq(terms[rows] * root, flat[rows] * root[:, 0], rcond=None)
        weights = 1 / np.maximum(np.abs(flat[rows] - terms[rows] @ plane), 1.0)
    rest = flat - terms @ plane
    return float((rest**3).sum()) > 0
