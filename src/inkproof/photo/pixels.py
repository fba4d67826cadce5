"""Operations on the pixels of one picture, in C++.

Most are those of SciPy's ``ndimage`` that reading needs, with its names, its numbers and its order
of labels. They are written again because to import ``scipy.ndimage`` takes longer than to read a
page: it brings a good part of SciPy and NumPy's tests along.

A picture is an array (height, width) of any layout in memory; both sides are at least 1, and they
have fewer than 2**31 pixels. No number may be NaN. The lock of the interpreter is released.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from inkproof.errors import ConfigurationError, DataError, UnknownNameError

__all__ = [
    "Components",
    "binary_closing",
    "distance_transform_edt",
    "enlarge",
    "gaussian_filter",
    "grey_closing",
    "grey_dilation",
    "label",
    "luma",
    "maximum_filter",
    "maximum_filter1d",
    "minimum_filter1d",
    "padded",
    "profile_sharpness",
    "shear",
    "uniform_filter",
]

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Level = TypeVar("Level", np.uint8, np.float32)

_MOST_PIXELS: Final = (1 << 31) - 1
_LARGEST_WINDOW: Final = 1 << 20
_TRUNCATE: Final = 4.0  # standard deviations at which a Gaussian is cut off
_STEEPEST: Final = 100.0
_NEIGHBOURS: Final = (4, 8)
_MODES: Final = ("nearest", "reflect")

_native: Any = importlib.import_module("inkproof.photo._pixels")


@dataclass(frozen=True, kw_only=True)
class Components:
    """What hangs together in a mask.

    Parameters
    ----------
    labels : int32 (height, width), 0 what is false, else the component's number, from 1
    boxes : int64 (count, 4), (top, left, bottom, right) of components 1 to count; bottom and right
        are beyond it
    areas : int64 (count,), in pixels
    """

    labels: npt.NDArray[np.int32]
    boxes: npt.NDArray[np.int64]
    areas: npt.NDArray[np.int64]

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.areas)

    def select(self, chosen: npt.NDArray[np.bool_]) -> Mask:
        """Give the pixels of chosen components.

        Parameters
        ----------
        chosen : bool (count + 1,), the first one for the pixels of none

        Returns
        -------
        bool (height, width)

        Raises
        ------
        DataError : another array
        """
        if chosen.dtype != np.bool_ or chosen.shape != (self.count + 1,):
            raise DataError(
                f"select: expected bool ({self.count + 1},), got {chosen.dtype} {chosen.shape}"
            )
        result = np.empty(self.labels.shape, dtype=np.bool_)
        _native.select(
            self.labels, result.view(np.uint8), np.ascontiguousarray(chosen).view(np.uint8)
        )
        return result


def gaussian_filter(
    picture: Floats, sigma: float, *, mode: Literal["reflect", "nearest"] = "reflect"
) -> Floats:
    """Blur with a Gaussian, which is cut off at four standard deviations.

    Parameters
    ----------
    picture : float32 (height, width)
    sigma : the standard deviation in pixels, above 0, at most 100,000
    mode : beyond the edge the picture is reflected (d c b a | a b c d) or its edge goes on

    Returns
    -------
    float32 (height, width); sums are float64, the columns' result is rounded before the rows' turn

    Raises
    ------
    ConfigurationError : another sigma or mode
    DataError : another array
    """
    given = _checked("gaussian_filter", picture, np.float32)
    if not 0 < sigma <= 100_000:
        raise ConfigurationError(
            f"gaussian_filter: sigma must be above 0 and at most 100,000, got {sigma}"
        )
    if mode not in _MODES:
        raise UnknownNameError("mode", mode, _MODES, where="gaussian_filter")
    radius = int(_TRUNCATE * float(sigma) + 0.5)
    x = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 / (sigma * sigma) * x**2)
    weights = weights / weights.sum()
    result = np.empty_like(given)
    _native.convolve(given, result, np.ascontiguousarray(weights[radius:]), mode == "reflect")
    return result


def uniform_filter(picture: Floats, size: int) -> Floats:
    """Give the mean over a window around each pixel; beyond its edge the picture is reflected.

    Parameters
    ----------
    picture : float32 (height, width)
    size : side of the window in pixels; an even one reaches a pixel further up and to the left

    Returns
    -------
    float32 (height, width), by running sums in float64 along columns and then along rows

    Raises
    ------
    ConfigurationError : a size below 1, or above 2**20
    DataError : another array
    """
    given = _checked("uniform_filter", picture, np.float32)
    result = np.empty_like(given)
    _native.mean(given, result, _window("uniform_filter", "size", size))
    return result


def enlarge(picture: Floats, shape: tuple[int, int]) -> Floats:
    """Enlarge with linear interpolation between the middles of pixels, as Pillow's ``BILINEAR``.

    Parameters
    ----------
    picture : float32 (height, width)
    shape : (height, width) of the result, neither less than the picture's

    Returns
    -------
    float32, the rows' result rounded before the columns' turn

    Raises
    ------
    ConfigurationError : another shape
    DataError : another array
    """
    given = _checked("enlarge", picture, np.float32)
    if not (
        shape[0] >= given.shape[0]
        and shape[1] >= given.shape[1]
        and shape[0] * shape[1] <= _MOST_PIXELS
    ):
        raise ConfigurationError(
            f"enlarge: shape must be at least {given.shape}, up to {_MOST_PIXELS:,} pixels, "
            f"got {shape}"
        )
    result = np.empty(shape, dtype=np.float32)
    _native.enlarge(given, result)
    return result


def luma(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Make a colour picture grey by ITU-R BT.601's luma, as Pillow's ``convert("L")``.

    Parameters
    ----------
    picture : uint8 (height, width, 3), RGB

    Returns
    -------
    uint8 (height, width)

    Raises
    ------
    DataError : another array
    """
    if (
        not isinstance(picture, np.ndarray)
        or picture.dtype != np.uint8
        or picture.ndim != 3
        or picture.shape[2] != 3
    ):
        raise DataError(f"luma: expected uint8 (height, width, 3), got {_kind(picture)}")
    result = np.empty(picture.shape[:2], dtype=np.uint8)
    _native.luma(np.ascontiguousarray(picture), result)
    return result


def maximum_filter1d(
    picture: npt.NDArray[Level], size: int, *, axis: Literal[0, 1]
) -> npt.NDArray[Level]:
    """Give the largest number of a window along an axis; the window is cut off at the edges.

    Running maxima by doubling: Bender and Farach-Colton, "The LCA problem revisited", LATIN 2000.

    Parameters
    ----------
    picture : uint8 or float32 (height, width)
    size : of the window in pixels; an even one reaches a pixel further back than ahead
    axis : 0 along columns, 1 along rows

    Returns
    -------
    as ``picture``

    Raises
    ------
    ConfigurationError : a size below 1 or above 2**20, or another axis
    DataError : another array
    """
    return _extreme("maximum_filter1d", picture, size, axis, most=True)


def minimum_filter1d(
    picture: npt.NDArray[Level], size: int, *, axis: Literal[0, 1]
) -> npt.NDArray[Level]:
    """Give the smallest number of a window along an axis; see :func:`maximum_filter1d`."""
    return _extreme("minimum_filter1d", picture, size, axis, most=False)


def maximum_filter(picture: npt.NDArray[Level], size: int) -> npt.NDArray[Level]:
    """Give the largest number of a square window; see :func:`maximum_filter1d`."""
    down = _extreme("maximum_filter", picture, size, 0, most=True)
    return _extreme("maximum_filter", down, size, 1, most=True)


def grey_closing(picture: npt.NDArray[Level], size: int) -> npt.NDArray[Level]:
    """Fill dark places that a square window does not fit into.

    Parameters
    ----------
    picture : uint8 or float32 (height, width)
    size : side of the window in pixels, odd; the window is cut off at the edges

    Returns
    -------
    as ``picture``: the smallest of the largest numbers of windows

    Raises
    ------
    ConfigurationError : a size below 1 or above 2**20, or an even one
    DataError : another array
    """
    if _window("grey_closing", "size", size) % 2 == 0:
        raise ConfigurationError(f"grey_closing: size must be odd, got {size}")
    result = picture
    for most in (True, False):
        for axis in (0, 1):
            result = _extreme("grey_closing", result, size, axis, most=most)
    return result


def grey_dilation(picture: Floats, reach: int) -> Floats:
    """Give the largest number of a disc around each pixel; the disc is cut off at the edges.

    Parameters
    ----------
    picture : float32 (height, width)
    reach : the disc holds what is no further than ``reach + 0.3`` pixels; 0 to 2**20

    Returns
    -------
    float32 (height, width)

    Raises
    ------
    ConfigurationError : another reach
    DataError : another array
    """
    given = _checked("grey_dilation", picture, np.float32)
    result = np.empty_like(given)
    _native.dilate_disc(given, result, _window("grey_dilation", "reach", reach, least=0))
    return result


def binary_closing(mask: Mask, shape: tuple[int, int]) -> Mask:
    """Fill gaps that a bar does not fit into; beyond the edge all is false, for both steps.

    So what is closer to the edge than the bar reaches becomes false.

    Parameters
    ----------
    mask : bool (height, width)
    shape : (height, width) of the bar, each 1 to 2**20

    Returns
    -------
    bool (height, width)

    Raises
    ------
    ConfigurationError : another bar
    DataError : another array
    """
    given = _checked("binary_closing", mask, np.bool_)
    height, width = (_window("binary_closing", "shape", side) for side in shape)
    result = np.empty_like(given)
    _native.close(given.view(np.uint8), result.view(np.uint8), height, width)
    return result


def label(mask: Mask, *, neighbours: Literal[4, 8] = 8) -> Components:
    """Find what hangs together, and number it in the order of first pixels, row by row.

    Runs of true pixels joined by union-find: Rosenfeld and Pfaltz, "Sequential operations in
    digital picture processing", Journal of the ACM 13 (1966).

    Parameters
    ----------
    mask : bool (height, width)
    neighbours : 8 counts pixels as neighbours that touch at a corner, 4 does not

    Returns
    -------
    the components, with their boxes and areas

    Raises
    ------
    ConfigurationError : neither 4 nor 8 neighbours
    DataError : another array
    """
    given = _checked("label", mask, np.bool_)
    if neighbours not in _NEIGHBOURS:
        raise ConfigurationError(f"label: neighbours must be 4 or 8, got {neighbours}")
    labels = np.empty(given.shape, dtype=np.int32)
    found = _native.label(given.view(np.uint8), labels, neighbours == _NEIGHBOURS[1])
    return Components(labels=labels, boxes=found[:, :4], areas=found[:, 4])


def profile_sharpness(
    mask: Mask, slopes: npt.NDArray[np.float64], *, most: int
) -> npt.NDArray[np.float64]:
    """Say how sharp the profile of a mask's rows is once they are sheared.

    The true pixels are counted in each row, and the squares of two neighbouring rows' counts
    together are added up: Postl, "Detection of linear oblique structures and skew scan in digitized
    documents", ICPR 1986.

    Parameters
    ----------
    mask : bool (height, width)
    slopes : float64 (n,), rows that a sheared row goes down per column, at most 100 either way
    most : true pixels that are taken, about; of more every second, third, ... is

    Returns
    -------
    float64 (n,), 0 for an empty mask

    Raises
    ------
    ConfigurationError : a slope out of range, or no pixel to take
    DataError : another array
    """
    given = _checked("profile_sharpness", mask, np.bool_)
    if slopes.ndim != 1 or slopes.dtype != np.float64:
        raise DataError(
            f"profile_sharpness: expected float64 slopes (n,), got {slopes.dtype} {slopes.shape}"
        )
    if not (np.abs(slopes) <= _STEEPEST).all():
        raise ConfigurationError(
            f"profile_sharpness: slopes must be at most {_STEEPEST:g} either way, "
            f"got {slopes[~(np.abs(slopes) <= _STEEPEST)][0]}"
        )
    if most < 1:
        raise ConfigurationError(f"profile_sharpness: most must be at least 1, got {most}")
    result = np.empty(slopes.shape, dtype=np.float64)
    _native.profile_sharpness(given.view(np.uint8), result, np.ascontiguousarray(slopes), most)
    return result


def distance_transform_edt(mask: Mask) -> npt.NDArray[np.float64]:
    """Give each pixel's Euclidean distance to the nearest one that is false.

    Felzenszwalb and Huttenlocher, "Distance transforms of sampled functions", Theory of Computing 8
    (2012).

    Parameters
    ----------
    mask : bool (height, width), not true everywhere

    Returns
    -------
    float64 (height, width), exact but for the square root's rounding; 0 where the mask is false

    Raises
    ------
    DataError : another array, or one without a false pixel
    """
    given = _checked("distance_transform_edt", mask, np.bool_)
    if given.all():
        raise DataError("distance_transform_edt: expected a false pixel, got a mask that has none")
    result = np.empty(given.shape, dtype=np.float64)
    _native.distances(given.view(np.uint8), result)
    return result


def padded(picture: npt.NDArray[Any], down: int, across: int) -> npt.NDArray[Any]:
    """Lay a margin of zeros around a picture: ``numpy.pad`` for small ones, twenty times as fast.

    Parameters
    ----------
    picture : (height, width), of any dtype
    down : rows above and below
    across : columns on either side

    Returns
    -------
    (height + 2 down, width + 2 across), of the same dtype
    """
    height, width = picture.shape
    result = np.zeros((height + 2 * down, width + 2 * across), dtype=picture.dtype)
    result[down : down + height, across : across + width] = picture
    return result


def shear(picture: Floats, slope: float, offset: float) -> Floats:
    """Move each row to the left by its own distance, with linear interpolation between pixels.

    Parameters
    ----------
    picture : float32 (height, width)
    slope : pixels from row to row
    offset : pixels of row 0

    Returns
    -------
    float32 (height, width): at (y, x) what was at (y, x + slope * y + offset), 0 beyond the edges

    Raises
    ------
    DataError : another array
    """
    given = _checked("shear", picture, np.float32)
    height, width = given.shape
    x = (offset + np.arange(height) * slope)[:, np.newaxis] + np.arange(width)
    inside = (x >= 0) & (x <= width - 1)
    x = np.where(inside, x, 0.0)
    left = np.floor(x).astype(np.intp)
    share = x - left
    rows = np.arange(height)[:, np.newaxis]
    result = given[rows, left] * (1 - share) + given[rows, np.minimum(left + 1, width - 1)] * share
    return np.where(inside, result, 0.0).astype(np.float32)


def _extreme(
    where: str, picture: npt.NDArray[Level], size: int, axis: int, *, most: bool
) -> npt.NDArray[Level]:
    given = _checked(where, picture, np.uint8, np.float32)
    if axis not in (0, 1):
        raise ConfigurationError(f"{where}: axis must be 0 or 1, got {axis}")
    result = np.empty_like(given)
    _native.extreme(given, result, _window(where, "size", size), axis, most)
    return result


def _checked(where: str, picture: npt.NDArray[Any], *dtypes: type[np.generic]) -> npt.NDArray[Any]:
    """Give the picture with its rows one after the other in memory."""
    if (
        not isinstance(picture, np.ndarray)
        or picture.ndim != 2
        or picture.dtype not in dtypes
        or not 1 <= picture.size <= _MOST_PIXELS
    ):
        names = " or ".join(np.dtype(dtype).name for dtype in dtypes)
        raise DataError(
            f"{where}: expected {names} (height, width), 1 to {_MOST_PIXELS:,} pixels, "
            f"got {_kind(picture)}"
        )
    return np.ascontiguousarray(picture)


def _kind(picture: Any) -> str:
    return f"{picture.dtype} {picture.shape}" if isinstance(picture, np.ndarray) else "no array"


def _window(where: str, name: str, size: int, *, least: int = 1) -> int:
    if not least <= size <= _LARGEST_WINDOW or int(size) != size:
        raise ConfigurationError(
            f"{where}: {name} must be a whole number from {least} to {_LARGEST_WINDOW:,}, "
            f"got {size}"
        )
    return int(size)
