"""Images as figures: in a grid, as numbers, and with what a model said of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from inkproof.errors import DataError
from inkproof.figures.charts import bars_of_probabilities
from inkproof.figures.style import (
    Drawing,
    Theme,
    axes_styled,
    colours_of,
    drawn,
    new_figure,
    plain_text,
    share_text,
    shortened,
)

__all__ = ["image_grid", "mistakes_gallery", "pixel_array", "predictions"]

Images = npt.NDArray[np.uint8]

_TITLE_CHARACTERS: Final = 18
_NAME_CHARACTERS: Final = 9
_TILE_INCHES: Final = 1.2
_GAP: Final = 0.12
_TITLE_INCHES: Final = 0.15
_TITLE_GAP: Final = 0.06
_CELL_INCHES: Final = 0.33
_MOST_PIXELS: Final = 64


@drawn
def image_grid(
    images: Images, titles: Sequence[str] = (), columns: int = 5, *, theme: Theme = "light"
) -> Figure:
    """Draw images in rows, each under its title.

    Parameters
    ----------
    images : uint8 (n, height, width) or (n, height, width, channels), 0-255, 1 or 3 channels
    titles : one an image, or none at all; a title may have several lines
    columns : images in a row, at least 1

    Raises
    ------
    DataError : no images, another shape, or another number of titles
    """
    pictures = _checked(images)
    if titles and len(titles) != len(pictures):
        raise DataError(
            f"image_grid: expected a title an image, {len(pictures)}, got {len(titles)}"
        )
    if columns < 1:
        raise DataError(f"image_grid: columns must be at least 1, got {columns}")
    colours = colours_of(theme)
    across = min(columns, len(pictures))
    down = math.ceil(len(pictures) / across)
    lines = max((title.count("\n") + 1 for title in titles), default=0)
    # Places are worked out here: matplotlib's own layout takes seconds for many panels.
    head = lines * _TITLE_INCHES + (_TITLE_GAP if lines else 0.0)
    width = across * (_TILE_INCHES + _GAP) + _GAP
    height = down * (head + _TILE_INCHES + _GAP) + _GAP
    figure = Drawing(figsize=(width, height), facecolor=colours.paper)
    for place, picture in enumerate(pictures):
        row, column = divmod(place, across)
        left = _GAP + column * (_TILE_INCHES + _GAP)
        below = height - (row + 1) * (head + _TILE_INCHES + _GAP)
        axes = figure.add_axes(
            (left / width, below / height, _TILE_INCHES / width, _TILE_INCHES / height)
        )
        axes.axis("off")
        _show(axes, picture)
        if titles:
            title = "\n".join(
                shortened(line, _TITLE_CHARACTERS) for line in titles[place].split("\n")
            )
            axes.set_title(title, fontsize=9, color=colours.ink, pad=3)
    return figure


@drawn
def pixel_array(image: Images, *, theme: Theme = "light") -> Figure:
    """Draw one image with each pixel's number in it.

    Parameters
    ----------
    image : uint8 (height, width), 0-255, at most 64 pixels high and wide

    Raises
    ------
    DataError : another shape, or larger
    """
    pixels = np.asarray(image)
    if pixels.ndim != 2 or pixels.dtype != np.uint8 or not 0 < max(pixels.shape) <= _MOST_PIXELS:
        raise DataError(
            f"pixel_array: expected uint8 (height, width) of at most {_MOST_PIXELS} pixels each"
            f" way, got {pixels.dtype} of shape {pixels.shape}"
        )
    colours = colours_of(theme)
    height, width = pixels.shape
    figure = Drawing(figsize=(width * _CELL_INCHES, height * _CELL_INCHES), facecolor=colours.paper)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.axis("off")
    _show(axes, pixels)
    for row, column in np.ndindex(height, width):
        value = int(pixels[row, column])
        axes.text(
            column,
            row,
            str(value),
            ha="center",
            va="center_baseline",
            fontsize=7,
            # Zeros, most of a digit's pixels, step back; the others read at 4.5 to 1 or better.
            color="#808080" if value == 0 else "#000000" if value > 117 else "#ffffff",
        )
    return figure


@drawn
def mistakes_gallery(
    images: Images,
    labels: Sequence[int],
    predicted: Sequence[int],
    probabilities: Sequence[float],
    class_names: Sequence[str],
    columns: int = 6,
    *,
    theme: Theme = "light",
) -> Figure:
    """Draw misclassified images with their true class, the predicted one, and how sure it was.

    Parameters
    ----------
    images : uint8 (n, height, width) or (n, height, width, channels), 0-255
    labels, predicted : classes (n,), 0 .. k-1
    probabilities : of the predicted classes, (n,), in [0, 1]
    class_names : k names

    Raises
    ------
    DataError : no images, another shape, or lists of another length
    """
    counts = {len(images), len(labels), len(predicted), len(probabilities)}
    if len(counts) != 1:
        raise DataError(
            f"mistakes_gallery: expected a label, a prediction and a probability an image, got"
            f" {len(images)} images, {len(labels)}, {len(predicted)} and {len(probabilities)}"
        )
    titles = [
        f"Target: {shortened(class_names[label], _NAME_CHARACTERS)}\n"
        f"Predicted: {shortened(class_names[guess], _NAME_CHARACTERS - 2)}\n"
        f"{share_text(probability)}"
        for label, guess, probability in zip(labels, predicted, probabilities, strict=True)
    ]
    return image_grid(images, titles, columns, theme=theme)


@drawn
def predictions(
    images: Images,
    labels: Sequence[int],
    probabilities: npt.NDArray[np.floating[Any]],
    class_names: Sequence[str],
    columns: int = 2,
    *,
    theme: Theme = "light",
) -> Figure:
    """Draw images, each beside the probabilities that a model gave to its classes.

    Parameters
    ----------
    images : uint8 (n, height, width) or (n, height, width, channels), 0-255
    labels : true classes (n,), 0 .. k-1
    probabilities : (n, k), in [0, 1]
    class_names : k names

    Raises
    ------
    DataError : no images, or shapes that do not fit each other
    """
    pictures = _checked(images)
    given = np.asarray(probabilities, dtype=np.float64)
    if given.shape != (len(pictures), len(class_names)) or len(labels) != len(pictures):
        raise DataError(
            f"predictions: expected a label and {len(class_names)} probabilities for each of"
            f" {len(pictures)} images, got {len(labels)} labels and shape {given.shape}"
        )
    colours = colours_of(theme)
    across = min(columns, len(pictures))
    down = math.ceil(len(pictures) / across)
    figure = new_figure(4.6 * across, 2.3 * down, colours)
    panels = figure.subplots(
        down, 2 * across, squeeze=False, gridspec_kw={"width_ratios": [1, 1.6] * across}
    )
    for place in range(down * across):
        row, column = divmod(place, across)
        left, right = panels[row, 2 * column], panels[row, 2 * column + 1]
        left.axis("off")
        if place >= len(pictures):
            right.axis("off")
            continue
        _show(left, pictures[place])
        name = plain_text(class_names[labels[place]])
        left.set_title(
            f"Target: {shortened(name, _NAME_CHARACTERS)}", fontsize=9, color=colours.ink
        )
        axes_styled(right, colours, grid="x")
        bars_of_probabilities(right, given[place], class_names, colours, target=labels[place])
    return figure


def _checked(images: Images) -> Images:
    pictures = np.asarray(images)
    channels = pictures.shape[3] if pictures.ndim == 4 else 1
    if pictures.ndim not in (3, 4) or 0 in pictures.shape or channels not in (1, 3):
        raise DataError(
            "figures: expected at least one image, (n, height, width) or (n, height, width,"
            f" channels) with 1 or 3 channels, got shape {pictures.shape}"
        )
    if pictures.dtype != np.uint8:
        raise DataError(f"figures: images must be uint8, 0-255, got {pictures.dtype}")
    return pictures[..., 0] if pictures.ndim == 4 and channels == 1 else pictures


def _show(axes: Axes, picture: Images) -> None:
    axes.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
