"""Histories that others have published, to draw behind one's own.

``published.csv`` holds the two histories of the well-known exercise: 784-500-500-10 ("500x2") and
784-512-512-512-10 ("512x3"), 30 epochs each, one run each, trained with Keras and printed in its
notebook with four decimals.
"""

from __future__ import annotations

import csv
import functools
from pathlib import Path
from typing import Final

__all__ = ["histories"]

_COLUMNS: Final = ("loss", "accuracy", "val_loss", "val_accuracy", "seconds")


@functools.cache
def histories() -> dict[str, dict[str, list[float]]]:
    """Give each published network's columns: name -> column -> one number an epoch."""
    found: dict[str, dict[str, list[float]]] = {}
    text = Path(__file__).with_name("published.csv").read_text(encoding="ascii")
    for row in csv.DictReader(text.splitlines()):
        columns = found.setdefault(row["model"], {name: [] for name in _COLUMNS})
        for name in _COLUMNS:
            columns[name].append(float(row[name]))
    return found
