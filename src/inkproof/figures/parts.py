"""What several figures have: a panel, titles that fit it, a legend above."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

import numpy as np
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from inkproof.figures.style import (
    ThemeColours,
    axes_styled,
    fitted,
    new_figure,
    plain_text,
    text_inches,
)

__all__ = ["LegendPlace", "legend_above", "legend_columns", "panel", "spread_out", "titles_of"]

LegendPlace = Literal["outside upper left", "upper left"]
"""The first where matplotlib lays out the panels, the second where there is room by itself."""

# Points of per cent: what lies closer together is shown as close.
_LEAST_SPAN: Final = 0.5
_SPAN_OF_EQUALS: Final = 5.0
_HANDLE_INCHES: Final = 0.48  # what a legend's entry needs beside its text


def panel(
    width: float, height: float, colours: ThemeColours, *, grid: Literal["x", "y"] = "y"
) -> tuple[Figure, Axes]:
    """Give a figure of one panel, inches wide and high."""
    figure = new_figure(width, height, colours)
    return figure, axes_styled(figure.add_subplot(), colours, grid=grid)


def spread_out(axes: Axes, axis: Literal["x", "y"], least: float = 0, most: float = 100) -> None:
    """Keep an axis in per cent within what is possible, and from growing out of equal numbers.

    Parameters
    ----------
    axes : with all that is drawn in it
    least, most : the ends of what is possible; an interval may go beyond
    """
    view = axes.get_xlim() if axis == "x" else axes.get_ylim()
    data = axes.dataLim.intervalx if axis == "x" else axes.dataLim.intervaly
    span = _LEAST_SPAN if data[1] > data[0] else _SPAN_OF_EQUALS
    middle, half = (view[0] + view[1]) / 2, max(view[1] - view[0], span) / 2
    low, high = middle - half, middle + half
    floor, ceiling = min(least, float(data[0])), max(most, float(data[1]))
    if low < floor:
        low, high = floor, max(high, floor + span)
    if high > ceiling:
        low, high = min(low, ceiling - span), ceiling
    if axis == "x":
        axes.set_xlim(low, high)
    else:
        axes.set_ylim(low, high)


def titles_of(name: str, measures: Sequence[str], inches: float) -> list[str]:
    """Give the titles of a model's panels: its name before the measure, or above it, shortened.

    Parameters
    ----------
    name : the model's, or nothing
    measures : of the panels
    inches : how wide a title may be
    """
    if not name:
        return list(measures)
    points = float(rcParams["axes.titlesize"])
    ones = [f"{plain_text(name)}: {measure[:1].lower()}{measure[1:]}" for measure in measures]
    if all(text_inches(one, points) <= inches for one in ones):
        return ones
    return [f"{fitted(name, inches, points)}\n{measure}" for measure in measures]


def legend_columns(labels: Sequence[str], inches: float) -> int:
    """Give how many columns of a legend go side by side into a width."""
    points = float(rcParams["legend.fontsize"])
    widths = [text_inches(label, points) + _HANDLE_INCHES for label in labels]
    for columns in range(len(labels), 1, -1):
        rows = np.array_split(widths, columns)
        if sum(float(column.max()) for column in rows) <= inches:
            return columns
    return 1


def legend_above(
    figure: Figure,
    handles: Sequence[Any],
    labels: Sequence[str],
    *,
    colours: ThemeColours,
    place: LegendPlace = "outside upper left",
) -> None:
    """Put a legend above a figure's panels."""
    figure.legend(
        handles,
        labels,
        loc=place,
        ncols=legend_columns(labels, figure.get_figwidth()),
        frameon=False,
        labelcolor=colours.ink,
        handlelength=1.6,
        columnspacing=1.2,
        borderpad=0,
    )
