"""The pages as a parser, a Markdown reader and a browser see them, against the study's numbers."""

from __future__ import annotations

import base64
import dataclasses
import functools
import hashlib
import io
import json
import re
import tomllib
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field, replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from PIL import Image

from inkproof.errors import DataError, StorageError, UnknownNameError
from inkproof.report import write_report
from inkproof.report.drawing import safe_svg, standalone_svg
from inkproof.report.sheet import BUDGET
from inkproof.report.text import Raw, flattened, markdown_escaped, slug, toml_text, yaml_scalar
from report_samples import HOSTILE, Sample, sample

VARIANTS: dict[str, dict[str, Any]] = {
    "usual": {},
    "one model, one seed": {"models": ("solo",), "seeds": (3,)},
    "three models": {"models": ("a", "b", "c"), "seeds": (0, 1)},
    "no validation data, nothing published": {"validation": False, "published": False},
    "no mistakes": {"wrong": 0, "seeds": (0, 1)},
    "two classes": {"classes": 2, "seeds": (0, 1)},
    "47 classes": {
        "class_names": [f"letter {label}" for label in range(47)],
        "test": 1500,
        "wrong": 200,
        "seeds": (0, 1),
    },
    "colour": {"channels": 3, "size": 32, "seeds": (0, 1)},
    "large images": {"size": 90, "seeds": (0,)},
    "one epoch": {"epochs": 1, "seeds": (0, 1)},
    "hostile names": {
        "class_names": [
            *(HOSTILE, "a\nb\x07c", "$x_1$", "| pipe | `code`", "*bold* _it_ <b>", "漢字 🖋"),
            *("ﷺ", "x" * 200, "-", "1. one"),
        ],
        "models": (HOSTILE + "A", "1. ' onload=" + HOSTILE),
        "title": HOSTILE,
        "name": "../../" + HOSTILE,
        "seeds": (0, 1),
    },
}


@functools.cache
def study(name: str = "usual") -> Sample:
    return sample(**VARIANTS[name])


def write(one: Sample, folder: Path, *formats: str) -> list[Path]:
    return write_report(
        one.result,
        folder,
        dataset=one.dataset,
        probabilities=one.probabilities,
        formats=formats or ("html",),
    )


@dataclass(frozen=True, kw_only=True)
class Element:
    tag: str
    attributes: dict[str, str]
    text: list[str] = field(default_factory=list)


class Reader(HTMLParser):
    """What a page is made of; complains about elements that are not closed in order."""

    EMPTY = frozenset({"meta", "link", "img", "br", "col", "input", "hr"})
    OPTIONAL = frozenset({"p", "li"})

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[Element] = []
        self.stack: list[Element] = []
        self.feed(html)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"an attribute twice in {tag}"
        element = Element(tag=tag, attributes={name: value or "" for name, value in attrs})
        self.elements.append(element)
        if tag not in self.EMPTY:
            self.stack.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(Element(tag=tag, attributes={k: v or "" for k, v in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.stack, f"</{tag}> closes nothing"
        assert self.stack[-1].tag == tag, f"</{tag}> closes <{self.stack[-1].tag}>"
        self.stack.pop()
        if tag in ("td", "th", "strong"):  # the cells' texts stay apart
            self.handle_data(" ")

    def handle_data(self, data: str) -> None:
        for element in self.stack:
            element.text.append(data)

    def all(self, tag: str) -> list[Element]:
        return [element for element in self.elements if element.tag == tag]

    def by_id(self, name: str) -> Element:
        (element,) = [one for one in self.elements if one.attributes.get("id") == name]
        return element

    def payload(self) -> dict[str, Any]:
        data: dict[str, Any] = json.loads("".join(self.by_id("data").text))
        return data


def text_of(element: Element) -> str:
    return " ".join("".join(element.text).split())


@functools.cache
def page(name: str, folder: Path) -> str:
    (path,) = write(study(name), folder / slug(name))
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("reports")


# The one file


@pytest.mark.parametrize("name", VARIANTS)
def test_the_page_is_well_formed_and_asks_for_nothing(name: str, shared: Path):
    html = page(name, shared)
    reader = Reader(html)
    ids = [one.attributes["id"] for one in reader.elements if "id" in one.attributes]
    assert len(ids) == len(set(ids))
    for element in reader.elements:
        for attribute, value in element.attributes.items():
            assert not attribute.startswith("on"), element
            assert attribute != "style", element
            if attribute in ("href", "src", "xlink:href", "srcset", "action", "data"):
                assert value.startswith("#") or value.startswith("data:"), element
                if value.startswith("#"):
                    assert value[1:] in ids
            if attribute in ("aria-labelledby", "aria-controls", "for"):
                assert value in ids
    assert len(html) < 3_000_000
    # All folders and addresses that could be in it are those of the SVG name space.
    assert set(re.findall(r"https?://[^\s\"'<>]*", html)) <= {"http://www.w3.org/2000/svg"}


@pytest.mark.parametrize("name", ["usual", "hostile names"])
def test_only_the_page_s_own_script_and_style_may_run(name: str, shared: Path):
    reader = Reader(page(name, shared))
    (policy,) = [
        one.attributes["content"]
        for one in reader.all("meta")
        if one.attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    rules = {rule.split()[0]: rule.split()[1:] for rule in policy.split("; ")}
    assert rules["default-src"] == ["'none'"]
    assert rules["img-src"] == ["data:"]

    def hashed(element: Element) -> str:
        digest = hashlib.sha256("".join(element.text).encode()).digest()
        return f"'sha256-{base64.b64encode(digest).decode()}'"

    scripts = [one for one in reader.all("script") if "type" not in one.attributes]
    assert rules["script-src"] == [hashed(one) for one in scripts]
    assert rules["style-src"] == [hashed(one) for one in reader.all("style")]
    assert len(reader.all("script")) == 3  # these two and the data
    # It comes before anything that it governs.
    order = [one.tag for one in reader.elements]
    assert order.index("meta") < order.index("script") < order.index("style")


def test_hostile_names_are_text(shared: Path):
    reader = Reader(page("hostile names", shared))
    assert text_of(reader.all("title")[0]).startswith('</script><script>alert("1")</script>')
    assert HOSTILE in reader.payload()["classes"]
    assert not [one for one in reader.all("img") if one.attributes["src"] == "x"]
    assert "49" not in text_of(reader.all("h1")[0])


# What it says


def test_the_verdict_comes_first_then_a_picture_then_the_numbers(shared: Path):
    result = study().result
    html = page("usual", shared)
    body = html[html.index("<main>") :]
    places = [
        body.index(marker)
        for marker in (
            result.comparisons[0].explanation,
            "<figure>",
            'class="numbers"',
            "<details>",
            'id="data-section"',
            'id="models"',
            'id="training"',
            'id="evaluation"',
            'id="one-run"',
            'id="diagnosis"',
            'id="trust"',
            'id="robustness"',
            'id="comparison"',
            'id="reproduce"',
        )
    ]
    assert places == sorted(places)


def test_it_shows_the_study_s_numbers(shared: Path):
    result = study().result
    reader = Reader(page("usual", shared))
    tables = [text_of(table) for table in reader.all("table")]
    assert any("train (200, 28, 28) (200,) test (600, 28, 28) (600,)" in table for table in tables)
    train, test = result.data.class_counts["train"], result.data.class_counts["test"]
    counts = " ".join(f"{label} {train[label]} {test[label]}" for label in range(10))
    assert any(counts in table for table in tables)
    for model in result.models:
        estimate = model.test_accuracy
        assert estimate.low is not None
        assert estimate.high is not None
        numbers = f"{100 * estimate.value:.2f} % {100 * estimate.low:.2f} to"
        assert any(numbers in table for table in tables)
        assert model.summary in "".join(reader.all("main")[0].text)
        for run in model.runs:
            row = f"{run.seed} {100 * run.test.accuracy:.2f} % {run.test.loss:.4f}"
            assert any(row in table for table in tables)
    (comparison,) = result.comparisons
    for pair in comparison.pairs:
        p = "<0.001" if pair.p_mcnemar < 0.001 else f"{pair.p_mcnemar:.3f}"
        row = f"{pair.only_a_right} {pair.only_b_right} {p}"
        assert any(row in table for table in tables)
    everything = text_of(reader.all("body")[0])
    for finding in [
        *comparison.findings,
        *(one for model in result.models for run in model.runs for one in run.findings),
        *(one for model in result.models for one in model.findings),
        *(one for model in result.models for one in model.trust.findings),
        *(one for model in result.models for one in model.robustness.findings),
    ]:
        assert " ".join(finding.explanation.split()) in everything
    assert "inkproof run notebook.toml" in everything
    assert "processor.name" in everything


def test_each_run_s_history_is_a_table_with_its_lowest_epoch_marked(shared: Path):
    result = study().result
    html = page("usual", shared)
    tables = re.findall(r'<table class="history">.*?</table>', html, re.DOTALL)
    runs = [run for model in result.models for run in model.runs]
    assert len(tables) == len(runs) == 12
    for table, run in zip(tables, runs, strict=True):
        reader = Reader(table)
        head = [text_of(cell) for cell in reader.all("th") if cell.attributes["scope"] == "col"]
        assert head == ["epoch", *run.history, "seconds"]
        cells = [float(text_of(cell)) for cell in reader.all("td")]
        rows = np.array(cells).reshape(12, -1)
        expected = np.array([*run.history.values(), run.epoch_seconds]).T
        assert np.allclose(rows, expected, atol=6e-3)
        marked = [text_of(row) for row in reader.all("tr") if row.attributes]
        lowest = int(np.argmin(run.history["val_loss"])) + 1
        assert [int(row.split()[0]) for row in marked] == [lowest]


def test_long_histories_are_thinned_and_say_so(tmp_path: Path):
    one = sample(models=("net",), seeds=range(4), epochs=2000, test=40, wrong=3)
    (path,) = write(one, tmp_path)
    html = path.read_text(encoding="utf-8")
    tables = re.findall(r'<table class="history">.*?</table>', html, re.DOTALL)
    for table, run in zip(tables, one.result.models[0].runs, strict=True):
        epochs = [int(epoch) for epoch in re.findall(r'<th scope="row">(\d+)', table)]
        assert epochs[0] == 1
        assert epochs[-1] == 2000
        assert int(np.argmin(run.history["val_loss"])) + 1 in epochs
        assert len(epochs) < 700
    assert "One epoch in 4 is shown" in html
    assert len(html) < 3_000_000


def test_the_lowest_seed_is_shown_first_even_where_it_is_not_first_or_worst(tmp_path: Path):
    one = sample(seeds=(9, 2, 5), test=200)
    html = write(one, tmp_path)[0].read_text(encoding="utf-8")
    reader = Reader(html)
    shown = [one for one in reader.elements if "data-run-name" in one.attributes]
    assert [text_of(element) for element in shown] == ["500x2, seed 2"]
    options = [text_of(option).split(" – ")[0] for option in reader.all("option")]
    assert options == [f"{name}, seed {seed}" for name in ("500x2", "512x3") for seed in (2, 5, 9)]
    assert [run["seed"] for run in reader.payload()["runs"]] == [2, 5, 9, 2, 5, 9]
    by_seed = {run.seed: run for run in one.result.models[0].runs}
    matrix = re.search(r'<table class="confusion.*?</table>', html, re.DOTALL)
    assert matrix is not None
    cells = [int(text_of(cell)) for cell in Reader(matrix[0]).all("td")[2:]]
    assert cells == np.ravel(by_seed[2].test.confusion).tolist()


def test_one_model_has_no_comparison_and_no_interval_from_one_run(shared: Path):
    html = page("one model, one seed", shared)
    (model,) = study("one model, one seed").result.models
    reader = Reader(html)
    sentence = next(one for one in reader.all("p") if one.attributes.get("class") == "sentence")
    assert text_of(sentence).startswith(
        f"solo gets {100 * model.test_accuracy.value:.2f} % of the 600 test images right (95 %"
    )
    assert 'id="comparison"' not in html
    assert "no interval from one run" in html  # of the loss
    assert "One run, seed 3." in html


def test_without_validation_data_nothing_is_said_of_it(shared: Path):
    html = page("no validation data, nothing published", shared)
    assert "All 200 training images train; none are held out" in html
    assert "val_loss" not in html
    assert "There was no validation data, so this cannot be known." in html
    assert "published history" not in html


def test_no_mistakes_are_said_to_be_none(shared: Path):
    html = page("no mistakes", shared)
    reader = Reader(html)
    assert text_of(reader.by_id("mistakes-count")) == "No mistakes: all 600 test images right."
    assert "hidden" in reader.by_id("more").attributes


def test_what_is_left_of_a_large_image_is_said(shared: Path):
    html = page("large images", shared)
    assert "shown at 64 by 64 pixels, smaller than they are" in html
    assert "the middle 40 by 40 of 90 by 90 pixels" in html
    assert "the red channel" in page("colour", shared)


# The images in it


def tiles_of(reader: Reader) -> tuple[np.ndarray, list[list[int]], list[int]]:
    sheet = reader.by_id("sheet").attributes
    content = base64.b64decode(sheet["href"].removeprefix("data:image/png;base64,"))
    picture = np.asarray(Image.open(io.BytesIO(content)))
    assert picture.shape[:2] == (int(sheet["height"]), int(sheet["width"]))
    payload = reader.payload()
    return picture, payload["places"], payload["tile"]


@pytest.mark.parametrize("name", ["usual", "colour", "47 classes"])
def test_every_listed_mistake_has_its_own_image(name: str, shared: Path):
    one = study(name)
    reader = Reader(page(name, shared))
    picture, places, (width, height) = tiles_of(reader)
    payload = reader.payload()
    runs = [(model.name, run) for model in one.result.models for run in model.runs]
    images = one.dataset.test.images

    def tile(number: int) -> np.ndarray:
        x, y = places[number]
        part = picture[y : y + height, x : x + width]
        return part[..., None] if part.ndim == 2 else part

    for shown, (model, run) in zip(payload["runs"], runs, strict=True):
        assert (shown["model"], shown["seed"]) == (model, run.seed)
        assert shown["confusion"] == run.test.confusion
        assert shown["wrong"] == len(run.test.mistakes) == len(shown["listed"])
        for (number, row, label, predicted, tenths, bars, order), mistake in zip(
            shown["listed"], run.test.mistakes, strict=True
        ):
            assert (row, label, predicted) == (mistake.index, mistake.label, mistake.predicted)
            assert tenths == round(1000 * mistake.probability)
            assert np.array_equal(tile(number), images[row])
            p = one.probabilities[model, run.seed][row]
            classes = order or range(len(p))
            assert bars == [round(1000 * float(p[c])) for c in classes]
            assert max(p) == p[list(classes)].max()
        wrong = {mistake.index for mistake in run.test.mistakes}
        for label, of_class in enumerate(shown["right"]):
            assert 0 < len(of_class) <= 12
            for number, row, tenths in of_class:
                assert one.dataset.test.labels[row] == label
                assert row not in wrong
                assert np.array_equal(tile(number), images[row])
                p = one.probabilities[model, run.seed][row, label]
                assert tenths == round(1000 * float(p))


def test_a_neighbour_s_edge_does_not_shine_through(shared: Path):
    reader = Reader(page("colour", shared))
    picture, places, (width, height) = tiles_of(reader)
    for x, y in places:
        framed = picture[y - 1 : y + height + 1, x - 1 : x + width + 1]
        inner = picture[y : y + height, x : x + width]
        assert np.array_equal(framed, np.pad(inner, ((1, 1), (1, 1), (0, 0)), mode="edge"))


def test_thousands_of_mistakes_are_cut_fairly_and_said_to_be(tmp_path: Path):
    one = sample(test=5000, wrong=3000, seeds=(0, 1, 2))
    noise = np.random.default_rng(1).integers(0, 256, one.dataset.test.images.shape, np.uint8)
    one = replace(one, dataset=replace(one.dataset, test=replace(one.dataset.test, images=noise)))
    (path,) = write(one, tmp_path)
    html = path.read_text(encoding="utf-8")
    reader = Reader(html)
    shown = reader.payload()["runs"]
    listed = [len(run["listed"]) for run in shown]
    assert min(listed) > 100
    assert max(listed) - min(listed) <= max(listed) // 2  # no run takes all the room
    runs = [run for model in one.result.models for run in model.runs]
    for run, cut in zip(runs, shown, strict=True):
        assert [entry[1] for entry in cut["listed"]] == [
            mistake.index for mistake in run.test.mistakes[: len(cut["listed"])]
        ]
    left = f"{len(runs[0].test.mistakes) - listed[0]:,} more, of which the network was less sure"
    assert left in text_of(reader.by_id("left-out"))
    _, places, _ = tiles_of(reader)
    assert len(places) * 28 * 28 <= BUDGET
    assert len(html) < 4_000_000  # of noise, which no PNG makes smaller, and of figures


def test_large_colour_images_stay_within_the_budget(tmp_path: Path):
    one = sample(size=64, channels=3, test=600, wrong=300, seeds=(0,), models=("net",))
    html = write(one, tmp_path)[0].read_text(encoding="utf-8")
    assert len(Reader(html).payload()["places"]) * 64 * 64 * 3 <= BUDGET
    assert len(html) < 3_000_000


def test_runs_without_probabilities_are_shown_without_them(tmp_path: Path):
    one = replace(study("colour"), probabilities={})
    paths = write(one, tmp_path, "html", "markdown")
    reader = Reader(paths[0].read_text(encoding="utf-8"))
    assert "The first test images" not in text_of(reader.all("main")[0])
    run = reader.payload()["runs"][0]
    assert run["first"] == []
    assert {tuple(entry[5]) for entry in run["listed"]} == {()}
    assert not [path for path in paths if "predictions" in path.name]


# Files


def test_it_says_what_ended_a_run_early(tmp_path: Path):
    one = study("two classes")
    model, *others = one.result.models
    run = model.runs[0].model_copy(update={"stopped_by": "early_stopping", "best_epoch": 2})
    runs = [run, *model.runs[1:]]
    changed = model.model_copy(update={"runs": runs})
    result = one.result.model_copy(update={"models": [changed, *others]})
    paths = write(dataclasses.replace(one, result=result), tmp_path, "html", "markdown")
    epochs = len(run.epoch_seconds)
    sentence = f"Seed {run.seed}: stopped early after epoch {epochs}, weights of epoch 2."
    for path in paths:
        if path.suffix in {".html", ".md"}:
            assert path.read_text().count(sentence) == 1
    plain = write(one, tmp_path / "plain")
    assert "stopped early" not in plain[0].read_text()


def test_the_same_study_gives_the_same_bytes(tmp_path: Path):
    formats = ("html", "markdown", "jekyll")
    first, second = (write(study("two classes"), tmp_path / part, *formats) for part in ("a", "b"))
    assert [path.relative_to(tmp_path / "a") for path in first] == [
        path.relative_to(tmp_path / "b") for path in second
    ]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    again = write(study("two classes"), tmp_path / "a", "html")  # over what is there
    assert again == first[:1]
    assert sorted(first) == sorted(path for path in (tmp_path / "a").rglob("*") if path.is_file())


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"/file: cannot be made: File exists"):
        write(study("two classes"), tmp_path / "file")
    (tmp_path / "out" / "report.html").mkdir(parents=True)
    with pytest.raises(StorageError, match=r"report\.html: cannot be written: Is a directory"):
        write(study("two classes"), tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == [tmp_path / "out" / "report.html"]


def test_an_unknown_format_is_refused_before_anything_is_written(tmp_path: Path):
    with pytest.raises(UnknownNameError, match="unknown report format 'pdf'; known: html, jekyll"):
        write(study("two classes"), tmp_path / "out", "html", "pdf")
    assert not (tmp_path / "out").exists()


def test_what_does_not_belong_together_is_refused(tmp_path: Path):
    one = study("two classes")
    with pytest.raises(DataError, match=r"expected fingerprint sha256:0123.*, got sha256:other"):
        write(replace(one, dataset=replace(one.dataset, fingerprint="sha256:other")), tmp_path)
    key = next(iter(one.probabilities))
    with pytest.raises(DataError, match=r"500x2, seed 0: probabilities must have shape \(600, 2\)"):
        write(replace(one, probabilities={key: one.probabilities[key][:5]}), tmp_path)
    with pytest.raises(DataError, match="at least one model"):
        write(replace(one, result=one.result.model_copy(update={"models": []})), tmp_path)
    model = one.result.models[0]
    run = model.runs[0]
    for update, message in (
        ({"mistakes": [run.test.mistakes[0].model_copy(update={"index": 600})]}, "image 600"),
        ({"mistakes": [run.test.mistakes[0].model_copy(update={"label": 2})]}, "class 2"),
        ({"confusion": [[1]]}, r"confusion matrix must have shape \(2, 2\), got \(1, 1\)"),
    ):
        broken = run.model_copy(update={"test": run.test.model_copy(update=update)})
        models = [model.model_copy(update={"runs": [broken]})]
        with pytest.raises(DataError, match=message):
            write(replace(one, result=one.result.model_copy(update={"models": models})), tmp_path)


# Markdown


def rendered(path: Path) -> Reader:
    text = path.read_text(encoding="utf-8")
    if text.startswith("---\n"):
        text = text.split("\n---\n", 1)[1]
    html = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
    return Reader(html)


@pytest.mark.parametrize(
    "name",
    [name for name in VARIANTS if name not in {"two classes", "47 classes", "one epoch", "usual"}],
)
def test_the_markdown_has_the_numbered_figures_beside_it(name: str, tmp_path: Path):
    *files, path = write(study(name), tmp_path, "markdown")
    assert path == tmp_path / "report.md"
    reader = rendered(path)
    sources = [image.attributes["src"] for image in reader.all("img")]
    assert all(image.attributes["alt"] for image in reader.all("img"))
    assert sorted(sources) == [str(file.relative_to(tmp_path)) for file in files]
    numbers = [
        int(re.match(r"figures/(\d\d)-[a-z0-9-]+\.(png|svg)$", s)[1]) for s in sorted(sources)
    ]
    assert numbers == list(range(1, len(files) + 1))
    for file in files:
        if file.suffix == ".png":
            with Image.open(file) as picture:
                assert picture.size[0] > 300
        else:
            assert ET.fromstring(file.read_text(encoding="utf-8")).tag.endswith("svg")  # noqa: S314 - ours
    assert not reader.all("script")
    assert not [one for one in reader.elements if set(one.attributes) & {"onerror", "onload"}]
    text = " ".join(
        " ".join("".join(one.text) for one in reader.elements if one.tag != "pre").split()
    )
    for comparison in study(name).result.comparisons:
        assert " ".join(comparison.explanation.split()) in text


def test_the_markdown_s_tables_hold_the_numbers(tmp_path: Path):
    result = study().result
    reader = rendered(write(study(), tmp_path, "markdown")[-1])
    tables = [text_of(table) for table in reader.all("table")]
    model = result.models[0]
    assert any(f"{100 * model.test_accuracy.value:.2f} %" in table for table in tables)
    history = model.runs[0].history
    row = " ".join(f"{history[name][-1]:.4f}" for name in ("loss", "accuracy", "val_loss"))
    assert any(row in table for table in tables)
    for one in result.models:
        for run in one.runs:
            row = f"seed {run.seed} {100 * run.test.accuracy:.2f} % {run.test.loss:.4f}"
            assert any(row in table for table in tables)
    blocks = ["".join(block.text).strip() for block in reader.all("code")]
    assert model.summary in blocks
    studies = [tomllib.loads(block) for block in blocks if block.startswith("name =")]
    assert studies[0]["models"][0]["name"] == "500x2"


def front_matter(text: str) -> dict[str, str]:
    begin, matter, _ = text.split("---\n", 2)
    assert begin == ""
    return dict(line.split(": ", 1) for line in matter.splitlines())


def yaml_read(scalar: str) -> str:
    """Read a double-quoted scalar as JSON, of which YAML knows all escapes and one more."""

    def pair(found: re.Match[str]) -> str:
        return json.dumps(chr(int(found[1], 16)))[1:-1]

    text: str = json.loads(re.sub(r"\\U([0-9A-F]{8})", pair, scalar))
    return text


@pytest.mark.parametrize("name", ["usual", "hostile names"])
def test_the_jekyll_page_is_as_it_was_published(name: str, tmp_path: Path):
    one = study(name)
    *files, path = write(one, tmp_path, "jekyll")
    address = slug(one.result.study["name"])
    assert path == tmp_path / f"{address}.md"
    assert re.fullmatch(r"[a-z0-9-]+", address)
    text = path.read_text(encoding="utf-8")
    matter = front_matter(text)
    assert list(matter) == ["name", "tools", "image", "description"]
    assert yaml_read(matter["name"]) == one.result.study["title"]
    assert matter["tools"] == '["Python", "Inkproof"]'
    assert yaml_read(matter["description"]) == "A study for the tests of the report."
    sources = [image.attributes["src"] for image in rendered(path).all("img")]
    assert sorted(sources) == [f"/{file.relative_to(tmp_path)}" for file in files]
    assert all(source.startswith(f"/assets/img/{address}/") for source in sources)
    assert yaml_read(matter["image"]) == sources[0]
    assert sources[0].endswith("/01-test-accuracy.png")
    body = text.split("\n---\n", 1)[1]
    assert "{{" not in body  # Liquid would read it, in code too
    assert "{%" not in body


# Words


@given(text=st.text(max_size=40))
def test_escaped_markdown_reads_as_the_text_itself(text: str):
    html = MarkdownIt("commonmark").enable("table").render(markdown_escaped(text))
    found = re.fullmatch(r"(?:<p>(.*)</p>\n)?", html, re.DOTALL)
    assert found is not None, html
    assert "<" not in (found[1] or "")
    cleaned = "".join(" " if not c.isprintable() or c.isspace() else c for c in text)
    assert unescape(found[1] or "").split() == cleaned.split()


def test_text_that_is_markdown_already_stays():
    assert markdown_escaped(Raw("![a](b)")) == "![a](b)"
    assert markdown_escaped(1.5) == "1.5"


@given(text=st.text(max_size=30))
def test_yaml_scalars_read_as_the_text_itself(text: str):
    scalar = yaml_scalar(text)
    assert len(scalar.splitlines()) == 1
    assert yaml_read(scalar) == text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


values = st.recursive(
    st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text(st.characters(exclude_categories=["Cs"]), max_size=5), inner, max_size=3
        )
    ),
    max_leaves=8,
)


@given(
    content=st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=5), values, max_size=4
    )
)
@settings(max_examples=200)
def test_toml_reads_as_the_study_itself(content: dict[str, Any]):
    mixed = [
        value
        for value in content.values()
        if isinstance(value, list) and len({isinstance(item, dict) for item in value}) > 1
    ]
    if not mixed:  # a study has no lists of tables and other things
        assert tomllib.loads(toml_text(content)) == content


def test_settings_that_are_none_are_left_out():
    study_content = {"name": "a", "training": {"threads": None, "epochs": 3}, "published": None}
    assert tomllib.loads(toml_text(study_content)) == {"name": "a", "training": {"epochs": 3}}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("notebook", "notebook"),
        ("Größe & Maß", "groe-ma"),
        ("../../etc/passwd", "etc-passwd"),
        ("漢字", "study"),
        ("", "study"),
        ("a" * 100, "a" * 60),
    ],
)
def test_slugs_are_safe_in_names_of_files(name: str, expected: str):
    assert slug(name) == expected


def test_nested_settings_are_rows():
    content = {"a": {"b": 1, "c": {"d": "x"}}, "e": [1, 2], "f": None, "g": False}
    assert flattened(content) == [("a.b", "1"), ("a.c.d", "x"), ("e", "1, 2"), ("g", "False")]


# Diagrams


def test_a_diagram_keeps_what_it_draws(shared: Path):
    model = study().result.models[0]
    clean = ET.fromstring(safe_svg(model.diagram))  # noqa: S314 - what is tested
    original = ET.fromstring(model.diagram)  # noqa: S314 - ours
    space = "{http://www.w3.org/2000/svg}"
    for tag in ("text", "rect", "path"):
        assert len(clean.findall(f".//{space}{tag}")) == len(original.findall(f".//{space}{tag}"))
    assert [one.text for one in clean.iter(f"{space}text")] == [
        one.text for one in original.iter(f"{space}text")
    ]
    assert clean.get("viewBox") == original.get("viewBox")
    assert "style" not in safe_svg(model.diagram)
    assert 'fill="#ffffff"' in standalone_svg(model.diagram)


@pytest.mark.parametrize(
    "svg",
    [
        "<svg><script>alert(1)</script><rect onclick='alert(1)' x='1'/></svg>",
        "<svg><style>*{background:url(http://x/)}</style><a href='http://x/'><text>t</text></a></svg>",
        "<svg><foreignObject><iframe src='http://x/'></iframe></foreignObject></svg>",
        "<svg onload='alert(1)'><image href='http://x/'/><use href='#a'/></svg>",
        "<svg><rect fill='url(http://x/)' style='fill:red'/><g><text>open",
        "<script>alert(1)</script><svg><text>a&lt;script&gt;</text></svg></svg></div><img src=x>",
        "<svg><text x='\"><script>alert(1)</script>'>x</text></svg>",
        "<!DOCTYPE svg [<!ENTITY a 'aaaa'>]><svg><text>&a;</text></svg>",
        r"<svg><rect fill='\75 rl(https://evil.example/x.svg#a)' x='1'/></svg>",
        r"<svg><rect fill='u\52 L(http://x/)' x='&#92;75rl(http://x/)'/></svg>",
        "<svg><set attributeName='href' to='javascript:alert(1)'/></svg>",
    ],
)
def test_a_hostile_diagram_only_draws(svg: str):
    clean = safe_svg(svg)
    root = ET.fromstring(clean)  # noqa: S314 - what is tested
    known = {"svg", "rect", "g", "text"}
    for element in root.iter():
        assert element.tag in known
        for name, value in element.attrib.items():
            assert name in {"x", "fill"}
            assert "url" not in value
            assert "\\" not in value


@given(st.text(alphabet="<>/=\"' svgtextrcpionlad&;#", max_size=60))
def test_any_text_gives_well_formed_svg_or_nothing(text: str):
    for clean in (safe_svg(text), standalone_svg(f"<svg>{text}")):
        if clean:
            ET.fromstring(clean)  # noqa: S314 - what is tested
    assert safe_svg("no drawing") == standalone_svg("no drawing") == ""
