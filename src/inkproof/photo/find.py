"""Where the digits of a page are: ruling removed, pieces joined, lines and numbers told apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from inkproof.photo.ink import InkMap, median
from inkproof.photo.pixels import (
    binary_closing,
    label,
    maximum_filter1d,
    minimum_filter1d,
    profile_sharpness,
)

__all__ = ["Piece", "group", "pieces_of", "without_ruling", "written"]

Mask = npt.NDArray[np.bool_]
Box = tuple[int, int, int, int]
_Place = tuple[slice, slice]

_RULE_SPAN: Final = 0.3  # of the page's width: what a line of the paper takes at least
_TILTS: Final = np.arange(-15, 15.01, 0.25)
_NESTED: Final = 0.85  # of a box inside another: more is a part of it
_MOST_PIECES: Final = 5000
_DARKER: Final = (0.5, 0.65, 0.8, 1.0, 1.2)  # of the full ink
_MOST_HOLES: Final = 4  # of ink that hangs together: two touching eights
_LONG: Final = 0.25  # of the page's width or height, and flat: written ink is not


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Ink that may be one digit.

    Parameters
    ----------
    box : (left, top, right, bottom) in the ink map
    mask : bool (bottom - top, right - left), its own ink
    """

    box: Box
    mask: Mask

    @property
    def height(self) -> int:
        """Of its box."""
        return self.box[3] - self.box[1]

    @property
    def width(self) -> int:
        """Of its box."""
        return self.box[2] - self.box[0]


def written(found: InkMap) -> tuple[Mask, float]:
    """Give the ink without the paper's ruled or squared lines.

    Where lines are so pale that only patches of them count as ink, they are not straight and long
    enough to be found as such. What then hangs together like a net keeps only its darker ink: paper
    is printed paler than one writes.

    Parameters
    ----------
    found : the page's ink

    Returns
    -------
    bool (height, width), and the page's tilt in degrees: positive if lines fall to the right
    """
    mask, tilt = without_ruling(found.mask)
    for level in _DARKER:
        nets = _nets(mask)
        if not nets.any():
            break
        mask = mask & ~(nets & (found.ink <= level))
    return mask, tilt


def without_ruling(mask: Mask) -> tuple[Mask, float]:
    """Take straight lines away, and mend strokes that crossed them.

    Parameters
    ----------
    mask : bool (height, width)

    Returns
    -------
    the mask without lines, and the page's tilt in degrees: positive if lines fall to the right
    """
    tilt = _tilt(mask)
    across = _lines(mask, tilt)
    down = _lines(np.ascontiguousarray(mask.T), -tilt).T
    lines = across | down
    if not lines.any():
        return mask, tilt
    left = mask & ~lines
    # A stroke that crosses a line goes on at its other side.
    mended = left
    for lines_of, shape in ((across, (True, False)), (down, (False, True))):
        if lines_of.any():
            thick = _thickness(lines_of if shape[0] else lines_of.T) + 3
            bar = (thick, 3) if shape[0] else (3, thick)
            mended = mended | (binary_closing(left, bar) & lines_of)
    return mended, tilt


def _nets(mask: Mask) -> Mask:
    """Give what hangs together and has many holes, or is long and flat."""
    found = label(mask)
    net = np.zeros(found.count + 1, dtype=bool)
    for number, (top, left, bottom, right) in enumerate(found.boxes.tolist(), start=1):
        height, width = bottom - top, right - left
        long = height > _LONG * mask.shape[0] or width > _LONG * mask.shape[1]
        if long and max(height, width) > 4 * min(height, width):
            net[number] = True
        elif min(height, width) > 2 * _MOST_HOLES:
            paper = np.ones((height + 2, width + 2), dtype=bool)
            paper[1:-1, 1:-1] = found.labels[top:bottom, left:right] != number
            net[number] = label(paper, neighbours=4).count - 1 > _MOST_HOLES
    return found.select(net)


def pieces_of(mask: Mask) -> list[Piece]:
    """Find what hangs together, join the pieces of one digit, and leave dirt out.

    Parameters
    ----------
    mask : bool (height, width)

    Returns
    -------
    pieces, in no order
    """
    components = label(mask)
    boxes: list[tuple[Box, list[int]]] = []
    large = np.maximum(*(components.boxes[:, 2:] - components.boxes[:, :2]).T) >= 5
    for index in np.flatnonzero(large & (components.areas >= 8)).tolist():
        top, left, bottom, right = components.boxes[index].tolist()
        boxes.append(((left, top, right, bottom), [index + 1]))
    boxes.sort(key=lambda item: -(item[0][3] - item[0][1]))
    boxes = boxes[:_MOST_PIECES]
    if not boxes:
        return []
    heights = np.array([box[3] - box[1] for box, _ in boxes], dtype=np.float64)
    typical = _typical(heights)
    whole = [item for item in boxes if item[0][3] - item[0][1] >= 0.5 * typical]
    for small in boxes[len(whole) :]:
        _join(whole, small, typical)
    found = []
    for box, numbers in _nested_joined(whole):
        if not 0.4 * typical <= box[3] - box[1] <= 3 * typical:
            continue
        left, top, right, bottom = box
        if right - left > 6 * typical:
            continue
        found.append(
            Piece(box=box, mask=np.isin(components.labels[top:bottom, left:right], numbers))
        )
    return found


def group(boxes: Sequence[Box], tilt: float) -> list[tuple[int, int, int]]:
    """Give the reading order: lines from top to bottom, in them numbers from left to right.

    Parameters
    ----------
    boxes : (left, top, right, bottom)
    tilt : of the page, in degrees

    Returns
    -------
    (index, line, number) in reading order; numbers are counted over the page
    """
    if not boxes:
        return []
    corners = np.array(boxes, dtype=np.float64)
    x, y = (corners[:, 0] + corners[:, 2]) / 2, (corners[:, 1] + corners[:, 3]) / 2
    heights, widths = corners[:, 3] - corners[:, 1], corners[:, 2] - corners[:, 0]
    slope = np.tan(np.radians(tilt))
    level = y - slope * x
    typical = _typical(heights)
    lines: list[list[int]] = []
    for index in np.argsort(x, kind="stable").tolist():
        # The line whose last digits lie at this height; a perspective moves them only slowly.
        best, distance = None, 0.6 * max(typical, 0.5 * float(heights[index]))
        for line in lines:
            last = median(level[line[-3:]])
            if abs(level[index] - last) < distance:
                best, distance = line, abs(float(level[index]) - last)
        if best is None:
            lines.append([index])
        else:
            best.append(index)
    lines.sort(key=lambda line: median(level[line]))
    result = []
    number = -1
    for row, line in enumerate(lines):
        before: int | None = None
        for index in line:
            gap = 0.0
            if before is not None:
                gap = float(x[index] - x[before] - (widths[index] + widths[before]) / 2)
            if before is None or gap > 0.7 * typical:
                number += 1
            result.append((index, row, number))
            before = index
    return result


def _typical(heights: npt.NDArray[np.float64]) -> float:
    """Give the height of most ink: the median by height, in which specks count little."""
    order = np.sort(heights)
    weights = np.cumsum(order**2)
    return float(order[np.searchsorted(weights, weights[-1] / 2)])


def _join(whole: list[tuple[Box, list[int]]], small: tuple[Box, list[int]], typical: float) -> None:
    """Give a small piece to the digit that it lies at, such as the bar of a 5."""
    left, top, right, bottom = small[0]
    best, nearest = -1, 0.22 * typical
    for place, (box, _) in enumerate(whole):
        aside = max(box[0] - right, left - box[2], 0)
        apart = max(box[1] - bottom, top - box[3], 0)
        distance = float(np.hypot(1.6 * aside, apart))
        if distance < nearest and max(bottom, box[3]) - min(top, box[1]) < 1.7 * typical:
            best, nearest = place, distance
    large = max(right - left, bottom - top) >= 0.12 * typical
    if best >= 0 and large:
        box, numbers = whole[best]
        joined = (
            min(box[0], left),
            min(box[1], top),
            max(box[2], right),
            max(box[3], bottom),
        )
        whole[best] = (joined, [*numbers, *small[1]])


def _nested_joined(whole: list[tuple[Box, list[int]]]) -> list[tuple[Box, list[int]]]:
    """Give a piece that lies inside another one's box to it; the first ones are the highest."""
    kept: list[tuple[Box, list[int]]] = []
    corners = np.empty((len(whole), 4))
    for box, numbers in whole:
        others = corners[: len(kept)]
        wide = np.minimum(others[:, 2], box[2]) - np.maximum(others[:, 0], box[0])
        high = np.minimum(others[:, 3], box[3]) - np.maximum(others[:, 1], box[1])
        inside = np.maximum(wide, 0) * np.maximum(high, 0)
        own = (box[2] - box[0]) * (box[3] - box[1])
        place = int(inside.argmax()) if kept else -1
        if kept and inside[place] > _NESTED * own:
            outer, has = kept[place]
            joined = (
                min(outer[0], box[0]),
                min(outer[1], box[1]),
                max(outer[2], box[2]),
                max(outer[3], box[3]),
            )
            kept[place] = (joined, [*has, *numbers])
            corners[place] = joined
        else:
            corners[len(kept)] = box
            kept.append((box, numbers))
    return kept


def _tilt(mask: Mask) -> float:
    """Find the tilt at which rows of ink are sharpest: lines of paper, or lines of writing."""
    step = max(1, max(mask.shape) // 900)
    thin = mask[::step, ::step]
    if np.count_nonzero(thin) < 20:
        return 0.0
    sharpness = profile_sharpness(thin, np.tan(np.radians(_TILTS)), most=60_000)
    return float(_TILTS[sharpness.argmax()])


def _lines(mask: Mask, tilt: float) -> Mask:
    """Find straight, thin, long lines near an angle: runs of ink along a sheared row."""
    height, width = mask.shape
    shift = np.rint(np.tan(np.radians(tilt)) * np.arange(width)).astype(np.int64)
    level = np.zeros_like(mask)
    moves = list(_moves(shift, height))
    for to, away in moves:
        level[to] = mask[away]
    # Rough edges are bridged; along a perspective a line leaves its row after a while.
    solid = maximum_filter1d(level.view(np.uint8), 3, axis=0)
    solid = maximum_filter1d(solid, 5, axis=1)
    run = max(25, width // 14)
    straight = maximum_filter1d(minimum_filter1d(solid, run, axis=1), run, axis=1)
    components = label(straight.view(np.bool_))
    found = np.zeros_like(mask)
    for number, (top, left, bottom, right) in enumerate(components.boxes.tolist(), start=1):
        span = right - left
        if span >= _RULE_SPAN * width:
            place = (slice(top, bottom), slice(left, right))
            own = components.labels[place] == number
            # The bar of a large 5 is straight, too, but thick.
            if (own & level[place]).sum() / span <= max(4, width // 150):
                found[place] |= own
    if not found.any():
        return found
    thin = level & found
    back = np.zeros_like(mask)
    for to, away in moves:
        back[away] = thin[to]
    return back


def _moves(shift: npt.NDArray[np.int64], height: int) -> Iterator[tuple[_Place, _Place]]:
    """Give what lies where once each column is moved up, for columns that move alike together."""
    ends = [*(np.flatnonzero(np.diff(shift)) + 1).tolist(), len(shift)]
    for begin, end in zip([0, *ends], ends, strict=False):
        up = int(shift[begin])
        first, last = max(0, -up), min(height, height - up)
        if first < last:
            columns = slice(begin, end)
            yield (slice(first, last), columns), (slice(first + up, last + up), columns)


def _thickness(lines: Mask) -> int:
    """Give the usual height of lines that run across, in pixels."""
    per_column = lines.sum(axis=0)
    edges = (np.diff(lines.astype(np.int8), axis=0) == 1).sum(axis=0) + lines[0]
    some = edges > 0
    return max(1, round(median(per_column[some] / edges[some]))) if some.any() else 1
