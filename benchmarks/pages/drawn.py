"""Digits drawn by other means than MNIST: fonts that imitate handwriting, strokes by script."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from pages.sheet import Glyph

# (Debian package, file). fonts-femkeklaver is left out: its digits are hatched outlines, as nobody
# writes with a pen; about half of them are not found.
FONTS = (
    ("fonts-breip", "/usr/share/fonts/truetype/breip/Breip.ttf"),
    ("fonts-bwht", "/usr/share/fonts/opentype/bwht/BecauseWeLearn-Regular.otf"),
    ("fonts-bwht", "/usr/share/fonts/opentype/bwht/BecauseWeMentor-Regular.otf"),
    ("fonts-bwht", "/usr/share/fonts/opentype/bwht/BecauseWeBuild-Regular.otf"),
    ("fonts-dkg-handwriting", "/usr/share/fonts/truetype/fifthhorseman/dkg.ttf"),
    ("fonts-humor-sans", "/usr/share/fonts/truetype/humor-sans/Humor-Sans.ttf"),
    ("fonts-klee", "/usr/share/fonts/truetype/klee/KleeOne-Regular.ttf"),
    ("fonts-kristi", "/usr/share/fonts/truetype/kristi/Kristi.ttf"),
    ("fonts-rufscript", "/usr/share/fonts/truetype/rufscript/Rufscript010.ttf"),
    ("fonts-sjfonts", "/usr/share/fonts/truetype/sjfonts/SteveHand.ttf"),
    ("fonts-sjfonts", "/usr/share/fonts/truetype/sjfonts/Delphine.ttf"),
    ("fonts-dancingscript", "/usr/share/fonts/opentype/dancingscript/DancingScript-Regular.otf"),
)

# Strokes on a field of 10 x 16: corners of polylines, made round when they are drawn.
STROKES: dict[int, tuple[tuple[tuple[float, float], ...], ...]] = {
    0: (((5, 0), (1, 3), (0, 8), (1, 13), (5, 16), (9, 13), (10, 8), (9, 3), (5, 0)),),
    1: (((2, 4), (6, 0), (6, 16)),),
    2: (((0, 4), (2, 0.5), (6, 0), (9, 3), (8, 7), (0, 16), (10, 16)),),
    3: (((1, 1), (6, 0), (9, 3), (7, 7), (4, 8), (8, 9), (10, 12), (7, 16), (0, 15)),),
    4: (((6, 0), (0, 10), (10, 10)), ((8, 5), (8, 16))),
    5: (((9, 0), (1.5, 0), (1, 7), (6, 6.5), (10, 10), (8, 15), (3, 16), (0, 14)),),
    6: (((8, 0), (3, 4), (0, 10), (2, 15), (6, 16), (10, 12), (7, 8.5), (3, 9), (0, 12)),),
    7: (((0, 0), (10, 0), (5, 8), (4, 16)),),
    8: (
        (
            *((8, 2), (5, 0), (1, 2), (2, 6), (8, 9), (10, 13)),
            *((6, 16), (1, 14), (1, 10), (7, 7), (9, 4), (8, 2)),
        ),
    ),
    9: (((9, 4), (6, 0), (1, 2), (1, 6), (5, 8), (9, 4), (9.3, 5), (8, 16)),),
}


def present() -> tuple[list[str], list[str]]:
    """Give the fonts that are there, and the packages of those that are not."""
    there = [path for _, path in FONTS if Path(path).is_file()]
    return there, sorted({package for package, path in FONTS if not Path(path).is_file()})


def font_glyph(fonts: list[str]) -> tuple[npt.NDArray[np.int64], Glyph]:
    """Draw with fonts: labels of the rows, ten a font, and what draws them."""

    def draw(rng: np.random.Generator, row: int, height: int) -> npt.NDArray[np.float32]:
        font = ImageFont.truetype(fonts[row // 10], 4 * height)
        field = Image.new("L", (8 * height, 10 * height))
        ImageDraw.Draw(field).text((2 * height, 2 * height), str(row % 10), fill=255, font=font)
        cut = field.crop(field.getbbox())
        width = max(1, round(cut.width * height / cut.height))
        shear = float(rng.uniform(-0.12, 0.12))
        side = round(abs(shear) * cut.height)
        wide = Image.new("L", (cut.width + 2 * side, cut.height))
        wide.paste(cut, (side, 0))
        wide = wide.transform(
            wide.size,
            Image.Transform.AFFINE,
            (1, shear, -shear * cut.height / 2, 0, 1, 0),
            Image.Resampling.BILINEAR,
        )
        width = max(1, round(wide.width * height / wide.height))
        small = wide.resize((width, height), Image.Resampling.BOX)
        return np.asarray(small, dtype=np.float32) / 255

    return np.tile(np.arange(10), len(fonts)), draw


def stroke_glyph() -> tuple[npt.NDArray[np.int64], Glyph]:
    """Draw with strokes whose corners are moved at random, with a round pen."""

    def draw(rng: np.random.Generator, row: int, height: int) -> npt.NDArray[np.float32]:
        scale = 4 * height / 20
        pen = float(rng.uniform(1.2, 2.6)) * scale
        turn = np.radians(rng.uniform(-7, 7))
        matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        matrix = matrix @ np.array([[rng.uniform(0.75, 1.15), rng.uniform(-0.25, 0.1)], [0, 1]])
        field = Image.new("L", (6 * height, 6 * height))
        brush = ImageDraw.Draw(field)
        for stroke in STROKES[row]:
            corners = np.array(stroke) + rng.normal(scale=0.4, size=(len(stroke), 2))
            line = _round(corners) @ matrix.T * scale + [1.6 * height, height]
            brush.line([tuple(point) for point in line], fill=255, width=max(1, round(pen)))
            for x, y in line[:: max(1, len(line) // 60)]:
                brush.ellipse((x - pen / 2, y - pen / 2, x + pen / 2, y + pen / 2), fill=255)
        cut = field.crop(field.getbbox())
        width = max(1, round(cut.width * height / cut.height))
        return np.asarray(cut.resize((width, height), Image.Resampling.BOX), np.float32) / 255

    return np.arange(10), draw


def _round(corners: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Cut corners twice (Chaikin 1974); ends stay."""
    points = corners
    for _ in range(2):
        first = 0.75 * points[:-1] + 0.25 * points[1:]
        second = 0.25 * points[:-1] + 0.75 * points[1:]
        middle = np.stack([first, second], axis=1).reshape(-1, 2)
        points = np.concatenate([points[:1], middle, points[-1:]])
    return points
