"""Which pixels spoke for a digit: what happens to its odds when a patch of the image is empty."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from inkproof.photo.reader import Reader, Reading

__all__ = ["PATCH", "STRIDE", "occlusion"]

PATCH: Final = 4
STRIDE: Final = 2
_LEAST: Final = 1e-7


def occlusion(
    reader: Reader, image: npt.NDArray[np.uint8], reading: Reading
) -> npt.NDArray[np.float32]:
    """Give each pixel's evidence for the digit that was read.

    Patches of 4x4 pixels, 2 apart, are made paper one after another, all in one batch (Zeiler and
    Fergus, "Visualizing and understanding convolutional networks", 2014). A patch's evidence is
    how much lower the digit's log odds are without it; a pixel's is the mean of its patches. Where
    there is no ink there is nothing to take away, and the evidence is 0.

    Parameters
    ----------
    reader : what read it
    image : uint8 (height, width), ink bright on 0
    reading : what it read

    Returns
    -------
    float32 (height, width), nats; above 0 speaks for the digit, below 0 against it
    """
    height, width = image.shape
    tops = range(0, height - PATCH + 1, STRIDE)
    lefts = range(0, width - PATCH + 1, STRIDE)
    places = [
        (slice(top, top + PATCH), slice(left, left + PATCH)) for top in tops for left in lefts
    ]
    inked = [place for place in places if image[place].any()]
    evidence = np.zeros(image.shape, dtype=np.float64)
    if not inked:
        return evidence.astype(np.float32)
    without = np.repeat(image[np.newaxis], len(inked), axis=0)
    for row, place in enumerate(inked):
        without[row][place] = 0
    whole = _log_odds(reading.probabilities, reading.digit)
    for place, other in zip(inked, reader.read(without), strict=True):
        evidence[place] += whole - _log_odds(other.probabilities, reading.digit)
    covered = np.zeros(image.shape)
    for place in places:
        covered[place] += 1
    evidence = np.where(image > 0, evidence / np.maximum(covered, 1), 0.0)
    return evidence.astype(np.float32)


def _log_odds(probabilities: tuple[float, ...], digit: int) -> float:
    for_it = probabilities[digit]
    against = math.fsum(p for other, p in enumerate(probabilities) if other != digit)
    return math.log(max(for_it, _LEAST)) - math.log(max(against, _LEAST))
