"""Inkproof trains small image classifiers on ordinary CPU cores and compares them honestly.

The public names below are loaded when they are first used, so that ``import inkproof`` costs next
to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from inkproof.augmentation import Augmentation
    from inkproof.comparison import Comparison, compare
    from inkproof.data import Dataset, Split, check, load
    from inkproof.diagnosis import diagnose
    from inkproof.errors import (
        Cancelled,
        ConfigurationError,
        DataError,
        FileFormatError,
        InkproofError,
        MissingExtraError,
        ModelError,
        StorageError,
        TrainingError,
        UnknownNameError,
        UnsupportedError,
    )
    from inkproof.evaluation import Evaluation, evaluate
    from inkproof.findings import Finding
    from inkproof.history import History
    from inkproof.layers import (
        Activation,
        AveragePool2D,
        BatchNormalization,
        Conv2D,
        Dense,
        Dropout,
        Flatten,
        GlobalAveragePool2D,
        MaxPool2D,
        Residual,
    )
    from inkproof.model import Model
    from inkproof.optimizers import SGD, Adam, AdamW, Muon
    from inkproof.preprocessing import Preprocessing
    from inkproof.report import write_report
    from inkproof.results import StudyResult
    from inkproof.schedules import CosineDecay, OneCycle, PiecewiseConstantDecay
    from inkproof.statistics import Estimate
    from inkproof.stopping import EarlyStopping, ReduceLROnPlateau
    from inkproof.study import Study, load_study_result, run_study
    from inkproof.training import Epoch, Progress, Run, TrainingConfig, train

__all__ = [
    "SGD",
    "Activation",
    "Adam",
    "AdamW",
    "Augmentation",
    "AveragePool2D",
    "BatchNormalization",
    "Cancelled",
    "Comparison",
    "ConfigurationError",
    "Conv2D",
    "CosineDecay",
    "DataError",
    "Dataset",
    "Dense",
    "Dropout",
    "EarlyStopping",
    "Epoch",
    "Estimate",
    "Evaluation",
    "FileFormatError",
    "Finding",
    "Flatten",
    "GlobalAveragePool2D",
    "History",
    "InkproofError",
    "MaxPool2D",
    "MissingExtraError",
    "Model",
    "ModelError",
    "Muon",
    "OneCycle",
    "PiecewiseConstantDecay",
    "Preprocessing",
    "Progress",
    "ReduceLROnPlateau",
    "Residual",
    "Run",
    "Split",
    "StorageError",
    "Study",
    "StudyResult",
    "TrainingConfig",
    "TrainingError",
    "UnknownNameError",
    "UnsupportedError",
    "check",
    "compare",
    "diagnose",
    "evaluate",
    "load",
    "load_study_result",
    "run_study",
    "train",
    "write_report",
]

_MODULES: Final = {
    "augmentation": ("Augmentation",),
    "comparison": ("Comparison", "compare"),
    "data": ("Dataset", "Split", "check", "load"),
    "diagnosis": ("diagnose",),
    "errors": (
        "Cancelled",
        "ConfigurationError",
        "DataError",
        "FileFormatError",
        "InkproofError",
        "MissingExtraError",
        "ModelError",
        "StorageError",
        "TrainingError",
        "UnknownNameError",
        "UnsupportedError",
    ),
    "evaluation": ("Evaluation", "evaluate"),
    "findings": ("Finding",),
    "history": ("History",),
    "layers": (
        "Activation",
        "AveragePool2D",
        "BatchNormalization",
        "Conv2D",
        "Dense",
        "Dropout",
        "Flatten",
        "GlobalAveragePool2D",
        "MaxPool2D",
        "Residual",
    ),
    "model": ("Model",),
    "optimizers": ("SGD", "Adam", "AdamW", "Muon"),
    "preprocessing": ("Preprocessing",),
    "report": ("write_report",),
    "results": ("StudyResult",),
    "schedules": ("CosineDecay", "OneCycle", "PiecewiseConstantDecay"),
    "statistics": ("Estimate",),
    "stopping": ("EarlyStopping", "ReduceLROnPlateau"),
    "study": ("Study", "load_study_result", "run_study"),
    "training": ("Epoch", "Progress", "Run", "TrainingConfig", "train"),
}
_MODULE_OF: Final = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value: Any = _version()
    elif name in _MODULE_OF:
        value = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("inkproof")
    except PackageNotFoundError:  # run from a source tree that is not installed
        return "0+unknown"
