"""Numbers as figures: class counts, training curves, probabilities, scores and differences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import Normal, Stroke
from matplotlib.ticker import FuncFormatter, MaxNLocator

from inkproof.errors import DataError, UnknownNameError
from inkproof.figures.parts import legend_above, panel, spread_out, titles_of
from inkproof.figures.style import (
    Theme,
    ThemeColours,
    axes_styled,
    colours_of,
    drawn,
    fitted,
    new_figure,
    plain_text,
    share_text,
    shortened,
    text_inches,
)

__all__ = [
    "MOST_BARS",
    "Interval",
    "bars_of_probabilities",
    "class_counts",
    "curves",
    "difference",
    "probabilities",
    "scores",
]

Interval = tuple[float, float | None, float | None]
"""A value and its interval's ends, or None where there is none."""
Measure = Literal["loss", "accuracy"]

MOST_BARS: Final = 12
"""Of more classes than these, only so many of the likeliest have a bar."""

_NAME_CHARACTERS: Final = 16
_TICK_INCHES: Final = 0.2  # what an upright name needs
_LEAST_REACH: Final = 1e-6  # points: less comes from rounding
_MARKED_EPOCHS: Final = 3  # so few points are lost in a line
_LISTED_SEEDS: Final = 16
_DRAWN_POINTS: Final = 800  # more are a picture inside an SVG, which stays small
# Broad, so that it shows on both sides of a mean that lies on it.
_PUBLISHED: Final[dict[str, Any]] = {
    "linewidth": 3.8,
    "linestyle": (0, (1.4, 0.7)),
    "alpha": 0.45,
    "dash_capstyle": "butt",
}
_VALUES: Final[dict[str, str]] = {"loss": "Loss, nats", "accuracy": "Accuracy, %"}


@drawn
def class_counts(
    counts: Mapping[str, Sequence[int]], class_names: Sequence[str], *, theme: Theme = "light"
) -> Figure:
    """Draw how many images each class has, side by side for each split.

    Parameters
    ----------
    counts : split -> counts (k,), such as of ``train`` and ``test``; at most three splits
    class_names : k names

    Raises
    ------
    DataError : no splits or more than three, or another number of counts than of names
    """
    classes = len(class_names)
    if not 0 < len(counts) <= 3 or any(len(numbers) != classes for numbers in counts.values()):
        shapes = {split: len(numbers) for split, numbers in counts.items()}
        raise DataError(
            f"class_counts: expected {classes} counts for each of one to three splits, got {shapes}"
        )
    colours = colours_of(theme)
    figure, axes = panel(max(5.2, min(11.0, 0.3 * classes + 1.2)), 3.2, colours)
    names = [shortened(name, _NAME_CHARACTERS) for name in class_names]
    step = math.ceil(_TICK_INCHES * classes / (figure.get_figwidth() - 1.2))
    width = 0.8 / len(counts)
    hues = (colours.first, colours.second, colours.third)
    for place, (split, numbers) in enumerate(counts.items()):
        left = np.arange(classes) - 0.4 + width * place
        axes.bar(
            left, numbers, width * 0.92, align="edge", color=hues[place], label=plain_text(split)
        )
    upright = max(map(len, names)) > 3
    axes.set_xticks(range(0, classes, step), names[::step], rotation=90 if upright else 0)
    if step > 1:
        axes.set_xlabel(f"One class in {step} is named")
    axes.set_xlim(-0.6, classes - 0.4)
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_ylabel("Images")
    legend_above(figure, *axes.get_legend_handles_labels(), colours=colours)
    return figure


@drawn
def curves(
    histories: Sequence[Mapping[str, Sequence[float]]],
    published: Mapping[str, Sequence[float]] | None = None,
    name: str = "",
    *,
    measures: Sequence[Measure] = ("loss", "accuracy"),
    theme: Theme = "light",
) -> Figure:
    """Draw training curves: each seed's thin, their mean thick, a published one dashed behind.

    Parameters
    ----------
    histories : one a seed, column -> one number an epoch; columns ``loss``, ``accuracy`` and, if
        there was validation data, ``val_loss``, ``val_accuracy``. Other columns are passed over.
        The mean goes as far as the shortest history.
    published : a history of the same columns, or None
    name : the model's, put into the panels' titles
    measures : a panel each

    Raises
    ------
    DataError : no histories, or one without epochs
    UnknownNameError : a measure that is neither ``loss`` nor ``accuracy``
    """
    if not histories or not all(history.get("loss") for history in histories):
        raise DataError("curves: expected histories of at least one epoch each, got none")
    for measure in measures:
        if measure not in _VALUES:
            raise UnknownNameError("measure", measure, _VALUES)
    colours = colours_of(theme)
    figure = new_figure(4.5 * len(measures), 3.5, colours)
    panels = figure.subplots(1, len(measures), squeeze=False)[0]
    titles = titles_of(name, [_VALUES[measure] for measure in measures], 3.8)
    for axes, measure, title in zip(panels.tolist(), measures, titles, strict=True):
        axes_styled(axes, colours)
        _curves_of(axes, histories, published or {}, measure, colours)
        axes.set_title(title, loc="left", color=colours.muted)
    columns = [*histories, published or {}]
    several = len(histories) > 1
    handles = [Line2D([], [], color=colours.first, linewidth=2.2)]
    labels = ["training"]
    if any(column.get("val_loss") or column.get("val_accuracy") for column in columns):
        handles.append(Line2D([], [], color=colours.second, linewidth=2.2))
        labels.append("validation")
    if published:
        handles.append(Line2D([], [], color=colours.muted, **_PUBLISHED))
        labels.append("published")
    if several:
        handles.append(Line2D([], [], color=colours.muted, linewidth=0.8, alpha=0.7))
        labels.append("one seed")
    legend_above(figure, handles, labels, colours=colours)
    return figure


@drawn
def probabilities(
    p: npt.NDArray[np.floating[Any]],
    class_names: Sequence[str],
    *,
    target: int | None = None,
    theme: Theme = "light",
) -> Figure:
    """Draw the probabilities that a model gave one image, as bars.

    Of more than ``MOST_BARS`` classes only the likeliest are drawn.

    Parameters
    ----------
    p : (k,), in [0, 1]
    class_names : k names
    target : the true class, which is marked, or None

    Raises
    ------
    DataError : another number of probabilities than of names
    """
    given = np.asarray(p, dtype=np.float64)
    if given.shape != (len(class_names),) or not class_names:
        raise DataError(
            f"probabilities: expected {len(class_names)} numbers, one a class, got shape"
            f" {given.shape}"
        )
    colours = colours_of(theme)
    figure, axes = panel(4.6, 0.6 + 0.24 * min(len(given), MOST_BARS), colours, grid="x")
    bars_of_probabilities(axes, given, class_names, colours, target=target)
    return figure


def bars_of_probabilities(
    axes: Axes,
    p: npt.NDArray[np.float64],
    class_names: Sequence[str],
    colours: ThemeColours,
    *,
    target: int | None,
) -> None:
    """Draw the bars of :func:`probabilities` into axes: the true class in the first colour."""
    shown = np.arange(len(p))
    if len(p) > MOST_BARS:
        shown = np.argsort(-p, kind="stable")[:MOST_BARS]
    wrong = colours.muted if target is None else colours.second
    hues = [colours.first if place == target else wrong for place in shown.tolist()]
    axes.barh(range(len(shown)), p[shown], 0.72, color=hues)
    names = [shortened(class_names[place], _NAME_CHARACTERS) for place in shown.tolist()]
    axes.set_yticks(range(len(shown)), names)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.3)
    axes.set_xticks([])
    for row, place in enumerate(shown.tolist()):
        axes.text(
            float(p[place]) + 0.02,
            row,
            share_text(float(p[place])),
            va="center_baseline",
            fontsize=8,
            color=colours.ink if p[place] >= 0.01 else colours.muted,
        )


@drawn
def scores(
    values: Mapping[str, Mapping[int, float]],
    intervals: Mapping[str, Interval],
    *,
    label: str = "Test accuracy, %",
    theme: Theme = "light",
) -> Figure:
    """Draw the accuracy of every run, a row a model, with the mean and its interval below.

    A thin line joins the runs of one seed from model to model.

    Parameters
    ----------
    values : model -> seed -> a share, in [0, 1]
    intervals : model -> mean and interval, shares; of the same models
    label : of the axis

    Raises
    ------
    DataError : no models, a model without runs, or different models
    """
    if not values or not all(values.values()) or values.keys() != intervals.keys():
        raise DataError(
            f"scores: expected the runs and the interval of each model, got runs of"
            f" {list(values)} and intervals of {list(intervals)}"
        )
    colours = colours_of(theme)
    models = list(values)
    figure, axes = panel(4.6, 0.8 + 0.95 * len(models), colours, grid="x")
    for row, model in enumerate(models):
        runs = values[model]
        if row + 1 < len(models):
            following = values[models[row + 1]]
            for seed in runs.keys() & following.keys():
                axes.plot(
                    [100 * runs[seed], 100 * following[seed]],
                    [row - 0.12, row + 0.88],
                    color=colours.muted,
                    linewidth=0.8,
                    alpha=0.45,
                    zorder=2,
                )
        axes.plot(
            [100 * value for value in runs.values()],
            [row - 0.12] * len(runs),
            "o",
            color=colours.second,
            markeredgecolor=colours.paper,
            markeredgewidth=0.6,
            markersize=6,
            alpha=0.9,
            zorder=3,
            clip_on=False,  # all or none may be right: half a dot would stand over the edge
        )
        _interval(axes, intervals[model], row + 0.16, colours, decimals=2, unit=" %")
    axes.set_yticks(range(len(models)), [shortened(model, _NAME_CHARACTERS) for model in models])
    axes.set_ylim(len(models) - 0.45, -0.45)
    axes.margins(x=0.08)
    spread_out(axes, "x")
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10], min_n_ticks=4))
    axes.set_xlabel(label)
    handles = [
        Line2D([], [], marker="o", linestyle="", color=colours.second, markersize=6),
        Line2D([], [], marker="D", color=colours.first, linewidth=2.4, markersize=6),
    ]
    intervals_drawn = any(low is not None for _, low, _ in intervals.values())
    legend_above(
        figure,
        handles,
        ["one run", "mean and interval" if intervals_drawn else "mean"],
        colours=colours,
    )
    return figure


@drawn
def difference(
    differences: Mapping[int, float],
    interval: Interval,
    a: str,
    b: str,
    *,
    theme: Theme = "light",
) -> Figure:
    """Draw by how much b is ahead of a: a row a seed, and the mean with its interval below.

    Parameters
    ----------
    differences : seed -> accuracy of b minus accuracy of a, a share
    interval : the mean difference and its interval, shares
    a, b : the models' names

    Raises
    ------
    DataError : no seeds
    """
    if not differences:
        raise DataError("difference: expected at least one seed, got none")
    colours = colours_of(theme)
    seeds = list(differences)
    listed = len(seeds) <= _LISTED_SEEDS
    rows = list(range(len(seeds))) if listed else [0] * len(seeds)
    last = rows[-1] + 1.25
    figure, axes = panel(4.6, 1.25 + 0.24 * (last + 1), colours, grid="x")
    axes.axvline(0, color=colours.ink, linewidth=1, zorder=1)
    sizes = [100 * differences[seed] for seed in seeds]
    if listed:
        axes.hlines(rows, 0, sizes, color=colours.second, linewidth=1.2, alpha=0.6, zorder=2)
    axes.plot(
        sizes,
        rows,
        "o",
        color=colours.second,
        markeredgecolor=colours.paper,
        markeredgewidth=0.6,
        markersize=6,
        zorder=3,
    )
    _interval(axes, interval, last, colours, decimals=2, unit="")
    names = [f"seed {seed}" for seed in seeds] if listed else [f"{len(seeds)} seeds"]
    axes.set_yticks([*sorted(set(rows)), last], [*names, "mean"])
    axes.set_ylim(last + 0.9, -0.6)
    reach = 1.15 * max(map(abs, [*sizes, *(100 * end for end in interval if end is not None)]))
    reach = 1.0 if reach < _LEAST_REACH else reach
    axes.set_xlim(-reach, reach)
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{value:+.3g}".replace("-", "−") if value else "0")
    )
    axes.set_xlabel(_sides(a, b, 3.6))
    return figure


def _sides(a: str, b: str, inches: float) -> str:
    """Say which side is whose, on one line or two, within a width."""
    points = float(rcParams["axes.labelsize"])
    line = f"← {plain_text(a)} ahead   points of accuracy   {plain_text(b)} ahead →"
    if text_inches(line, points) <= inches:
        return line
    room = inches - text_inches("←  ahead    ahead →", points)
    # What a short name leaves is the other's.
    first = fitted(a, max(room / 2, room - text_inches(plain_text(b), points)), points)
    second = fitted(b, room - text_inches(first, points), points)
    return f"← {first} ahead    {second} ahead →\npoints of accuracy"


def _curves_of(
    axes: Axes,
    histories: Sequence[Mapping[str, Sequence[float]]],
    published: Mapping[str, Sequence[float]],
    measure: Measure,
    colours: ThemeColours,
) -> None:
    scale = 100 if measure == "accuracy" else 1
    several = len(histories) > 1
    for column, colour in ((measure, colours.first), (f"val_{measure}", colours.second)):
        if published.get(column):
            epochs = range(1, len(published[column]) + 1)
            axes.plot(
                epochs,
                scale * np.asarray(published[column]),
                color=colours.muted,
                zorder=2,
                **_PUBLISHED,
            )
        runs = [scale * np.asarray(history[column]) for history in histories if history.get(column)]
        if not runs:
            continue
        shortest = min(map(len, runs))
        marker = "o" if shortest <= _MARKED_EPOCHS else ""
        if several:
            for run in runs:
                axes.plot(
                    range(1, len(run) + 1),
                    run,
                    color=colour,
                    linewidth=0.8,
                    alpha=0.5,
                    zorder=3,
                    clip_on=False,
                    rasterized=sum(map(len, runs)) > _DRAWN_POINTS,
                )
        axes.plot(
            range(1, shortest + 1),
            np.mean([run[:shortest] for run in runs], axis=0),
            color=colour,
            linewidth=2.2,
            marker=marker,
            markersize=4,
            zorder=4,
            clip_on=False,
        )
    axes.set_xlabel("Epoch")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    if measure == "loss":
        axes.set_ylim(bottom=0)
    else:
        spread_out(axes, "y")


def _interval(
    axes: Axes, interval: Interval, row: float, colours: ThemeColours, *, decimals: int, unit: str
) -> None:
    """Draw a mean, a share, in per cent, with its interval if there is one."""
    value, low, high = interval
    if low is not None and high is not None:
        axes.plot(
            [100 * low, 100 * high],
            [row, row],
            color=colours.first,
            linewidth=2.4,
            solid_capstyle="round",
            zorder=4,
        )
    axes.plot([100 * value], [row], "D", color=colours.first, markersize=7, zorder=5, clip_on=False)
    axes.annotate(
        f"{100 * value:+.{decimals}f}".replace("-", "−")
        if not unit
        else f"{100 * value:.2f}{unit}",
        (100 * value, row),
        xytext=(0, -7),
        textcoords="offset points",
        ha="center" if value or not unit else "left",  # at none it would reach a model's name
        va="top",
        fontsize=9,
        color=colours.ink,
        path_effects=[Stroke(linewidth=3, foreground=colours.paper), Normal()],
        zorder=6,
    )
