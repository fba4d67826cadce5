"""Random numbers that are the same everywhere and for ever.

Every draw comes from Philox-4x64 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy
as 1, 2, 3", SC 2011), keyed by the seed and by what it is used for, so that no draw depends on
how many were made before it. Only the raw 64-bit words of NumPy's Philox are used: they are
fixed by the algorithm, while the derived streams of ``numpy.random.Generator`` may change with
NumPy's version.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import numpy.typing as npt

__all__ = ["Use", "permutation", "uniform"]


class Use(IntEnum):
    """What a draw is for; a part of its key. Numbers are never reused."""

    HOLD_OUT = 1
    INITIAL_WEIGHTS = 2
    BATCH_ORDER = 3
    RESAMPLING = 4


def _words(count: int, use: Use, seed: int, index: int) -> npt.NDArray[np.uint64]:
    key = np.array([seed, use], dtype=np.uint64)
    counter = np.array([0, 0, 0, index], dtype=np.uint64)
    return np.random.Philox(key=key, counter=counter).random_raw(count)


def uniform(count: int, use: Use, *, seed: int, index: int = 0) -> npt.NDArray[np.float64]:
    """Draw numbers from [0, 1), with 53 random bits each.

    Parameters
    ----------
    count : how many
    use, seed, index : the key: the purpose, the user's seed, and which draw of that purpose
        (an epoch, a layer)

    Returns
    -------
    float64 (count,), in [0, 1)
    """
    words = _words(count, use, seed, index)
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53


def permutation(count: int, use: Use, *, seed: int, index: int = 0) -> npt.NDArray[np.int64]:
    """Shuffle 0 .. count-1: the order that sorts as many random 64-bit words.

    Returns
    -------
    int64 (count,), each number once
    """
    return np.argsort(_words(count, use, seed, index), kind="stable").astype(np.int64)
