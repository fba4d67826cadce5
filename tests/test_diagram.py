from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from matplotlib import font_manager
from matplotlib.textpath import TextPath
from PIL import Image

from inkproof import diagram
from inkproof.diagram import Block, text_width
from inkproof.layers import Dense, Residual, named, walk

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


def block(name: str, skips: int = 0) -> Block:
    return Block(name=name, detail="x", input_shape=(4,), output_shape=(4,), skips=skips)


def skips_of(root: ET.Element) -> list[list[float]]:
    """Begin, turning point and end of each second arrow: [x, y, x, y]."""
    paths = [element.get("d", "") for element in root.iter(f"{SVG}path")]
    found = [re.fullmatch(r"M(\S+) (\S+)H(\S+)V(\S+)H\S+", path) for path in paths]
    return [[float(part) for part in match.groups()] for match in found if match]


def test_second_arrows_go_round_what_is_between():
    blocks = [block("a"), block("b"), block("c"), block("inner", 2), block("outer", 4)]
    blocks += [block("next", 1)]
    root = parsed(diagram.svg(blocks, title="t"))
    boxes = [
        [float(element.get(key, 0)) for key in ("x", "y", "width", "height")]
        for element in root.iter(f"{SVG}rect")
        if element.get("fill") == "currentColor"
    ]
    inner, outer, following = skips_of(root)
    right = boxes[0][0] + boxes[0][2]
    for (x, begin, turn, end), source, target in ((inner, 1, 3), (outer, 0, 4), (following, 4, 5)):
        assert x == right < turn < float(root.get("width", 0))
        assert boxes[source][1] < begin < boxes[source][1] + boxes[source][3]
        assert boxes[target][1] < end < boxes[target][1] + boxes[target][3]
    assert inner[2] < outer[2]
    assert following[2] == inner[2]
    assert following[1] > outer[3]  # in above, out below
    plain = parsed(diagram.svg([block(each.name) for each in blocks], title="t"))
    assert skips_of(plain) == []
    assert float(plain.get("width", 0)) < float(root.get("width", 0))


def test_the_png_has_the_second_arrows():
    blocks = [block("a"), block("b"), block("c", 2)]
    root = parsed(diagram.svg(blocks, title="t"))
    with Image.open(io.BytesIO(diagram.png(blocks))) as image:
        pixels = np.asarray(image.convert("L")).astype(float)
    x, begin, turn, end = (2 * number for number in skips_of(root)[0])
    middle = int((begin + end) / 2)
    assert pixels[middle, int(turn) - 3 : int(turn) + 4].min() < 100
    assert pixels[int(begin) - 3 : int(begin) + 4, int((x + turn) / 2)].min() < 100
    assert pixels[int(end), int(x) + 5] < 100


def test_blocks_follow_the_layers():
    layers = named([Dense(4), Residual([Dense(4), Residual([Dense(4)])]), Residual([Dense(4)])])
    blocks = diagram.blocks_of(list(walk(layers, (4,))))
    assert [(each.name, each.skips) for each in blocks] == [
        ("dense", 0),
        ("dense_1", 0),
        ("dense_2", 0),
        ("residual_1", 2),
        ("residual", 4),
        ("dense_3", 0),
        ("residual_2", 2),
    ]
    assert [each.detail for each in blocks[3:5]] == [
        "Residual, adds its input, 20 parameters",
        "Residual, adds its input, 40 parameters",
    ]


def test_the_bytes_are_the_same_each_time():
    assert diagram.png(BLOCKS) == diagram.png(BLOCKS)
    assert diagram.svg(BLOCKS, title="t") == diagram.svg(BLOCKS, title="t")
