"""How much a source may ask for, checked before memory is taken for it."""

from __future__ import annotations

import math
import unicodedata
from typing import Final

__all__ = [
    "LONGEST_NAME",
    "MOST_BYTES",
    "MOST_CLASSES",
    "MOST_PIXELS",
    "extent",
    "is_class_name",
    "shape_text",
]

MOST_BYTES: Final = 4 * 2**30
"""Bytes of one array of images or labels."""

MOST_PIXELS: Final = 2**20
"""Pixels of one image, width times height."""

MOST_CLASSES: Final = 1000
"""Classes of a data set whose labels are numbers."""

LONGEST_NAME: Final = 100
"""Characters of a class's name."""


def is_class_name(name: str) -> bool:
    """Tell whether a model can have a class of this name: no control characters, and all UTF-8."""
    return 1 <= len(name) <= LONGEST_NAME and not any(
        unicodedata.category(character) in ("Cc", "Cs") for character in name
    )


def extent(shape: tuple[int, ...]) -> int:
    """Multiply the lengths, a 0 as 1: NumPy refuses an empty array of 0 x 2**40 x 2**40, too."""
    return math.prod(max(length, 1) for length in shape)


def shape_text(shape: tuple[int, ...]) -> str:
    """Write a shape or a size: ``60000x28x28``."""
    return "x".join(map(str, shape))
