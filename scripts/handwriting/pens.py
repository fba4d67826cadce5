"""Strokes: paths written as text, shaken as a hand does, drawn with a pen."""

from __future__ import annotations

import itertools
from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from scipy.interpolate import splev, splprep

__all__ = ["CANVAS", "Ink", "Points", "draw", "draw_path", "parse", "shake"]

CANVAS = 112
"""Side of what is drawn on: four times 28."""
_MARGIN = 20

Ink = npt.NDArray[np.float32]
Points = npt.NDArray[np.float64]


@cache
def parse(text: str) -> tuple[Points, ...]:
    """Read strokes: ``~ 50,0 10,30; 20,100 80,100``.

    Strokes are separated by semicolons; points are x,y, 0 to 100, right and down; a tilde asks
    for a smooth curve through the points instead of straight lines.

    Returns
    -------
    one float64 (points, 2) for each stroke
    """
    strokes = []
    for part in text.split(";"):
        words = part.split()
        smooth = words[0] == "~"
        points = np.array([[float(n) for n in w.split(",")] for w in words[smooth:]])
        strokes.append(_curve(points) if smooth else _dense(points))
    return tuple(strokes)


def draw_path(
    text: str, rng: np.random.Generator, *, wobble: float = 1.0, width: float | None = None
) -> Ink:
    """Draw a path that is written as text, shaken, with a random pen."""
    return draw(shake(parse(text), rng, wobble), rng, width)


def shake(strokes: tuple[Points, ...], rng: np.random.Generator, wobble: float) -> list[Points]:
    """Move, bend, slant and stretch strokes as a hand would; then fit them to the canvas.

    Parameters
    ----------
    strokes : coordinates 0 to 100
    wobble : 1 for a usual hand
    """
    angle = rng.normal(0, np.radians(4 * wobble))
    slant = rng.normal(0, 0.12 * wobble)
    stretch = np.exp(rng.normal(0, 0.12 * wobble))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    affine = turn @ np.array([[stretch * 0.75, -slant], [0, 1.0]])
    # A smooth field bends everything alike; each stroke is moved a little by itself.
    waves = rng.normal(0, 2.2 * wobble, (2, 4))
    phases = rng.uniform(0, 2 * np.pi, (2, 4))
    moved = []
    for stroke in strokes:
        x, y = (stroke / 100).T
        bend = [
            sum(
                waves[axis, k] * np.sin((k % 2 + 1) * np.pi * (x if k < 2 else y) + phases[axis, k])
                for k in range(4)
            )
            for axis in range(2)
        ]
        own = rng.normal(0, 1.6 * wobble, 2)
        grown = 1 + rng.normal(0, 0.04 * wobble)
        middle = stroke.mean(axis=0)
        moved.append(((stroke - middle) * grown + middle + np.stack(bend, axis=1) + own) @ affine.T)
    every = np.concatenate(moved)
    low, high = every.min(axis=0), every.max(axis=0)
    scale = (CANVAS - 2 * _MARGIN) / max(float((high - low).max()), 1e-6)
    offset = (CANVAS - (high - low) * scale) / 2 - low * scale
    return [stroke * scale + offset for stroke in moved]


def draw(strokes: list[Points], rng: np.random.Generator, width: float | None = None) -> Ink:
    """Draw strokes, in pixels of the canvas, with a pen.

    A round pen keeps its width or changes it slowly; a flat one is wider in one direction.

    Parameters
    ----------
    width : of the pen, in pixels; random without it: thin to very thick

    Returns
    -------
    float32 (112, 112), 0 to 255
    """
    wide = float(np.exp(rng.uniform(np.log(3.0), np.log(17.0)))) if width is None else width
    image = Image.new("L", (CANVAS * 2, CANVAS * 2))
    pen = ImageDraw.Draw(image)
    kind = rng.choice(3, p=[0.6, 0.25, 0.15])
    flat = rng.uniform(0, np.pi)
    for stroke in strokes:
        swing = rng.uniform(0.15, 0.4) if kind == 1 else 0.0
        phase, speed = rng.uniform(0, 6.3), rng.uniform(0.02, 0.08)
        points = stroke * 2
        if kind == 2:
            nib = np.array([np.cos(flat), np.sin(flat)]) * wide * 0.8
            thin = max(2, round(wide * 0.7))
            for t in np.linspace(-1, 1, 7):
                pen.line([tuple(p) for p in points + nib * t], fill=255, width=thin)
            continue
        radii = wide * (1 + swing * np.sin(phase + speed * np.arange(len(points))))
        for (x, y), radius in zip(points, radii, strict=True):
            pen.ellipse([x - radius, y - radius, x + radius, y + radius], fill=255)
        for a, b, radius in zip(points[:-1], points[1:], radii, strict=False):
            pen.line([tuple(a), tuple(b)], fill=255, width=max(1, round(2 * radius)))
    return np.asarray(image.resize((CANVAS, CANVAS), Image.Resampling.BOX), dtype=np.float32)


def _dense(points: Points, step: float = 2.0) -> Points:
    pieces = []
    for a, b in itertools.pairwise(points):
        count = max(1, round(float(np.hypot(*(b - a))) / step))
        pieces.append(a + (b - a) * np.arange(count)[:, np.newaxis] / count)
    return np.concatenate([*pieces, points[-1:]])


def _curve(points: Points) -> Points:
    keep = np.r_[True, np.any(np.diff(points, axis=0) != 0, axis=1)]
    points = points[keep]
    knots, _ = splprep(points.T, s=0, k=min(3, len(points) - 1))
    length = float(np.hypot(*np.diff(points, axis=0).T).sum())
    along = np.linspace(0, 1, max(8, round(length / 2)))
    return np.stack(splev(along, knots), axis=1)
