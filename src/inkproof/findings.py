"""A finding: one coded check, what it looked at, and how it came out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["Finding", "Severity", "Status"]

Severity = Literal["info", "warning", "error"]
Status = Literal["passed", "failed", "not applicable"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One coded check and its outcome; "not applicable" is not "passed".

    Parameters
    ----------
    code : ``IPD0xx`` for data, ``IPF0xx`` for the fit of a model, ``IPC0xx`` for a comparison
    title : what the check is called, a few words
    severity : how much a failure matters
    status : how it came out
    explanation : one or two sentences that follow from ``evidence``
    evidence : the numbers (JSON values) from which the outcome follows
    """

    code: str
    title: str
    severity: Severity
    status: Status
    explanation: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
