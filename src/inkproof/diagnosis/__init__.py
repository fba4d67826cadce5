"""Did it overfit, stop too early or underfit: coded findings from training histories."""

from __future__ import annotations

from inkproof.diagnosis.run import (
    BY_HEART,
    FALL_ERRORS,
    FIT_ACCURACY,
    HEART_LOSSES,
    LEVEL_EPOCHS,
    MAX_GAP,
    MAX_RISE,
    MIN_FALL,
    RISE_NOISES,
    SETTLED,
    TREND_EPOCHS,
    WINDOW,
    diagnose,
)
from inkproof.diagnosis.runs import diagnose_runs

__all__ = [
    "BY_HEART",
    "FALL_ERRORS",
    "FIT_ACCURACY",
    "HEART_LOSSES",
    "LEVEL_EPOCHS",
    "MAX_GAP",
    "MAX_RISE",
    "MIN_FALL",
    "RISE_NOISES",
    "SETTLED",
    "TREND_EPOCHS",
    "WINDOW",
    "diagnose",
    "diagnose_runs",
]
