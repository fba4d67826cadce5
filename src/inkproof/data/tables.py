"""CSV files: a row an image, one column the label and one for each pixel, 0-255."""

from __future__ import annotations

import csv
import itertools
import math
import re
import warnings
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from inkproof.data.assembly import Labelled
from inkproof.data.limits import MOST_BYTES, MOST_PIXELS
from inkproof.errors import DataError

__all__ = ["read_csv"]

_MOST_LINE: Final = 8 * MOST_PIXELS
_LABELS: Final = frozenset({"label", "labels", "class", "target", "digit", "y"})
_NUMBER: Final = re.compile(r"\s*[-+]?\d+(\.\d*)?\s*")
_NOT_A_BYTE: Final = re.compile(
    r"could not convert string (.*) to uint8 at row (\d+), column (\d+)"
)
_RAGGED: Final = re.compile(r"number of columns changed from (\d+) to (\d+) at row (\d+)")


def read_csv(path: Path) -> Labelled | None:
    """Read a CSV file: without a header the label comes first, else its name tells it.

    It is called ``label``, ``labels``, ``class``, ``target``, ``digit`` or ``y``. The number of
    pixel columns is a square: 784 for 28 x 28.

    Returns
    -------
    the images and labels, or None if all columns are pixels (Kaggle's test file)

    Raises
    ------
    DataError : not such a table; the message names the file's first wrong line
    """
    if path.stat().st_size > MOST_BYTES:
        raise DataError(
            f"{path}: expected at most {MOST_BYTES:,} bytes, got {path.stat().st_size:,}"
        )
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline(_MOST_LINE)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: expected CSV text in UTF-8: {error.reason}") from error
    names = [name.strip() for name in _cells(path, first)]
    column, has_header = _label_column(path, names)
    if column is None:
        return None
    side = _side(len(names) - 1)
    if not side:
        raise DataError(
            f"{path}: expected a label and a square number of pixels (785 columns for 28x28), "
            f"got {len(names)} column(s)"
        )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "loadtxt: input contained no data")
        try:
            table = np.loadtxt(
                path,
                dtype=np.uint8,
                delimiter=",",
                comments=None,
                skiprows=int(has_header),
                quotechar='"',
                ndmin=2,
                encoding="utf-8-sig",
            )
        except ValueError as error:
            raise DataError(_explained(path, str(error), names, has_header)) from error
    if not table.size:
        raise DataError(f"{path}: expected rows of numbers, got none")
    if table.shape[1] != len(names):
        raise DataError(
            f"{path}: expected {len(names)} columns as in its header, got {table.shape[1]}"
        )
    pixels = np.delete(table, column, axis=1)
    return Labelled(
        images=pixels.reshape(-1, side, side),
        labels=table[:, column].astype(np.int64),
        images_from=str(path),
        labels_from=str(path),
        line_of=partial(_line_of, path, has_header),
    )


def _cells(path: Path, line: str) -> list[str]:
    if not line.strip():
        raise DataError(f"{path}: expected a table of labels and pixels, got an empty first line")
    try:
        return next(csv.reader([line]))
    except csv.Error as error:
        raise DataError(f"{path}: expected a CSV table: {error}") from error


def _label_column(path: Path, names: list[str]) -> tuple[int | None, bool]:
    """Find the label's column, None if all are pixels; and whether the first line is a header."""
    labels = [number for number, name in enumerate(names) if name.lower() in _LABELS]
    # A row with one bad cell must not pass for a header: it would be lost without a word.
    has_header = bool(labels) or not any(_NUMBER.fullmatch(name) for name in names)
    if len(names) == 1:
        raise DataError(f"{path}: expected columns separated by commas, got one column")
    if labels:
        return labels[0], True
    if _side(len(names)):
        return None, has_header
    if has_header and _side(len(names) - 1):
        raise DataError(
            f"{path}: expected a column 'label' in its header, "
            f"got {names[0][:40]!r} to {names[-1][:40]!r}"
        )
    return 0, has_header


def _side(pixels: int) -> int:
    side = math.isqrt(max(pixels, 0))
    return side if side * side == pixels and pixels <= MOST_PIXELS else 0


def _line_of(path: Path, has_header: bool, row: int) -> int:
    """Give the file's line, from 1, of a row from 0; neither header nor blank lines are rows."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        reader = csv.reader(file)
        try:
            rows = (number for cells in reader if (number := reader.line_num) and cells)
            return next(itertools.islice(rows, row + has_header, None))
        except (csv.Error, StopIteration):  # NumPy and csv do not agree on what the rows are
            return row + has_header + 1


def _explained(path: Path, message: str, names: list[str], has_header: bool) -> str:
    """Say in our words, and with the file's line, what NumPy says of a row from 0."""
    if found := _NOT_A_BYTE.search(message):
        text, row, column = found.groups()
        number = int(column)
        named = f" ({names[number - 1].strip()[:40]!r})" if has_header else ""
        return (
            f"{path}:{_line_of(path, has_header, int(row))}: expected whole numbers 0 to 255, "
            f"got {text[:40]} in column {number}{named}"
        )
    if found := _RAGGED.search(message):
        expected, got, row = found.groups()
        line = _line_of(path, has_header, int(row) - 1)
        return f"{path}:{line}: expected {expected} columns, got {got}"
    return f"{path}: expected rows of whole numbers 0 to 255: {' '.join(message.split())}"
