"""The figures of a report: what is drawn of a study's result, and what each is called."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from matplotlib.figure import Figure

from inkproof import figures
from inkproof.figures import FitMeasure, Theme
from inkproof.report.inputs import Material, runs_of
from inkproof.results import ComparisonResult, ModelResult, TrustResult
from inkproof.statistics import Estimate

__all__ = [
    "Chart",
    "comparison_figure",
    "counts_figure",
    "coverage_figure",
    "curves_figure",
    "data_uri",
    "differences",
    "fit_figure",
    "reliability_figure",
    "robustness_figure",
    "scores_figure",
    "themed",
    "trusted_models",
]

_CSS_PIXELS: Final = 96


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A figure for HTML.

    Parameters
    ----------
    light, dark : SVG as data URIs
    width, height : CSS pixels
    alt : what it shows, in words
    """

    light: str
    dark: str
    width: int
    height: int
    alt: str


def themed(draw: Callable[[Theme], Figure], alt: str) -> Chart:
    """Draw a figure, and give it in both themes."""
    figure = draw("light")
    width, height = figure.get_size_inches()
    light = figures.render(figure, "svg")
    return Chart(
        light=data_uri(light, "image/svg+xml"),
        dark=data_uri(figures.recoloured(light, "dark"), "image/svg+xml"),
        width=round(width * _CSS_PIXELS),
        height=round(height * _CSS_PIXELS),
        alt=alt,
    )


def data_uri(content: bytes, media_type: str) -> str:
    """Give a file as an address that holds it."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"


def scores_figure(material: Material, theme: Theme) -> Figure:
    """Draw the accuracies of all runs."""
    # Two models of one name would be one row: their place tells them apart.
    names = _distinct([model.name for model in material.result.models])
    return figures.scores(
        {
            name: {run.seed: run.test.accuracy for run in runs_of(model)}
            for name, model in zip(names, material.result.models, strict=True)
        },
        {
            name: _interval(model.test_accuracy)
            for name, model in zip(names, material.result.models, strict=True)
        },
        theme=theme,
    )


def comparison_figure(comparison: ComparisonResult, images: int, theme: Theme) -> Figure:
    """Draw the differences of a comparison's pairs of runs."""
    return figures.difference(
        differences(comparison, images),
        _interval(comparison.difference),
        comparison.a,
        comparison.b,
        theme=theme,
    )


def differences(comparison: ComparisonResult, images: int) -> dict[int, float]:
    """Give each pair's difference in accuracy, b minus a, from its counts of images."""
    return {
        pair.seed: (pair.only_b_right - pair.only_a_right) / images for pair in comparison.pairs
    }


def counts_figure(material: Material, theme: Theme) -> Figure:
    """Draw the class counts."""
    data = material.result.data
    return figures.class_counts(data.class_counts, data.class_names, theme=theme)


def curves_figure(
    model: ModelResult,
    measure: Literal["loss", "accuracy"] | None,
    theme: Theme,
    *,
    name: str = "",
) -> Figure:
    """Draw a model's training curves: one measure, or both side by side."""
    histories: list[Mapping[str, list[float]]] = [run.history for run in runs_of(model)]
    return figures.curves(
        histories,
        model.published,
        name,
        measures=("loss", "accuracy") if measure is None else (measure,),
        theme=theme,
    )


def fit_figure(
    model: ModelResult,
    theme: Theme,
    *,
    measures: Sequence[FitMeasure] = ("loss", "gap"),
    name: str = "",
) -> Figure:
    """Draw what the diagnosis of a model looks at: one measure, or both side by side."""
    histories = [run.history for run in runs_of(model)]
    return figures.fit(histories, name, measures=measures, theme=theme)


def trusted_models(material: Material) -> list[tuple[str, ModelResult, TrustResult]]:
    """Give the models whose probabilities were judged, each with a name of its own."""
    models = material.result.models
    names = _distinct([model.name for model in models])
    return [
        (name, model, model.trust)
        for name, model in zip(names, models, strict=True)
        if model.trust is not None
    ]


def reliability_figure(
    trusted: Sequence[tuple[str, ModelResult, TrustResult]], theme: Theme
) -> Figure:
    """Draw accuracy against confidence."""
    return figures.reliability(
        {
            name: [(run.confidence, run.accuracy, run.images) for run in trust.reliability]
            for name, _, trust in trusted
        },
        theme=theme,
    )


def coverage_figure(
    trusted: Sequence[tuple[str, ModelResult, TrustResult]], theme: Theme
) -> Figure:
    """Draw accuracy against the share of images that is answered."""
    return figures.coverage(
        trusted[0][2].coverages,
        {name: [_interval(one) for one in trust.accuracies] for name, _, trust in trusted},
        theme=theme,
    )


def robustness_figure(material: Material, theme: Theme) -> Figure:
    """Draw accuracy against the strength of each change; some model must have been asked."""
    models = material.result.models
    names = _distinct([model.name for model in models])
    asked = {
        name: model.robustness
        for name, model in zip(names, models, strict=True)
        if model.robustness is not None
    }
    return figures.small_multiples(
        {curve.name: (curve.unit, curve.strengths) for curve in next(iter(asked.values())).curves},
        {
            name: {curve.name: [_interval(one) for one in curve.accuracies] for curve in one.curves}
            for name, one in asked.items()
        },
        theme=theme,
    )


def _interval(estimate: Estimate) -> tuple[float, float | None, float | None]:
    return estimate.value, estimate.low, estimate.high


def _distinct(names: list[str]) -> list[str]:
    return [
        name if names.count(name) == 1 else f"{name} ({place})"
        for place, name in enumerate(names, start=1)
    ]
