"""How much a source may ask for, checked before memory is taken for it."""

from __future__ import annotations

from typing import Final

__all__ = ["MOST_BYTES", "MOST_CLASSES", "MOST_PIXELS", "shape_text"]

MOST_BYTES: Final = 4 * 2**30
"""Bytes of one array of images or labels."""

MOST_PIXELS: Final = 2**20
"""Pixels of one image, width times height."""

MOST_CLASSES: Final = 1000
"""Classes of a data set whose labels are numbers."""


def shape_text(shape: tuple[int, ...]) -> str:
    """Write a shape or a size: ``60000x28x28``."""
    return "x".join(map(str, shape))
