"""A page with what was read drawn into it."""

from __future__ import annotations

import io
from typing import Final

import numpy as np
import numpy.typing as npt

from inkproof.photo.page import PageReading

__all__ = ["annotated_png"]

# Blue and orange differ for colour-blind people, too; unsure boxes are also doubled and have a "?".
_SURE: Final = (0, 92, 185)
_UNSURE: Final = (213, 94, 0)
_LONGEST: Final = 2400


def annotated_png(picture: npt.NDArray[np.uint8], page: PageReading) -> bytes:
    """Draw the boxes, digits and probabilities of a page; unsure ones are marked.

    Parameters
    ----------
    picture : uint8 (height, width, 3), the page as it was read
    page : what was read

    Returns
    -------
    a PNG file; large pictures are made smaller
    """
    from matplotlib import font_manager
    from PIL import Image, ImageDraw, ImageFont

    image = Image.fromarray(picture).convert("RGB")
    scale = min(1.0, _LONGEST / max(image.size))
    if scale < 1:
        width, height = (max(1, round(side * scale)) for side in image.size)
        image = image.resize((width, height))
    draw = ImageDraw.Draw(image)
    heights = [found.box[3] - found.box[1] for found in page.digits]
    usual = float(np.median(heights)) * scale if heights else 20.0
    size = int(min(max(usual * 0.3, 11), 40))
    path = font_manager.findfont("DejaVu Sans")
    font = ImageFont.truetype(path, size)
    small = ImageFont.truetype(path, max(9, int(size * 0.62)))
    line = max(1, size // 10)
    for found in page.digits:
        left, top, right, bottom = (round(edge * scale) for edge in found.box)
        colour = _UNSURE if found.unsure else _SURE
        box = (left - 2 * line, top - 2 * line, right + 2 * line, bottom + 2 * line)
        draw.rectangle(box, outline=colour, width=2 * line if found.unsure else line)
        label = f"{found.reading.digit}{'?' if found.unsure else ''}"
        share = f"{100 * found.reading.probability:.0f}"
        where = draw.textbbox((0, 0), label, font=font)
        share_where = draw.textbbox((0, 0), share, font=small)
        wide = where[2] + share_where[2] + 3 * line
        y = box[1] - size - 3 * line
        if y < 0:
            y = box[3]
        x = min(max(box[0], 0), max(0, image.width - wide))
        draw.rectangle((x, y, x + wide, y + size + 3 * line), fill=colour)
        draw.text((x + line, y), label, fill="white", font=font)
        draw.text((x + where[2] + 2 * line, y + size * 0.35), share, fill="white", font=small)
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()
