"""Random numbers that are the same everywhere and for ever.

Every draw comes from Philox-4x64 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy
as 1, 2, 3", SC 2011), keyed by the seed and by what it is used for, so that no draw depends on
how many were made before it. Only the raw 64-bit words of NumPy's Philox are used: they are
fixed by the algorithm, while the derived streams of ``numpy.random.Generator`` may change with
NumPy's version.
"""

from __future__ import annotations

import operator
import reprlib
from enum import IntEnum
from typing import SupportsIndex

import numpy as np
import numpy.typing as npt

from inkproof.errors import ConfigurationError

__all__ = ["Use", "permutation", "uniform"]


class Use(IntEnum):
    """What a draw is for; a part of its key. Numbers are never reused."""

    HOLD_OUT = 1
    INITIAL_WEIGHTS = 2
    BATCH_ORDER = 3
    RESAMPLING = 4
    MIXUP = 5


def _words(count: int, use: Use, seed: int, index: int) -> npt.NDArray[np.uint64]:
    key = np.array([_word("seed", seed), int(use)], dtype=np.uint64)
    counter = np.array([0, 0, 0, _word("index", index)], dtype=np.uint64)
    return np.random.Philox(key=key, counter=counter).random_raw(count)


def _word(name: str, value: SupportsIndex) -> int:
    # NumPy would cut 1.5 to 1 and wrap -1 around: two seeds with the same draws.
    try:
        number = operator.index(value)
    except TypeError:
        number = -1
    if not 0 <= number < 1 << 64:
        raise ConfigurationError(
            f"{name} must be a whole number from 0 to 2**64 - 1, got {reprlib.repr(value)}"
        )
    return number


def uniform(count: int, use: Use, *, seed: int, index: int = 0) -> npt.NDArray[np.float64]:
    """Draw numbers from [0, 1), with 53 random bits each.

    Parameters
    ----------
    count : how many
    use, seed, index : the key: the purpose, the user's seed, and which draw of that purpose
        (an epoch, a layer); seed and index 0 to 2**64 - 1

    Returns
    -------
    float64 (count,), in [0, 1)

    Raises
    ------
    ConfigurationError : a seed or an index out of range, or not a whole number
    """
    words = _words(count, use, seed, index)
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53


def permutation(count: int, use: Use, *, seed: int, index: int = 0) -> npt.NDArray[np.int64]:
    """Shuffle 0 .. count-1: the order that sorts as many random 64-bit words.

    Returns
    -------
    int64 (count,), each number once

    Raises
    ------
    ConfigurationError : as for :func:`uniform`
    """
    words = _words(count, use, seed, index)
    order = np.argsort(words)
    ordered = words[order]
    if (ordered[1:] == ordered[:-1]).any():  # then only the slower stable sort has one answer
        order = np.argsort(words, kind="stable")
    return order.astype(np.int64)
