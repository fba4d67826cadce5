"""From one digit's picture to 28 x 28, as MNIST was made.

LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document recognition",
Proceedings of the IEEE 86 (1998), section III.A: the aspect ratio is kept, the ink scaled into
20 x 20 with anti-aliasing, and its centre of mass put in the centre of 28 x 28.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from inkproof.photo.ink import Array, grey_levels, percentile, shrunk, single_ink
from inkproof.photo.pixels import (
    distance_transform_edt,
    grey_dilation,
    label,
    maximum_filter,
    padded,
    shear,
)

__all__ = ["full_ink", "normalise_digit", "pen_like_mnist", "place_ink", "stroke_width"]

_SIDE: Final = 28
_BOX: Final = 20
_CENTRE: Final = 14  # the pixel to which MNIST's images put it: so all of them come back exactly
_FAINT: Final = 3.0  # of 255: less does not count for the box
_LONGEST: Final = 320
_SMALLEST: Final = 56  # thinner pictures are enlarged first, so that the pen can be thickened
_THINNEST: Final = 1.7
"""Pixels of 20: MNIST's 5th percentile; thinner pens are thickened to it. Tested against MNIST."""
_BRIGHT: Final = 128
_ODD: Final = 0.04  # of the ink: smaller pieces far from the rest are dirt


def normalise_digit(
    picture: npt.NDArray[np.uint8], *, deslant: bool = False
) -> npt.NDArray[np.uint8] | None:
    """Find the ink of a picture with one digit, and give it as MNIST would.

    Any size, dark on light or light on dark, uneven light. What is as MNIST's images are already
    stays as it is: to look for ink on paper would take ten times as long, and could only lose some.

    Parameters
    ----------
    picture : uint8 (height, width) or (height, width, 3)
    deslant : make the digit upright

    Returns
    -------
    uint8 (28, 28), ink bright on 0; None where there is no ink
    """
    whole = grey_levels(picture)
    if not deslant and _is_normalised(whole):
        return np.ascontiguousarray(whole)
    grey, _ = shrunk(whole, _LONGEST)
    if min(grey.shape) < 3:
        return None
    found = single_ink(grey)
    if found is None:
        return None
    keep = _without_dirt(found.mask)
    if not keep.any():
        return None
    return place_ink(full_ink(found.ink, keep), deslant=deslant)


def _is_normalised(grey: npt.NDArray[np.uint8]) -> bool:
    """Say whether 28 x 28 pixels have bright ink on 0, 20 long, its mass in the middle."""
    if grey.shape != (_SIDE, _SIDE) or grey.max() < _BRIGHT:
        return False
    down, across = grey.sum(axis=1, dtype=np.int64), grey.sum(axis=0, dtype=np.int64)
    rows, columns = np.flatnonzero(down), np.flatnonzero(across)
    longest = max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1
    places = np.arange(_SIDE) - _CENTRE
    off = max(abs(int(down @ places)), abs(int(across @ places))) / int(down.sum())
    return bool(_BOX - 1 <= longest <= _BOX and off <= 1)


def full_ink(ink: Array, mask: npt.NDArray[np.bool_]) -> Array:
    """Scale one digit's ink by its own full strength, and leave out what is not its own.

    Parameters
    ----------
    ink : float32 (height, width), 0 paper
    mask : bool (height, width), the digit

    Returns
    -------
    float32, cut to the digit, 0 paper to 255 full ink; the pen at least as wide as MNIST's thinner
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    around = (
        slice(max(rows[0] - 2, 0), rows[-1] + 3),
        slice(max(columns[0] - 2, 0), columns[-1] + 3),
    )
    ink, mask = ink[around], mask[around]
    near = maximum_filter(mask.view(np.uint8), 3) > 0
    own = np.where(near, ink, 0.0)
    full = max(percentile(ink[mask], 60), 1e-3)
    # Full ink from 0.85 of the typical strength on, none below 0.1: pens are not evenly dark.
    sharp = np.clip((own / full - 0.1) / 0.75, 0, 1) * 255
    return pen_like_mnist(sharp.astype(np.float32))


def pen_like_mnist(ink: Array) -> Array:
    """Thicken strokes that would be thinner than MNIST's once the ink is scaled into 20 x 20."""
    core = ink > 127
    if not core.any():
        return ink
    rows, columns = np.flatnonzero(core.any(axis=1)), np.flatnonzero(core.any(axis=0))
    extent = max(rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1)
    if extent < _SMALLEST:
        return ink
    step = max(1, extent // 80)  # a coarse measure will do
    cut = core[rows[0] : rows[-1] + 1 : step, columns[0] : columns[-1] + 1 : step]
    width = step * stroke_width(cut) * _BOX / extent
    lack = (_THINNEST - width) * extent / _BOX
    if lack < 0.8:
        return ink
    reach = max(1, round(lack / 2))
    return grey_dilation(padded(ink, reach, reach), reach)


def stroke_width(mask: npt.NDArray[np.bool_]) -> float:
    """Estimate a pen's width in pixels: four times the mean distance to the paper, in the ink.

    In a stripe w pixels wide the distances run evenly from 1 to about w / 2, with mean (w + 2) / 4.
    """
    distance = distance_transform_edt(padded(mask, 1, 1))
    inside = distance[distance > 0]
    return max(float(4 * inside.mean() - 2), 1.0) if inside.size else 0.0


def place_ink(ink: npt.NDArray[Any], *, deslant: bool = False) -> npt.NDArray[np.uint8]:
    """Crop an ink map, scale it into 20 x 20, and centre its mass in 28 x 28.

    Parameters
    ----------
    ink : (height, width), 0 paper to 255 full ink
    deslant : shear it first, so that its second moments are upright

    Returns
    -------
    uint8 (28, 28); all 0 where there is no ink
    """
    values = np.clip(np.asarray(ink, dtype=np.float32), 0, 255)
    if deslant:
        values = _upright(values)
    result = np.zeros((_SIDE, _SIDE), dtype=np.uint8)
    strong = values > _FAINT
    if not strong.any():
        return result
    rows, columns = np.flatnonzero(strong.any(axis=1)), np.flatnonzero(strong.any(axis=0))
    cut = values[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    scale = _BOX / max(cut.shape)
    height, width = (max(1, round(side * scale)) for side in cut.shape)
    how = Image.Resampling.BOX if scale < 1 else Image.Resampling.BILINEAR
    small = np.asarray(Image.fromarray(cut).resize((width, height), how))
    mass = max(float(small.sum()), 1e-6)
    down = float((small.sum(axis=1) * np.arange(height)).sum()) / mass
    right = float((small.sum(axis=0) * np.arange(width)).sum()) / mass
    top = min(max(round(_CENTRE - down), 0), _SIDE - height)
    left = min(max(round(_CENTRE - right), 0), _SIDE - width)
    result[top : top + height, left : left + width] = np.rint(small).astype(np.uint8)
    return result


def _upright(values: Array) -> Array:
    """Shear rows so that the covariance of x and y vanishes."""
    mass = float(values.sum())
    if mass <= 0:
        return values
    height, width = values.shape
    down, right = np.mgrid[0:height, 0:width].astype(np.float32)
    y, x = float((values * down).sum()) / mass, float((values * right).sum()) / mass
    spread = float((values * (down - y) ** 2).sum()) / mass
    slope = float((values * (down - y) * (right - x)).sum()) / mass / max(spread, 1e-6)
    margin = int(np.ceil(abs(slope) * height)) + 1
    return shear(padded(values, 0, margin), slope, -slope * y)


def _without_dirt(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Keep the pieces of one digit: the largest, and others that are not far smaller.

    What touches the picture's edge over a long way is the edge of the paper, not ink.
    """
    found = label(mask)
    if found.count <= 1:
        return mask
    names = found.labels
    sizes = np.concatenate([[0.0], found.areas])
    border = np.concatenate([names[0], names[-1], names[:, 0], names[:, -1]])
    touching = np.bincount(border, minlength=found.count + 1)
    fat = touching > 0.25 * max(mask.shape)
    if (sizes * ~fat).max() > 0.02 * sizes.sum():
        sizes[fat] = 0
    keep = sizes >= _ODD * sizes.max()
    keep[0] = False
    return found.select(keep)
