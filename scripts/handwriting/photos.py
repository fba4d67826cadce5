"""What a pen, paper, a camera and the finding of ink do to a digit before a model sees it."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from handwriting.pens import CANVAS, Ink
from inkproof.photo.normalise import place_ink

__all__ = ["affine", "enlarge", "photographed", "placed", "repenned"]

_FAINT = 0.15  # of the strongest ink


def enlarge(image: npt.NDArray[np.uint8], rng: np.random.Generator) -> Ink:
    """Bring a 28 x 28 image to the canvas, 112 x 112, its edges as sharp as a pen's."""
    large = np.asarray(
        Image.fromarray(image).resize((CANVAS, CANVAS), Image.Resampling.BICUBIC), dtype=np.float32
    )
    edge = rng.uniform(60, 130)
    soft = rng.uniform(20, 90)
    return np.clip((large - edge) / soft * 255 + 127, 0, 255).astype(np.float32)


def affine(ink: Ink, rng: np.random.Generator, strength: float = 1.0) -> Ink:
    """Turn, slant and stretch about the middle; the corners are paper."""
    angle = np.radians(rng.normal(0, 5) * strength)
    slant = np.clip(rng.normal(0, 0.16), -0.4, 0.4) * strength
    wide = np.exp(rng.normal(0, 0.12) * strength)
    # From where each pixel comes, (row, column). Smaller by a tenth, so that nothing is cut off.
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    back = turn @ np.array([[1.0, 0.0], [slant, 1 / wide]]) * 1.15
    middle = np.array([(CANVAS - 1) / 2] * 2)
    moved = ndimage.affine_transform(ink, back, offset=middle - back @ middle, order=1)
    return moved.astype(np.float32)


def repenned(ink: Ink, rng: np.random.Generator) -> Ink:
    """Draw the same strokes with another pen: thinner to very thin, thicker to very thick.

    A width that is nearly the old one gives paler ink, down to half.
    """
    inside = ink > 127
    if not inside.any():
        return ink
    depth = ndimage.distance_transform_edt(inside)
    ridge = depth[(depth == ndimage.maximum_filter(depth, 3)) & inside]
    half = float(np.percentile(ridge, 40))
    wanted = float(np.exp(rng.uniform(np.log(1.6), np.log(9.5))))  # half the new width
    if wanted > half:
        outside = ndimage.distance_transform_edt(~inside)
        signed = outside - (wanted - half)
    else:
        # Where a stroke is thinner than the rest its middle stays.
        kept = (depth == ndimage.maximum_filter(depth, 3)) & (depth < half - wanted + 1) & inside
        signed = np.minimum(
            (half - wanted) - depth + 0.5, ndimage.distance_transform_edt(~kept) - 1.0
        )
        signed[~inside] = 5
    return (np.clip(0.5 - signed, 0, 1) * 255).astype(np.float32)


def photographed(ink: Ink, rng: np.random.Generator, *, harm: float = 1.0) -> npt.NDArray[np.uint8]:
    """Photograph an ink map and find the ink again, then place it as MNIST was made.

    Each harm comes with a chance of its own: gaps in strokes, grain, a small picture, blur, noise,
    JPEG, a shadow, an edge that is cut, a ruling line, specks, ink that is cut to black and white.

    Parameters
    ----------
    ink : float32 (112, 112), 0 to 255
    harm : multiplies the chances

    Returns
    -------
    uint8 (28, 28)
    """
    found = ink / 255

    def happens(chance: float) -> bool:
        return bool(rng.random() < chance * harm)

    if happens(0.12):
        found = _gaps(found, rng)
    if happens(0.2):  # a pencil or a dry pen
        grain = ndimage.gaussian_filter(rng.normal(0, 1, found.shape), rng.uniform(0.5, 1.6))
        found = found * np.clip(1 + grain / grain.std() * rng.uniform(0.1, 0.45), 0, 1)
    if happens(0.08):
        found = _ruled(found, rng)
    if happens(0.7):
        found = _camera(found, rng)
    if happens(0.06):
        found = _specks(found, rng)
    if happens(0.1):
        found = _cut(found, rng)
    if happens(0.2):
        found = (found > rng.uniform(0.25, 0.6)).astype(np.float64)
    strength = 255 * (rng.uniform(0.45, 1.0) if happens(0.35) else 1.0)
    return placed(np.clip(found, 0, 1) * strength)


def placed(ink: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
    """Place an ink map, 0 to 255, as a photo's is: what is faint is paper."""
    return place_ink(np.where(ink > _FAINT * ink.max(initial=0), ink, 0))


def _gaps(ink: npt.NDArray[np.floating], rng: np.random.Generator) -> npt.NDArray[np.floating]:
    """Break strokes where the pen did not write."""
    result = ink.copy()
    rows, columns = np.nonzero(ink > 0.5)
    if not len(rows):
        return result
    y, x = np.mgrid[: ink.shape[0], : ink.shape[1]]
    for _ in range(rng.integers(1, 4)):
        at = rng.integers(len(rows))
        angle = rng.uniform(0, np.pi)
        off = (y - rows[at]) * np.cos(angle) + (x - columns[at]) * np.sin(angle)
        along = (x - columns[at]) * np.cos(angle) - (y - rows[at]) * np.sin(angle)
        gap = (np.abs(off) < rng.uniform(1, 3.0)) & (np.abs(along) < 14)
        result[gap] *= rng.uniform(0, 0.5)
    return result


def _ruled(ink: npt.NDArray[np.floating], rng: np.random.Generator) -> npt.NDArray[np.floating]:
    """Leave a bit of a ruling line near the digit's foot, head or across it."""
    result = ink.copy()
    rows, columns = np.nonzero(ink > 0.5)
    if not len(rows):
        return result
    row = int(
        rng.choice([rows.max() - rng.integers(0, 6), rng.integers(rows.min(), rows.max() + 1)])
    )
    thick = int(rng.integers(1, 4))
    span = columns.max() - columns.min() + 1
    left = columns.min() + int(rng.uniform(-0.2, 0.6) * span)
    right = left + int(rng.uniform(0.15, 0.7) * span) + 1
    part = result[row : row + thick, max(left, 0) : max(right, 1)]
    np.maximum(part, rng.uniform(0.15, 0.7), out=part)
    return result


def _camera(ink: npt.NDArray[np.floating], rng: np.random.Generator) -> npt.NDArray[np.floating]:
    """Lay the ink on paper, photograph it at some size, take the paper away again."""
    side = int(np.exp(rng.uniform(np.log(26), np.log(112))))
    small = np.asarray(
        Image.fromarray(ink.astype(np.float32)).resize((side, side), Image.Resampling.BOX)
    ).astype(np.float64)
    small = ndimage.gaussian_filter(small, rng.uniform(0, 1.1) * max(side / 56, 0.6))
    paper = rng.uniform(150, 250)
    y, x = np.mgrid[:side, :side] / side - 0.5
    paper = paper * (1 + rng.uniform(-0.12, 0.12) * x + rng.uniform(-0.12, 0.12) * y)
    depth = rng.uniform(60, 140)
    picture = paper - depth * small
    picture = picture + rng.normal(0, rng.uniform(0.5, 7), picture.shape)
    if rng.random() < 0.3:
        rough = ndimage.gaussian_filter(rng.normal(0, 1, picture.shape), rng.uniform(0.7, 2.0))
        picture = picture + rough / (rough.std() + 1e-9) * rng.uniform(1, 6)
    values = np.clip(picture, 0, 255).astype(np.uint8)
    if rng.random() < 0.6:
        packed = io.BytesIO()
        Image.fromarray(values).save(packed, "JPEG", quality=int(rng.integers(35, 95)))
        values = np.asarray(Image.open(packed))
    level = rng.uniform(0.08, 0.3)  # what is fainter counts as paper
    darkness = (paper - values) / depth
    full = rng.uniform(0.7, 1.05)
    return np.clip((darkness - level) / (full - level), 0, 1)


def _specks(ink: npt.NDArray[np.floating], rng: np.random.Generator) -> npt.NDArray[np.floating]:
    """Add dirt near the digit, which may widen its box a little."""
    result = ink.copy()
    rows, columns = np.nonzero(ink > 0.5)
    if not len(rows):
        return result
    reach = 0.1 * max(np.ptp(rows), np.ptp(columns)) + 1
    for _ in range(rng.integers(1, 4)):
        row = int(np.clip(rng.uniform(rows.min() - reach, rows.max() + reach), 0, len(ink) - 1))
        column = rng.uniform(columns.min() - reach, columns.max() + reach)
        column = int(np.clip(column, 0, len(ink) - 1))
        size = max(1, int(rng.uniform(0.01, 0.04) * len(ink)))
        part = result[row : row + size, column : column + size]
        np.maximum(part, rng.uniform(0.4, 1), out=part)
    return result


def _cut(ink: npt.NDArray[np.floating], rng: np.random.Generator) -> npt.NDArray[np.floating]:
    """Cut a thin slice off one side, as a crop does that is slightly wrong."""
    rows, columns = np.nonzero(ink > 0.3)
    if not len(rows):
        return ink
    result = ink.copy()
    share = rng.uniform(0.01, 0.07)
    side = rng.integers(4)
    down = int(share * (np.ptp(rows) + 1))
    across = int(share * (np.ptp(columns) + 1))
    if side == 0:
        result[: rows.min() + down] = 0
    elif side == 1:
        result[rows.max() + 1 - down :] = 0
    elif side == 2:
        result[:, : columns.min() + across] = 0
    else:
        result[:, columns.max() + 1 - across :] = 0
    return result
