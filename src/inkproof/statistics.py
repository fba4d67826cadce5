"""Intervals and paired tests: NumPy and SciPy only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Estimate", "Over"]

Over = Literal["runs", "images", "both"]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number with what is known of its error.

    Parameters
    ----------
    value : the point estimate
    low, high : the interval's ends, or None where there is none (one run has no spread)
    level : the interval's confidence level, such as 0.95
    n : how many observations it rests on
    over : what varies: training ``runs``, test ``images``, or ``both``
    method : the interval's name, such as ``"Wilson"``
    """

    value: float
    low: float | None
    high: float | None
    level: float
    n: int
    over: Over
    method: str
