"""Sheets of digits with a known layout, as a camera would see them.

Nothing here is shared with what the shipped model is trained on: the pens, papers, lights and
cameras are this file's own.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

Glyph = Callable[[np.random.Generator, int, int], npt.NDArray[np.float32]]
"""Draws a digit: (random numbers, digit's row in its source, height in pixels) -> ink in [0, 1]."""

PAPERS = ("plain", "laid", "recycled", "crumpled", "board")
RULINGS = ("none", "none", "ruled", "squared")


@dataclass(frozen=True, kw_only=True)
class Digit:
    """What stands on a sheet: a digit, its box in the picture, its line and number."""

    digit: int
    box: tuple[float, float, float, float]
    line: int
    number: int


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """A photographed sheet: the file's bytes, the turned picture's size, and the truth."""

    jpeg: bytes
    size: tuple[int, int]
    digits: tuple[Digit, ...]
    traits: dict[str, str]


def mnist_glyph(images: npt.NDArray[np.uint8]) -> Glyph:
    """Draw MNIST's digits with pens of several widths: the outline is moved in or out."""

    def draw(rng: np.random.Generator, row: int, height: int) -> npt.NDArray[np.float32]:
        image = images[row]
        rows, columns = np.flatnonzero(image.any(axis=1)), np.flatnonzero(image.any(axis=0))
        cut = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        cut = np.pad(cut, 2)
        scale = height / 20
        large = np.asarray(
            Image.fromarray(cut).resize(
                (max(1, round(cut.shape[1] * scale)), max(1, round(cut.shape[0] * scale))),
                Image.Resampling.BICUBIC,
            ),
            dtype=np.float32,
        )
        smooth = ndimage.gaussian_filter(large, 0.35 * scale)
        inside = smooth > 115
        # Signed distance to the outline; a pen moves it by up to a tenth of the stroke's height.
        distance = ndimage.distance_transform_edt(inside) - ndimage.distance_transform_edt(~inside)
        move = float(rng.uniform(-0.28, 0.55)) * scale
        return np.clip(distance + move + 0.5, 0, 1).astype(np.float32)

    return draw


def make_sheet(
    rng: np.random.Generator,
    labels: npt.NDArray[np.int64],
    glyph: Glyph,
    *,
    size: tuple[int, int] | None = None,
    per_line: int | None = None,
) -> Sheet:
    """Make one sheet.

    Parameters
    ----------
    rng : all that varies comes from it
    labels : of the source that ``glyph`` draws from
    size : (width, height) before tilting; None draws one
    per_line : digits a line; None draws it
    """
    width, height = size or (int(rng.integers(900, 1700)), int(rng.integers(700, 1300)))
    tall = int(rng.integers(44, 84) * width / 1200) if per_line is None else width // per_line // 2
    ink = np.zeros((height, width), dtype=np.float32)
    truth = _write(rng, labels, glyph, ink, tall)
    paper = str(rng.choice(PAPERS))
    ruling = str(rng.choice(RULINGS))
    light_on_dark = paper == "board"
    ink *= _pen_texture(rng, ink.shape)
    lines = _ruling(rng, ruling, ink.shape, tall)
    matrix, tilt = _camera(rng, width, height)
    page = np.stack([ink, lines], axis=0)
    page, truth = _seen(page, truth, matrix)
    levels = _develop(rng, page[0], page[1], paper, light_on_dark)
    picture = Image.fromarray(levels)
    turn = int(rng.choice([1, 1, 1, 3, 6, 8]))
    jpeg = _jpeg(picture, turn)
    traits = {
        "paper": paper,
        "ruling": ruling,
        "polarity": "light on dark" if light_on_dark else "dark on light",
        "tilt": "5 to 10 degrees" if abs(tilt) > 5 else "up to 5 degrees",
        "exif": "turned" if turn != 1 else "upright",
    }
    return Sheet(jpeg=jpeg, size=(width, height), digits=tuple(truth), traits=traits)


def _write(
    rng: np.random.Generator,
    labels: npt.NDArray[np.int64],
    glyph: Glyph,
    ink: npt.NDArray[np.float32],
    tall: int,
) -> list[Digit]:
    """Fill a sheet with lines of numbers; a baseline wavers, sizes vary."""
    height, width = ink.shape
    margin_x, margin_y = int(0.10 * width), int(0.16 * height)
    truth = []
    number = -1
    y = margin_y
    line = 0
    while y + 1.2 * tall < height - margin_y:
        x = margin_x + int(rng.integers(0, tall))
        any_here = False
        while True:
            count = int(rng.integers(1, 6))
            if x + count * 1.1 * tall > width - margin_x:
                break
            number += 1
            any_here = True
            for _ in range(count):
                row = int(rng.integers(len(labels)))
                mark = glyph(rng, row, round(tall * float(rng.uniform(0.88, 1.1))))
                top = y + round(tall * 0.05 * float(rng.normal())) + (tall - mark.shape[0]) // 2
                top = min(max(top, 0), height - mark.shape[0])
                some = np.flatnonzero((mark > 0.5).any(axis=0))
                mark = mark[:, some[0] : some[-1] + 1]
                place = ink[top : top + mark.shape[0], x : x + mark.shape[1]]
                np.maximum(place, mark[:, : place.shape[1]], out=place)
                solid = np.flatnonzero((mark > 0.5).any(axis=1))
                box = (x, top + solid[0], x + mark.shape[1], top + solid[-1] + 1)
                truth.append(Digit(digit=int(labels[row]), box=box, line=line, number=number))
                x += mark.shape[1] + round(tall * float(rng.uniform(0.10, 0.26)))
            x += round(tall * float(rng.uniform(0.9, 2.0)))
        line += any_here
        y += round(tall * float(rng.uniform(1.7, 2.3)))
    return truth


def _pen_texture(rng: np.random.Generator, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Give ballpoints that skip a little, pencils with grain, and felt pens that do not."""
    kind = rng.integers(3)
    if kind == 0:
        return np.ones(shape, dtype=np.float32)
    grain = ndimage.gaussian_filter(rng.normal(size=shape).astype(np.float32), 1.1)
    grain /= grain.std()
    strength = 0.06 if kind == 1 else 0.14
    return np.clip(1 - strength * (1 + grain), 0.45, 1).astype(np.float32)


def _ruling(
    rng: np.random.Generator, kind: str, shape: tuple[int, ...], tall: int
) -> npt.NDArray[np.float32]:
    """Draw the paper's printed lines: strength in [0, 1]."""
    lines = np.zeros(shape, dtype=np.float32)
    if kind == "none":
        return lines
    strength = float(rng.uniform(0.12, 0.5))
    thick = int(rng.integers(1, 3))
    gap = round(tall * float(rng.uniform(1.2, 1.9) if kind == "ruled" else rng.uniform(0.5, 0.9)))
    for start in range(int(rng.integers(gap)), shape[0], gap):
        lines[start : start + thick] = strength
    if kind == "squared":
        for start in range(int(rng.integers(gap)), shape[1], gap):
            lines[:, start : start + thick] = strength
    return lines


def _camera(
    rng: np.random.Generator, width: int, height: int
) -> tuple[npt.NDArray[np.float64], float]:
    """Give the map from the sheet to the picture: tilt to 10 degrees, and a perspective."""
    tilt = float(rng.uniform(-10, 10))
    angle = np.radians(tilt)
    centre = np.array([width / 2, height / 2])
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], dtype=np.float64)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = (corners - centre) @ turn.T * 0.97 + centre
    moved += rng.uniform(-0.025, 0.025, (4, 2)) * [width, height]
    rows = []
    for (x, y), (u, v) in zip(corners, moved, strict=True):
        rows.append([x, y, 1, 0, 0, 0, -u * x, -u * y])
        rows.append([0, 0, 0, x, y, 1, -v * x, -v * y])
    solved = np.linalg.solve(np.array(rows), moved.ravel())
    return np.append(solved, 1.0).reshape(3, 3), tilt


def _seen(
    page: npt.NDArray[np.float32], truth: list[Digit], matrix: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float32], list[Digit]]:
    """Project layers and boxes; digits that leave the picture are left out of the truth."""
    _, height, width = page.shape
    back = np.linalg.inv(matrix)
    back /= back[2, 2]
    layers = [
        np.asarray(
            Image.fromarray(layer).transform(
                (width, height),
                Image.Transform.PERSPECTIVE,
                tuple(back.ravel()[:8]),
                Image.Resampling.BICUBIC,
            )
        )
        for layer in page
    ]
    seen = []
    for one in truth:
        left, top, right, bottom = one.box
        corners = np.array([[left, right, right, left], [top, top, bottom, bottom], [1, 1, 1, 1]])
        moved = matrix @ corners
        x, y = moved[:2] / moved[2]
        # The ink's own box in the tilted picture is a bit smaller than that of its corners.
        box = (float(x.min()), float(y.min()), float(x.max()), float(y.max()))
        if box[0] < 0 or box[1] < 0 or box[2] > width or box[3] > height:
            layers[0][
                max(0, int(box[1])) : int(box[3]) + 1, max(0, int(box[0])) : int(box[2]) + 1
            ] = 0
            continue
        seen.append(Digit(digit=one.digit, box=box, line=one.line, number=one.number))
    return np.stack(layers), seen


def _develop(
    rng: np.random.Generator,
    ink: npt.NDArray[np.float32],
    lines: npt.NDArray[np.float32],
    paper: str,
    light_on_dark: bool,
) -> npt.NDArray[np.uint8]:
    """Give colours: paper, printed lines, ink, light and shadow, blur and noise."""
    shape = ink.shape
    height, width = shape
    noise = rng.normal(size=shape).astype(np.float32)
    grain = np.zeros(shape, dtype=np.float32)
    if paper == "laid":
        grain = 0.012 * np.sin(np.arange(width) / rng.uniform(1.5, 4))[np.newaxis, :]
        grain = grain + 0.01 * ndimage.gaussian_filter(noise, (0.5, 6)) * 4
    elif paper == "recycled":
        fibres = ndimage.gaussian_filter(noise, 2.5)
        grain = 0.02 * fibres / fibres.std()
    elif paper == "crumpled":
        coarse = rng.normal(size=(9, 12)).astype(np.float32)
        folds = ndimage.zoom(coarse, (height / 9, width / 12), order=1)[:height, :width]
        grain = 0.05 * folds
    elif paper == "board":
        wiped = ndimage.gaussian_filter(noise, (6, 40))
        grain = 0.02 * wiped / wiped.std()
    colour = np.array(
        [0.12, 0.2, 0.16] if light_on_dark else rng.uniform([0.8, 0.78, 0.7], [0.98, 0.97, 0.95])
    )
    pen = (
        rng.uniform(0.75, 0.97) * np.array([1, 1, rng.uniform(0.85, 1)])
        if light_on_dark
        else [np.array([0.1, 0.1, 0.12]), np.array([0.1, 0.16, 0.5]), np.array([0.32, 0.32, 0.34])][
            int(rng.integers(3))
        ]
    )
    print_colour = np.array([0.45, 0.55, 0.5] if light_on_dark else [0.35, 0.5, 0.75])
    base = colour[np.newaxis, np.newaxis] + grain[..., np.newaxis]
    base = base * (1 - lines[..., np.newaxis]) + print_colour * lines[..., np.newaxis]
    picture = base * (1 - ink[..., np.newaxis]) + pen * ink[..., np.newaxis]
    picture *= _light(rng, shape)[..., np.newaxis]
    blur = float(rng.uniform(0.4, 1.1))
    picture = ndimage.gaussian_filter(picture, (blur, blur, 0))
    picture += (rng.normal(size=picture.shape) * rng.uniform(0.006, 0.02)).astype(np.float32)
    return np.clip(picture * 255, 0, 255).astype(np.uint8)


def _light(rng: np.random.Generator, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Give uneven light, and in half of the pictures the shadow of something straight."""
    height, width = shape
    down, right = np.mgrid[0:height, 0:width].astype(np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    along = (np.cos(angle) * (right / width - 0.5) + np.sin(angle) * (down / height - 0.5)) * 2
    light = 0.86 + 0.14 * along * rng.uniform(0.3, 1)
    if rng.random() < 0.5:
        angle = rng.uniform(0, 2 * np.pi)
        edge = np.cos(angle) * (right - width / 2) + np.sin(angle) * (down - height / 2)
        edge = edge - rng.uniform(-0.25, 0.25) * width
        soft = rng.uniform(4, 60)
        light = light * (1 - rng.uniform(0.2, 0.5) / (1 + np.exp(np.clip(-edge / soft, -30, 30))))
    return light.astype(np.float32)


def _jpeg(picture: Image.Image, orientation: int) -> bytes:
    """Write a JPEG of quality 60 whose EXIF says how it must be turned to stand upright."""
    turned = picture
    if orientation == 3:
        turned = picture.transpose(Image.Transpose.ROTATE_180)
    elif orientation == 6:
        turned = picture.transpose(Image.Transpose.ROTATE_90)
    elif orientation == 8:
        turned = picture.transpose(Image.Transpose.ROTATE_270)
    exif = Image.Exif()
    exif[0x0112] = orientation
    out = io.BytesIO()
    turned.save(out, "JPEG", quality=60, exif=exif)
    return out.getvalue()
