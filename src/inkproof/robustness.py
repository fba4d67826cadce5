"""How a model bears changes of its test images, each in several strengths.

Images are uint8, and stay so. What a change uncovers takes the colour of the nearest border pixel.
Which way an image is shifted, turned or scaled, and its noise, are fixed by its row, so every model
and every run sees the same pictures.

IPR001 Steady under small changes
    fails if the weakest strength of any change but inversion costs more than ``MAX_DROP``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
import scipy

from inkproof.errors import ConfigurationError, DataError, UnknownNameError
from inkproof.findings import Finding
from inkproof.randomness import Use, uniform
from inkproof.results import RobustnessCurve, RobustnessResult
from inkproof.statistics import over_runs, wilson_interval
from inkproof.wording import points

__all__ = [
    "CHANGES",
    "MAX_DROP",
    "MOST_IMAGES",
    "Change",
    "Predicts",
    "changed",
    "count_right",
    "summarise",
]

MOST_IMAGES: Final = 2000
"""So many test images are changed, evenly spread over the split."""
MAX_DROP: Final = 0.05
"""The weakest strength of a change may cost five points."""
_NOISE_INDEX: Final = 1 << 40  # apart from what else resamples

Images = npt.NDArray[np.uint8]
_Floats = npt.NDArray[np.float32]


class Predicts(Protocol):
    """Anything that gives class probabilities, such as a :class:`inkproof.Model`."""

    def predict(self, images: Images, /) -> npt.NDArray[np.float32]:
        """Give float32 (n, classes) for n raw images."""
        ...


@dataclass(frozen=True, kw_only=True)
class Change:
    """One way to change images.

    Parameters
    ----------
    unit : of the strengths
    strengths : ascending; the first, 0, changes nothing
    """

    unit: str
    strengths: tuple[float, ...]


CHANGES: Final[Mapping[str, Change]] = {
    "shifted": Change(unit="pixels", strengths=(0, 1, 2, 3, 4)),
    "rotated": Change(unit="degrees", strengths=(0, 10, 20, 30, 45)),
    "scaled": Change(unit="% larger or smaller", strengths=(0, 10, 20, 30, 40)),
    "thickened": Change(unit="pixels", strengths=(0, 0.5, 1, 1.5, 2)),
    "thinned": Change(unit="pixels", strengths=(0, 0.25, 0.5, 0.75, 1)),
    "blurred": Change(unit="pixels, standard deviation", strengths=(0, 0.5, 1, 1.5, 2)),
    "noised": Change(unit="grey levels, standard deviation", strengths=(0, 25, 50, 75, 100)),
    "low contrast": Change(unit="% of the contrast lost", strengths=(0, 25, 50, 75, 90)),
    "inverted": Change(unit="% inverted", strengths=(0, 100)),
}


_STRENGTHS: Final = sum(len(change.strengths) - 1 for change in CHANGES.values())
_MOST_KEPT: Final = 64 << 20  # bytes of changed images; the rest are made anew each time


def changed(images: Images, name: str, strength: float) -> Images:
    """Change images.

    Parameters
    ----------
    images : uint8 (n, height, width, channels)
    name : one of ``CHANGES``
    strength : in its unit, at least 0; 0 gives the images as they are

    Returns
    -------
    uint8 of the same shape

    Raises
    ------
    UnknownNameError : another name
    ConfigurationError : a strength below 0 or not finite
    DataError : images of another shape or type
    """
    if name not in CHANGES:
        raise UnknownNameError("change", name, CHANGES)
    if not (strength >= 0 and math.isfinite(strength)):
        raise ConfigurationError(f"changed: strength must be at least 0, got {strength}")
    if images.ndim != 4 or images.dtype != np.uint8:
        raise DataError(
            "changed: expected uint8 (n, height, width, channels), got"
            f" {images.dtype} of shape {images.shape}"
        )
    if strength == 0 or 0 in images.shape:
        return images
    result = _FUNCTIONS[name](images.astype(np.float32), strength)
    return np.asarray(np.clip(np.rint(result), 0, 255), dtype=np.uint8)


def count_right(
    model: Predicts, images: Images, labels: npt.NDArray[np.int64], *, most: int = MOST_IMAGES
) -> tuple[int, dict[str, list[int]]]:
    """Count how many changed images a model gets right.

    Parameters
    ----------
    model : gives class probabilities
    images : uint8 (n, height, width, channels)
    labels : int64 (n,)
    most : of more images only so many are taken, evenly spread

    Returns
    -------
    how many images, and for each change the number that is right at each strength

    Raises
    ------
    DataError : no images, or another number of labels
    """
    if len(images) != len(labels) or not len(images):
        raise DataError(
            f"count_right: expected a label for each of at least one image, got {len(images)}"
            f" images and {len(labels)} labels"
        )
    rows = np.arange(len(images))
    if len(rows) > most:
        rows = np.linspace(0, len(images) - 1, most).round().astype(np.intp)
    chosen, truth = np.ascontiguousarray(images[rows]), labels[rows]

    change_to = partial(changed, chosen)
    if chosen.nbytes * _STRENGTHS <= _MOST_KEPT:  # the runs of a study all ask for the same
        change_to = partial(_kept, chosen.tobytes(), chosen.shape)

    def right(pictures: Images) -> int:
        return int(np.count_nonzero(model.predict(pictures).argmax(axis=1) == truth))

    plain = right(chosen)
    return len(rows), {
        name: [
            plain if strength == 0 else right(change_to(name, strength))
            for strength in change.strengths
        ]
        for name, change in CHANGES.items()
    }


@lru_cache(maxsize=_STRENGTHS)
def _kept(pixels: bytes, shape: tuple[int, ...], name: str, strength: float) -> Images:
    return changed(np.frombuffer(pixels, dtype=np.uint8).reshape(shape), name, strength)


def summarise(
    runs: Sequence[Mapping[str, Sequence[int]]], images: int, *, name: str = "", level: float = 0.95
) -> RobustnessResult:
    """Put the counts of one model's runs together.

    Parameters
    ----------
    runs : what :func:`count_right` counted, one a run, at least one
    images : of how many
    name : the model's, put before the explanation
    level : of the intervals: over runs, of a single run and of runs that tie over images

    Raises
    ------
    DataError : no runs, or counts that do not fit ``CHANGES``
    """
    if not runs:
        raise DataError("summarise: expected at least one run, got none")
    curves = []
    for change_name, change in CHANGES.items():
        counts = [list(run.get(change_name, ())) for run in runs]
        if any(len(one) != len(change.strengths) for one in counts):
            raise DataError(
                f"summarise: expected {len(change.strengths)} counts of {change_name} a run, got"
                f" {[len(one) for one in counts]}"
            )
        curves.append(
            RobustnessCurve(
                name=change_name,
                unit=change.unit,
                strengths=list(change.strengths),
                accuracies=[
                    over_runs(
                        [right / images for right in at],
                        partial(wilson_interval, at[0], images, level),
                        level,
                        least=0.0,
                        most=1.0,
                    )
                    for at in zip(*counts, strict=True)
                ],
            )
        )
    return RobustnessResult(images=images, curves=curves, findings=[_steady(curves, name)])


def _steady(curves: Sequence[RobustnessCurve], name: str) -> Finding:
    drops = {curve.name: curve.accuracies[0].value - curve.accuracies[1].value for curve in curves}
    costly = {
        curve.name: f"{curve.name} by {_amount(curve, 1)}"
        for curve in curves
        if curve.name != "inverted" and drops[curve.name] > MAX_DROP
    }
    worst = max(curves, key=lambda curve: curve.accuracies[0].value - curve.accuracies[-1].value)
    if costly:
        listed = "; ".join(f"{text}: {points(drops[key])}" for key, text in costly.items())
        explanation = f"Small changes cost more than {100 * MAX_DROP:g} points ({listed})."
    else:
        explanation = f"None of the weakest changes costs more than {100 * MAX_DROP:g} points."
    explanation += (
        f" Most is lost where images are {worst.name}: {100 * worst.accuracies[-1].value:.1f} %"
        f" right at {_amount(worst, -1)},"
        f" {100 * worst.accuracies[0].value:.1f} % without."
    )
    return Finding(
        code="IPR001",
        title="Steady under small changes",
        severity="info",
        status="failed" if costly else "passed",
        explanation=f"{name}: {explanation}" if name else explanation,
        evidence={"drops": drops, "max_drop": MAX_DROP},
    )


def _amount(curve: RobustnessCurve, place: int) -> str:
    """Write one of a curve's strengths with its unit: ``0.5 pixels``, ``1 pixel``."""
    strength = curve.strengths[place]
    unit = curve.unit.replace("pixels", "pixel") if strength == 1 else curve.unit
    return f"{strength:g} {unit}"


# --- The changes ----------------------------------------------------------------------------------


def _moved(images: _Floats, places: Callable[[int], tuple[Any, Any]], ways: int) -> _Floats:
    """Sample images elsewhere, between pixels linearly; image i goes way i modulo ``ways``.

    Parameters
    ----------
    places : way -> rows and columns (height, width) that the pixels are taken from
    """
    out = np.empty_like(images)
    height, width = images.shape[1:3]
    for way in range(ways):
        rows, columns = places(way)
        rows, columns = np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)
        top, left = np.floor(rows).astype(np.intp), np.floor(columns).astype(np.intp)
        below, beside = np.minimum(top + 1, height - 1), np.minimum(left + 1, width - 1)
        down = (rows - top).astype(np.float32)[..., np.newaxis]
        right = (columns - left).astype(np.float32)[..., np.newaxis]
        lot = images[way::ways]
        upper = lot[:, top, left] * (1 - right) + lot[:, top, beside] * right
        lower = lot[:, below, left] * (1 - right) + lot[:, below, beside] * right
        out[way::ways] = upper * (1 - down) + lower * down
    return out


def _grid(images: _Floats) -> tuple[Any, Any, float, float]:
    height, width = images.shape[1:3]
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float64)
    return rows, columns, (height - 1) / 2, (width - 1) / 2


def _shifted(images: _Floats, strength: float) -> _Floats:
    rows, columns, _, _ = _grid(images)

    def places(way: int) -> tuple[Any, Any]:
        down, across = ((0, 1), (1, 0), (0, -1), (-1, 0))[way]
        return rows - strength * down, columns - strength * across

    return _moved(images, places, 4)


def _rotated(images: _Floats, strength: float) -> _Floats:
    rows, columns, middle, centre = _grid(images)

    def places(way: int) -> tuple[Any, Any]:
        angle = math.radians(strength) * (1 if way else -1)
        y, x = rows - middle, columns - centre
        return (
            middle + math.cos(angle) * y - math.sin(angle) * x,
            centre + math.sin(angle) * y + math.cos(angle) * x,
        )

    return _moved(images, places, 2)


def _scaled(images: _Floats, strength: float) -> _Floats:
    rows, columns, middle, centre = _grid(images)

    def places(way: int) -> tuple[Any, Any]:
        factor = 1 + strength / 100 if way else max(0.01, 1 - strength / 100)
        return middle + (rows - middle) / factor, centre + (columns - centre) / factor

    return _moved(images, places, 2)


def _grown(images: _Floats, strength: float, *, bright: bool) -> _Floats:
    """Widen what is bright, or what is dark, by so many pixels; parts of one by mixing."""
    grow = scipy.ndimage.maximum_filter if bright else scipy.ndimage.minimum_filter
    cross = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], dtype=bool)[np.newaxis, :, :, np.newaxis]
    now = images
    while strength > 0:
        part = min(1.0, strength)
        now = now + part * (grow(now, footprint=cross, mode="nearest") - now)
        strength -= part
    return np.asarray(now, dtype=np.float32)


def _ink_is_bright(images: _Floats) -> bool:
    border = (images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1])
    return float(np.median(np.concatenate([edge.ravel() for edge in border]))) < 127.5


def _thickened(images: _Floats, strength: float) -> _Floats:
    return _grown(images, strength, bright=_ink_is_bright(images))


def _thinned(images: _Floats, strength: float) -> _Floats:
    return _grown(images, strength, bright=not _ink_is_bright(images))


def _blurred(images: _Floats, strength: float) -> _Floats:
    return np.asarray(
        scipy.ndimage.gaussian_filter(images, (0, strength, strength, 0), mode="nearest"),
        dtype=np.float32,
    )


def _noised(images: _Floats, strength: float) -> _Floats:
    # The same noise at every strength, only more of it.
    u = uniform(images.size, Use.RESAMPLING, seed=0, index=_NOISE_INDEX)
    noise = scipy.special.ndtri(np.maximum(u, 2.0**-54)).astype(np.float32)
    return np.asarray(images + strength * noise.reshape(images.shape), dtype=np.float32)


def _low_contrast(images: _Floats, strength: float) -> _Floats:
    middle = images.mean(axis=(1, 2), keepdims=True)
    return np.asarray(middle + (1 - strength / 100) * (images - middle), dtype=np.float32)


def _inverted(images: _Floats, strength: float) -> _Floats:
    share = strength / 100
    return np.asarray((1 - share) * images + share * (255 - images), dtype=np.float32)


_FUNCTIONS: Final[Mapping[str, Callable[[_Floats, float], _Floats]]] = {
    "shifted": _shifted,
    "rotated": _rotated,
    "scaled": _scaled,
    "thickened": _thickened,
    "thinned": _thinned,
    "blurred": _blurred,
    "noised": _noised,
    "low contrast": _low_contrast,
    "inverted": _inverted,
}
