"""How much a source may ask for, checked before memory is taken for it."""

from __future__ import annotations

import math
from typing import Final

__all__ = [
    "MOST_BYTES",
    "MOST_CLASSES",
    "MOST_PIXELS",
    "extent",
    "shape_text",
]

MOST_BYTES: Final = 4 * 2**30
"""Bytes of one array of images or labels."""

MOST_PIXELS: Final = 2**20
"""Pixels of one image, width times height."""

MOST_CLASSES: Final = 1000
"""Classes of a data set whose labels are numbers."""


def extent(shape: tuple[int, ...]) -> int:
    """Multiply the lengths, a 0 as 1: NumPy refuses an empty array of 0 x 2**40 x 2**40, too."""
    return math.prod(max(length, 1) for length in shape)


def shape_text(shape: tuple[int, ...]) -> str:
    """Write a shape or a size: ``60000x28x28``."""
    return "x".join(map(str, shape))
