"""A page read: all its digits in reading order, with boxes and certainty."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from inkproof.photo.find import Box, Piece, group, pieces_of, written
from inkproof.photo.ink import Array, grey_levels, median, page_ink, shrunk
from inkproof.photo.normalise import full_ink, normalise_digit, place_ink
from inkproof.photo.pixels import padded

if TYPE_CHECKING:
    from inkproof.photo.reader import Reader, Reading

__all__ = ["UNSURE", "DigitReading", "FoundDigit", "PageReading", "read_digit", "read_page"]

UNSURE: Final = 0.9
"""Digits that are less probable are marked."""
_LONGEST: Final = 2000  # pixels of the side on which ink is looked for
_CUTS: Final = 7  # places at which touching digits are tried apart
_MOST_AT_ONCE: Final = 4
_ENOUGH: Final = 8
# Of the ink of pages of MNIST's training digits, at least 0.94 reads surely where the page is
# upright, at most 0.7 where it is turned by 90, 180 or 270 degrees, and of letters at most 0.67
# however they lie; turned back by the right one of these, at least 0.82.
_MOSTLY: Final = 0.75
_LOOKED_AT: Final = 100  # pieces at least, of more: to see how a page lies


@dataclass(frozen=True, kw_only=True)
class DigitReading:
    """What a picture with one digit holds.

    Parameters
    ----------
    image : uint8 (28, 28), what the model saw; None where there is no ink
    reading : None where there is no ink
    """

    image: npt.NDArray[np.uint8] | None
    reading: Reading | None


@dataclass(frozen=True, kw_only=True)
class FoundDigit:
    """A digit on a page.

    Parameters
    ----------
    box : (left, top, right, bottom) in the turned picture's pixels
    line : from 0, from top to bottom
    number : from 0, over the whole page: digits that stand close together are one number
    image : uint8 (28, 28), what the model saw
    reading : what it read
    """

    box: Box
    line: int
    number: int
    image: npt.NDArray[np.uint8]
    reading: Reading

    @property
    def unsure(self) -> bool:
        """Whether the digit is less probable than :data:`UNSURE`."""
        return self.reading.probability < UNSURE

    def record(self) -> dict[str, Any]:
        """Give it as JSON values."""
        return {
            "line": self.line + 1,
            "number": self.number + 1,
            "digit": self.reading.digit,
            "probability": round(self.reading.probability, 6),
            "runner_up": self.reading.runner_up,
            "runner_up_probability": round(self.reading.runner_up_probability, 6),
            "unsure": self.unsure,
            "left": self.box[0],
            "top": self.box[1],
            "right": self.box[2],
            "bottom": self.box[3],
        }


@dataclass(frozen=True, kw_only=True)
class PageReading:
    """All digits of a page, in reading order.

    Parameters
    ----------
    width, height : of the turned picture, in pixels
    digits : in reading order
    turned : by how many degrees with the clock the page seems to lie: 0, 90, 180 or 270; what was
        read of a page that is not at 0 is worth nothing
    """

    width: int
    height: int
    digits: tuple[FoundDigit, ...]
    turned: int = 0

    @property
    def lines(self) -> list[str]:
        """The page's lines: numbers with a space between them."""
        result: list[str] = []
        before: FoundDigit | None = None
        for found in self.digits:
            if before is None or found.line != before.line:
                result.append("")
            elif found.number != before.number:
                result[-1] += " "
            result[-1] += str(found.reading.digit)
            before = found
        return result

    @property
    def text(self) -> str:
        """The lines as one text."""
        return "\n".join(self.lines)

    def to_json(self) -> dict[str, Any]:
        """Give it as JSON values."""
        return {
            "width": self.width,
            "height": self.height,
            "text": self.text,
            "digits": [found.record() for found in self.digits],
        }


def read_digit(
    picture: npt.NDArray[np.uint8], reader: Reader, *, deslant: bool = False
) -> DigitReading:
    """Read a picture with one digit.

    Parameters
    ----------
    picture : uint8 (height, width) or (height, width, 3)
    reader : the model
    deslant : make the digit upright first

    Returns
    -------
    what the model saw, and what it read
    """
    image = normalise_digit(picture, deslant=deslant)
    if image is None:
        return DigitReading(image=None, reading=None)
    return DigitReading(image=image, reading=reader.read(image[np.newaxis])[0])


def read_page(
    picture: npt.NDArray[np.uint8], reader: Reader, *, deslant: bool = False
) -> PageReading:
    """Read all digits of a page; what is no digit is left out.

    The page must be upright: tilted by no more than about 15 degrees.

    Parameters
    ----------
    picture : uint8 (height, width) or (height, width, 3)
    reader : the model
    deslant : make each digit upright first

    Returns
    -------
    the digits in reading order
    """
    height, width = picture.shape[:2]
    empty = PageReading(width=width, height=height, digits=())
    grey, factor = shrunk(grey_levels(picture), _LONGEST)
    if min(grey.shape) < 8:
        return empty
    found = page_ink(grey)
    if found is None:
        return empty
    mask, tilt = written(found)
    pieces = _inside(pieces_of(mask), mask.shape)
    if not pieces:
        return empty
    # A few digits do not tell how the page lies.
    upright = _Upright(
        degrees=tilt if len(pieces) >= _ENOUGH and abs(tilt) >= 1 else 0.0, deslant=deslant
    )
    seen = [_seen(found.ink, piece, upright) for piece in pieces]
    readings = reader.read(np.stack(seen))
    turned = _turned(seen, readings, reader)
    read = list(zip(pieces, seen, readings, strict=True))
    read = _split(read, found.ink, reader, upright)
    kept = [one for one in read if one[2].is_digit]
    boxes = [piece.box for piece, _, _ in kept]
    digits = []
    for index, line, number in group(boxes, tilt):
        piece, image, reading = kept[index]
        left, top, right, bottom = (round(edge * factor) for edge in piece.box)
        digits.append(
            FoundDigit(
                box=(left, top, min(right, width), min(bottom, height)),
                line=line,
                number=number,
                image=image,
                reading=reading,
            )
        )
    return PageReading(width=width, height=height, digits=tuple(digits), turned=turned)


def _turned(seen: list[npt.NDArray[np.uint8]], readings: Sequence[Reading], reader: Reader) -> int:
    """Say how a page seems to lie: 90, 180 or 270 where its ink reads well only turned back."""
    if len(seen) < _ENOUGH or _sure(readings) >= _MOSTLY:
        return 0
    some = np.stack(seen[:: max(1, len(seen) // _LOOKED_AT)])
    shares = [
        _sure(reader.read(np.ascontiguousarray(np.rot90(some, quarters, axes=(1, 2)))))
        for quarters in (1, 2, 3)
    ]
    best = int(np.argmax(shares))
    return 90 * (best + 1) if shares[best] >= _MOSTLY else 0


def _sure(readings: Sequence[Reading]) -> float:
    """Give the share that is a digit, and surely which."""
    return float(np.mean([one.is_digit and one.probability >= UNSURE for one in readings]))


def _inside(pieces: list[Piece], shape: tuple[int, ...]) -> list[Piece]:
    """Leave out what the picture's edge cuts, such as ends of lines, where there is enough else."""
    height, width = shape
    whole = [
        piece
        for piece in pieces
        if piece.box[0] > 0 and piece.box[1] > 0 and piece.box[2] < width and piece.box[3] < height
    ]
    return whole if len(whole) >= _ENOUGH else pieces


@dataclass(frozen=True, kw_only=True)
class _Upright:
    """How digits are made upright: turned by so many degrees against the clock, and sheared."""

    degrees: float
    deslant: bool


_Read = tuple[Piece, npt.NDArray[np.uint8], "Reading"]


def _seen(ink: Array, piece: Piece, upright: _Upright) -> npt.NDArray[np.uint8]:
    """Show a piece as the model sees it: turned back by the page's tilt, placed as in MNIST."""
    from PIL import Image

    left, top, right, bottom = piece.box
    cut = padded(ink[top:bottom, left:right], 1, 1)
    own = full_ink(cut, padded(piece.mask, 1, 1))
    if upright.degrees:
        image = Image.fromarray(own)
        own = np.asarray(
            image.rotate(upright.degrees, Image.Resampling.BILINEAR, expand=True), dtype=np.float32
        )
    return place_ink(own, deslant=upright.deslant)


def _split(read: list[_Read], ink: Array, reader: Reader, upright: _Upright) -> list[_Read]:
    """Cut pieces that may be several digits, where the parts read better than the whole."""
    heights = np.array([piece.height for piece, _, _ in read], dtype=np.float64)
    usual = median(heights)
    result: list[_Read] = []
    waiting = [(one, _MOST_AT_ONCE - 1) for one in read]
    while waiting:
        one, depth = waiting.pop()
        piece, _, reading = one
        wide = piece.width > 0.85 * usual and piece.width > 0.75 * piece.height
        doubtful = not reading.is_digit or _score(reading) < math.log(0.6)
        if depth < 1 or not ((wide and doubtful) or piece.width > 1.5 * usual):
            result.append(one)
            continue
        options = [
            parts for cut in _cuts(piece) if (parts := _apart(piece, cut, usual)) is not None
        ]
        if not options:
            result.append(one)
            continue
        images = [_seen(ink, part, upright) for parts in options for part in parts]
        readings = reader.read(np.stack(images))
        scores = [
            min(_score(readings[2 * n]), _score(readings[2 * n + 1])) for n in range(len(options))
        ]
        several = piece.width > 1.9 * usual  # three or more: one side must read well
        if several:
            scores = [
                max(_score(readings[2 * n]), _score(readings[2 * n + 1]))
                for n in range(len(options))
            ]
        best = int(np.argmax(scores))
        own = _score(reading) if reading.is_digit else -20.0
        # One digit may be badly written; two that hang together are wide, and each reads well.
        needed = math.log(0.5) if piece.width > 1.2 * usual else math.log(0.9)
        if scores[best] > max(own + math.log(1.2), needed):
            for side in (0, 1):
                row = 2 * best + side
                waiting.append(((options[best][side], images[row], readings[row]), depth - 1))
        else:
            result.append(one)
    return result


def _score(reading: Reading) -> float:
    """Give the logarithm of the probability of being a digit, and this one."""
    ink = 1.0 if reading.ink is None else reading.ink
    return math.log(max(reading.probability * ink, 1e-9))


def _cuts(piece: Piece) -> list[int]:
    """Give columns at which little ink would be cut, away from the sides."""
    counts = piece.mask.sum(axis=0).astype(np.float64)
    margin = max(2, piece.width // 6)
    inner = np.arange(margin, piece.width - margin)
    if inner.size == 0:
        return []
    cost = np.convolve(counts, np.ones(3) / 3, mode="same")
    chosen: list[int] = []
    for column in inner[np.argsort(cost[inner], kind="stable")].tolist():
        if all(abs(column - other) > piece.width // 12 for other in chosen):
            chosen.append(column)
        if len(chosen) == _CUTS:
            break
    return chosen


def _apart(piece: Piece, column: int, usual: float) -> tuple[Piece, Piece] | None:
    parts: list[Piece] = []
    for begin, end in ((0, column), (column, piece.width)):
        cut = piece.mask[:, begin:end]
        rows, columns = np.flatnonzero(cut.any(axis=1)), np.flatnonzero(cut.any(axis=0))
        # Digits of one number are about as tall; a serif or an arm is not.
        if rows.size == 0 or rows[-1] - rows[0] < max(0.4 * usual, 0.7 * piece.height):
            return None
        top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
        parts.append(
            Piece(
                box=(
                    piece.box[0] + begin + int(left),
                    piece.box[1] + int(top),
                    piece.box[0] + begin + int(right),
                    piece.box[1] + int(bottom),
                ),
                mask=cut[top:bottom, left:right],
            )
        )
    return parts[0], parts[1]
