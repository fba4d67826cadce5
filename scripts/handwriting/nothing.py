"""What is no digit: letters, signs, scribbles, lines, blobs, paper, pieces and pairs of digits.

What people may take for a digit is left out, as it would teach the model to doubt digits:
letters that look like one (``shapes.LOOK_ALIKES``); upright lines, a 1; rings, a 0; halves of
digits that are digits themselves (the upper half of an 8); digits upside down where that is
another one (6, 9, 8, 0, 1; a 4 with a round head gives a 6) or nearly the same (2, 5); a 7 on its
side, a 1 with a flag; a corner like a 7; commas and apostrophes, which fill the picture as a 1.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from handwriting import glyphs, pens, photos, shapes
from handwriting.pens import CANVAS, Ink

__all__ = ["KINDS", "draw"]

Digits = dict[int, npt.NDArray[np.uint8]]
"""MNIST images (n, 28, 28) by digit."""


def draw(
    kind: str, rng: np.random.Generator, digits: Digits, fonts: list[Path]
) -> npt.NDArray[np.uint8]:
    """Draw one image of a kind of non-digit.

    Returns
    -------
    uint8 (28, 28)
    """
    if kind in ("noise", "blank"):
        return _noise(rng) if kind == "noise" else _blank(rng)
    ink = KINDS[kind][1](rng, digits, fonts)
    if kind in (
        "font letters",
        "other letters",
        "drawn letters",
        "signs",
        "pieces",
        "turned digits",
        "pairs",
    ):
        ink = photos.affine(ink, rng)
        if rng.random() < 0.6:
            ink = photos.repenned(ink, rng)
    return photos.photographed(ink, rng, harm=0.8)


def _font_letters(rng: np.random.Generator, digits: Digits, fonts: list[Path]) -> Ink:
    del digits
    return glyphs.glyph(
        fonts[rng.integers(len(fonts))], str(rng.choice(list(shapes.TRAINED_LETTERS))), rng
    )


def _font_signs(rng: np.random.Generator, digits: Digits, fonts: list[Path]) -> Ink:
    del digits
    sign = str(rng.choice(list('?!&@#%*+=<>~^$".:;-')))
    return glyphs.glyph(fonts[rng.integers(len(fonts))], sign, rng)


def _font_words(rng: np.random.Generator, digits: Digits, fonts: list[Path]) -> Ink:
    del digits
    word = "".join(rng.choice(list(shapes.TRAINED_LETTERS.lower()), rng.integers(2, 4)))
    return glyphs.glyph(fonts[rng.integers(len(fonts))], word, rng)


def _other_letters(rng: np.random.Generator, digits: Digits, fonts: list[Path]) -> Ink:
    """Draw letters of other scripts, with DejaVu Sans, which has many."""
    del digits
    able = [font for font in fonts if font.stem in ("DejaVuSans", "DejaVuSans-Bold")]
    letter = str(rng.choice([c for c in shapes.OTHER_LETTERS if glyphs.has_glyph(able[0], c)]))
    return glyphs.glyph(able[rng.integers(len(able))], letter, rng)


def _invented_letters(rng: np.random.Generator, digits: Digits, fonts: list[Path]) -> Ink:
    """Put three to five strokes together, straight, hooked and round, as no script does."""
    del digits, fonts
    strokes: list[pens.Points] = []
    for _ in range(rng.integers(3, 6)):
        x, y = rng.choice([10, 30, 50, 70, 90], 2)
        kind = rng.integers(4)
        if kind == 0:
            text = f"{x},{rng.integers(0, 30)} {x},{rng.integers(70, 101)}"
        elif kind == 1:
            text = f"{rng.integers(0, 30)},{y} {rng.integers(70, 101)},{y}"
        elif kind == 2:
            points = rng.uniform(0, 100, (3, 2))
            text = ("~ " if rng.random() < 0.6 else "") + _written(points)
        else:
            turn = np.linspace(0, rng.uniform(2.5, 5.5), 9) + rng.uniform(0, 6.3)
            radius = rng.uniform(12, 36)
            points = np.stack([x + radius * np.cos(turn), y + radius * np.sin(turn)], axis=1)
            text = "~ " + _written(points)
        strokes += pens.parse.__wrapped__(text)
    return pens.draw(pens.shake(tuple(strokes), rng, 0.7), rng, rng.uniform(3, 11))


def _written(points: npt.NDArray[np.float64]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _drawn_letters(rng: np.random.Generator, digits: Digits, fonts: list[Path]) -> Ink:
    del digits, fonts
    return pens.draw_path(_any_path(shapes.LETTERS, rng), rng)


def _signs(rng: np.random.Generator, digits: Digits, fonts: list[Path]) -> Ink:
    del digits, fonts
    return pens.draw_path(_any_path(shapes.SIGNS, rng), rng)


def _scribbles(rng: np.random.Generator, digits: Digits, fonts: list[Path]) -> Ink:
    """Wander about with many turns: from seven points on no digit comes of it."""
    del digits, fonts
    kind = rng.integers(6)
    if kind == 0:
        points = rng.uniform(0, 100, (rng.integers(7, 16), 2))
    elif kind == 4:  # a trail whose bend changes, again and again
        bend = ndimage.gaussian_filter1d(rng.normal(0, 1, 300), rng.uniform(3, 12))
        way = np.cumsum(bend / bend.std() * rng.uniform(0.15, 0.5)) + rng.uniform(0, 6.3)
        points = np.cumsum(np.stack([np.cos(way), np.sin(way)], axis=1), axis=0)
        points = (points - points.min(axis=0)) / np.ptp(points) * 100
    elif kind == 5:  # ovals over one another, each another way
        t = np.linspace(0, 1, 120)
        phase = 2 * np.pi * rng.uniform(2.5, 5) * t
        axis = rng.uniform(0, np.pi) + rng.choice([-1, 1]) * rng.uniform(1.6, 3.5) * t
        long, short = rng.uniform(38, 50), rng.uniform(8, 22)
        a, b = long * np.cos(phase), short * np.sin(phase)
        points = 50 + np.stack(
            [a * np.cos(axis) - b * np.sin(axis), a * np.sin(axis) + b * np.cos(axis)], axis=1
        )
    elif kind == 1:  # loops along a line
        turns = rng.uniform(2.5, 6)
        t = np.linspace(0, 1, 80)
        wide = rng.uniform(12, 40)
        phase = 2 * np.pi * turns * t
        points = np.stack(
            [100 * t + wide * np.cos(phase), 50 + rng.uniform(20, 50) * np.sin(phase)], 1
        )
    elif kind == 2:  # a zigzag, as one crosses something out
        count = int(rng.integers(5, 14))
        points = np.stack([np.linspace(0, 100, count), np.where(np.arange(count) % 2, 90, 10)], 1)
        points = points + rng.normal(0, 9, points.shape)
    else:  # a spiral of two turns or more
        t = np.linspace(0.15, 1, 90)
        phase = 2 * np.pi * rng.uniform(2, 4) * t + rng.uniform(0, 6)
        points = np.stack([50 + 48 * t * np.cos(phase), 50 + 48 * t * np.sin(phase)], 1)
    smooth = "~ " if kind == 0 and rng.random() < 0.75 else ""
    text = smooth + _written(points)
    return pens.draw(pens.shake(pens.parse.__wrapped__(text), rng, 0.5), rng, rng.uniform(2, 8))


def _lines(rng: np.random.Generator, digits: Digits, fonts: list[Path]) -> Ink:
    """Draw lines that are not upright, several lines, crossings, corners of squared paper."""
    del digits, fonts
    kind = rng.integers(5)
    if kind == 0:  # flat to 40 degrees
        rise = rng.uniform(-40, 40)
        text = f"0,{50 + rise:.0f} 100,{50 - rise:.0f}"
    elif kind == 1:  # several upright ones
        text = "; ".join(f"{x},0 {x},100" for x in np.linspace(0, 90, rng.integers(3, 6)).round())
    elif kind == 2:
        text = "; ".join(f"0,{y} 100,{y}" for y in np.linspace(0, 90, rng.integers(2, 5)).round())
    elif kind == 3:  # a grid
        across, down = rng.integers(1, 4), rng.integers(1, 4)
        rows = [f"0,{y:.0f} 100,{y:.0f}" for y in np.linspace(10, 90, across)]
        text = "; ".join(rows + [f"{x:.0f},0 {x:.0f},100" for x in np.linspace(12, 88, down)])
    else:  # two or three lines anywhere, at least two of them crossing
        middle = rng.uniform(30, 70, 2)
        parts = []
        start = rng.uniform(0, np.pi)
        for turn in start + np.array([0, 1.2, 2.2])[: rng.integers(2, 4)]:
            way = np.array([np.cos(turn), np.sin(turn)]) * rng.uniform(35, 60)
            a, b = middle - way, middle + way
            parts.append(f"{a[0]:.0f},{a[1]:.0f} {b[0]:.0f},{b[1]:.0f}")
        text = "; ".join(parts)
    return pens.draw_path(text, rng, wobble=0.6, width=float(rng.uniform(2, 12)))


def _blobs(rng: np.random.Generator, digits: Digits, fonts: list[Path]) -> Ink:
    """Draw dots, stains and filled shapes."""
    del digits, fonts
    field = ndimage.gaussian_filter(rng.normal(0, 1, (CANVAS, CANVAS)), rng.uniform(5, 16))
    y, x = (np.mgrid[:CANVAS, :CANVAS] - CANVAS / 2) / CANVAS * 2
    squeeze = np.exp(rng.normal(0, 0.25))
    radius = np.sqrt((x * squeeze) ** 2 + (y / squeeze) ** 2)
    if rng.random() < 0.5:  # one stain
        inside = radius + field / field.std() * rng.uniform(0.02, 0.25) < rng.uniform(0.3, 0.6)
    else:  # several
        inside = (field / field.std() > rng.uniform(1.0, 1.8)) & (radius < 0.9)
    return inside.astype(np.float32) * 255


def _dots(rng: np.random.Generator, digits: Digits, fonts: list[Path]) -> Ink:
    del digits, fonts
    count = int(rng.integers(2, 9))
    y, x = np.mgrid[:CANVAS, :CANVAS]
    ink = np.zeros((CANVAS, CANVAS), dtype=np.float32)
    for row, column in rng.uniform(20, CANVAS - 20, (count, 2)):
        ink[(y - row) ** 2 + (x - column) ** 2 < rng.uniform(3, 9) ** 2] = 255
    return ink


# Which halves of which digits nobody reads as a digit.
_PIECES = ((0, "upper"), (0, "lower"), (2, "lower"), (4, "upper"), (5, "upper"), (3, "lower"))


def _pieces(rng: np.random.Generator, digits: Digits, fonts: list[Path]) -> Ink:
    del fonts
    digit, half = _PIECES[rng.integers(len(_PIECES))]
    ink = photos.enlarge(_any_digit(digits, digit, rng), rng)
    rows = np.flatnonzero((ink > 127).any(axis=1))
    if not len(rows):
        return ink
    at = int(rows[0] + rng.uniform(0.38, 0.52) * (rows[-1] - rows[0]))
    if half == "upper":
        ink[at:] = 0
    else:
        ink[: rows[0] + rows[-1] - at] = 0
    return ink


def _turned_digits(rng: np.random.Generator, digits: Digits, fonts: list[Path]) -> Ink:
    """Turn a digit onto its side, mirror it, or hold it upside down: hand-made, and no digit."""
    del fonts
    way = rng.integers(3)
    digit = int(rng.choice(((2, 3, 5), (3, 7), (3, 7))[way]))
    image = _any_digit(digits, digit, rng)
    if way == 0:
        image = np.rot90(image, rng.choice([1, 3]))
    else:
        image = image[:, ::-1] if way == 1 else image[::-1, ::-1]
    return photos.enlarge(np.ascontiguousarray(image), rng)


def _pairs(rng: np.random.Generator, digits: Digits, fonts: list[Path]) -> Ink:
    """Put two or three digits side by side, touching or nearly so."""
    del fonts
    canvas = np.zeros((28, 84), dtype=np.uint8)
    at = 2
    for _ in range(2 if rng.random() < 0.8 else 3):
        image = _any_digit(digits, int(rng.integers(10)), rng)
        columns = np.flatnonzero((image > 60).any(axis=0))
        part = image[:, columns[0] : columns[-1] + 1]
        at = max(0, at)
        place_ = canvas[:, at : at + part.shape[1]]
        down = int(rng.integers(-3, 4))
        np.maximum(place_, np.roll(part, down, axis=0)[:, : place_.shape[1]], out=place_)
        at += part.shape[1] + int(rng.integers(-3, 3))
    return _squeezed(canvas, rng)


def _squeezed(wide: npt.NDArray[np.uint8], rng: np.random.Generator) -> Ink:
    from PIL import Image

    columns = np.flatnonzero(wide.any(axis=0))
    part = wide[:, columns[0] : columns[-1] + 1]
    scale = 92 / max(part.shape)
    size = (max(1, round(part.shape[1] * scale)), max(1, round(part.shape[0] * scale)))
    large = np.asarray(Image.fromarray(part).resize(size, Image.Resampling.BICUBIC))
    ink = np.zeros((CANVAS, CANVAS), dtype=np.float32)
    top, left = (CANVAS - large.shape[0]) // 2, (CANVAS - large.shape[1]) // 2
    ink[top : top + large.shape[0], left : left + large.shape[1]] = large
    return np.clip((ink - 90) / rng.uniform(20, 90) * 255 + 127, 0, 255).astype(np.float32)


def _noise(rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Give paper: noise of some coarseness, its brightest parts taken for ink."""
    coarse = rng.choice([0, 0.6, 1.0, 1.6, 2.4])
    field = rng.normal(0, 1, (40, 40))
    if coarse:
        field = ndimage.gaussian_filter(field, coarse)
    if rng.random() < 0.3:  # fibres
        field = ndimage.gaussian_filter1d(field, rng.uniform(1, 4), axis=int(rng.integers(2)))
    field /= field.std()
    ink = np.clip((field - rng.uniform(-0.5, 2.2)) * rng.uniform(60, 255), 0, 255)
    if rng.random() < 0.4:  # not placed: as a picture that is only texture
        return ink[:28, :28].astype(np.uint8)
    return photos.placed(ink)


def _blank(rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Give nothing, or nearly so: an even tone, or a few faint grey pixels."""
    kind = rng.integers(3)
    image = np.zeros((28, 28), dtype=np.float64)
    if kind == 1:
        image += rng.uniform(1, 255)
    elif kind == 2:
        image += rng.uniform(0, 40, image.shape) * (rng.random(image.shape) < rng.uniform(0.02, 1))
    return image.astype(np.uint8)


def _any_path(paths: dict[str, tuple[str, ...]], rng: np.random.Generator) -> str:
    forms = list(paths.values())[rng.integers(len(paths))]
    return forms[rng.integers(len(forms))]


def _any_digit(digits: Digits, digit: int, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    return digits[digit][rng.integers(len(digits[digit]))]


_Maker = Callable[[np.random.Generator, Digits, list[Path]], Ink]


def _unused(rng: np.random.Generator, digits: Digits, fonts: list[Path]) -> Ink:
    raise NotImplementedError  # drawn without an ink map


KINDS: dict[str, tuple[float, _Maker]] = {
    "font letters": (0.19, _font_letters),
    "drawn letters": (0.17, _drawn_letters),
    "other letters": (0.08, _other_letters),
    "invented letters": (0.06, _invented_letters),
    "signs": (0.07, _signs),
    "font signs": (0.03, _font_signs),
    "font words": (0.02, _font_words),
    "scribbles": (0.12, _scribbles),
    "lines": (0.05, _lines),
    "blobs": (0.03, _blobs),
    "dots": (0.02, _dots),
    "pieces": (0.04, _pieces),
    "turned digits": (0.04, _turned_digits),
    "pairs": (0.05, _pairs),
    "noise": (0.02, _unused),
    "blank": (0.01, _unused),
}
"""Each kind's share, and who draws it."""
