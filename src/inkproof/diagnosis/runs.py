"""Diagnose one model over its runs: the same checks, and what varies from run to run."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from inkproof.diagnosis.run import MAX_GAP, SETTLED, TITLES, Outcome, diagnose, finding_of
from inkproof.errors import DataError
from inkproof.findings import Finding, Status
from inkproof.history import History
from inkproof.statistics import mean_interval
from inkproof.wording import counted, percent, points

__all__ = ["diagnose_runs"]


def diagnose_runs(
    histories: Sequence[History],
    *,
    name: str = "",
    level: float = 0.95,
    validation_images: int | None = None,
) -> list[Finding]:
    """Diagnose one model over its training runs.

    A check fails if it fails in more than half of the runs to which it applies. The gap to
    training comes with a Student t interval over runs, in which new weights, new batch orders
    and new hold-outs vary, if the runs' do; where the runs tie it has none, since their spread of
    0 is no measure of what another run would give.

    Parameters
    ----------
    histories : one a run, at least one
    name : the model's, put before each explanation
    level : confidence level of the interval
    validation_images : how many images each run's validation accuracy rests on, if known; as for
        :func:`diagnose`, so that what is said of the model is what is said of its runs

    Returns
    -------
    the findings IPF001 to IPF006, in this order; ``evidence`` has ``runs`` (how many),
    ``applicable``, ``failed`` and the runs' own numbers as lists

    Raises
    ------
    DataError : no histories, or what :func:`diagnose` refuses
    """
    if not histories:
        raise DataError("diagnose_runs: expected at least one history, got none")
    runs = [diagnose(history, validation_images=validation_images) for history in histories]
    findings = []
    for code, of_code in zip(TITLES, zip(*runs, strict=True), strict=True):
        applicable = [finding for finding in of_code if finding.status != "not applicable"]
        failed = sum(finding.status == "failed" for finding in applicable)
        if applicable:
            explanation, evidence = _SUMMARIES[code](
                [f.evidence for f in applicable], failed, level
            )
            status: Status = "failed" if 2 * failed > len(applicable) else "passed"
        else:
            explanation, evidence = of_code[0].explanation, {}
            status = "not applicable"
        counts = {"runs": len(runs), "applicable": len(applicable), "failed": failed}
        outcome = Outcome(status=status, explanation=explanation, evidence=counts | evidence)
        findings.append(finding_of(code, name, outcome))
    return findings


_Summary = tuple[str, dict[str, Any]]
_Evidence = Sequence[Mapping[str, Any]]


def _summarise_overfitting(runs: _Evidence, failed: int, _level: float) -> _Summary:
    lowest = [int(run["lowest_epoch"]) for run in runs]
    epochs = sorted({int(run["epochs"]) for run in runs})
    overfitted = sum(bool(run["overfitted"]) for run in runs)
    middle = float(statistics.median(lowest))
    explanation = (
        f"Validation loss is lowest at epoch {middle:g} of {' or '.join(map(str, epochs))} (median"
        f" of {counted(len(runs), 'run')}; {min(lowest)} to {max(lowest)});"
        f" {_of(overfitted, len(runs))} overfitted."
    )
    if failed > overfitted:
        explanation += (
            f" In {_of(failed - overfitted, len(runs))} training became unstable: training loss"
            " rose too."
        )
    return explanation, {
        "lowest_epochs": lowest,
        "median_lowest_epoch": middle,
        "overfitted": overfitted,
    }


def _summarise_gap(runs: _Evidence, failed: int, level: float) -> _Summary:
    gaps = [float(run["accuracy_gap"]) for run in runs]
    losses = [float(run["loss_gap"]) for run in runs]
    gap = mean_interval(gaps, level, over="runs", least=-1.0, most=1.0)
    if gap.low == gap.high:
        gap = replace(gap, low=None, high=None)
    explanation = (
        f"At the end training accuracy is {points(gap.value)} points above validation accuracy, the"
        f" mean of {counted(len(runs), 'run')}"
    )
    if gap.low is not None and gap.high is not None:
        explanation += (
            f" ({100 * level:g} % interval {points(gap.low)} to {points(gap.high)} over new"
            " training runs)"
        )
    elif len(runs) > 1:
        explanation += ", which all tied"
    explanation += f"; {_of(failed, len(runs))} exceeded {100 * MAX_GAP:g} point"
    images = runs[0].get("validation_images")
    if images is not None:
        explanation += (
            " and the 95 % interval of the validation accuracy, from"
            f" {counted(images, 'validation image')}"
        )
    return explanation + ".", {
        "accuracy_gaps": gaps,
        "mean_accuracy_gap": gap.value,
        "mean_accuracy_gap_low": gap.low,
        "mean_accuracy_gap_high": gap.high,
        "level": level,
        "loss_gaps": losses,
    }


def _summarise_length(runs: _Evidence, failed: int, _level: float) -> _Summary:
    settled = [int(run["settled_epoch"]) for run in runs]
    explanation = (
        f"Validation loss was still falling at the end of {_of(failed, len(runs))}; it came within"
        f" {100 * SETTLED:g} % of its lowest level at epoch {statistics.median(settled):g} (median;"
        f" {min(settled)} to {max(settled)})."
    )
    return explanation, {"settled_epochs": settled}


def _summarise_underfitting(runs: _Evidence, failed: int, _level: float) -> _Summary:
    accuracies = [float(run["accuracy"]) for run in runs]
    explanation = (
        f"At the end the network gets {percent(min(accuracies))} to {percent(max(accuracies))} of"
        f" the training images right; {_of(failed, len(runs))} underfitted."
    )
    return explanation, {"accuracies": accuracies}


def _summarise_divergence(runs: _Evidence, failed: int, _level: float) -> _Summary:
    diverged = f"{_of(failed, len(runs))} diverged."
    return diverged[0].upper() + diverged[1:], {
        "epochs": [run.get("epoch") for run in runs],
        "last_finite_losses": [run.get("last_finite_loss") for run in runs],
    }


def _summarise_by_heart(runs: _Evidence, failed: int, _level: float) -> _Summary:
    accuracies = [float(run["accuracy"]) for run in runs]
    ratios = [_ratio(float(run["val_loss"]), float(run["loss"])) for run in runs]
    explanation = (
        f"At the end {percent(min(accuracies))} to {percent(max(accuracies))} of the training"
        f" images are right; {_of(failed, len(runs))} learned them by heart."
    )
    return explanation, {"accuracies": accuracies, "loss_ratios": ratios}


def _ratio(one: float, other: float) -> float | None:
    """Divide, or give None where the quotient is no finite number."""
    quotient = one / other if other > 0 else math.inf
    return quotient if math.isfinite(quotient) else None


_SUMMARIES: Final[Mapping[str, Callable[[_Evidence, int, float], _Summary]]] = {
    "IPF001": _summarise_overfitting,
    "IPF002": _summarise_gap,
    "IPF003": _summarise_length,
    "IPF004": _summarise_underfitting,
    "IPF005": _summarise_divergence,
    "IPF006": _summarise_by_heart,
}


def _of(part: int, whole: int) -> str:
    """Write how many runs: ``2 of 3 runs``; of a single one ``the one run`` or ``no run``."""
    if whole == 1:
        return "the one run" if part else "no run"
    return f"{part} of {whole} runs"
