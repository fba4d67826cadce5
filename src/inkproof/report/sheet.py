"""Which images a report embeds, each once, and the one picture that holds them all."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from inkproof.report.inputs import LabelledImages, Material
from inkproof.results import Mistake

__all__ = [
    "FIRST_IMAGES",
    "Chosen",
    "RunImages",
    "Sheet",
    "choose",
]

BUDGET: Final = 1_500_000
"""Bytes of pixels that may be embedded; a picture of noise, which packs worst, takes as many."""
FIRST_IMAGES: Final = 6
"""So many test images, the first ones, are shown with what a run predicted for them."""
SAMPLES: Final = 5
RIGHT_A_CLASS: Final = 12
RIGHT_SHARE: Final = 0.3
LEAST_RIGHT: Final = 3
MOST_LISTED: Final = 6000
"""Mistakes of all runs together that a report lists."""
_MOST_PIXELS: Final = 64  # larger images are shown smaller
_BORDER: Final = 1  # repeats an image's edge, so that a neighbour does not shine through

Split = Literal["train", "test"]


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """One PNG with all embedded images in rows.

    Parameters
    ----------
    png : the file
    images : how many it holds
    width, height : of the PNG, pixels
    tile_width, tile_height : of one image
    columns : images in a row
    reduced : whether the images are shown smaller than they are
    """

    png: bytes
    images: int
    width: int
    height: int
    tile_width: int
    tile_height: int
    columns: int
    reduced: bool

    def place(self, number: int) -> tuple[int, int]:
        """Give the left and upper pixel of an embedded image."""
        row, column = divmod(number, self.columns)
        return (
            column * (self.tile_width + 2 * _BORDER) + _BORDER,
            row * (self.tile_height + 2 * _BORDER) + _BORDER,
        )

    def view_box(self, number: int) -> str:
        """Give the ``viewBox`` that shows one embedded image."""
        x, y = self.place(number)
        return f"{x} {y} {self.tile_width} {self.tile_height}"


@dataclass(frozen=True, kw_only=True)
class RunImages:
    """What of one run is embedded.

    Parameters
    ----------
    listed : its mistakes, the surest first, each with the number of its image in the sheet
    right : class -> test rows that it got right, each with the number of its image
    """

    listed: tuple[tuple[Mistake, int], ...]
    right: tuple[tuple[tuple[int, int], ...], ...]


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The embedded images.

    Parameters
    ----------
    samples : training rows and the numbers of their images in the sheet
    first : likewise the first test rows
    runs : in the order of ``Material.runs``
    """

    sheet: Sheet
    samples: tuple[tuple[int, int], ...]
    first: tuple[tuple[int, int], ...]
    runs: tuple[RunImages, ...]


class _Shelf:
    """Numbers images in the order in which they are first asked for, while there is room."""

    def __init__(self, material: Material) -> None:
        self._splits: dict[Split, LabelledImages] = {
            "train": material.data.train,
            "test": material.data.test,
        }
        height, width, channels = material.data.test.images.shape[1:]
        self.size = _shown_size(height, width)
        self.reduced = self.size != (height, width)
        self.bytes_each = self.size[0] * self.size[1] * channels
        self.room = max(2 * FIRST_IMAGES, BUDGET // self.bytes_each)
        self._numbers: dict[tuple[Split, int], int] = {}

    def number(self, split: Split, row: int) -> int | None:
        key = (split, row)
        if key not in self._numbers:
            if len(self._numbers) >= self.room:
                return None
            self._numbers[key] = len(self._numbers)
        return self._numbers[key]

    def __len__(self) -> int:
        return len(self._numbers)

    def numbered(self, split: Split, rows: list[int]) -> tuple[tuple[int, int], ...]:
        pairs = ((row, self.number(split, row)) for row in rows)
        return tuple((row, number) for row, number in pairs if number is not None)

    def sheet(self) -> Sheet:
        """Put them all into one picture."""
        tiles = [
            np.pad(
                _shown(self._splits[split].images[row], self.size),
                ((_BORDER, _BORDER), (_BORDER, _BORDER), (0, 0)),
                mode="edge",
            )
            for split, row in self._numbers
        ]
        height, width, channels = tiles[0].shape
        columns = max(1, math.ceil(math.sqrt(len(tiles) * height / width)))
        rows = math.ceil(len(tiles) / columns)
        picture = np.zeros((rows * height, columns * width, channels), dtype=np.uint8)
        for number, tile in enumerate(tiles):
            row, column = divmod(number, columns)
            picture[row * height : (row + 1) * height, column * width : (column + 1) * width] = tile
        out = io.BytesIO()
        Image.fromarray(picture[..., 0] if channels == 1 else picture).save(
            out, format="PNG", optimize=True
        )
        return Sheet(
            png=out.getvalue(),
            images=len(tiles),
            width=picture.shape[1],
            height=picture.shape[0],
            tile_width=width - 2 * _BORDER,
            tile_height=height - 2 * _BORDER,
            columns=columns,
            reduced=self.reduced,
        )


def choose(material: Material) -> Chosen:
    """Choose the images to embed: samples, some right ones, and as many mistakes as there is room.

    The runs' mistakes go in by turns, the surest of each run first, so that what is left out is
    what each run was least sure of.
    """
    shelf = _Shelf(material)
    samples = shelf.numbered("train", list(range(min(SAMPLES, len(material.data.train.labels)))))
    first = shelf.numbered("test", list(range(min(FIRST_IMAGES, len(material.data.test.labels)))))
    right = _right_ones(material, shelf)
    listed = _mistakes(material, shelf)
    return Chosen(
        sheet=shelf.sheet(),
        samples=samples,
        first=first,
        runs=tuple(
            RunImages(listed=tuple(of_run), right=right[place])
            for place, of_run in enumerate(listed)
        ),
    )


def _mistakes(material: Material, shelf: _Shelf) -> list[list[tuple[Mistake, int]]]:
    runs = [run for _, run in material.runs]
    listed: list[list[tuple[Mistake, int]]] = [[] for _ in runs]
    going = set(range(len(runs)))
    left = MOST_LISTED
    rank = 0
    while going and left > 0:
        for place in sorted(going):
            mistakes = runs[place].test.mistakes
            number = shelf.number("test", mistakes[rank].index) if rank < len(mistakes) else None
            if number is None or left == 0:
                going.discard(place)
                continue
            listed[place].append((mistakes[rank], number))
            left -= 1
        rank += 1
    return listed


def _right_ones(material: Material, shelf: _Shelf) -> list[tuple[tuple[tuple[int, int], ...], ...]]:
    """Pick, for each run and class, some images that the run got right: the first ones.

    Those that all runs got right come first, since one picture then serves all; a run that lacks
    some gets its own.
    """
    labels = np.asarray(material.data.test.labels)
    classes = len(material.result.data.class_names)
    room = int(RIGHT_SHARE * shelf.room) // max(1, classes)
    each = min(RIGHT_A_CLASS, room)
    wrong = [frozenset(mistake.index for mistake in run.test.mistakes) for _, run in material.runs]
    ever_wrong = np.zeros(len(labels), dtype=bool)
    ever_wrong[sorted(frozenset().union(*wrong))] = True
    shared = [_rows((labels == label) & ~ever_wrong, each) for label in range(classes)]
    chosen = []
    for of_run in wrong:
        wrong_here = np.zeros(len(labels), dtype=bool)
        wrong_here[sorted(of_run)] = True
        picked = []
        for label in range(classes):
            rows = shared[label]
            if len(rows) < min(LEAST_RIGHT, each) and len(shelf) < RIGHT_SHARE * shelf.room:
                rows = _rows((labels == label) & ~wrong_here, min(LEAST_RIGHT, each))
            picked.append(shelf.numbered("test", rows))
        chosen.append(tuple(picked))
    return chosen


def _rows(mask: npt.NDArray[np.bool_], most: int) -> list[int]:
    rows: list[int] = np.flatnonzero(mask)[:most].tolist()
    return rows


def _shown_size(height: int, width: int) -> tuple[int, int]:
    largest = max(height, width)
    if largest <= _MOST_PIXELS:
        return height, width
    return (
        max(1, round(height * _MOST_PIXELS / largest)),
        max(1, round(width * _MOST_PIXELS / largest)),
    )


def _shown(image: npt.NDArray[np.uint8], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    if image.shape[:2] == size:
        return image
    height, width = size
    picture = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
    small = np.asarray(picture.resize((width, height), Image.Resampling.BOX), dtype=np.uint8)
    return small.reshape(height, width, image.shape[2])
