"""The report in a real browser: what a click, a key and a narrow screen do."""

from __future__ import annotations

import io
import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from inkproof import figures
from inkproof.report import write_report
from report_samples import HOSTILE, Sample, sample

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed")

FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-quic"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as starter:
        running = starter.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield running
        running.close()


@pytest.fixture(scope="module")
def usual() -> Sample:
    return sample(seeds=(0, 1, 2), wrong=40)


def write(one: Sample, folder: Path) -> str:
    (path,) = write_report(
        one.result,
        folder,
        dataset=one.dataset,
        probabilities=one.probabilities,
        formats=("html",),
    )
    return path.as_uri()


@pytest.fixture(scope="module")
def address(usual: Sample, tmp_path_factory: pytest.TempPathFactory) -> str:
    return write(usual, tmp_path_factory.mktemp("usual"))


@pytest.fixture
def open_page(browser: Any) -> Iterator[Any]:
    """Give a function that opens an address; nothing may be asked for and nothing go wrong."""
    contexts = []
    troubles: list[str] = []

    def opened(address: str, *, width: int = 1280, dark: bool = False, **options: Any) -> Any:
        context = browser.new_context(
            viewport={"width": width, "height": 800},
            color_scheme="dark" if dark else "light",
            **options,
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: troubles.append(message.text))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("dialog", lambda dialog: (troubles.append("a dialog"), dialog.dismiss()))
        page.on(
            "request",
            lambda request: (
                None
                if request.url.startswith("data:") or request.url == address
                else troubles.append(request.url)
            ),
        )
        page.goto(address)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert troubles == []


def cell(page: Any, row: int, column: int) -> Any:
    return page.locator(f'#confusion button[data-row="{row}"][data-column="{column}"]')


def tiles(page: Any, place: str) -> list[str]:
    return [" ".join(text.split()) for text in page.locator(f"{place} li").all_inner_texts()]


def busiest(run: Any) -> tuple[int, int, int]:
    counts = np.array(run.test.confusion)
    np.fill_diagonal(counts, 0)
    row, column = np.unravel_index(int(counts.argmax()), counts.shape)
    return int(row), int(column), int(counts.max())


def test_a_click_on_a_cell_shows_its_images(usual: Sample, address: str, open_page: Any):
    page = open_page(address)
    run = usual.result.models[0].runs[0]
    row, column, count = busiest(run)
    cell(page, row, column).click()
    noun = "image" if count == 1 else "images"
    assert page.inner_text("#cell-title") == f"Target {row}, predicted {column}: {count} {noun}"
    expected = [m for m in run.test.mistakes if (m.label, m.predicted) == (row, column)]
    shown = tiles(page, "#cell-images")
    assert len(shown) == len(expected) == count
    for text, mistake in zip(shown, expected, strict=True):
        assert text.startswith(f"Target: {row} Predicted: {column}")
        assert f"{100 * mistake.probability:.1f} %" in text
        assert text.endswith(f"test image {mistake.index}")
    assert cell(page, row, column).get_attribute("aria-expanded") == "true"

    cell(page, 3, 3).click()
    right = run.test.confusion[3][3]
    assert page.inner_text("#cell-title") == f"Target 3, predicted 3: {right} images"
    assert len(tiles(page, "#cell-images")) == 12
    assert page.inner_text("#cell-note") == "Right answers: the first 12 of them, as examples."
    assert page.locator('#confusion [aria-expanded="true"]').count() == 1

    zero = next((r, c) for r in range(10) for c in range(10) if run.test.confusion[r][c] == 0)
    cell(page, *zero).click()
    assert page.inner_text("#cell-note") == "No image fell into this cell."
    page.click("#cell-close")
    assert page.inner_text("#cell-title") == "Nothing chosen"
    assert page.locator("#cell-close").is_hidden()


def test_the_images_shown_are_those_of_the_test_split(usual: Sample, address: str, open_page: Any):
    page = open_page(address)
    run = usual.result.models[0].runs[0]
    # What the browser draws, read back from a screenshot, is the image that was wrong.
    mistake = run.test.mistakes[0]
    picture = page.locator("#surest li svg").first
    place = {"width": "28px", "height": "28px", "position": "fixed", "left": 0, "top": 0}
    picture.evaluate("(e, place) => Object.assign(e.style, place)", place | {"zIndex": 9})
    shot = page.screenshot(clip={"x": 0, "y": 0, "width": 28, "height": 28})
    with Image.open(io.BytesIO(shot)) as image:
        drawn = np.asarray(image.convert("L")).astype(int)
    original = usual.dataset.test.images[mistake.index, :, :, 0].astype(int)
    assert np.abs(drawn - original).max() <= 2


def test_the_keyboard_does_all_that_the_mouse_does(usual: Sample, address: str, open_page: Any):
    page = open_page(address)
    focused = "[document.activeElement.dataset.row, document.activeElement.dataset.column].join()"
    assert page.locator('#confusion button[tabindex="0"]').count() == 1
    cell(page, 0, 0).focus()
    for key, place in (
        ("ArrowRight", "0,1"),
        ("ArrowDown", "1,1"),
        ("ArrowLeft", "1,0"),
        ("ArrowLeft", "1,0"),
        ("ArrowUp", "0,0"),
        ("ArrowUp", "0,0"),
        ("End", "0,9"),
        ("ArrowRight", "0,9"),
        ("Control+End", "9,9"),
        ("Home", "9,0"),
        ("Control+Home", "0,0"),
    ):
        page.keyboard.press(key)
        assert page.evaluate(focused) == place, key
        assert page.locator('#confusion button[tabindex="0"]').count() == 1
    page.keyboard.press("Enter")
    assert page.inner_text("#cell-title").startswith("Target 0, predicted 0: ")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    assert page.inner_text("#cell-title").startswith("Target 0, predicted 1: ")
    page.keyboard.press("Escape")
    assert page.inner_text("#cell-title") == "Nothing chosen"
    assert page.evaluate(focused) == "0,1"

    row, column, _ = busiest(usual.result.models[0].runs[0])
    cell(page, row, column).focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")  # to "Close"
    page.keyboard.press("Tab")  # to the first image
    page.keyboard.press("Enter")
    assert page.locator("#one").is_visible()
    page.keyboard.press("Escape")  # closes the image only
    assert page.locator("#one").is_hidden()
    assert page.evaluate("document.activeElement.className") == "tile"
    page.keyboard.press("Escape")  # closes the cell, back to where one was
    assert page.evaluate(focused) == f"{row},{column}"


def test_a_screen_reader_gets_names_and_a_grid(usual: Sample, address: str, open_page: Any):
    page = open_page(address)
    count = usual.result.models[0].runs[0].test.confusion[0][0]
    button = page.get_by_role("button", name=f"Target 0, predicted 0: {count} images")
    assert button.count() == 1
    grid = page.get_by_role("grid", name="Confusion matrix")
    assert grid.get_by_role("gridcell").count() >= 100
    assert grid.get_by_role("rowheader").count() == 10
    assert page.get_by_role("combobox", name="Run:").count() == 1


def test_another_run_changes_all_that_is_shown_of_one(usual: Sample, address: str, open_page: Any):
    page = open_page(address)
    cell(page, 4, 4).click()
    for model in (1, 0):
        for run in usual.result.models[model].runs:
            name = usual.result.models[model].name
            page.select_option(
                "#run", label=f"{name}, seed {run.seed} – {100 * run.test.accuracy:.2f} %"
            )
            assert page.inner_text("[data-run-name]") == f"{name}, seed {run.seed}"
            numbers = [int(text) for text in page.locator("#confusion td button").all_inner_texts()]
            assert numbers == np.ravel(run.test.confusion).tolist()
            assert page.inner_text("#mistakes-count") == (
                f"{len(run.test.mistakes)} mistakes in 600 test images."
            )
            assert page.locator("#surest li, #rest li").count() == len(run.test.mistakes)
            count = run.test.confusion[4][4]
            assert page.inner_text("#cell-title") == f"Target 4, predicted 4: {count} images"
            first = usual.probabilities[name, run.seed][0]
            shown = page.locator("#first li").first.locator(".value").all_inner_texts()
            assert [float(text.strip("<> %")) for text in shown] == pytest.approx(
                [max(0.1, 100 * float(p)) for p in first], abs=0.051
            )


def test_the_script_colours_cells_as_the_page_was_written(address: str, open_page: Any):
    plain = open_page(address, java_script_enabled=False)
    styles = "Array.from(document.querySelectorAll('#confusion td[class]')).map(e => e.className)"
    written = [
        element.get_attribute("class") for element in plain.locator("#confusion td[class]").all()
    ]
    scripted = open_page(address).evaluate(styles)
    assert len(written) == 100
    assert scripted == written


def test_without_script_the_first_run_is_there(usual: Sample, address: str, open_page: Any):
    page = open_page(address, java_script_enabled=False)
    run = usual.result.models[0].runs[0]
    numbers = [int(text) for text in page.locator("#confusion td[class]").all_inner_texts()]
    assert numbers == np.ravel(run.test.confusion).tolist()
    assert page.locator("#surest li, #rest li").count() == len(run.test.mistakes)
    assert page.locator("#theme").is_hidden()
    assert page.locator("#run").is_hidden()
    assert "need JavaScript" in page.inner_text("noscript")


def test_a_mistake_opens_with_its_probabilities(usual: Sample, address: str, open_page: Any):
    page = open_page(address)
    mistake = usual.result.models[0].runs[0].test.mistakes[0]
    page.locator("#surest button").first.click()
    assert page.inner_text("#one-title") == f"Test image {mistake.index}"
    assert page.locator("#one-body .bars li").count() == 10
    target = page.locator("#one-body .bars li.target .label")
    assert target.all_inner_texts() == [str(mistake.label)]
    page.click("#one-close")
    assert page.locator("#one").is_hidden()


def test_light_and_dark_follow_the_system_and_the_button(address: str, open_page: Any):
    page = open_page(address, dark=True)

    def paper() -> str:
        red, green, blue = page.evaluate(
            "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3)"
        )
        shown = page.locator("img.dark").first.is_visible()
        assert shown != page.locator("img.light").first.is_visible()
        colour = f"#{int(red):02x}{int(green):02x}{int(blue):02x}"
        assert colour == figures.THEMES["dark" if shown else "light"].paper
        return "dark" if shown else "light"

    assert paper() == "dark"
    for label, expected in (("light", "light"), ("dark", "dark"), ("system", "dark")):
        page.click("#theme")
        assert page.inner_text("#theme") == f"Theme: {label}"
        assert paper() == expected
    page.click("#theme")
    kept = page.evaluate("({ ...localStorage })")
    assert kept == {"inkproof-theme": "light"}
    # A browser under load may give a page from disk its storage late: the next one has it for sure.
    page.add_init_script("localStorage.setItem('inkproof-theme', 'light')")
    page.reload()
    assert page.inner_text("#theme") == "Theme: light"
    assert paper() == "light"
    page.click("#theme")  # dark
    page.emulate_media(media="print", color_scheme="dark")
    assert paper() == "light"
    assert page.locator("#run").is_hidden()


@pytest.mark.parametrize("width", [320, 360, 768])
def test_nothing_is_wider_than_a_phone(width: int, address: str, open_page: Any):
    page = open_page(address, width=width)
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    cell(page, 2, 2).click()
    assert page.evaluate("document.documentElement.scrollWidth") == width
    box = cell(page, 2, 2).bounding_box()
    assert box["width"] >= 24  # a finger's least target, WCAG 2.2
    assert box["height"] >= 22
    panel = page.locator("#cell").bounding_box()
    assert box["y"] + box["height"] <= panel["y"] or width > 960


WORDS = ("eins", "null", "zwölf zwei")
LONG = (*(f"Donaudampfschifffahrtsgesellschaftskapitän {n}" for n in (1, 2)), "W" * 60, "c")
PAPER = 688  # CSS pixels: A4 without its margins


@pytest.fixture(scope="module", params=[WORDS, LONG], ids=["words", "long"])
def named(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    one = sample(class_names=request.param, models=("m" * 64, "c3"), seeds=(0, 1), wrong=40)
    return write(one, tmp_path_factory.mktemp("named"))


def unfold(page: Any) -> None:
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")


@pytest.mark.parametrize("script", [True, False])
@pytest.mark.parametrize("width", [375, PAPER, 1280])
def test_no_class_name_is_cut(named: str, width: int, script: bool, open_page: Any):
    page = open_page(named, width=width, java_script_enabled=script)
    if width == PAPER:
        page.emulate_media(media="print")
    else:
        unfold(page)
    places = ".tile span:not(.hidden-text), .bars .label, .name, #confusion th span"
    cut = page.evaluate(
        """(places) => Array.from(document.querySelectorAll(places))
            .filter((one) => one.getClientRects().length)
            .filter((one) => {
              const hides = getComputedStyle(one).overflow !== "visible";
              const wider = one.clientWidth > 0 && one.scrollWidth > one.clientWidth + 1;
              const edge = one.closest(".scroll") ? Infinity : innerWidth;
              return hides || wider || one.getBoundingClientRect().right > edge;
            })
            .map((one) => one.textContent)""",
        places,
    )
    assert cut == []
    assert page.evaluate("document.documentElement.scrollWidth") == width
    # Different names look different, and ordinary ones are whole.
    heads = page.locator("#confusion tbody th[scope] span").all_text_contents()
    assert len(set(heads)) == len(heads)
    if heads[0] == "eins":
        assert heads == list(WORDS)
        targets = page.locator("#first .tile").all_inner_texts()
        assert all(" ".join(text.split()).split(" image")[0][8:] in WORDS for text in targets)


def test_names_in_a_confusion_matrix_keep_off_each_other(named: str, open_page: Any):
    for width in (375, 1280):
        page = open_page(named, width=width)
        for heads in ("thead th[scope] span", "tbody th[scope] span"):
            boxes = [one.bounding_box() for one in page.locator(f"#confusion {heads}").all()]
            for one, other in itertools.pairwise(boxes):
                beside = one["x"] + one["width"] <= other["x"] + 0.5
                below = one["y"] + one["height"] <= other["y"] + 0.5
                assert beside or below, (width, heads, one, other)


def test_many_classes_have_narrow_columns_and_whole_names(tmp_path: Path, open_page: Any):
    one = sample(
        class_names=[f"class number {n}" for n in range(47)],
        models=("a",),
        seeds=(0,),
        test=800,
        wrong=40,
    )
    address = write(one, tmp_path)
    for media, width in (("screen", 375), ("screen", 1280), ("print", PAPER)):
        page = open_page(address, width=width, java_script_enabled=False)
        page.emulate_media(media=media)
        box = page.locator("#confusion tbody td").last.bounding_box()
        assert box["width"] < 40, (media, width)
        assert box["height"] < 40, (media, width)
        for head in ("thead", "tbody"):
            sizes = page.evaluate(
                """(head) => Array.from(document.querySelectorAll(
                    `#confusion ${head} th[scope] span`)).map((one) => {
                      const range = document.createRange();
                      range.selectNodeContents(one);
                      return range.getClientRects().length;
                    })""",
                head,
            )
            assert max(sizes) <= 2, (media, width, head)  # lines
    # The last was on paper: all columns are on the page.
    assert page.locator("#confusion").bounding_box()["width"] <= PAPER


def test_mistakes_stay_on_their_page(named: str, open_page: Any):
    page = open_page(named, width=PAPER)
    page.emulate_media(media="print")
    edge = page.locator("main").bounding_box()
    for tile in page.locator("#surest li").all():
        box = tile.bounding_box()
        assert box["x"] >= edge["x"]
        assert box["x"] + box["width"] <= edge["x"] + edge["width"] + 0.5


def overflow(page: Any, place: str) -> int:
    return int(page.locator(place).first.evaluate("(one) => one.scrollWidth - one.clientWidth"))


def test_what_can_fit_a_phone_does(named: str, open_page: Any):
    page = open_page(named, width=375)
    unfold(page)
    assert overflow(page, ".scroll:has(#confusion)") <= 0
    assert overflow(page, ".scroll:has(.pixels)") <= 0
    assert page.locator(".pixels td").first.bounding_box()["width"] > 12
    assert overflow(page, ".scroll:has(.name)") <= 0
    pictures = page.locator("#diagnosis img.light").all()
    assert len(pictures) == 4  # two panels a model
    assert all(one.bounding_box()["width"] <= 375 for one in pictures)


def test_the_counts_fit_beside_the_pixels(named: str, open_page: Any):
    assert overflow(open_page(named, width=1280), ".scroll:has(.name)") <= 0


@pytest.mark.parametrize("cells", [28, 40])
def test_a_pixel_array_is_whole_on_a_phone(cells: int, tmp_path: Path, open_page: Any):
    one = sample(size=cells, seeds=(0,), test=60, wrong=4, models=("m",))
    page = open_page(write(one, tmp_path), width=375)
    assert overflow(page, ".scroll:has(.pixels)") <= 0
    assert page.locator(".pixels tr").first.locator("td").count() == cells
    page.set_viewport_size({"width": 1280, "height": 800})
    box = page.locator(".pixels td").first.bounding_box()
    assert box["width"] == pytest.approx(min(1.42 * 16, 40 * 16 / cells), abs=0.5)
    assert box["height"] == pytest.approx(box["width"], abs=0.5)


@pytest.mark.parametrize("place", [".wide-chart", "pre.summary"])
@pytest.mark.parametrize("dark", [False, True])
def test_a_shadow_says_that_there_is_more(place: str, dark: bool, address: str, open_page: Any):
    page = open_page(address, width=320, dark=dark)
    box = page.locator(place).first
    assert overflow(page, place) > 20

    def edges() -> tuple[float, float]:
        with Image.open(io.BytesIO(box.screenshot())) as image:
            grey = np.asarray(image.convert("L")).astype(float)
        middle = grey[:, grey.shape[1] // 2 - 1 : grey.shape[1] // 2 + 1]
        ground = np.median(middle[4:-8])
        # Rows on which nothing is drawn at the edge: their usual brightness.
        return (
            abs(float(np.median(grey[4:-8, 1:3])) - ground),
            abs(float(np.median(grey[4:-8, -3:-1])) - ground),
        )

    left, right = edges()
    assert left < 2 < 15 < right
    box.evaluate("(one) => one.scrollTo(one.scrollWidth, 0)")
    left, right = edges()
    assert right < 2 < 15 < left


def test_words_of_settings_are_not_broken(named: str, open_page: Any):
    for width in (320, 375):
        page = open_page(named, width=width)
        unfold(page)
        lines = page.evaluate(
            """() => Array.from(document.querySelectorAll("#data-section .settings th")).map(
                (one) => {
                  const range = document.createRange();
                  range.selectNodeContents(one);
                  return range.getClientRects().length;
                })"""
        )
        assert lines == [1, 1, 1]
        assert page.evaluate("document.documentElement.scrollWidth") == width


def test_hostile_names_do_nothing_in_a_browser(tmp_path: Path, open_page: Any):
    names = [HOSTILE, "</style>", "<b>bold</b>", "' onclick='alert(1)", "x" * 300]
    one = sample(class_names=names, models=(HOSTILE + "A", HOSTILE), title=HOSTILE, seeds=(0, 1))
    for width in (1280, 320):
        page = open_page(write(one, tmp_path), width=width)
        assert page.title() == f"{HOSTILE} – Inkproof"
        for row in range(5):
            for column in range(5):
                cell(page, row, column).click()
        page.locator("#surest button").first.click()
        assert page.locator("#one b").count() == 0
        assert page.evaluate("document.documentElement.scrollWidth") == width
