"""``report.md`` and the page for Jekyll: the same text, with numbered figures beside it."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure

from inkproof import figures
from inkproof.report import charts
from inkproof.report.drawing import standalone_svg
from inkproof.report.history import history_table
from inkproof.report.inputs import Material, runs_of
from inkproof.report.page import TEMPLATES
from inkproof.report.text import (
    FILTERS,
    Raw,
    flattened,
    markdown_escaped,
    slug,
    toml_text,
    yaml_scalar,
)
from inkproof.results import ModelResult, RunResult

__all__ = ["Page", "jekyll_page", "markdown_page"]

_GALLERY: Final = 30  # mistakes in a run's figure
_FIRST: Final = 4  # test images with their probabilities
_SAMPLES: Final = 5
_MOST_PIXELS: Final = 40
_ALT_NAME: Final = 40


@dataclass(frozen=True, kw_only=True)
class Page:
    """A page and the files beside it.

    Parameters
    ----------
    name : the page's file
    text : Markdown
    files : path, relative to the page's folder -> content
    """

    name: str
    text: str
    files: dict[str, bytes]


@dataclass(kw_only=True)
class _Album:
    """Numbers the figures in the order in which they are added."""

    folder: str
    address: str
    files: dict[str, bytes] = field(default_factory=dict)

    def add(self, name: str, alt: str, content: bytes, suffix: str = "png") -> Raw:
        file = f"{len(self.files) + 1:02}-{name}.{suffix}"
        self.files[f"{self.folder}/{file}"] = content
        return Raw(f"![{markdown_escaped(alt)}]({self.address}/{file})")

    def draw(self, name: str, alt: str, figure: Figure) -> Raw:
        return self.add(name, alt, figures.render(figure, "png"))

    @property
    def first(self) -> str:
        """The address of the first figure."""
        return f"{self.address}/{next(iter(self.files)).rpartition('/')[2]}"


def markdown_page(material: Material) -> Page:
    """Write ``report.md`` with ``figures/``."""
    album = _Album(folder="figures", address="figures")
    title = _title(material)
    body = _body(material, album, verbatim=_fenced)
    return Page(name="report.md", text=f"# {markdown_escaped(title)}\n\n{body}", files=album.files)


def jekyll_page(material: Material) -> Page:
    """Write ``<name>.md`` with front matter, and ``assets/img/<name>/``."""
    study = material.result.study
    name = slug(str(study.get("name", "study")))
    album = _Album(folder=f"assets/img/{name}", address=f"/assets/img/{name}")
    body = _body(material, album, verbatim=_preformatted)
    description = str(study.get("description") or _verdict(material))
    front = "\n".join(
        [
            "---",
            f"name: {yaml_scalar(_title(material))}",
            f"tools: [{yaml_scalar('Python')}, {yaml_scalar('Inkproof')}]",
            f"image: {yaml_scalar(album.first)}",
            f"description: {yaml_scalar(' '.join(description.split()))}",
            "---",
        ]
    )
    return Page(
        name=f"{name}.md",
        text=f"{front}\n\n# {markdown_escaped(_title(material))}\n\n{body}",
        files=album.files,
    )


def _title(material: Material) -> str:
    study = material.result.study
    return str(study.get("title") or study.get("name") or "Study")


def _verdict(material: Material) -> str:
    for comparison in material.result.comparisons:
        return comparison.explanation
    model = material.result.models[0]
    return (
        f"{model.name} gets {FILTERS['value'](model.test_accuracy, 'share')} of the"
        f" {material.result.data.test:,} test images right."
    )


def _body(material: Material, album: _Album, *, verbatim: Callable[[str], Raw]) -> str:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        # Each value is escaped for Markdown and, with it, for HTML and Liquid.
        autoescape=False,  # noqa: S701
        finalize=markdown_escaped,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(FILTERS)
    environment.filters["verbatim"] = verbatim
    result = material.result
    text = environment.get_template("report.md").render(
        result=result,
        data=result.data,
        names=result.data.class_names,
        several=len(result.models) > 1,
        runs_of=runs_of,
        histories=history_table(result.models),
        train_images=len(material.data.train.labels),
        accuracies={
            (model.name, run.seed): run.test.accuracy
            for model in result.models
            for run in model.runs
        },
        differences=[
            charts.differences(comparison, result.data.test) for comparison in result.comparisons
        ],
        pictures=_pictures(material, album),
        models=[_model_pictures(material, album, model) for model in result.models],
        trust=_trust_pictures(material, album),
        robustness=_robustness_picture(material, album),
        comparisons=[
            album.draw(
                f"difference-{place}",
                f"The difference in test accuracy of each pair of runs, {comparison.b} minus"
                f" {comparison.a}",
                charts.comparison_figure(comparison, result.data.test, "light"),
            )
            for place, comparison in enumerate(result.comparisons, start=1)
        ],
        environment=flattened(result.environment),
        study_toml=toml_text(result.study),
        study_file=f"{slug(str(result.study.get('name', 'study')))}.toml",
    )
    return text.rstrip() + "\n"


def _fenced(text: str) -> Raw:
    """Write a text as it stands, within a fence that is longer than any in it."""
    longest = max(map(len, re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    lines = text.replace("\r", "\n").strip("\n")
    return Raw(f"{fence}text\n{lines}\n{fence}")


def _preformatted(text: str) -> Raw:
    """Write a text as it stands, as HTML: Liquid reads what is fenced too."""
    escaped = html.escape(text.replace("\r", "\n").strip("\n"), quote=False)
    for character in "{}":
        escaped = escaped.replace(character, f"&#{ord(character)};")
    return Raw(f"<pre><code>{escaped}</code></pre>")


def _pictures(material: Material, album: _Album) -> dict[str, Raw]:
    train, names = material.data.train, material.result.data.class_names
    pictures = {
        "scores": album.draw(
            "test-accuracy",
            "Test accuracy of every run",
            charts.scores_figure(material, "light"),
        ),
        "samples": album.draw(
            "samples",
            "The first training images",
            figures.image_grid(
                np.asarray(train.images[:_SAMPLES]),
                [f"Target: {names[label]}" for label in train.labels[:_SAMPLES].tolist()],
            ),
        ),
    }
    first = np.asarray(train.images[0])[:_MOST_PIXELS, :_MOST_PIXELS, 0]
    pictures["pixels"] = album.draw(
        "pixels", "The first training image as numbers", figures.pixel_array(first)
    )
    pictures["counts"] = album.draw(
        "class-counts",
        "How many images each class has",
        charts.counts_figure(material, "light"),
    )
    return pictures


def _model_pictures(material: Material, album: _Album, model: ModelResult) -> dict[str, Any]:
    run = runs_of(model)[0]
    name, place = model.name[:_ALT_NAME], slug(model.name, fallback="model")
    names = material.result.data.class_names
    draw = partial(_draw_named, album, place)
    pictures: dict[str, Any] = {"layers": None, "predictions": None, "gallery": None}
    diagram = standalone_svg(model.diagram)
    if diagram:
        pictures["layers"] = album.add(
            f"layers-{place}", f"The layers of {name}", diagram.encode("utf-8"), "svg"
        )
    pictures["curves"] = draw(
        "curves",
        f"Loss and accuracy of {name} by epoch",
        charts.curves_figure(model, None, "light", name=model.name),
    )
    pictures["fit"] = draw(
        "fit",
        f"Where validation loss of {name} was lowest, and its gap in accuracy",
        charts.fit_figure(model, "light", name=model.name),
    )
    probabilities = material.of_run(model, run)
    test = material.data.test
    if probabilities is not None:
        pictures["predictions"] = draw(
            "predictions",
            f"What {name} predicts for the first test images",
            figures.predictions(
                np.asarray(test.images[:_FIRST]),
                test.labels[:_FIRST].tolist(),
                probabilities[:_FIRST],
                names,
            ),
        )
    pictures["confusion"] = draw(
        "confusion",
        f"Confusion matrix of {name}",
        figures.confusion(np.array(run.test.confusion), names),
    )
    if run.test.mistakes:
        pictures["gallery"] = draw("mistakes", f"Mistakes of {name}", _gallery(material, run))
    pictures["in_gallery"] = min(_GALLERY, len(run.test.mistakes))
    return pictures


def _trust_pictures(material: Material, album: _Album) -> dict[str, Any] | None:
    trusted = charts.trusted_models(material)
    if not trusted:
        return None
    return {
        "models": trusted,
        "reliability": album.draw(
            "reliability", "Accuracy by confidence", charts.reliability_figure(trusted, "light")
        ),
        "coverage": album.draw(
            "coverage",
            "Accuracy by the share of images that is answered",
            charts.coverage_figure(trusted, "light"),
        ),
    }


def _robustness_picture(material: Material, album: _Album) -> Raw | None:
    if all(model.robustness is None for model in material.result.models):
        return None
    return album.draw(
        "changed-images",
        "Accuracy by the strength of each change",
        charts.robustness_figure(material, "light"),
    )


def _draw_named(album: _Album, place: str, kind: str, alt: str, figure: Figure) -> Raw:
    return album.draw(f"{kind}-{place}", alt, figure)


def _gallery(material: Material, run: RunResult) -> Figure:
    shown = run.test.mistakes[:_GALLERY]
    return figures.mistakes_gallery(
        np.asarray(material.data.test.images)[[mistake.index for mistake in shown]],
        [mistake.label for mistake in shown],
        [mistake.predicted for mistake in shown],
        [mistake.probability for mistake in shown],
        material.result.data.class_names,
    )
