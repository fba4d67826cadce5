"""What a report is made from, checked to belong together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from inkproof.errors import DataError
from inkproof.results import ModelResult, RunResult, StudyResult

__all__ = ["LabelledData", "LabelledImages", "Material", "checked"]


class LabelledImages(Protocol):
    """The part of a :class:`inkproof.Split` that a report shows."""

    @property
    def images(self) -> npt.NDArray[np.uint8]:
        """The images, uint8 (n, height, width, channels)."""
        ...

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """The true classes, int64 (n,)."""
        ...


class LabelledData(Protocol):
    """The part of a :class:`inkproof.Dataset` that a report shows."""

    @property
    def train(self) -> LabelledImages:
        """All training images, with those that are held out."""
        ...

    @property
    def test(self) -> LabelledImages:
        """The test images."""
        ...

    @property
    def fingerprint(self) -> str:
        """A hash over the images and labels of both splits."""
        ...


@dataclass(frozen=True, kw_only=True)
class Material:
    """What a report is made from.

    Parameters
    ----------
    result : the study's; models in its order
    data : the images that it ran on
    probabilities : (model, seed) -> float32 (n, k) on the test images; runs may be missing
    """

    result: StudyResult
    data: LabelledData
    probabilities: Mapping[tuple[str, int], npt.NDArray[np.float32]]

    @property
    def runs(self) -> list[tuple[ModelResult, RunResult]]:
        """All runs, model by model, seeds ascending: never the best one first."""
        return [(model, run) for model in self.result.models for run in runs_of(model)]

    def of_run(self, model: ModelResult, run: RunResult) -> npt.NDArray[np.float32] | None:
        """Look up a run's probabilities."""
        return self.probabilities.get((model.name, run.seed))


def runs_of(model: ModelResult) -> list[RunResult]:
    """Give a model's runs, seeds ascending."""
    return sorted(model.runs, key=lambda run: run.seed)


def checked(
    result: StudyResult,
    data: LabelledData,
    probabilities: Mapping[tuple[str, int], npt.NDArray[np.float32]],
) -> Material:
    """Check that results, images and probabilities are of one study.

    Raises
    ------
    DataError : no model or no run, another dataset, or probabilities of another shape
    """
    if not result.models or not all(model.runs for model in result.models):
        raise DataError("report: expected a study of at least one model, each with a run, got none")
    if data.fingerprint != result.data.fingerprint:
        raise DataError(
            f"report: the dataset must be the one that the study ran on, expected fingerprint"
            f" {result.data.fingerprint}, got {data.fingerprint}"
        )
    images, classes = len(data.test.labels), len(result.data.class_names)
    for (model, seed), given in probabilities.items():
        if given.shape != (images, classes):
            raise DataError(
                f"report: {model}, seed {seed}: probabilities must have shape ({images},"
                f" {classes}), got {given.shape}"
            )
    for model_result in result.models:
        for run in model_result.runs:
            where = f"report: {model_result.name}, seed {run.seed}"
            if np.shape(run.test.confusion) != (classes, classes):
                raise DataError(
                    f"{where}: the confusion matrix must have shape ({classes}, {classes}), got"
                    f" {np.shape(run.test.confusion)}"
                )
            for mistake in run.test.mistakes:
                if not 0 <= mistake.index < images or not (
                    0 <= mistake.label < classes and 0 <= mistake.predicted < classes
                ):
                    raise DataError(
                        f"{where}: a mistake must be one of {images} test images and of {classes}"
                        f" classes, got image {mistake.index}, class {mistake.label} and"
                        f" {mistake.predicted}"
                    )
    return Material(result=result, data=data, probabilities=probabilities)
