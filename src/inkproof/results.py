"""The content of ``results.json``, schema version 1.

Everything that a report shows is here or in a run's folder; a report computes nothing.
``json_schema()`` publishes the form as JSON Schema.
"""

from __future__ import annotations

import json
import os
import reprlib
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from inkproof.errors import FileFormatError, StorageError
from inkproof.findings import Finding
from inkproof.settings import FOLDER_NAME
from inkproof.statistics import Conformal, Estimate, Plan, Reliability, Temperature
from inkproof.wording import printable

__all__ = [
    "ComparisonResult",
    "DataResult",
    "Mistake",
    "ModelResult",
    "PairResult",
    "RankingResult",
    "RobustnessCurve",
    "RobustnessResult",
    "RunResult",
    "StudyResult",
    "TestResult",
    "TrustResult",
    "Verdict",
    "json_schema",
]

_MOST_BYTES: Final = 1 << 30
_LONGEST_PLACE: Final = 200
_AGAIN: Final = "inkproof run makes it again, and keeps the runs that are complete"

Verdict = Literal[
    "better",
    "worse",
    "equivalent",
    "better but within the margin",
    "worse but within the margin",
    "not resolved",
]
"""On model b, against model a."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Mistake(_Record):
    """One test image that a network got wrong."""

    index: int = Field(description="row in the test split, from 0")
    label: int = Field(description="the true class")
    predicted: int = Field(description="the class with the highest probability")
    probability: float = Field(description="the probability of the predicted class")
    label_probability: float = Field(description="the probability given to the true class")


class TestResult(_Record):
    """What one trained network did on the test split."""

    __test__ = False  # not a pytest class

    loss: float
    accuracy: float
    confusion: list[list[int]] = Field(description="true class down, predicted across")
    mistakes: list[Mistake] = Field(description="all of them, the surest first")


class TrustResult(_Record):
    """What one model's probabilities are worth, over its runs on the test images."""

    calibration_error: Estimate = Field(description="expected calibration error, a share")
    brier: Estimate = Field(description="Brier score, summed over the classes, from 0 to 2")
    reliability: list[Reliability] = Field(description="for the diagram, one a run")
    temperatures: list[Temperature] = Field(
        default_factory=list, description="one a run, fitted on its validation images alone"
    )
    calibration_error_tempered: Estimate | None = Field(
        default=None, description="the error after each run's own temperature"
    )
    loss_tempered: Estimate | None = Field(
        default=None, description="the test loss after each run's own temperature, nats"
    )
    coverages: list[float] = Field(description="shares of images that are answered")
    accuracies: list[Estimate] = Field(description="the accuracy on those, one a coverage")
    conformal: list[Conformal] = Field(
        default_factory=list, description="one a run, its threshold from its validation images"
    )
    findings: list[Finding] = Field(default_factory=list, description="IPT001 to IPT004")


class RobustnessCurve(_Record):
    """Accuracy against the strength of one change to the images."""

    name: str = Field(description="such as 'rotated'")
    unit: str = Field(description="of the strengths, such as 'degrees'")
    strengths: list[float] = Field(description="ascending; the first is no change")
    accuracies: list[Estimate] = Field(description="one a strength, over runs")


class RobustnessResult(_Record):
    """One model on test images that were changed."""

    images: int = Field(description="how many test images, evenly spread over the split")
    curves: list[RobustnessCurve]
    findings: list[Finding] = Field(default_factory=list, description="IPR001")


class RunResult(_Record):
    """One model trained with one seed."""

    seed: int
    history: dict[str, list[float]] = Field(description="Keras' columns, one number an epoch")
    test: TestResult
    epoch_seconds: list[float] = Field(description="training and validation, no checkpointing")
    findings: list[Finding]
    folder: str = Field(description="the run's folder, relative to the study's")
    stopped_by: Literal["callback", "early_stopping", "time_budget"] | None = Field(
        default=None, description="what ended the training before all its epochs were done"
    )
    best_epoch: int | None = Field(
        default=None,
        description="the epoch, from 1, whose weights were given back; null: those of the last",
    )


class ModelResult(_Record):
    """One model over all its seeds."""

    name: str
    parameters: int
    summary: str = Field(description="Keras 3's summary table as plain text")
    diagram: str = Field(description="the layer diagram as SVG")
    test_accuracy: Estimate
    test_loss: Estimate
    published: dict[str, list[float]] | None = Field(
        default=None, description="a published history of the same network, for comparison"
    )
    findings: list[Finding] = Field(
        default_factory=list, description="the diagnoses over all its runs"
    )
    trust: TrustResult | None = None
    robustness: RobustnessResult | None = None
    runs: list[RunResult]


class PairResult(_Record):
    """Two models with the same seed, on the same test images."""

    seed: int
    only_a_right: int
    only_b_right: int
    p_mcnemar: float


class ComparisonResult(_Record):
    """Model b against model a; a positive difference means that b is better."""

    a: str
    b: str
    difference: Estimate = Field(
        description="accuracy of b minus accuracy of a, as a share, over new runs and new images"
    )
    log_loss_difference: Estimate = Field(
        description="test loss of a minus test loss of b, nats, over new runs and new images"
    )
    p_runs: float | None = Field(description="two-sided sign-flip test over the runs")
    pairs: list[PairResult]
    verdict: Verdict
    explanation: str = Field(description="one sentence that follows from the numbers")
    findings: list[Finding]
    outlook: str = Field(default="", description="what would resolve it, if it is not resolved")
    plan: Plan | None = Field(default=None, description="the numbers behind the outlook")
    margin: float | None = Field(default=None, description="a difference within it counts as none")
    within: Estimate | None = Field(
        default=None, description="the difference with the interval that must lie in the margin"
    )
    p_value: float | None = Field(default=None, description="of the difference in accuracy")
    p_adjusted: float | None = Field(default=None, description="the same by Holm's procedure")
    p_equivalence: float | None = Field(default=None, description="two one-sided tests, by Holm")
    comparisons: int = Field(default=1, description="how many were made together")
    over_runs: Estimate | None = Field(default=None, description="new runs, these images: Student")
    exact_over_runs: Estimate | None = Field(default=None, description="the same by sign flips")
    bootstrap_over_runs: Estimate | None = Field(default=None, description="the same by BCa")
    correlation: Estimate | None = Field(
        default=None, description="of the two models' accuracies over the seeds"
    )
    telling_images: int | None = Field(
        default=None, description="test images that some pair of runs disagrees on"
    )


class RankingResult(_Record):
    """More than two models in order, as far as it is resolved."""

    ranks: dict[str, int] = Field(description="equal ranks are ties")
    least_pairs: int = Field(description="of runs, for any verdict")
    explanation: str


class DataResult(_Record):
    """The data that a study ran on."""

    name: str
    source: str = Field(description="what inkproof.load was given")
    path: str | None = Field(
        default=None, description="where that is, seen from the folder of this file; null: inside"
    )
    fingerprint: str
    image_shape: list[int] = Field(description="height, width, channels")
    class_names: list[str]
    train: int = Field(description="images that trained, without the held-out ones")
    validation: int
    test: int
    class_counts: dict[str, list[int]] = Field(description="of 'train' (all of it) and 'test'")
    licence: str = ""


class StudyResult(_Record):
    """Everything that a study found."""

    schema_version: Literal[1] = Field(default=1, alias="schema")
    study: dict[str, Any] = Field(description="the study file's content, defaults filled in")
    data: DataResult
    environment: dict[str, Any]
    models: list[ModelResult]
    comparisons: list[ComparisonResult]
    ranking: RankingResult | None = None

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True
    )

    def to_json(self) -> str:
        """Give the text of ``results.json``."""
        return self.model_dump_json(by_alias=True, indent=1) + "\n"

    @classmethod
    def load(cls, path: str | Path) -> StudyResult:
        """Read a ``results.json``, which may come from anybody.

        Raises
        ------
        FileFormatError : the file is too large, or not JSON of this schema, or a model's name can
            name no folder of a study
        StorageError : it cannot be read
        """
        try:
            with Path(path).open("rb") as handle:
                size = os.fstat(handle.fileno()).st_size
                if size > _MOST_BYTES:
                    raise FileFormatError(
                        f"{path}: expected at most {_MOST_BYTES:,} bytes, got {size:,}"
                    )
                raw = handle.read(_MOST_BYTES)
        except OSError as error:
            raise StorageError(f"{path}: cannot be read: {error.strerror or error}") from error
        try:
            result = cls.model_validate_json(raw)
        except ValidationError as error:
            first = error.errors()[0]
            where = printable(".".join(str(part) for part in first["loc"]), _LONGEST_PLACE)
            raise FileFormatError(
                f"{path}: {where or 'content'}: {first['msg']}; {_AGAIN}"
            ) from error
        for index, model in enumerate(result.models):  # paths are made of them
            if not FOLDER_NAME.fullmatch(model.name):
                raise FileFormatError(
                    f"{path}: models.{index}.name: expected letters, digits, . _ + -, at most 64, "
                    f"got {reprlib.repr(model.name)}; {_AGAIN}"
                )
        return result


def json_schema() -> str:
    """Give the JSON Schema of ``results.json`` as text."""
    return json.dumps(StudyResult.model_json_schema(by_alias=True), indent=2) + "\n"
