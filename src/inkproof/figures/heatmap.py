"""Confusion matrices in colours that show one image in a thousand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from inkproof.errors import DataError
from inkproof.figures.style import DPI, Theme, colours_of, drawn, new_figure, shortened

__all__ = ["confusion", "contrast", "heat", "heat_shares"]

_Colour = tuple[float, float, float]

# From one image to the most: wrong cells in vermilion, right ones in a blue that stays pale, so
# that the diagonal, a hundred times larger, does not draw the eye.
_WRONG: Final[dict[Theme, tuple[str, str, str]]] = {
    "light": ("#fdeee3", "#f0a875", "#c24f00"),
    "dark": ("#33200f", "#8f4710", "#f08a3c"),
}
_RIGHT: Final[dict[Theme, tuple[str, str]]] = {
    "light": ("#eaf3fa", "#c3def1"),
    "dark": ("#0f2233", "#17405f"),
}
_NAME_CHARACTERS: Final = 14
_ROTATED: Final = 3  # longer names stand upright under their columns
_ALL_ANNOTATED: Final = 20
_CELL_INCHES: Final = 0.36
_MOST_INCHES: Final = 2400 / DPI  # memory grows with the square of it
_NUMBER_POINTS: Final = 9.0
_LEAST_POINTS: Final = 4.5  # smaller numbers cannot be read
_NAME_POINTS: Final = (4.5, 9.5)
_NAME_INCHES: Final = (0.1, 0.2)  # what a name needs at these sizes
_CHARACTER_INCHES: Final = 0.085  # of a name's, at the larger size
_LEAST_RULED: Final = 0.09  # lines between smaller cells would pale them


def heat_shares(matrix: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Place each count between 0 (none) and 1 (the most), on a logarithmic scale.

    Counts on the diagonal are measured by the largest on it, the others by the largest of
    theirs: log(1 + count) / log(1 + largest).

    Parameters
    ----------
    matrix : counts (k, k), at least 0
    """
    counts = np.asarray(matrix, dtype=np.float64)
    diagonal = np.eye(len(counts), dtype=bool)
    shares = np.zeros(counts.shape)
    for cells in (diagonal, ~diagonal):
        largest = counts[cells].max(initial=0)
        if largest > 0:
            shares[cells] = np.log1p(counts[cells]) / np.log1p(largest)
    return shares


def heat(share: float, *, diagonal: bool, theme: Theme = "light") -> tuple[str, str]:
    """Give the colours of a cell: its background and, in the better contrast, its number.

    Parameters
    ----------
    share : 0 (no image) to 1 (the most images), as from :func:`heat_shares`
    diagonal : whether the predicted class is the true one

    Returns
    -------
    two colours, ``#rrggbb``
    """
    colours = colours_of(theme)
    if share <= 0:
        return colours.paper, colours.muted
    stops = [_rgb(stop) for stop in (_RIGHT[theme] if diagonal else _WRONG[theme])]
    place = min(share, 1.0) * (len(stops) - 1)
    step = min(int(place), len(stops) - 2)
    begin, end, part = stops[step], stops[step + 1], place - step
    red, green, blue = (
        round(255 * (low + (high - low) * part)) for low, high in zip(begin, end, strict=True)
    )
    background = f"#{red:02x}{green:02x}{blue:02x}"
    inks = ("#000000", "#ffffff")  # the better of these two has a contrast of 4.58 or more
    return background, max(inks, key=lambda ink: contrast(background, ink))


def contrast(one: str, other: str) -> float:
    """Give the contrast of two colours, 1 to 21, as WCAG 2.2 defines it.

    Parameters
    ----------
    one, other : ``#rrggbb``, in any order
    """
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


@drawn
def confusion(
    matrix: npt.NDArray[np.integer[Any]], class_names: Sequence[str], *, theme: Theme = "light"
) -> Figure:
    """Draw a confusion matrix with its whole numbers: true class down, predicted across.

    From some 40 classes on the cells become smaller, so that the picture stays within 2400 pixels
    each way; numbers too small to read are left out, and of very many names one in so many stands.

    Parameters
    ----------
    matrix : counts (k, k), at least 0
    class_names : k names

    Raises
    ------
    DataError : a matrix that is not square, negative counts, or another number of names
    """
    counts = np.asarray(matrix, dtype=np.int64)
    classes = len(class_names)
    if counts.shape != (classes, classes) or classes == 0 or counts.min() < 0:
        raise DataError(
            f"confusion: expected counts of shape ({classes}, {classes}), at least 0, got shape"
            f" {counts.shape}" + (f" with {counts.min()}" if counts.size else "")
        )
    colours = colours_of(theme)
    names = [shortened(name, _NAME_CHARACTERS) for name in class_names]
    longest = max(map(len, names))
    margin = 0.09 * longest + 0.9
    cell = min(_CELL_INCHES, (_MOST_INCHES - margin) / classes)
    inches = cell * classes + margin
    figure = new_figure(max(3.2, inches), max(3.0, inches), colours)
    axes = figure.add_subplot()
    _draw_cells(axes, counts, theme, cell)
    step = _name_classes(axes, names, cell)
    named = f" (one class in {step} is named)" if step > 1 else ""
    axes.set_xlabel(f"Predicted{named}", color=colours.muted)
    axes.set_ylabel(f"Target{named}", color=colours.muted)
    axes.xaxis.set_label_position("top")
    axes.tick_params(
        length=0, colors=colours.ink, bottom=False, labelbottom=False, top=True, labeltop=True
    )
    axes.spines[:].set_visible(False)
    if cell >= _LEAST_RULED:
        for edge in np.arange(classes + 1) - 0.5:
            axes.axhline(edge, color=colours.paper, linewidth=1.2 * cell / _CELL_INCHES)
            axes.axvline(edge, color=colours.paper, linewidth=1.2 * cell / _CELL_INCHES)
    return figure


def _name_classes(axes: Axes, names: Sequence[str], cell: float) -> int:
    """Name the rows and columns, of inches high and wide; give how many share one name."""
    step = math.ceil(_NAME_INCHES[0] / cell)
    points = float(np.interp(step * cell, _NAME_INCHES, _NAME_POINTS))
    longest = max(map(len, names))
    across = _CHARACTER_INCHES * longest * points / _NAME_POINTS[1]
    upright = longest > _ROTATED or across > step * cell
    shown = range(0, len(names), step)
    axes.set_xticks(shown, names[::step], rotation=90 if upright else 0, fontsize=points)
    axes.set_yticks(shown, names[::step], fontsize=points)
    return step


def _draw_cells(axes: Axes, counts: npt.NDArray[np.int64], theme: Theme, cell: float) -> None:
    classes = len(counts)
    shares = heat_shares(counts)
    # Half the numbers' size and, with an alpha, half the memory while matplotlib enlarges it.
    picture = np.zeros((classes, classes, 3), dtype=np.float32)
    on_diagonal = np.eye(classes, dtype=bool)
    for diagonal, cells in ((True, on_diagonal), (False, ~on_diagonal)):
        kinds, kind = np.unique(shares[cells], return_inverse=True)
        hues = [_rgb(heat(share, diagonal=diagonal, theme=theme)[0]) for share in kinds.tolist()]
        if hues:
            picture[cells] = np.array(hues)[kind]
    axes.imshow(picture, interpolation="nearest", alpha=1.0)
    scale = cell / _CELL_INCHES
    if _NUMBER_POINTS * scale < _LEAST_POINTS:
        return
    for row, column in np.ndindex(classes, classes):
        count = int(counts[row, column])
        if count or classes <= _ALL_ANNOTATED:
            _, ink = heat(float(shares[row, column]), diagonal=row == column, theme=theme)
            points = _NUMBER_POINTS if count < 1000 else 8.0 if count < 10_000 else 6.0
            axes.text(
                column,
                row,
                str(count),
                ha="center",
                va="center",
                fontsize=points * scale,
                color=ink,
                in_layout=False,  # it lies in its cell: to measure thousands takes seconds
            )


def _rgb(colour: str) -> _Colour:
    red, green, blue = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    return red, green, blue


def _luminance(colour: str) -> float:
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in _rgb(colour)
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
