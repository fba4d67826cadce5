"""From an ink map of any size to 28 x 28, as MNIST was made."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

__all__ = ["place"]

_FAINT = 0.15  # of the strongest ink: less does not count for the box
_BOX = 20
_SIDE = 28


def place(ink: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Crop an ink map, scale it into 20 x 20, and centre its mass in 28 x 28.

    LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document recognition",
    Proceedings of the IEEE 86 (1998), section III.A: the aspect ratio is kept, the grey levels
    come from anti-aliasing, the centre of mass goes to the centre of the 28 x 28 field. Here that
    is 13.5, the middle of the pixels 0 to 27; in MNIST's files it lies at 14.0 on average. Half a
    pixel is within what moving by whole pixels leaves, and training moves images by one besides.

    Parameters
    ----------
    ink : (height, width), 0 paper to 255 full ink

    Returns
    -------
    uint8 (28, 28); all 0 where there is no ink
    """
    values = np.clip(np.asarray(ink, dtype=np.float32), 0, 255)
    result = np.zeros((_SIDE, _SIDE), dtype=np.uint8)
    strong = values > max(_FAINT * float(values.max(initial=0)), 8.0)
    if not strong.any():
        return result
    rows, columns = np.flatnonzero(strong.any(axis=1)), np.flatnonzero(strong.any(axis=0))
    cut = values[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    scale = _BOX / max(cut.shape)
    height, width = (max(1, round(side * scale)) for side in cut.shape)
    small = np.asarray(
        Image.fromarray(cut).resize(
            (width, height), Image.Resampling.BOX if scale < 1 else Image.Resampling.BILINEAR
        )
    )
    mass = float(small.sum())
    down = float((small.sum(axis=1) * np.arange(height)).sum()) / mass
    right = float((small.sum(axis=0) * np.arange(width)).sum()) / mass
    top = min(max(round((_SIDE - 1) / 2 - down), 0), _SIDE - height)
    left = min(max(round((_SIDE - 1) / 2 - right), 0), _SIDE - width)
    result[top : top + height, left : left + width] = np.rint(small).astype(np.uint8)
    return result
