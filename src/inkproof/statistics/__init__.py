"""Intervals, tests and plans: NumPy and SciPy only. Each function names its source.

:mod:`basic`        shares, means, paired differences; the sign-flip and McNemar tests
:mod:`crossed`      runs and images that both vary: the interval that a verdict rests on
:mod:`planning`     how many runs or images would settle it
:mod:`multiplicity` several comparisons at once, and a ranking with ties
:mod:`resampling`   exact and bootstrap intervals over runs
:mod:`calibration`  do probabilities mean what they say; temperature, abstaining
:mod:`conformal`    sets of classes with a promised coverage
"""

from __future__ import annotations

from inkproof.statistics.basic import (
    EXACT_FLIPS,
    Estimate,
    Over,
    exact_share_interval,
    mcnemar_exact,
    mean_interval,
    over_runs,
    paired_interval,
    sign_flip_test,
    wilson_interval,
)
from inkproof.statistics.calibration import (
    HIGHEST_TEMPERATURE,
    LOWEST_TEMPERATURE,
    Reliability,
    Temperature,
    accuracy_by_coverage,
    brier_scores,
    expected_calibration_error,
    fit_temperature,
    reliability,
    tempered,
)
from inkproof.statistics.conformal import Conformal, conformal_check, conformal_threshold
from inkproof.statistics.crossed import Crossed, crossed_interval
from inkproof.statistics.multiplicity import holm, ranks_with_ties
from inkproof.statistics.planning import Plan, plan, power
from inkproof.statistics.resampling import (
    LEAST_BCA,
    bca_interval,
    correlation_interval,
    sign_flip_interval,
)

__all__ = [
    "EXACT_FLIPS",
    "HIGHEST_TEMPERATURE",
    "LEAST_BCA",
    "LOWEST_TEMPERATURE",
    "Conformal",
    "Crossed",
    "Estimate",
    "Over",
    "Plan",
    "Reliability",
    "Temperature",
    "accuracy_by_coverage",
    "bca_interval",
    "brier_scores",
    "conformal_check",
    "conformal_threshold",
    "correlation_interval",
    "crossed_interval",
    "exact_share_interval",
    "expected_calibration_error",
    "fit_temperature",
    "holm",
    "mcnemar_exact",
    "mean_interval",
    "over_runs",
    "paired_interval",
    "plan",
    "power",
    "ranks_with_ties",
    "reliability",
    "sign_flip_interval",
    "sign_flip_test",
    "tempered",
    "wilson_interval",
]
