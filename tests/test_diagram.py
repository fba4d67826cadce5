from __future__ import annotations

import io
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from matplotlib import font_manager
from matplotlib.textpath import TextPath
from PIL import Image

from inkproof import diagram
from inkproof.diagram import Block, text_width

SVG = "{http://www.w3.org/2000/svg}"
BLOCKS = [
    Block(name="input", detail="images", input_shape=None, output_shape=(28, 28, 1)),
    Block(name="a & <b>", detail="Dense, relu", input_shape=(784,), output_shape=(500,)),
    Block(name="W" * 100, detail="Dense", input_shape=(500,), output_shape=(10,)),
]


def parsed(svg: str) -> ET.Element:
    return ET.fromstring(svg)  # noqa: S314  # our own text, not somebody's


def test_the_bound_holds_for_the_widest_font():
    font = font_manager.FontProperties(family="DejaVu Sans", weight="bold")
    for code in range(33, 127):
        # Ten of them, since a path's box leaves out the room before the first glyph.
        wide = TextPath((0, 0), chr(code) * 11, size=100, prop=font).get_extents().x1
        one = TextPath((0, 0), chr(code), size=100, prop=font).get_extents().x1
        advance = (wide - one) / 10
        assert advance <= text_width(chr(code), 100) < 3 * advance, chr(code)
    assert text_width("é", 10) >= text_width("m", 10)


def test_the_svg_shows_all_names_and_shapes():
    root = parsed(diagram.svg(BLOCKS, title="a <title> & more"))
    texts = [element.text for element in root.iter(f"{SVG}text")]
    assert texts == [
        "input",
        "images",
        "Output shape: (None, 28, 28, 1)",
        "a & <b>",
        "Dense, relu",
        "Input shape: (None, 784)",
        "Output shape: (None, 500)",
        "W" * 100,
        "Dense",
        "Input shape: (None, 500)",
        "Output shape: (None, 10)",
    ]
    assert root.get("aria-label") == "a <title> & more"
    assert [element.text for element in root.iter(f"{SVG}title")] == ["a <title> & more"]


def test_shapes_can_be_left_out():
    root = parsed(diagram.svg(BLOCKS, title="t", show_shapes=False))
    texts = [element.text for element in root.iter(f"{SVG}text")]
    assert texts == ["input", "images", "a & <b>", "Dense, relu", "W" * 100, "Dense"]


@pytest.mark.parametrize("show_shapes", [True, False])
def test_no_text_leaves_its_box(show_shapes: bool):
    root = parsed(diagram.svg(BLOCKS, title="t", show_shapes=show_shapes))
    width, height = float(root.get("width", 0)), float(root.get("height", 0))
    boxes = [
        [float(element.get(key, 0)) for key in ("x", "y", "width", "height")]
        for element in root.iter(f"{SVG}rect")
        if element.get("class") != "paper"
    ]
    for x, y, box_width, box_height in boxes:
        assert x >= 0
        assert y >= 0
        assert x + box_width <= width
        assert y + box_height <= height
    for element in root.iter(f"{SVG}text"):
        x, y, size = (float(element.get(key, 0)) for key in ("x", "y", "font-size"))
        half = text_width(str(element.text), size) / 2
        assert any(
            left <= x - half
            and x + half <= left + box_width
            and top <= y - size
            and y + 0.3 * size <= top + box_height
            for left, top, box_width, box_height in boxes
        ), element.text


def test_the_svg_may_stand_in_one_page_twice():
    """No ids, no style that reaches beyond it, no colour of its own."""
    text = diagram.svg(BLOCKS, title="t")
    root = parsed(text)
    assert all(element.get("id") is None for element in root.iter())
    style = next(root.iter(f"{SVG}style")).text or ""
    rules = style.replace("@media (prefers-color-scheme:dark){", "").split("}")
    assert all(rule.startswith("svg:root.inkproof-diagram") for rule in rules if rule)
    for element in root.iter():
        for key in ("fill", "stroke"):
            assert element.get(key) in (None, "none", "currentColor")


def test_the_png_is_the_same_drawing():
    root = parsed(diagram.svg(BLOCKS, title="t"))
    with Image.open(io.BytesIO(diagram.png(BLOCKS))) as image:
        size = image.size
        pixels = np.asarray(image.convert("L")).astype(float)
        assert "Software" not in image.info
    assert size == pytest.approx(
        (2 * float(root.get("width", 0)), 2 * float(root.get("height", 0))), abs=1
    )
    assert pixels[:10].min() == pixels[-10:].min() == 255  # the margin is white
    for element in root.iter(f"{SVG}text"):
        x, y, font = (2 * float(element.get(key, 0)) for key in ("x", "y", "font-size"))
        around = pixels[int(y - font) : int(y), int(x - font) : int(x + font)]
        assert around.min() < 100, element.text  # there is ink where the text belongs


def test_the_bytes_are_the_same_each_time():
    assert diagram.png(BLOCKS) == diagram.png(BLOCKS)
    assert diagram.svg(BLOCKS, title="t") == diagram.svg(BLOCKS, title="t")
