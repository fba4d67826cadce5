"""The page to draw on in a real browser: mouse, finger, keyboard, pictures, models, themes."""

from __future__ import annotations

import itertools
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import inkproof
from inkproof import figures
from serve_samples import STROKES, drawn, encoded, page, running

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytest.importorskip("fastapi", reason="the extra [serve] is not installed")
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed")

FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-quic"),
]
HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as starter:
        running = starter.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield running
        running.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve a runs folder with a hostile report and a name to match."""
    folder = tmp_path_factory.mktemp("served")
    study = folder / "runs" / HOSTILE
    for seed in (0, 1):
        model = inkproof.Model(
            [inkproof.Dense(10, activation="softmax")], input_shape=(28, 28, 1), seed=seed
        )
        place = study / "net" / f"seed-{seed}"
        place.mkdir(parents=True)
        model.save(place / "model.safetensors")
    (study / "report.html").write_text(
        """<!doctype html><title>Report</title><p id=told></p><script>
        const told = [];
        try { localStorage.length; told.push("storage"); } catch (e) {}
        try { document.cookie; told.push("cookies"); } catch (e) {}
        fetch("/api/models").then(() => told.push("fetch"), () => {}).finally(() => {
          document.getElementById("told").textContent = "can: " + told.join();
        });
        </script>"""
    )
    with running(folder) as (_, port):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def open_page(browser: Any, server: str) -> Iterator[Any]:
    """Give a function that opens the page; nothing else may be asked for and nothing go wrong."""
    contexts = []
    troubles: list[str] = []

    def opened(*, width: int = 1440, dark: bool = False, path: str = "/", **options: Any) -> Any:
        context = browser.new_context(
            viewport={"width": width, "height": 900},
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
                if request.url.startswith((server, "data:", f"blob:{server}"))
                else troubles.append(request.url)
            ),
        )
        page.goto(f"{server}{path}")
        if path == "/":
            until(page, "document.querySelectorAll('#model option').length === 3")
        return page

    opened.troubles = troubles  # type: ignore[attr-defined]
    yield opened
    for context in contexts:
        context.close()
    assert troubles == []


def draw(page: Any, digit: int, *, steps: int = 4) -> None:
    box = page.locator("#pad").bounding_box()
    for points in STROKES[digit]:
        places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
        page.mouse.move(*places[0])
        page.mouse.down()
        for place in places[1:]:
            page.mouse.move(*place, steps=steps)
        page.mouse.up()


def touch(page: Any, digit: int) -> None:
    """Draw with a finger: real touch events, from which the browser makes pointer events."""
    page.locator("#pad").scroll_into_view_if_needed()
    box = page.locator("#pad").bounding_box()
    session = page.context.new_cdp_session(page)

    def finger(kind: str, *places: tuple[float, float]) -> None:
        session.send(
            "Input.dispatchTouchEvent",
            {
                "type": kind,
                "touchPoints": [
                    {"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"]}
                    for x, y in places
                ],
            },
        )

    for points in STROKES[digit]:
        finger("touchStart", points[0])
        for before, after in itertools.pairwise(points):
            for share in (0.33, 0.67, 1):
                finger(
                    "touchMove",
                    (
                        before[0] + share * (after[0] - before[0]),
                        before[1] + share * (after[1] - before[1]),
                    ),
                )
        finger("touchEnd")


def reads(page: Any, digit: int, seconds: float = 6.0) -> None:
    """Wait until the page says that it reads this digit."""
    until(page, f"document.getElementById('sure').textContent.startsWith('{digit}, ')", seconds)
    assert page.inner_text("#big") == str(digit)
    assert page.locator("#bars .top").count() == 1
    assert page.locator("#bars .top").inner_text().startswith(str(digit))


def until(page: Any, expression: str, seconds: float = 6.0) -> None:
    """Wait until this holds in the page, whose policy keeps Playwright's own way from working."""
    end = time.monotonic() + seconds
    while not page.evaluate(expression):
        assert time.monotonic() < end, (expression, page.inner_text("main"))
        page.wait_for_timeout(25)


def pixels(page: Any, canvas: str) -> list[int]:
    values: list[int] = page.evaluate(
        """id => {
          const canvas = document.getElementById(id), { width, height } = canvas;
          const copy = new OffscreenCanvas(width, height)
            .getContext("2d", { willReadFrequently: true });
          copy.drawImage(canvas, 0, 0);
          return Array.from(copy.getImageData(0, 0, width, height).data);
        }""",
        canvas,
    )
    return values


def test_every_digit_drawn_with_the_mouse_is_read(open_page: Any):
    page = open_page()
    for digit in STROKES:
        draw(page, digit)
        reads(page, digit)
        page.click("#clear")
        until(page, "document.getElementById('big').textContent === '–'")


def test_every_digit_drawn_with_a_finger_is_read(open_page: Any):
    page = open_page(width=390, has_touch=True, is_mobile=True)
    for digit in STROKES:
        touch(page, digit)
        reads(page, digit)
        page.wait_for_timeout(400)  # or two touches would be taken for a double tap
        page.tap("#clear")  # though the last stroke was quick enough for a fling
        until(page, "document.getElementById('big').textContent === '–'")
    assert page.evaluate("window.scrollY") < 300  # drawing did not scroll the page away


def test_the_prediction_moves_as_one_draws(open_page: Any):
    page = open_page()
    page.evaluate(
        """() => {
          window.seen = [];
          new MutationObserver(() => window.seen.push(document.getElementById("sure").textContent))
            .observe(document.getElementById("sure"), { childList: true, characterData: true,
              subtree: true });
        }"""
    )
    box = page.locator("#pad").bounding_box()
    points = STROKES[3][0]
    page.mouse.move(*[box[o] + p * box["width"] for o, p in zip("xy", points[0], strict=True)])
    page.mouse.down()
    for x, y in points[1:]:
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=5)
        page.wait_for_timeout(60)
    before_the_end = page.evaluate("window.seen.length")
    page.mouse.up()
    reads(page, 3)
    assert before_the_end >= 3
    # No flicker: between two answers the old one stays.
    assert "No answer" not in page.evaluate("window.seen")
    assert "Nothing drawn yet" not in page.evaluate("window.seen")


def test_late_answers_are_not_shown(open_page: Any):
    page = open_page()
    page.evaluate(
        """() => {
          window.seen = [];
          new MutationObserver(() => window.seen.push(document.getElementById("sure").textContent))
            .observe(document.getElementById("sure"), { childList: true, characterData: true,
              subtree: true });
        }"""
    )
    held: list[Any] = []
    page.route("**/api/predict*", lambda route: held.append(route))  # noqa: PLW0108
    draw(page, 7, steps=1)
    page.wait_for_timeout(200)
    assert len(held) == 1  # one question at a time
    page.click("#clear")
    held[0].continue_()
    page.wait_for_timeout(500)
    assert page.inner_text("#big") == "–"
    assert not any(text.startswith("7") for text in page.evaluate("window.seen"))
    page.unroute("**/api/predict*")
    draw(page, 1)
    reads(page, 1)


def test_what_the_model_sees_and_which_pixels_spoke_are_shown(open_page: Any):
    page = open_page()
    draw(page, 5)
    reads(page, 5)
    until(page, "document.getElementById('for').textContent === '5'")
    seen = pixels(page, "seen")
    assert len(seen) == 28 * 28 * 4
    bright = [index for index in range(784) if seen[4 * index] > 128]
    assert 30 < len(bright) < 300
    assert all(3 < index % 28 < 25 and 3 < index // 28 < 25 for index in bright)
    evidence = pixels(page, "evidence")
    blue = [i for i in range(784) if evidence[4 * i + 2] > evidence[4 * i] + 40]
    assert blue
    assert all(seen[4 * index] > 0 for index in blue)  # only ink speaks
    assert "spoke for 5: most of all the ink" in page.get_attribute("#evidence", "aria-label")
    page.click("#clear")
    until(page, "document.getElementById('for').textContent === 'it'")


def test_undo_takes_the_last_stroke_back(open_page: Any):
    page = open_page()
    draw(page, 1)
    reads(page, 1)
    box = page.locator("#pad").bounding_box()
    page.mouse.move(box["x"] + 20, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 20, box["y"] + box["height"] - 20, steps=5)
    page.mouse.up()
    page.keyboard.press("Control+z")
    reads(page, 1)
    page.click("#undo")
    until(page, "document.getElementById('big').textContent === '–'")
    assert page.locator("#hint").is_visible()


def test_the_keyboard_alone_draws_and_is_read(open_page: Any):
    page = open_page()
    for _ in range(12):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "pad":
            break
    assert page.evaluate("document.activeElement.id") == "pad"
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert page.evaluate(outline) == "solid"
    press = page.keyboard.press
    for _ in range(5):
        press("ArrowLeft")
    press("Space")  # a seven: across, then aslant down
    for _ in range(10):
        press("ArrowRight")
    for _ in range(6):
        press("End")
    for _ in range(8):
        press("ArrowDown")
    press("Space")
    reads(page, 7)
    press("Backspace")
    until(page, "document.getElementById('big').textContent === '–'")
    press("Space")
    for _ in range(4):
        press("Shift+ArrowDown")
    reads(page, 1)
    # The answer is told to who does not see it.
    until(page, "document.getElementById('live').textContent.startsWith('1, ')")
    press("Delete")
    until(page, "document.getElementById('big').textContent === '–'")


def test_all_controls_can_be_reached_with_the_keyboard(open_page: Any):
    page = open_page()
    reached = []
    for _ in range(15):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate("document.activeElement.id || document.activeElement.value || ''")
        )
        visible = page.evaluate(
            """() => {
              const one = document.activeElement, label = one.closest("label");
              const shown = (e) => e && getComputedStyle(e).outlineStyle !== "none";
              return one === document.body || shown(one) || shown(label);
            }"""
        )
        assert visible, reached[-1]
    for control in ("theme", "digit", "model", "pad", "undo", "clear", "choose", "shoot"):
        assert control in reached
    page.focus("[value=digit]")
    page.keyboard.press("ArrowRight")
    assert page.locator("#page-mode").is_visible()
    assert page.locator("#digit-mode").is_hidden()


@pytest.mark.parametrize("form", ["png", "jpeg", "webp", "bmp", "tiff"])
def test_a_picture_that_is_chosen_is_read(open_page: Any, form: str):
    page = open_page()
    draw(page, 1)
    page.set_input_files(
        "#choose",
        {
            "name": "digit",
            "mimeType": f"image/{form}",
            "buffer": encoded(drawn(8, 400).convert("RGB"), form),
        },
    )
    reads(page, 8)
    until(page, "document.getElementById('for').textContent === '8'")
    draw(page, 4)  # a drawing takes the picture's place
    reads(page, 4)


def drop(page: Any, content: bytes, kind: str = "image/png") -> None:
    page.evaluate(
        """([bytes, kind]) => {
          const carried = new DataTransfer();
          carried.items.add(new File([new Uint8Array(bytes)], "dropped", { type: kind }));
          for (const name of ["dragover", "drop"])
            document.body.dispatchEvent(new DragEvent(name,
              { dataTransfer: carried, bubbles: true, cancelable: true }));
        }""",
        [list(content), kind],
    )


def test_a_picture_that_is_dropped_is_read(open_page: Any):
    page = open_page()
    drop(page, encoded(drawn(3, 200, dark=True)))
    reads(page, 3)


def test_the_camera_is_offered(open_page: Any):
    page = open_page()
    assert page.get_attribute("#shoot", "capture") == "environment"
    assert page.get_attribute("#shoot-page", "accept") == "image/*"


def test_what_is_no_picture_is_told(open_page: Any):
    page = open_page()
    drop(page, b"hello", "text/plain")
    page.wait_for_selector("#trouble:not([hidden])")
    assert "expected a picture" in page.inner_text("#trouble")
    assert page.inner_text("#sure") == "No answer"
    draw(page, 6)
    reads(page, 6)
    assert page.locator("#trouble").is_hidden()
    # The browser itself notes the 415 on its console.
    assert len(open_page.troubles) == 1
    assert "415" in open_page.troubles.pop()


def test_a_page_is_read_with_boxes(open_page: Any):
    one = open_page()
    one.check("[value=page]", force=True)
    one.set_input_files(
        "#choose-page",
        {
            "name": "page.jpg",
            "mimeType": "image/jpeg",
            "buffer": encoded(page([[3, 1, 4], [2, 7]]), "jpeg"),
        },
    )
    until(one, "document.getElementById('page-state').textContent.includes('5 digits')")
    assert one.locator("#photo rect").count() == 5
    assert "".join(one.inner_text("#page-text").split()) == "31427"
    labels = [text.rstrip("?") for text in one.locator("#photo text").all_text_contents()]
    assert labels == list("31427")
    # A box lies where the digit does: in the first line of the picture.
    photo = one.locator("#photo img").bounding_box()
    box = one.locator("#photo rect").first.bounding_box()
    assert 0.15 < (box["y"] - photo["y"]) / photo["height"] < 0.45
    one.click("summary")
    assert one.locator("#page-digits tr").count() == 5
    lines = one.locator("#page-digits tr td:nth-child(1)").all_text_contents()
    numbers = one.locator("#page-digits tr td:nth-child(2)").all_text_contents()
    assert lines == list("11122")
    assert numbers[0] == "1"


def test_another_model_can_be_chosen(open_page: Any, server: str):
    page = open_page()
    draw(page, 2)
    reads(page, 2)
    at_rest = "document.getElementById('for').textContent === '2'"
    until(page, at_rest)
    own = page.locator("#bars .value").all_inner_texts()
    assert page.locator("#report").is_hidden()
    page.select_option("#model", label=f"{HOSTILE} / net / seed-0")
    values = "Array.from(document.querySelectorAll('#bars .value')).map(e => e.textContent).join()"
    until(page, f"{values} !== {json.dumps(','.join(own))}")
    assert page.locator("#report").is_visible()
    page.select_option("#model", "shipped")
    reads(page, 2)
    until(page, at_rest)
    assert page.locator("#bars .value").all_inner_texts() == own


def test_a_report_opens_and_can_do_nothing(open_page: Any):
    page = open_page()
    page.select_option("#model", index=1)
    with page.context.expect_page() as opened:
        page.click("#report")
    report = opened.value
    until(report, "document.getElementById('told').textContent")
    assert report.title() == "Report"
    assert report.inner_text("#told").strip() == "can:"


@pytest.mark.parametrize("dark", [False, True])
def test_light_and_dark_follow_the_system_and_the_button(open_page: Any, dark: bool):
    page = open_page(dark=dark)

    def theme() -> str:
        red, green, blue = page.evaluate(
            "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3)"
        )
        paper = f"#{int(red):02x}{int(green):02x}{int(blue):02x}"
        return next(name for name, colours in figures.THEMES.items() if colours.paper == paper)

    system = "dark" if dark else "light"
    assert theme() == system
    draw(page, 7)
    reads(page, 7)
    for label, expected in (("light", "light"), ("dark", "dark"), ("system", system)):
        page.click("#theme")
        assert page.inner_text("#theme") == f"Theme: {label}"
        assert theme() == expected
        page.wait_for_timeout(50)
        reds = set(
            page.evaluate(
                """() => {
              const pad = document.getElementById("pad"), side = pad.width;
              const copy = new OffscreenCanvas(side, side)
                .getContext("2d", { willReadFrequently: true });
              copy.drawImage(pad, 0, 0);
              const { data } = copy.getImageData(0, 0, side, side), found = new Set();
              for (let at = 0; at < data.length; at += 4)
                if (data[at + 3] === 255) found.add(data[at]);
              return Array.from(found);
            }"""
            )
        )
        wanted = int(figures.THEMES[expected].ink[1:3], 16)  # type: ignore[index]
        assert reds
        assert max(abs(red - wanted) for red in reds) <= 2


@pytest.mark.parametrize("width", [320, 1440])
def test_nothing_is_wider_than_the_screen(open_page: Any, width: int):
    one = open_page(width=width)
    draw(one, 4)
    reads(one, 4)
    assert one.evaluate("document.documentElement.scrollWidth") == width
    for control in one.locator("button:visible, select:visible, label.plain:visible").all():
        assert control.bounding_box()["height"] >= 24  # a finger's least target, WCAG 2.2
    one.check("[value=page]", force=True)
    drop(one, encoded(page([[3, 1, 4, 1, 5, 9, 2, 6]])))
    one.wait_for_selector("#page-result:not([hidden])")
    one.click("summary")
    assert one.evaluate("document.documentElement.scrollWidth") == width
    docs = open_page(width=width, path="/docs")
    assert docs.evaluate("document.documentElement.scrollWidth") == width


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [320, 1440])
def test_axe_finds_no_serious_fault(open_page: Any, dark: bool, width: int):
    axe = pytest.importorskip("axe_playwright_python", reason="axe is not installed")
    source = (Path(axe.__file__).parent / "axe.min.js").read_text(encoding="utf-8")

    def serious(page: Any) -> list[str]:
        page.evaluate(source)
        found = page.evaluate("axe.run(document)")
        return [
            f"{one['id']}: {json.dumps(one['nodes'][0]['target'])}"
            for one in found["violations"]
            if one["impact"] in ("serious", "critical")
        ]

    one = open_page(dark=dark, width=width)
    assert serious(one) == []
    draw(one, 9)
    reads(one, 9)
    until(one, "document.getElementById('for').textContent === '9'")
    assert serious(one) == []
    one.check("[value=page]", force=True)
    drop(one, encoded(page([[3, 1, 4], [2, 7]])))
    one.wait_for_selector("#page-result:not([hidden])")
    one.click("summary")
    assert serious(one) == []
    assert serious(open_page(dark=dark, width=width, path="/docs")) == []


def test_without_script_the_page_says_so(open_page: Any, browser: Any, server: str):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(server)
    assert "needs JavaScript" in page.inner_text("noscript")
    assert page.locator("#pad").is_hidden()
    context.close()
