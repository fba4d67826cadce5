"""Figures of what a study may claim: fit, reliability, coverage, changed images."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from inkproof.errors import DataError, UnknownNameError
from inkproof.figures.charts import Interval
from inkproof.figures.parts import (
    LegendPlace,
    legend_above,
    legend_columns,
    panel,
    spread_out,
    titles_of,
)
from inkproof.figures.style import (
    Drawing,
    Theme,
    ThemeColours,
    axes_styled,
    colours_of,
    drawn,
    fitted,
    new_figure,
    shortened,
)

__all__ = ["FitMeasure", "coverage", "fit", "reliability", "small_multiples"]

_NAME_CHARACTERS: Final = 16
_ACROSS: Final = 3
_EARLY: Final = 3  # epochs
_ROW_INCHES: Final = 0.21  # of a legend
FitMeasure = Literal["loss", "gap"]
_FIT: Final[dict[str, str]] = {
    "loss": "Validation loss, nats",
    "gap": "Training minus validation accuracy, points",
}
_Style = Literal["-", "--", ":", "-."]
_STYLES: Final[tuple[_Style, ...]] = ("-", "--", ":", "-.")
_MARKS: Final = ("o", "s", "^", "D")


@drawn
def fit(
    histories: Sequence[Mapping[str, Sequence[float]]],
    name: str = "",
    *,
    measures: Sequence[FitMeasure] = ("loss", "gap"),
    theme: Theme = "light",
) -> Figure:
    """Draw what a diagnosis looks at: where validation loss was lowest, and the gap in accuracy.

    Parameters
    ----------
    histories : one a run, column -> one number an epoch, as for :func:`inkproof.figures.curves`
    name : the model's, put into the titles
    measures : a panel each: ``loss`` of validation, ``gap`` of training minus validation accuracy

    Raises
    ------
    DataError : no histories, or one without epochs
    UnknownNameError : a measure that is neither ``loss`` nor ``gap``
    """
    if not histories or not all(history.get("loss") for history in histories):
        raise DataError("fit: expected histories of at least one epoch each, got none")
    for measure in measures:
        if measure not in _FIT:
            raise UnknownNameError("measure", measure, _FIT)
    colours = colours_of(theme)
    figure = new_figure(4.5 * len(measures), 3.3, colours)
    panels = figure.subplots(1, len(measures), squeeze=False)[0].tolist()
    titles = titles_of(name, [_FIT[measure] for measure in measures], 3.8)
    for axes, measure, title in zip(panels, measures, titles, strict=True):
        axes_styled(axes, colours)
        axes.set_title(title, loc="left", color=colours.muted)
        axes.set_xlabel("Epoch")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
        (_lowest_losses if measure == "loss" else _gaps)(axes, histories, colours)
    handles = [Line2D([], [], color=colours.second, linewidth=1.5)]
    labels = ["one run"]
    if "loss" in measures:
        handles.append(Line2D([], [], marker="v", linestyle="", color=colours.first, markersize=7))
        labels.append("its lowest validation loss")
    legend_above(figure, handles, labels, colours=colours)
    return figure


def _lowest_losses(
    axes: Axes, histories: Sequence[Mapping[str, Sequence[float]]], colours: ThemeColours
) -> None:
    lowest: list[int] = []
    for history in histories:
        losses = np.asarray(history.get("val_loss") or ())
        losses = np.where(np.isfinite(losses), losses, np.nan)
        if len(losses) and not np.isnan(losses).all():
            at = int(np.nanargmin(losses))
            lowest.append(at + 1)
            epochs = range(1, len(losses) + 1)
            axes.plot(epochs, losses, color=colours.second, linewidth=1, alpha=0.75)
            axes.plot(at + 1, losses[at], "v", color=colours.first, markersize=7, zorder=4)
    if lowest:
        axes.axvspan(min(lowest) - 0.5, max(lowest) + 0.5, color=colours.first, alpha=0.1, lw=0)


def _gaps(
    axes: Axes, histories: Sequence[Mapping[str, Sequence[float]]], colours: ThemeColours
) -> None:
    axes.axhline(0, color=colours.ink, linewidth=1)
    gaps: list[npt.NDArray[np.float64]] = []
    for history in histories:
        if history.get("accuracy") and history.get("val_accuracy"):
            gap = 100 * (np.asarray(history["accuracy"]) - np.asarray(history["val_accuracy"]))
            gaps.append(gap[np.isfinite(gap)])
            axes.plot(range(1, len(gap) + 1), gap, color=colours.second, linewidth=1, alpha=0.75)
    # A first epoch from which training accuracy lags far behind would squeeze all others.
    later = [gap[_EARLY:] for gap in gaps if len(gap) > 2 * _EARLY]
    if later and len(later) == len(gaps):
        low, high = (float(end) for end in (min(map(np.min, later)), max(map(np.max, later))))
        room = 0.15 * max(high - min(low, 0.0), 0.1)
        axes.set_ylim(min(low, 0.0) - room, max(high, 0.0) + room)
    spread_out(axes, "y", -100)


@drawn
def reliability(
    runs: Mapping[str, Sequence[tuple[Sequence[float], Sequence[float], Sequence[int]]]],
    *,
    theme: Theme = "light",
) -> Figure:
    """Draw accuracy against confidence, and below it how many images have each confidence.

    Bins of fewer than ten images are drawn small and pale: their accuracy is mostly chance.

    Parameters
    ----------
    runs : model -> for each of its runs the bins' mean confidence, accuracy and number of images

    Raises
    ------
    DataError : no models, or a model without runs
    """
    if not runs or not all(runs.values()):
        raise DataError("reliability: expected at least one run of each model, got none")
    colours = colours_of(theme)
    across = min(len(runs), _ACROSS)
    down = math.ceil(len(runs) / across)
    figure = new_figure(3.6 * across + 0.4, 0.4 + 3.9 * down, colours)
    panels = figure.subplots(
        2 * down, across, squeeze=False, sharex=True, gridspec_kw={"height_ratios": [3, 1] * down}
    )
    for place, (name, bins) in enumerate(runs.items()):
        row, column = divmod(place, across)
        upper, lower = panels[2 * row, column], panels[2 * row + 1, column]
        axes_styled(upper, colours)
        axes_styled(lower, colours)
        upper.plot([0, 100], [0, 100], color=colours.muted, linewidth=1.2, linestyle="--")
        points = float(rcParams["axes.titlesize"])
        upper.set_title(fitted(name, 2.8, points), loc="left", color=colours.muted)
        upper.set_xlim(0, 101)
        upper.set_ylim(0, 103)
        lower.set_yscale("log")
        lower.yaxis.set_major_locator(LogLocator(numticks=4))
        lower.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        lower.yaxis.set_minor_locator(NullLocator())
        lower.set_xlabel("Confidence, %")
        lower.tick_params(labelbottom=True)
        if column == 0:
            upper.set_ylabel("Right, %")
            lower.set_ylabel("Images")
        for confidence, accuracy, images in bins:
            x, y = 100 * np.asarray(confidence), 100 * np.asarray(accuracy)
            many = np.asarray(images) >= 10
            upper.plot(x, y, color=colours.second, linewidth=0.8, alpha=0.4)
            upper.plot(x[many], y[many], "o", color=colours.second, markersize=5, alpha=0.8)
            upper.plot(x[~many], y[~many], "o", color=colours.second, markersize=3, alpha=0.4)
            lower.plot(x, images, "o", color=colours.first, markersize=3, alpha=0.7)
    for axes in panels.ravel().tolist():
        axes.set_visible(axes.has_data())
    legend_above(
        figure,
        [
            Line2D([], [], marker="o", color=colours.second, linewidth=0.8, markersize=5),
            Line2D([], [], color=colours.muted, linestyle="--"),
        ],
        ["one run", "confidence as it should be"],
        colours=colours,
    )
    return figure


@drawn
def coverage(
    coverages: Sequence[float],
    accuracies: Mapping[str, Sequence[Interval]],
    *,
    theme: Theme = "light",
) -> Figure:
    """Draw the accuracy on the images that a model answers, against how many it answers.

    Parameters
    ----------
    coverages : shares of images, ascending
    accuracies : model -> a value with its interval for each coverage, shares

    Raises
    ------
    DataError : no models, or another number of accuracies than of coverages
    """
    if not accuracies or any(len(row) != len(coverages) for row in accuracies.values()):
        raise DataError(
            f"coverage: expected {len(coverages)} accuracies for each of at least one model"
        )
    colours = colours_of(theme)
    figure, axes = panel(5.2, 3.3 + _legend_inches(accuracies, 5.2), colours)
    _lines(axes, [100 * share for share in coverages], accuracies, colours, marks=False)
    spread_out(axes, "y")
    axes.invert_xaxis()
    axes.set_xlabel("Images that the model answers, %: the surest first  →")
    axes.set_ylabel("Right, %")
    _legend_of(figure, accuracies, colours, marks=False)
    return figure


@drawn
def small_multiples(
    curves: Mapping[str, tuple[str, Sequence[float]]],
    accuracies: Mapping[str, Mapping[str, Sequence[Interval]]],
    *,
    theme: Theme = "light",
) -> Figure:
    """Draw accuracy against the strength of each change, a panel a change.

    Parameters
    ----------
    curves : change -> its unit and its strengths
    accuracies : model -> change -> a value with its interval for each strength, shares

    Raises
    ------
    DataError : no changes or models, or another number of accuracies than of strengths
    """
    if not curves or not accuracies:
        raise DataError("small_multiples: expected at least one change and one model, got none")
    for model, rows in accuracies.items():
        for name, (_, strengths) in curves.items():
            if len(rows.get(name, ())) != len(strengths):
                raise DataError(
                    f"small_multiples: {model}: expected {len(strengths)} accuracies for {name},"
                    f" got {len(rows.get(name, ()))}"
                )
    colours = colours_of(theme)
    down = math.ceil(len(curves) / _ACROSS)
    # Places are worked out here: matplotlib's own layout takes a second for so many panels.
    head = _legend_inches(accuracies, 9.0)
    width, height = 9.0, 2.35 * down + 0.4 + head
    figure = Drawing(figsize=(width, height), facecolor=colours.paper)
    grid = {
        "left": 0.6 / width,
        "right": 1 - 0.15 / width,
        "top": 1 - (0.65 + head) / height,
        "bottom": 0.55 / height,
        "hspace": 0.55,
        "wspace": 0.07,
    }
    table = figure.subplots(down, _ACROSS, squeeze=False, sharey=True, gridspec_kw=grid)
    panels = table.ravel().tolist()
    for axes, (name, (unit, strengths)) in zip(panels, curves.items(), strict=False):
        axes_styled(axes, colours)
        _lines(axes, strengths, {model: rows[name] for model, rows in accuracies.items()}, colours)
        axes.set_title(name, loc="left", color=colours.ink)
        axes.set_xlabel(unit)
        axes.set_xticks(list(strengths), [f"{strength:g}" for strength in strengths])
        axes.set_ylim(0, 103)
    for axes in panels[len(curves) :]:
        axes.axis("off")
    for axes in panels[::_ACROSS]:
        axes.set_ylabel("Right, %")
    _legend_of(figure, accuracies, colours, place="upper left")
    return figure


def _lines(
    axes: Axes,
    x: Sequence[float],
    accuracies: Mapping[str, Sequence[Interval]],
    colours: ThemeColours,
    *,
    marks: bool = True,
) -> None:
    for place, row in enumerate(accuracies.values()):
        colour, style, mark = _look(place, colours)
        axes.plot(
            x,
            [100 * value for value, _, _ in row],
            color=colour,
            linestyle=style,
            marker=mark if marks else "",
            markersize=4,
            linewidth=1.6,
            zorder=3,
        )
        ends = [(low, high) for _, low, high in row if low is not None and high is not None]
        if len(ends) == len(row):
            axes.fill_between(
                x,
                [100 * max(0.0, low) for low, _ in ends],
                [100 * min(1.0, high) for _, high in ends],
                color=colour,
                alpha=0.18,
                linewidth=0,
            )


def _legend_of(
    figure: Figure,
    models: Mapping[str, object],
    colours: ThemeColours,
    *,
    marks: bool = True,
    place: LegendPlace = "outside upper left",
) -> None:
    handles: list[Line2D | Patch] = []
    for number in range(len(models)):
        colour, style, mark = _look(number, colours)
        handles.append(
            Line2D(
                [], [], color=colour, linestyle=style, marker=mark if marks else "", markersize=4
            )
        )
    handles.append(Patch(color=colours.muted, alpha=0.25, linewidth=0))
    legend_above(figure, handles, _legend_labels(models), colours=colours, place=place)


def _legend_labels(models: Iterable[str]) -> list[str]:
    return [*(shortened(model, _NAME_CHARACTERS) for model in models), "interval"]


def _legend_inches(models: Iterable[str], width: float) -> float:
    """Give how much higher a legend is than one of a single row."""
    labels = _legend_labels(models)
    return _ROW_INCHES * (math.ceil(len(labels) / legend_columns(labels, width)) - 1)


def _look(place: int, colours: ThemeColours) -> tuple[str, _Style, str]:
    """Give the colour, line and mark of a model; from the fourth on the lines tell them apart."""
    hues = (colours.first, colours.second, colours.third)
    turn = place // len(hues)
    return hues[place % len(hues)], _STYLES[turn % len(_STYLES)], _MARKS[turn % len(_MARKS)]
