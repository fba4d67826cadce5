"""Did it overfit, stop too early or underfit: coded findings from a training history.

The rules need nothing but the history's columns, so a published table can be diagnosed too. None
of them hangs on one noisy epoch: *levels* are medians of three neighbouring epochs (at the ends
the three first and last), and *noise* is the usual size of an epoch's deviation, estimated as
median(abs(x[i-1] - 2 x[i] + x[i+1])) / (0.6745 sqrt(6)) from the validation losses x: a second
difference removes the trend and has six times the variance, and the median of the absolute values
of a normal variable is 0.6745 standard deviations (Gasser, Sroka and Jennen-Steinmetz, "Residual
variance and residual pattern in nonlinear regression", Biometrika 73, 1986; in a robust form).

IPF001 No overfitting
    fails if the last level of the validation loss is above the lowest one by more than both
    ``MAX_RISE`` of it and ``RISE_NOISES`` noises. Where the training loss rose with it, by more
    than ``MAX_RISE``, the explanation says that training became unstable, which is no overfitting.
    Needs ``TREND_EPOCHS`` epochs.
IPF002 Small generalisation gap
    fails if the training accuracy at the end (median of three epochs) is more than ``MAX_GAP``
    above the validation accuracy and, where the number of validation images is known, above the
    end of the latter's 95 % Wilson interval. Needs ``LEVEL_EPOCHS`` epochs.
IPF003 Trained long enough
    fails if the validation loss was still falling at the end: its median over the last
    ``WINDOW`` epochs (fewer in a run of fewer than twice as many) is below that over as many
    before by more than both ``MIN_FALL`` of it and ``FALL_ERRORS`` standard errors of that
    difference of medians. Needs ``TREND_EPOCHS`` epochs.
IPF004 No underfitting
    fails if at the end both accuracies are below ``FIT_ACCURACY`` and the gap is at most
    ``MAX_GAP``: what it cannot do on unseen images it cannot do on its training images either.
    Needs ``LEVEL_EPOCHS`` epochs.
IPF005 No divergence
    fails if a loss is not finite, or if the training loss ends above where it began by more than
    ``MAX_RISE`` of that. It needs one epoch, and no validation data.
IPF006 Not learned by heart
    fails if at the end the training accuracy is at least ``BY_HEART`` and the validation loss
    more than ``HEART_LOSSES`` times the training loss: on unseen images it does not know what it
    knows on those. Needs ``LEVEL_EPOCHS`` epochs.

Without validation data, with too few epochs, or from a loss that is not finite on, a check is
"not applicable". Training loss and accuracy are running means over an epoch while the weights
move, so early in training they lag behind, and gaps come out too small rather than too large.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from inkproof.errors import DataError
from inkproof.findings import Finding, Severity, Status
from inkproof.history import History
from inkproof.statistics import wilson_interval
from inkproof.wording import counted, nats, percent, points

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
    "TITLES",
    "TREND_EPOCHS",
    "WINDOW",
    "Outcome",
    "diagnose",
    "finding_of",
]

MAX_RISE: Final = 0.05
"""A validation loss may end so far above its lowest level, as a share of it."""
RISE_NOISES: Final = 3.0
"""... or by so many times the noise of an epoch, whichever is more."""
MAX_GAP: Final = 0.01
"""Training accuracy may exceed validation accuracy by so much: one point."""
MIN_FALL: Final = 0.02
"""A validation loss that falls by a smaller share between two windows counts as settled."""
FALL_ERRORS: Final = 2.0
"""... and so does a fall of fewer standard errors."""
SETTLED: Final = 0.03
"""The epoch from which the loss is settled is the first within this share of the lowest level."""
WINDOW: Final = 5
"""Epochs in each of the two windows that are compared at the end."""
FIT_ACCURACY: Final = 0.95
"""A network that gets so many of its training images right does not count as underfitted."""
BY_HEART: Final = 0.999
"""Of its training images a network that knows them by heart gets so many right."""
HEART_LOSSES: Final = 5.0
"""... and its validation loss is more than so many times its training loss."""
TREND_EPOCHS: Final = 6
"""Fewer epochs cannot tell a trend from noise."""
LEVEL_EPOCHS: Final = 3
"""Fewer epochs have no level that one noisy epoch would not move."""

TITLES: Final[Mapping[str, tuple[str, Severity]]] = {
    "IPF001": ("No overfitting", "warning"),
    "IPF002": ("Small generalisation gap", "info"),
    "IPF003": ("Trained long enough", "info"),
    "IPF004": ("No underfitting", "warning"),
    "IPF005": ("No divergence", "error"),
    "IPF006": ("Not learned by heart", "info"),
}

_LEAST_LOSS: Final = 1e-6  # in nats; of less, percentages say nothing

_Values = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class _Curves:
    """A history with validation data, as arrays (epochs,); accuracies may be missing (empty)."""

    loss: _Values
    accuracy: _Values
    val_loss: _Values
    val_accuracy: _Values
    rate: _Values
    validation_images: int | None

    @property
    def epochs(self) -> int:
        return len(self.loss)

    @property
    def lowest(self) -> int:
        """The row of the lowest validation loss; of equals the first."""
        return int(np.argmin(self.val_loss))


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one check came out."""

    status: Status
    explanation: str
    evidence: Mapping[str, Any]


def diagnose(
    history: History, *, name: str = "", validation_images: int | None = None
) -> list[Finding]:
    """Diagnose one training run from its history.

    Parameters
    ----------
    history : at least its ``loss``; accuracies in [0, 1], losses in nats
    name : the model's, put before each explanation
    validation_images : how many images the validation accuracy rests on, if known

    Returns
    -------
    the findings IPF001 to IPF006, in this order; this module's docstring has their rules

    Raises
    ------
    DataError : columns of different lengths, or no epochs
    """
    lengths = {key: len(column) for key, column in history.columns().items()}
    if not lengths.get("loss"):
        raise DataError("diagnose: expected a history of at least one epoch, got none")
    for key, length in lengths.items():
        if length != lengths["loss"]:
            raise DataError(
                f"diagnose: {key} must have a number an epoch, expected {lengths['loss']},"
                f" got {length}"
            )
    curves = _Curves(
        loss=np.array(history.loss, dtype=np.float64),
        accuracy=np.array(history.accuracy, dtype=np.float64),
        val_loss=np.array(history.val_loss, dtype=np.float64),
        val_accuracy=np.array(history.val_accuracy, dtype=np.float64),
        rate=np.array(history.learning_rate, dtype=np.float64),
        validation_images=validation_images,
    )
    findings = []
    for code, (check, epochs, accuracies) in _CHECKS.items():
        if epochs == 0:
            findings.append(finding_of(code, name, check(curves)))
            continue
        reason = _obstacle(curves, epochs, accuracies=accuracies)
        if reason:
            outcome = Outcome(status="not applicable", explanation=reason, evidence={})
        else:
            outcome = check(curves)
        findings.append(finding_of(code, name, outcome))
    return findings


def finding_of(code: str, name: str, outcome: Outcome) -> Finding:
    """Give a check's outcome its code and title."""
    title, severity = TITLES[code]
    return Finding(
        code=code,
        title=title,
        severity=severity,
        status=outcome.status,
        explanation=f"{name}: {outcome.explanation}" if name else outcome.explanation,
        evidence=outcome.evidence,
    )


def _obstacle(curves: _Curves, epochs: int, *, accuracies: bool) -> str:
    """Say why a check does not apply, or nothing if it does."""
    if len(curves.val_loss) == 0:
        return "There was no validation data, so this cannot be known."
    if accuracies and not (len(curves.accuracy) and len(curves.val_accuracy)):
        return "The history has no accuracies, so this cannot be known."
    columns = (curves.loss, curves.accuracy, curves.val_loss, curves.val_accuracy)
    finite = np.all([np.isfinite(column) for column in columns if len(column)], axis=0)
    if not finite.all():
        epoch = int(np.argmin(finite)) + 1
        return f"The history is not finite at epoch {epoch}: training diverged there."
    if curves.epochs < epochs:
        had, needed = counted(curves.epochs, "epoch"), counted(epochs, "epoch")
        return f"{had.capitalize()} cannot show this: it takes at least {needed}."
    return ""


def _no_overfitting(curves: _Curves) -> Outcome:
    validation, training = _levels(curves.val_loss), _levels(curves.loss)
    turn = curves.epochs - 1 - int(np.argmin(validation[::-1]))  # of equal levels the last
    low, end = float(validation[turn]), float(validation[-1])
    noise = _noise(curves.val_loss)
    allowed = max(MAX_RISE * low, RISE_NOISES * noise)
    risen = end - low > allowed
    unstable = bool(training[-1] - training[turn] > MAX_RISE * training[turn])
    lowest = curves.lowest
    evidence = {
        "epochs": curves.epochs,
        "lowest_epoch": lowest + 1,
        "lowest_val_loss": float(curves.val_loss[lowest]),
        "lowest_level": low,
        "lowest_level_epoch": turn + 1,
        "last_level": end,
        "rise": end - low,
        "allowed_rise": allowed,
        "noise": noise,
        "training_at_lowest_level": float(training[turn]),
        "training_at_end": float(training[-1]),
        "overfitted": risen and not unstable,
    }
    where = f"epoch {lowest + 1} of {curves.epochs} ({nats(float(curves.val_loss[lowest]))})"
    # Beside a raw minimum the percentage would not follow from the numbers that are printed.
    rise = f"{_change(end - low, low)} above its lowest level of {nats(low)}"
    if not risen:
        explanation = f"Validation loss is lowest at {where}"
        if end > low:
            explanation += (
                f"; it ends at a level of {nats(end)}, {rise}, where more than"
                f" {_change(allowed, low)} would count as a rise."
            )
        else:
            explanation += " and has not risen since."
        return Outcome(status="passed", explanation=explanation, evidence=evidence)
    explanation = (
        f"Validation loss is lowest at {where} and ends at a level of {nats(end)}, {rise}, while"
        f" the level of the training loss went from {nats(float(training[turn]))} to"
        f" {nats(float(training[-1]))}. "
    )
    if unstable:
        explanation += "Both rose: training became unstable, which is not overfitting."
    else:
        explanation += f"From about epoch {turn + 1} on it overfitted."
    return Outcome(status="failed", explanation=explanation, evidence=evidence)


def _small_gap(curves: _Curves) -> Outcome:
    accuracy, val_accuracy, loss, val_loss = _ends(curves)
    lowest = curves.lowest
    gap = accuracy - val_accuracy
    evidence: dict[str, Any] = {
        "accuracy": accuracy,
        "val_accuracy": val_accuracy,
        "accuracy_gap": gap,
        "loss": loss,
        "val_loss": val_loss,
        "loss_gap": val_loss - loss,
        "lowest_epoch": lowest + 1,
        "accuracy_gap_at_lowest": float(curves.accuracy[lowest] - curves.val_accuracy[lowest]),
        "loss_gap_at_lowest": float(curves.val_loss[lowest] - curves.loss[lowest]),
    }
    explanation = (
        f"At the end the network gets {percent(accuracy)} of the training and"
        f" {percent(val_accuracy)} of the validation images right, a gap of {points(gap)} points"
        f" (loss {nats(loss)} and {nats(val_loss)}; more than {100 * MAX_GAP:g} point counts as"
        f" large). At epoch {lowest + 1}, of the lowest"
        f" validation loss, the gap is {points(evidence['accuracy_gap_at_lowest'])} points"
        f" ({nats(evidence['loss_gap_at_lowest'])} in loss)."
    )
    failed = gap > MAX_GAP
    if curves.validation_images:
        n = curves.validation_images
        known = wilson_interval(round(val_accuracy * n), n)
        low, high = known.low or 0.0, known.high or 1.0
        evidence |= {"validation_images": n, "val_accuracy_low": low, "val_accuracy_high": high}
        explanation += (
            f" With {counted(n, 'validation image')} the 95 % interval of the validation accuracy"
            f" is {percent(low)} to {percent(high)}."
        )
        failed = failed and accuracy > high
    return Outcome(
        status="failed" if failed else "passed", explanation=explanation, evidence=evidence
    )


def _long_enough(curves: _Curves) -> Outcome:
    window = min(WINDOW, curves.epochs // 2)
    last = float(np.median(curves.val_loss[-window:]))
    before = float(np.median(curves.val_loss[-2 * window : -window]))
    # A median has about pi / 2 times the variance of a mean.
    error = _noise(curves.val_loss) * math.sqrt(math.pi / 2 * 2 / window)
    falling = before - last > max(MIN_FALL * before, FALL_ERRORS * error)
    levels = _levels(curves.val_loss)
    settled = int(np.argmax(levels <= (1 + SETTLED) * levels.min())) + 1
    evidence = {
        "window": window,
        "last": last,
        "before": before,
        "fall": before - last,
        "standard_error": error,
        "settled_epoch": settled,
    }
    change = (
        f"its median over the last {counted(window, 'epoch')} is {nats(last)},"
        f" {_change(abs(before - last), before)} {'below' if last <= before else 'above'} that of"
        f" the {counted(window, 'epoch')} before"
    )
    if falling:
        explanation = (
            f"Validation loss was still falling at the end: {change}. More epochs would probably"
            " lower it further."
        )
        return Outcome(status="failed", explanation=explanation, evidence=evidence)
    explanation = (
        f"Validation loss came within {100 * SETTLED:g} % of its lowest level at epoch {settled}"
        f" and no longer falls: {change}."
    )
    return Outcome(status="passed", explanation=explanation, evidence=evidence)


def _no_underfitting(curves: _Curves) -> Outcome:
    accuracy, val_accuracy, _, _ = _ends(curves)
    gap = accuracy - val_accuracy
    poor = max(accuracy, val_accuracy) < FIT_ACCURACY
    both = (
        f"{percent(accuracy)} of the training and {percent(val_accuracy)} of the validation images"
    )
    if poor and gap <= MAX_GAP:
        explanation = (
            f"The network gets only {both} right: it is too small, was trained too briefly or too"
            " slowly, or these images cannot be told apart any better."
        )
    elif poor:
        explanation = f"The network gets {both} right: the gap, not the fit, is what limits it."
    else:
        explanation = f"The network gets {both} right: it has learned what it was shown."
    return Outcome(
        status="failed" if poor and gap <= MAX_GAP else "passed",
        explanation=explanation,
        evidence={"accuracy": accuracy, "val_accuracy": val_accuracy, "accuracy_gap": gap},
    )


def _no_divergence(curves: _Curves) -> Outcome:
    columns = (curves.loss, curves.val_loss)
    finite = np.all([np.isfinite(column) for column in columns if len(column)], axis=0)
    rate = ""
    evidence: dict[str, Any] = {"epochs": curves.epochs}
    if len(curves.rate) and math.isfinite(curves.rate[-1]):
        rate = f" at the learning rate {curves.rate[-1]:g}"
        evidence["learning_rate"] = float(curves.rate[-1])
    if not finite.all():
        row = int(np.argmin(finite))
        evidence["epoch"] = row + 1
        explanation = f"The loss is no longer finite in epoch {row + 1}{rate}"
        if row:
            evidence["last_finite_loss"] = float(curves.loss[row - 1])
            explanation += f"; it was {nats(float(curves.loss[row - 1]))} in the epoch before."
        else:
            explanation += ", the first."
        explanation += " A smaller learning rate would help."
        return Outcome(status="failed", explanation=explanation, evidence=evidence)
    first, last = float(curves.loss[0]), float(curves.loss[-1])
    evidence |= {"first_loss": first, "last_loss": last}
    if last > (1 + MAX_RISE) * first:
        explanation = (
            f"Training loss ended above where it began, at {nats(last)} after {nats(first)} in the"
            f" first epoch{rate}: it learned nothing that lasted."
        )
        return Outcome(status="failed", explanation=explanation, evidence=evidence)
    explanation = f"Training loss went from {nats(first)} to {nats(last)}, finite throughout."
    return Outcome(status="passed", explanation=explanation, evidence=evidence)


def _not_by_heart(curves: _Curves) -> Outcome:
    accuracy, val_accuracy, loss, val_loss = _ends(curves)
    failed = accuracy >= BY_HEART and val_loss > HEART_LOSSES * loss
    explanation = (
        f"At the end the network gets {percent(accuracy)} of its training images right, with a"
        f" validation loss of {nats(val_loss)} beside a training loss of {nats(loss)}"
    )
    if failed:
        explanation += ": it knows its training images by heart, and more epochs teach it no more."
    elif accuracy >= BY_HEART:
        explanation += ": it does as well on images that it has not seen."
    else:
        explanation += f"; less than {percent(BY_HEART)} is not by heart."
    return Outcome(
        status="failed" if failed else "passed",
        explanation=explanation,
        evidence={
            "accuracy": accuracy,
            "val_accuracy": val_accuracy,
            "loss": loss,
            "val_loss": val_loss,
        },
    )


_CHECKS: Final[Mapping[str, tuple[Callable[[_Curves], Outcome], int, bool]]] = {
    "IPF001": (_no_overfitting, TREND_EPOCHS, False),
    "IPF002": (_small_gap, LEVEL_EPOCHS, True),
    "IPF003": (_long_enough, TREND_EPOCHS, False),
    "IPF004": (_no_underfitting, LEVEL_EPOCHS, True),
    "IPF005": (_no_divergence, 0, False),
    "IPF006": (_not_by_heart, LEVEL_EPOCHS, True),
}


def _change(size: float, of: float) -> str:
    """Write a change as a percentage of a loss, or in nats where the loss is next to nothing."""
    return f"{100 * size / of:.1f} %" if of >= _LEAST_LOSS else nats(size)


def _levels(values: _Values) -> _Values:
    """Medians of three neighbours; the first and last are those of the three at that end."""
    inner = np.median(np.stack([values[:-2], values[1:-1], values[2:]]), axis=0)
    return np.concatenate([inner[:1], inner, inner[-1:]])


def _noise(values: _Values) -> float:
    """Estimate the standard deviation of an epoch around the trend."""
    second = values[:-2] - 2 * values[1:-1] + values[2:]
    return float(np.median(np.abs(second))) / (0.6745 * math.sqrt(6))


def _ends(curves: _Curves) -> tuple[float, float, float, float]:
    """Last levels of accuracy, validation accuracy, loss and validation loss."""
    accuracy, val_accuracy, loss, val_loss = (
        float(np.median(column[-LEVEL_EPOCHS:]))
        for column in (curves.accuracy, curves.val_accuracy, curves.loss, curves.val_loss)
    )
    return accuracy, val_accuracy, loss, val_loss
