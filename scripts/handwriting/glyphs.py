"""Glyphs of fonts as ink maps."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from handwriting.pens import CANVAS, Ink

__all__ = ["TRAINING_FONTS", "glyph", "has_glyph", "training_font_files"]

TRAINING_FONTS = (
    *("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSansMono"),
    *("DejaVuSansMono-Bold", "DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic"),
    *("STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta"),
    *("cmr10", "cmss10", "cmtt10", "cmti10", "cmb10"),
)
"""Those that come with Matplotlib, so that every machine draws the same."""


def training_font_files() -> list[Path]:
    """Find the training fonts inside Matplotlib."""
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return [folder / f"{name}.ttf" for name in TRAINING_FONTS]


@lru_cache(maxsize=512)
def _font(path: Path, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(path), size)


@lru_cache(maxsize=4096)
def has_glyph(path: Path, text: str) -> bool:
    """Whether a font draws all characters, each as something of its own, not as a box."""
    font = _font(path, 32)
    missing = bytes(font.getmask("\U0010fffe"))
    return all(
        bytes(font.getmask(c)) != missing and font.getmask(c).getbbox() is not None for c in text
    )


def glyph(path: Path, text: str, rng: np.random.Generator) -> Ink:
    """Draw a character, or a few, in the middle of the canvas.

    Returns
    -------
    float32 (112, 112), 0 to 255; its longer side is about 70 pixels
    """
    size = 64
    font = _font(path, size)
    left, top, right, bottom = font.getbbox(text)
    longest = max(right - left, bottom - top, 8)
    font = _font(path, max(8, round(size * rng.uniform(64, 76) / longest / 8) * 8))
    left, top, right, bottom = font.getbbox(text)
    image = Image.new("L", (CANVAS, CANVAS))
    at = ((CANVAS - right + left) / 2 - left, (CANVAS - bottom + top) / 2 - top)
    ImageDraw.Draw(image).text(at, text, fill=255, font=font)
    return np.asarray(image, dtype=np.float32)
