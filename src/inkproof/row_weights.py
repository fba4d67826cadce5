"""How much each training image counts: its class' weight times its own."""

from __future__ import annotations

import reprlib
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from inkproof.errors import ConfigurationError, DataError, UnknownNameError

if TYPE_CHECKING:
    from inkproof.data import Split
    from inkproof.training_config import TrainingConfig

__all__ = ["row_weights"]


def row_weights(
    train: Split, config: TrainingConfig, sample_weight: npt.ArrayLike | None
) -> npt.NDArray[np.float32] | None:
    """Give the weight of each training image in the loss.

    Parameters
    ----------
    train : the training data
    config : its ``class_weight`` counts
    sample_weight : real numbers (n,), at least 0, or None

    Returns
    -------
    float32 (n,), or None where all weigh 1

    Raises
    ------
    UnknownNameError : ``class_weight`` names a class that the data do not have
    ConfigurationError : a class twice
    DataError : ``sample_weight`` of another shape, or numbers that cannot weigh; nothing weighs
    """
    if config.class_weight is None and sample_weight is None:
        return None
    weights = np.ones(len(train), dtype=np.float64)
    if sample_weight is not None:
        weights = _checked(sample_weight, len(train))
    if config.class_weight is not None:
        weights = weights * _of_classes(train, config)[train.labels]
    with np.errstate(over="ignore"):
        result = weights.astype(np.float32)
    if not np.isfinite(result).all():
        raise DataError("train: weights of images must lie within what float32 holds")
    if not result.any():
        raise DataError("train: at least one training image must weigh more than 0")
    return result


def _checked(values: npt.ArrayLike, count: int) -> npt.NDArray[np.float64]:
    array = np.asarray(values)
    if array.dtype.kind not in "iuf" or array.shape != (count,):
        raise DataError(
            f"train: sample_weight must be real numbers ({count},), an image a number, "
            f"got {array.dtype} {array.shape}"
        )
    weights = array.astype(np.float64)
    bad = ~np.isfinite(weights) | (weights < 0)
    if bad.any():
        row = int(bad.argmax())
        raise DataError(
            f"train: sample_weight must be finite and at least 0, got {weights[row]:g} "
            f"for image {row}"
        )
    return weights


def _of_classes(train: Split, config: TrainingConfig) -> npt.NDArray[np.float64]:
    names = train.class_names
    counts = np.bincount(train.labels, minlength=len(names)).astype(np.float64)
    if isinstance(config.class_weight, str):  # balanced; a class without images needs no weight
        return len(train) / (len(names) * np.maximum(counts, 1))
    weights = np.ones(len(names), dtype=np.float64)
    taken: dict[int, str] = {}
    for key, weight in (config.class_weight or {}).items():
        index = _index(str(key), names)
        if index in taken:
            raise ConfigurationError(
                f"training.class_weight: {taken[index]!r} and {key!r} are one class"
            )
        taken[index] = str(key)
        weights[index] = weight
    return weights


def _index(key: str, names: tuple[str, ...]) -> int:
    if key in names:
        return names.index(key)
    if key.isascii() and key.isdigit() and int(key[:9]) < len(names):
        return int(key[:9])
    raise UnknownNameError("class", reprlib.repr(key)[1:-1], names, where="training.class_weight")
