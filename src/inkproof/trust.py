"""What a model's probabilities are worth, over its runs on the test images.

Everything that is fitted, the temperature and the conformal threshold, is fitted on each run's
own validation images and judged on the test images. Intervals are over training runs, on these
test images; of a single run, and where the runs tie, over the images.

IPT001 Confidence as good as accuracy
    fails if the expected calibration error is above ``MAX_ERROR`` and, with an interval, all of
    that is.
IPT002 Temperature near 1
    fails if the fitted temperature lowers the validation loss by more than ``MIN_GAIN`` of it in
    more than half of the runs.
IPT003 Coverage as promised
    fails if the coverage of the conformal sets is too low in more than half of the runs, by a
    one-sided test at 1 %.
IPT004 Surer means better
    fails if answering only the surest half of the images does not raise the accuracy, unless all
    are right.
"""

from __future__ import annotations

import math
import statistics as middle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from inkproof.errors import DataError
from inkproof.evaluation import check_labels, check_probabilities, log_losses
from inkproof.findings import Finding, Severity, Status
from inkproof.results import TrustResult
from inkproof.statistics import (
    HIGHEST_TEMPERATURE,
    LOWEST_TEMPERATURE,
    Estimate,
    Temperature,
    accuracy_by_coverage,
    brier_scores,
    conformal_check,
    expected_calibration_error,
    fit_temperature,
    mean_interval,
    over_runs,
    reliability,
    tempered,
    wilson_interval,
)
from inkproof.wording import counted, nats, percent, points

__all__ = ["COVERAGES", "MAX_ERROR", "MIN_GAIN", "PROMISED", "Judgement", "trust"]

MAX_ERROR: Final = 0.02
"""Confidence may be two points from accuracy, on average."""
MIN_GAIN: Final = 0.02
"""A temperature that lowers the loss by a smaller share changes nothing worth having."""
PROMISED: Final = 0.99
"""The coverage that the conformal sets promise."""
COVERAGES: Final = tuple(round(0.02 * step, 2) for step in range(25, 51))
"""From the surest half of the images to all."""
_LOWEST_P: Final = 0.01

_TITLES: Final[Mapping[str, tuple[str, Severity]]] = {
    "IPT001": ("Confidence as good as accuracy", "info"),
    "IPT002": ("Temperature near 1", "info"),
    "IPT003": ("Coverage as promised", "warning"),
    "IPT004": ("Surer means better", "warning"),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Judgement:
    """What one run said.

    Parameters
    ----------
    test : probabilities of the test images, float32 (n, k)
    validation : of its validation images, float32 (m, k), and their labels, int64 (m,); None
        where there are none
    """

    test: npt.NDArray[np.float32]
    validation: tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]] | None = None


def trust(
    runs: Sequence[Judgement], labels: npt.ArrayLike, *, name: str = "", level: float = 0.95
) -> TrustResult:
    """Judge the probabilities of one model's runs.

    Parameters
    ----------
    runs : at least one; with validation images in all of them or in none
    labels : the true classes of the test images, int64 (n,)
    name : the model's, put before each explanation
    level : the intervals' confidence level

    Raises
    ------
    DataError : no runs, or probabilities and labels that do not fit each other
    """
    if not runs:
        raise DataError("trust: expected at least one run, got none")
    classes = np.shape(runs[0].test)[-1]
    truth = check_labels(labels, classes=classes, where="trust")
    given = [
        check_probabilities(
            run.test, images=len(truth), classes=classes, where=f"trust: run {row}: probabilities"
        )
        for row, run in enumerate(runs)
    ]

    def error(all_: Sequence[npt.NDArray[Any]]) -> Estimate:
        # Only an interval over images needs the draws.
        values = [expected_calibration_error(p, truth, level, draws=1).value for p in all_]

        def own() -> Estimate:
            return expected_calibration_error(all_[0], truth, level)

        return over_runs(values, own, level, least=0.0, most=1.0)

    def mean(scores: Sequence[npt.NDArray[Any]], most: float) -> Estimate:
        def own() -> Estimate:
            return mean_interval(scores[0], level, over="images", least=0.0, most=most)

        values = [float(one.mean()) for one in scores]
        return over_runs(values, own, level, least=0.0, most=most)

    def loss_of(all_: Sequence[npt.NDArray[Any]]) -> Estimate:
        return mean([log_losses(p, truth) for p in all_], math.inf)

    def accuracy(place: int, coverage: float) -> Estimate:
        values = [run[place] for run in by_coverage]
        answered = max(1, round(coverage * len(truth)))

        def own() -> Estimate:
            return wilson_interval(round(values[0] * coverage * len(truth)), answered, level)

        return over_runs(values, own, level, least=0.0, most=1.0)

    by_coverage = [accuracy_by_coverage(p, truth, COVERAGES) for p in given]
    fitted = [fit_temperature(*run.validation) for run in runs if run.validation is not None]
    checked = [
        conformal_check(run.validation, (run.test, truth), PROMISED)
        for run in runs
        if run.validation is not None
    ]
    rescaled = []
    if len(fitted) == len(given):
        rescaled = [tempered(p, t.value) for p, t in zip(given, fitted, strict=True)]
    result = TrustResult(
        calibration_error=error(given),
        brier=mean([brier_scores(p, truth) for p in given], 2.0),
        reliability=[reliability(p, truth) for p in given],
        temperatures=fitted,
        calibration_error_tempered=error(rescaled) if rescaled else None,
        loss_tempered=loss_of(rescaled) if rescaled else None,
        coverages=list(COVERAGES),
        accuracies=[accuracy(place, coverage) for place, coverage in enumerate(COVERAGES)],
        conformal=checked,
    )
    loss = loss_of(given)
    return result.model_copy(update={"findings": _findings(result, loss, name)})


def _findings(result: TrustResult, loss: Estimate, name: str) -> list[Finding]:
    prefix = f"{name}: " if name else ""
    found = []
    checks = (_calibrated(result), _temperature(result, loss), _covered(result), _surer(result))
    for (code, (title, severity)), (status, explanation, evidence) in zip(
        _TITLES.items(), checks, strict=True
    ):
        found.append(
            Finding(
                code=code,
                title=title,
                severity=severity,
                status=status,
                explanation=prefix + explanation,
                evidence=evidence,
            )
        )
    return found


_Outcome = tuple[Status, str, dict[str, Any]]


def _calibrated(result: TrustResult) -> _Outcome:
    error = result.calibration_error
    bins = [
        one
        for run in result.reliability
        for one in zip(run.confidence, run.accuracy, run.images, strict=True)
    ]
    images = sum(count for *_, count in bins)
    lean = sum((sure - right) * count for sure, right, count in bins) / images
    explanation = (
        f"Confidence is {points(error.value)} points from accuracy on average{_ends(error)};"
        f" altogether the model is {points(abs(lean))} points"
        f" {'too sure' if lean > 0 else 'less sure than it may be'}."
    )
    failed = error.value > MAX_ERROR and (error.low is None or error.low > MAX_ERROR)
    return (
        "failed" if failed else "passed",
        explanation,
        {"error": error.value, "low": error.low, "high": error.high, "overconfidence": lean},
    )


def _temperature(result: TrustResult, loss: Estimate) -> _Outcome:
    fitted = result.temperatures
    if not fitted or result.loss_tempered is None or result.calibration_error_tempered is None:
        return "not applicable", "There was no validation data to fit a temperature on.", {}
    gains = [
        (one.loss_before - one.loss_after) / one.loss_before if one.loss_before > 0 else 0.0
        for one in fitted
    ]
    values = [one.value for one in fitted]
    failed = 2 * sum(gain > MIN_GAIN for gain in gains) > len(gains)
    explanation = (
        f"{_best_temperature(fitted)}{_judged_temperature(values, failed=failed)}. On the test"
        f" images {'what comes nearest' if all(one.at_bound for one in fitted) else 'it'} takes the"
        f" loss from {nats(loss.value)} to {nats(result.loss_tempered.value)} and the calibration"
        f" error from {points(result.calibration_error.value)} to"
        f" {points(result.calibration_error_tempered.value)} points; it changes no prediction."
    )
    return (
        "failed" if failed else "passed",
        explanation,
        {"temperatures": values, "validation_gains": gains},
    )


def _best_temperature(fitted: Sequence[Temperature]) -> str:
    """Say which temperature fits best, of the runs in which one does."""
    none = f"no temperature between {LOWEST_TEMPERATURE:g} and {HIGHEST_TEMPERATURE:g} fits best"
    values = [one.value for one in fitted if not one.at_bound]
    if not values:
        runs = f" in any of {counted(len(fitted), 'run')}" if len(fitted) > 1 else ""
        return f"On validation images {none}{runs}"
    text = f"On validation images a temperature of {middle.median(values):.2f} fits best"
    if len(values) > 1:
        text += f" (median; {min(values):.2f} to {max(values):.2f})"
    if len(values) < len(fitted):
        text += f"; in {len(fitted) - len(values)} of {len(fitted)} runs {none}"
    return text


def _judged_temperature(values: Sequence[float], *, failed: bool) -> str:
    """Say what the temperatures mean; one that gains next to nothing says nothing of the logits."""
    if failed:
        return f": the logits are {'too sure' if middle.median(values) > 1 else 'not sure enough'}"
    most = "in at least half of the runs " if len(values) > 1 else ""
    return f": {most}none lowers their loss by more than {100 * MIN_GAIN:g} %"


def _covered(result: TrustResult) -> _Outcome:
    sets = result.conformal
    if not sets:
        return "not applicable", "There was no validation data to set a threshold on.", {}
    coverages = [one.coverage for one in sets]
    low = sum(one.p_value < _LOWEST_P for one in sets)
    sizes = [one.mean_size for one in sets]
    mean = sum(coverages) / len(coverages)
    explanation = (
        f"Sets of classes that promise to hold the true one for {100 * PROMISED:g} % of images do"
        f" so for {percent(mean)} of the test images"
        + (
            f" (mean of {counted(len(sets), 'run')}; {percent(min(coverages))} to"
            f" {percent(max(coverages))})"
            if len(sets) > 1
            else ""
        )
        + f", with {sum(sizes) / len(sizes):.2f} classes on average."
    )
    if low:
        explanation += (
            f" In {low} of {counted(len(sets), 'run')} that is less than chance explains: the test"
            " images are not like the validation images."
        )
    return (
        "failed" if 2 * low > len(sets) else "passed",
        explanation,
        {
            "coverages": coverages,
            "p_values": [one.p_value for one in sets],
            "mean_sizes": sizes,
            "promised": PROMISED,
        },
    )


def _surer(result: TrustResult) -> _Outcome:
    half, everything = result.accuracies[0].value, result.accuracies[-1].value
    place = COVERAGES.index(0.9)
    explanation = (
        f"Answering all images the model is right on {percent(everything)}, on the surest"
        f" {100 * COVERAGES[place]:g} % of them {percent(result.accuracies[place].value)}, on the"
        f" surest half {percent(half)}."
    )
    failed = half <= everything < 1
    return (
        "failed" if failed else "passed",
        explanation,
        {"coverages": result.coverages, "accuracies": [one.value for one in result.accuracies]},
    )


def _ends(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return ""
    over = "new training runs" if estimate.over == "runs" else "new images"
    return (
        f" ({100 * estimate.level:g} % interval {points(estimate.low)} to"
        f" {points(estimate.high)} over {over})"
    )
