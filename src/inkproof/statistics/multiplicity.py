"""Several comparisons at once."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt

from inkproof.errors import DataError
from inkproof.statistics.basic import numbers_of

__all__ = ["holm", "ranks_with_ties"]


def holm(p_values: npt.ArrayLike) -> list[float]:
    """Adjust p-values so that the chance of any false claim among them keeps its level.

    S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
    Statistics 6 (1979). It needs no independence.

    Parameters
    ----------
    p_values : (n,), in [0, 1]; may be none

    Returns
    -------
    an adjusted p-value each, in their order, at least the given one

    Raises
    ------
    DataError : a number that is not in [0, 1]
    """
    values = numbers_of("holm", p_values, least=0)
    if ((values < 0) | (values > 1)).any():
        raise DataError(f"holm: p-values must be from 0 to 1, got {values.tolist()}")
    order = np.argsort(values, kind="stable")
    steps = values[order] * np.arange(len(values), 0, -1)
    adjusted = np.empty(len(values))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(steps))
    return [float(value) for value in adjusted]


def ranks_with_ties(names: Sequence[str], better: Collection[tuple[str, str]]) -> dict[str, int]:
    """Rank by what is resolved: one more than how many were shown to be better.

    Two models of one rank need not be equal; nothing resolved puts one before the other.

    Parameters
    ----------
    names : of the models, each once
    better : pairs (the better one, the other one)

    Returns
    -------
    name -> rank, from 1
    """
    return {name: 1 + sum(other == name for _, other in better) for name in names}
