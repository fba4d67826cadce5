"""``report.html``: one file that needs nothing else, and lets nothing else in."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from inkproof import figures
from inkproof.report import charts
from inkproof.report.drawing import safe_svg
from inkproof.report.history import history_table
from inkproof.report.inputs import Material, runs_of
from inkproof.report.sheet import Chosen, RunImages, choose
from inkproof.report.text import FILTERS, flattened, slug, toml_text
from inkproof.results import ComparisonResult, Mistake, ModelResult, RunResult

__all__ = ["TEMPLATES", "html_page", "source", "source_hash"]

TEMPLATES: Final = Path(__file__).parent / "templates"
_HEAT_LEVELS: Final = 8
_UNFOLDED: Final = 24  # mistakes shown before "all" is asked for
_GREYS: Final = 16
_MOST_CELLS: Final = 40  # of a pixel array each way
_FEW_CLASSES: Final = 12
_TALL: Final = 640  # CSS pixels: a taller diagram is folded
_NAME_CHARACTERS: Final = 24
_FIT: Final[dict[figures.FitMeasure, str]] = {
    "loss": "Validation loss, with its lowest epoch marked,",
    "gap": "Training minus validation accuracy",
}
_SHORT_NAME: Final = 3  # longer names stand upright over the confusion matrix


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One class's probability, in tenths of a per cent."""

    label: int
    tenths: int


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell of a confusion matrix and the style of its colour."""

    count: int
    style: str


@dataclass(frozen=True, kw_only=True)
class PixelArray:
    """An image as rows of (value, grey level from 0 to 15)."""

    rows: tuple[tuple[tuple[int, int], ...], ...]
    note: str


def html_page(material: Material) -> str:
    """Write the page.

    Returns
    -------
    HTML without any address but ``data:`` ones; its content security policy admits its own
    script and style by their hashes
    """
    result = material.result
    chosen = choose(material)
    runs = material.runs
    environment = _environment()
    style = environment.get_template("report.css").render(
        light=figures.THEMES["light"],
        dark=figures.THEMES["dark"],
        heat=[_heat_level(level) for level in range(1, _HEAT_LEVELS + 1)],
        most_cells=_MOST_CELLS,
        greys=[(level, level * 17) for level in range(_GREYS)],
    )
    early = source("theme.js")
    script = source("theme_button.js") + source("report.js")
    first_model, first_run = runs[0]
    return environment.get_template("report.html").render(
        result=result,
        material=material,
        runs_of=runs_of,
        run_groups=[
            {
                "name": model.name,
                "runs": [(place, run) for place, (owner, run) in enumerate(runs) if owner is model],
            }
            for model in result.models
        ],
        names=result.data.class_names,
        short=_short_names(material),
        named=max(map(len, result.data.class_names)) > _SHORT_NAME,
        style=Markup(style),  # noqa: S704 - our own file, filled with our own colours
        early=Markup(early),  # noqa: S704 - our own file
        script=Markup(script),  # noqa: S704 - our own file
        style_hash=source_hash(style),
        script_hashes=[source_hash(early), source_hash(script)],
        scores=charts.themed(
            partial(charts.scores_figure, material), _scores_alt(material.result.models)
        ),
        fits=[
            [
                charts.themed(
                    partial(charts.fit_figure, model, measures=(measure,)),
                    f"{what} of every run of {model.name}. The findings have the numbers.",
                )
                for measure, what in _FIT.items()
            ]
            for model in result.models
        ],
        trust=_trust(material),
        robustness=_robustness(material),
        comparison_charts=[
            charts.themed(
                partial(charts.comparison_figure, comparison, result.data.test),
                f"The difference in test accuracy of each pair of runs, {comparison.b} minus"
                f" {comparison.a}, and their mean with its interval. The table has the numbers.",
            )
            for comparison in result.comparisons
        ],
        differences=[
            charts.differences(comparison, result.data.test) for comparison in result.comparisons
        ],
        accuracies=_accuracies(result.comparisons, result.models),
        counts=charts.themed(
            partial(charts.counts_figure, material),
            "Bars: how many images each class has. The table has the numbers.",
        ),
        few_classes=len(result.data.class_names) <= _FEW_CLASSES,
        curves=[
            [
                charts.themed(
                    partial(charts.curves_figure, model, measure),
                    f"{measure.capitalize()} of {model.name} by epoch, in training"
                    f"{' and validation' if 'val_loss' in runs_of(model)[0].history else ''}. The"
                    " table of each run has the numbers.",
                )
                for measure in ("loss", "accuracy")
                if runs_of(model)[0].history.get(measure)
            ]
            for model in result.models
        ],
        diagrams=[_diagram(model) for model in result.models],
        epoch_seconds=[_epoch_seconds(model) for model in result.models],
        histories=history_table(result.models),
        sheet=chosen.sheet,
        sheet_uri=charts.data_uri(chosen.sheet.png, "image/png"),
        chosen=chosen,
        train_labels=material.data.train.labels,
        test_labels=material.data.test.labels,
        pixels=_pixel_array(material.data.train.images[0]),
        first_model=first_model,
        first_run=first_run,
        listed=chosen.runs[0].listed,
        unfolded=_UNFOLDED,
        matrix=_matrix(first_run.test.confusion),
        heat_levels=_HEAT_LEVELS,
        bars=_bars,
        first_probabilities=material.of_run(first_model, first_run),
        tenths=_tenths,
        tenths_text=_tenths_text,
        payload=_payload(material, chosen),
        environment=flattened(result.environment),
        study_toml=toml_text(result.study),
        study_file=f"{slug(str(result.study.get('name', 'study')))}.toml",
    )


def _trust(material: Material) -> dict[str, Any] | None:
    trusted = charts.trusted_models(material)
    if not trusted:
        return None
    return {
        "models": trusted,
        "charts": [
            *(
                charts.themed(
                    partial(charts.reliability_figure, [one]),
                    f"Accuracy against confidence for every run of {one[0]}, and how many images"
                    " have each confidence.",
                )
                for one in trusted
            ),
            charts.themed(
                partial(charts.coverage_figure, trusted),
                "Accuracy on the images that are answered, against how many are answered.",
            ),
        ],
    }


def _robustness(material: Material) -> dict[str, Any] | None:
    asked = [model for model in material.result.models if model.robustness is not None]
    if not asked:
        return None
    return {
        "models": asked,
        "chart": charts.themed(
            partial(charts.robustness_figure, material),
            "Accuracy against the strength of each change of the images, a panel a change. The"
            " tables have the numbers.",
        ),
    }


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=select_autoescape(enabled_extensions=("html",), default=False),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(FILTERS)
    return environment


def source(name: str) -> str:
    """Read a script among the templates."""
    return (TEMPLATES / name).read_text(encoding="utf-8")


def source_hash(content: str) -> str:
    """Give a script's or style's hash as a content security policy names it."""
    digest = hashlib.sha256(content.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"


def _heat_level(level: int) -> dict[str, Any]:
    share = level / _HEAT_LEVELS
    return {
        "level": level,
        "light": [figures.heat(share, diagonal=diagonal) for diagonal in (False, True)],
        "dark": [
            figures.heat(share, diagonal=diagonal, theme="dark") for diagonal in (False, True)
        ],
    }


def _matrix(confusion: list[list[int]]) -> list[list[Cell]]:
    """Give each cell the colour step that its count has among those of its kind."""
    counts = np.array(confusion, dtype=np.int64)
    shares = figures.heat_shares(counts)
    return [
        [
            Cell(
                count=count,
                style=f"{'r' if row == column else 'w'}"
                f"{math.ceil(_HEAT_LEVELS * float(shares[row, column]) - 1e-9)}",
            )
            for column, count in enumerate(line)
        ]
        for row, line in enumerate(confusion)
    ]


def _scores_alt(models: list[ModelResult]) -> str:
    each = "; ".join(
        f"{model.name} {FILTERS['value'](model.test_accuracy, 'share')}" for model in models
    )
    return f"Test accuracy of every run, and the mean of each model: {each}."


def _diagram(model: ModelResult) -> dict[str, Any]:
    svg = safe_svg(model.diagram)
    height = re.search(r'^<svg[^>]* height="(\d+)', svg)
    return {
        "svg": Markup(svg),  # noqa: S704 - nothing but drawing is left in it
        "tall": height is not None and int(height[1]) > _TALL,
    }


def _short_names(material: Material) -> list[str]:
    """Give the class names as they stand beside images, where each has two or three lines."""
    return [figures.shortened(name, _NAME_CHARACTERS) for name in material.result.data.class_names]


def _epoch_seconds(model: ModelResult) -> str:
    """Pick the fastest and the slowest epoch of all runs."""
    seconds = [each for run in model.runs for each in run.epoch_seconds]
    return f"{min(seconds):.2f} to {max(seconds):.2f}" if seconds else ""


def _accuracies(
    comparisons: list[ComparisonResult], models: list[ModelResult]
) -> list[list[tuple[float | None, float | None]]]:
    """Look up, for each pair of each comparison, both runs' test accuracies."""
    by_run = {(model.name, run.seed): run.test.accuracy for model in models for run in model.runs}
    return [
        [
            (by_run.get((comparison.a, pair.seed)), by_run.get((comparison.b, pair.seed)))
            for pair in comparison.pairs
        ]
        for comparison in comparisons
    ]


def _tenths(probability: float) -> int:
    return round(1000 * float(probability))


def _tenths_text(tenths: int) -> str:
    """Write tenths of a per cent as the page's script writes them."""
    if tenths <= 0:
        return "<0.1 %"
    return ">99.9 %" if tenths >= 1000 else f"{tenths / 10:.1f} %"


def _bars(p: npt.NDArray[np.float32]) -> list[Bar]:
    """Pick the classes to show: all of a few, in their order; of many the likeliest."""
    shown = np.arange(len(p))
    if len(p) > figures.MOST_BARS:
        shown = np.argsort(-p, kind="stable")[: figures.MOST_BARS]
    return [Bar(label=int(label), tenths=_tenths(p[label])) for label in shown]


def _pixel_array(image: npt.NDArray[np.uint8]) -> PixelArray:
    height, width, channels = image.shape
    top, left = max(0, (height - _MOST_CELLS) // 2), max(0, (width - _MOST_CELLS) // 2)
    part = image[top : top + _MOST_CELLS, left : left + _MOST_CELLS, 0]
    notes = ["the red channel"] if channels == 3 else []
    if part.shape != (height, width):
        notes.append(f"the middle {part.shape[0]} by {part.shape[1]} of {height} by {width} pixels")
    return PixelArray(
        rows=tuple(tuple((value, value * _GREYS // 256) for value in row) for row in part.tolist()),
        note=", ".join(notes),
    )


def _payload(material: Material, chosen: Chosen) -> dict[str, Any]:
    """Give what the page's script shows of each run, as short as JSON can be."""
    sheet = chosen.sheet
    return {
        "classes": list(material.result.data.class_names),
        "short": _short_names(material),
        "images": material.result.data.test,
        "tile": [sheet.tile_width, sheet.tile_height],
        "places": [list(sheet.place(number)) for number in range(sheet.images)],
        "levels": _HEAT_LEVELS,
        "unfolded": _UNFOLDED,
        "first": [
            [number, row, int(material.data.test.labels[row])] for row, number in chosen.first
        ],
        "runs": [
            _run_payload(model.name, run, images, material.of_run(model, run))
            | {"first": _first_bars(chosen, material.of_run(model, run))}
            for (model, run), images in zip(material.runs, chosen.runs, strict=True)
        ],
    }


def _run_payload(
    model: str,
    run: RunResult,
    images: RunImages,
    probabilities: npt.NDArray[np.float32] | None,
) -> dict[str, Any]:
    return {
        "model": model,
        "seed": run.seed,
        "wrong": len(run.test.mistakes),
        "confusion": run.test.confusion,
        "listed": [
            _mistake_payload(mistake, number, probabilities) for mistake, number in images.listed
        ],
        "right": [
            [
                [number, row, None if probabilities is None else _tenths(probabilities[row, label])]
                for row, number in of_class
            ]
            for label, of_class in enumerate(images.right)
        ],
    }


def _mistake_payload(
    mistake: Mistake, number: int, probabilities: npt.NDArray[np.float32] | None
) -> list[Any]:
    bars = [] if probabilities is None else _bars(probabilities[mistake.index])
    return [
        number,
        mistake.index,
        mistake.label,
        mistake.predicted,
        _tenths(mistake.probability),
        [bar.tenths for bar in bars],
        [bar.label for bar in bars] if len(bars) == figures.MOST_BARS else 0,
    ]


def _first_bars(chosen: Chosen, probabilities: npt.NDArray[np.float32] | None) -> list[Any]:
    if probabilities is None:
        return []
    picked = [_bars(probabilities[row]) for row, _ in chosen.first]
    return [
        [
            [bar.tenths for bar in bars],
            [bar.label for bar in bars] if len(bars) == figures.MOST_BARS else 0,
        ]
        for bars in picked
    ]
