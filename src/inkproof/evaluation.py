"""What a trained model does on labelled images: accuracy, loss, confusion, mistakes.

>>> result = evaluate(model, dataset.test)          # doctest: +SKIP
>>> result.accuracy.value, result.accuracy.low      # doctest: +SKIP
(0.9779, 0.9748298815070509)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from inkproof.data import Dataset
from inkproof.errors import ConfigurationError, DataError, ModelError
from inkproof.statistics import Estimate, mean_interval, wilson_interval

__all__ = [
    "CLIP",
    "ClassScore",
    "Classifier",
    "Evaluation",
    "LabelledImages",
    "Mistake",
    "check_class_names",
    "check_labels",
    "check_probabilities",
    "evaluate",
    "log_losses",
]

CLIP: Final = 1e-7
"""Probabilities are kept this far from 0 and 1 before the logarithm, as in Keras."""

_Scalar = TypeVar("_Scalar", bound=np.generic)
_MOST_NAMED: Final = 5
_LONGEST_SHOWN: Final = 40
_SUM_TOLERANCE: Final = 1e-3  # room for probabilities that were stored in half precision


class Classifier(Protocol):
    """Anything that gives class probabilities, such as a :class:`inkproof.Model`."""

    def predict(self, images: npt.NDArray[np.uint8], /) -> npt.NDArray[np.float32]:
        """Give float32 (n, classes) for n raw images."""
        ...


class LabelledImages(Protocol):
    """The part of a :class:`inkproof.Split` that an evaluation needs."""

    @property
    def images(self) -> npt.NDArray[np.uint8]:
        """The images, uint8 (n, height, width, channels)."""
        ...

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """The true classes, int64 (n,)."""
        ...

    @property
    def role(self) -> str:
        """One of ``train``, ``validation`` and ``test``."""
        ...

    @property
    def class_names(self) -> tuple[str, ...]:
        """A name a class."""
        ...


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """One image that the model got wrong.

    Parameters
    ----------
    index : the image's row in the split, from 0
    label : the true class
    predicted : the class with the highest probability
    probability : the probability of the predicted class
    label_probability : the probability given to the true class
    """

    index: int
    label: int
    predicted: int
    probability: float
    label_probability: float


@dataclass(frozen=True, kw_only=True)
class ClassScore:
    """How one class fared.

    Parameters
    ----------
    label : the class, from 0
    name : its name
    precision : of the images called this class, the share that is it (Wilson over those images);
        None if none was called so
    recall : of the images of this class, the share called so (Wilson over those images); None if
        there are none
    f1 : the harmonic mean of precision and recall; None if the class neither occurs nor is
        called. Its interval is Wilson's for the share of right ones among all images that are
        this class or were called so (Jaccard's index J), carried over by F1 = 2 J / (1 + J)
    support : how many images are of this class
    """

    label: int
    name: str
    precision: Estimate | None
    recall: Estimate | None
    f1: Estimate | None
    support: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """What a model does on one split. Arrays are read-only.

    Parameters
    ----------
    n : the number of images
    accuracy : the share of right predictions, Wilson's interval over images
    loss : the mean log loss in nats, Student's t interval over images (normal but for tiny n);
        probabilities are clipped to ``CLIP`` .. 1 - ``CLIP`` as in Keras
    confusion : int64 (k, k), how many images of each true class (down) went to each predicted
        class (across)
    probabilities : float32 (n, k), in [0, 1]
    labels : int64 (n,), the true classes
    predicted : int64 (n,), the classes with the highest probability; of equals the first
    role : the split's role: train, validation or test
    class_names : a name a class
    level : the intervals' confidence level
    """

    n: int
    accuracy: Estimate
    loss: Estimate
    confusion: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    predicted: npt.NDArray[np.int64]
    role: str
    class_names: tuple[str, ...]
    level: float = 0.95

    @property
    def mistakes(self) -> npt.NDArray[np.int64]:
        """The rows of all misclassified images, int64 (m,), the surest first, ties by row."""
        wrong = np.flatnonzero(self.predicted != self.labels)
        sureness = self.probabilities[wrong, self.predicted[wrong]]
        return wrong[np.argsort(-sureness, kind="stable")].astype(np.int64)

    def mistake_records(self) -> list[Mistake]:
        """All mistakes, in the order of :attr:`mistakes`."""
        return [
            Mistake(
                index=row,
                label=int(self.labels[row]),
                predicted=int(self.predicted[row]),
                probability=float(self.probabilities[row, self.predicted[row]]),
                label_probability=float(self.probabilities[row, self.labels[row]]),
            )
            for row in self.mistakes.tolist()
        ]

    def per_class(self) -> list[ClassScore]:
        """Precision, recall, F1 and support of each class, with intervals."""
        right = self.confusion.diagonal().tolist()
        support = self.confusion.sum(axis=1).tolist()
        called = self.confusion.sum(axis=0).tolist()
        return [
            ClassScore(
                label=label,
                name=self.class_names[label],
                precision=self._share(right[label], called[label]),
                recall=self._share(right[label], support[label]),
                f1=_f1(self._share(right[label], support[label] + called[label] - right[label])),
                support=support[label],
            )
            for label in range(len(self.class_names))
        ]

    def _share(self, right: int, n: int) -> Estimate | None:
        return wilson_interval(right, n, self.level) if n else None


def evaluate(
    model: Classifier | None,
    split: LabelledImages,
    *,
    probabilities: npt.ArrayLike | None = None,
    level: float = 0.95,
) -> Evaluation:
    """Evaluate a model, or the probabilities that it gave, on labelled images.

    Parameters
    ----------
    model : gives class probabilities for raw images; may be None with ``probabilities``
    split : images uint8 (n, height, width, channels) and labels int64 (n,), n at least 1
    probabilities : what the model gave for the split's images, float (n, k), if it was asked
        already; the model is then not used
    level : the intervals' confidence level, between 0 and 1

    Raises
    ------
    DataError : a whole data set, no images, labels that are no classes, probabilities of another
        shape than (n, k), not finite, outside [0, 1] or not adding up to 1
    ModelError : the model names other classes than the split has, or in another order; see
        :func:`check_class_names`
    ConfigurationError : neither a model nor probabilities, or a level not between 0 and 1
    """
    if isinstance(split, Dataset):
        raise DataError(
            f"evaluate: expected a split, got the data set {split.name!r}; give dataset.test"
        )
    where = f"evaluate: {split.role} split"
    classes = len(split.class_names)
    labels = check_labels(split.labels, classes=classes, where=where)
    if probabilities is None:
        if model is None:
            raise ConfigurationError("evaluate: expected a model or probabilities, got neither")
        named = getattr(model, "class_names", None)
        if named is not None and len(named) == classes:
            check_class_names(named, split.class_names, where=where)
        probabilities = model.predict(split.images)
    given = check_probabilities(
        probabilities, images=len(labels), classes=classes, where=f"{where}: probabilities"
    )
    predicted = np.argmax(given, axis=1).astype(np.int64)
    cells = np.bincount(labels * classes + predicted, minlength=classes * classes)
    return Evaluation(
        n=len(labels),
        accuracy=wilson_interval(int(np.count_nonzero(predicted == labels)), len(labels), level),
        loss=mean_interval(log_losses(given, labels), level, over="images", least=0.0),
        confusion=_frozen(cells.reshape(classes, classes).astype(np.int64)),
        probabilities=given,
        labels=labels,
        predicted=_frozen(predicted),
        role=split.role,
        class_names=tuple(split.class_names),
        level=level,
    )


def check_class_names(model: Sequence[str], data: Sequence[str], *, where: str) -> None:
    """Refuse a model of other classes than the data's: equal numbers would mean other things.

    A model whose classes are called "0", "1", ..., as without names, is compared by number, unless
    the data give just these names in another order.

    Parameters
    ----------
    model, data : the names of the classes, as many of the one as of the other

    Raises
    ------
    ModelError : other names, or the same ones in another order
    """
    if tuple(model) == tuple(data):
        return
    is_reordered = sorted(model) == sorted(data)
    if not is_reordered and tuple(model) == tuple(map(str, range(len(model)))):
        return
    # Lists that begin alike are shown from where they differ.
    first = next(
        i for i, (ours, theirs) in enumerate(zip(model, data, strict=True)) if ours != theirs
    )
    begin = first if first >= _MOST_NAMED else 0
    raise ModelError(
        f"{where}: the model's classes must be the data's"
        f"{', in the same order' if is_reordered else ''}: "
        f"the model has {_listed(model, begin)}, the data have {_listed(data, begin)}"
    )


def _listed(names: Sequence[str], begin: int) -> str:
    shown = [
        repr(name if len(name) <= _LONGEST_SHOWN else f"{name[: _LONGEST_SHOWN - 1]}…")
        for name in names[begin : begin + _MOST_NAMED]
    ]
    before = ["..."] if begin else []
    after = ["..."] if begin + _MOST_NAMED < len(names) else []
    return ", ".join([*before, *shown, *after])


def log_losses(
    probabilities: npt.NDArray[np.floating[Any]], labels: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Give each image's cross-entropy: minus the logarithm of its true class' probability.

    Parameters
    ----------
    probabilities : (n, k), in [0, 1], clipped here to ``CLIP`` .. 1 - ``CLIP`` as in Keras
    labels : int64 (n,)

    Returns
    -------
    float64 (n,), nats, from 1e-7 to 16.1
    """
    own = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return -np.log(np.clip(own, CLIP, 1 - CLIP))


def check_labels(labels: npt.ArrayLike, *, classes: int, where: str) -> npt.NDArray[np.int64]:
    """Give labels as a read-only int64 (n,), or say what is wrong with them.

    Raises
    ------
    DataError : none at all, another shape, not whole numbers, or outside 0 .. classes-1
    """
    array = np.asarray(labels)
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        raise DataError(
            f"{where}: labels must be whole numbers of shape (n,), got {array.dtype} of shape"
            f" {array.shape}"
        )
    if len(array) == 0:
        raise DataError(f"{where}: expected at least one image, got none")
    bad = (array < 0) | (array >= classes)
    if bad.any():
        row = int(np.argmax(bad))
        raise DataError(
            f"{where}: labels must be from 0 to {classes - 1}, got {array[row]} at row {row}"
        )
    return _frozen(array.astype(np.int64, copy=False))


def check_probabilities(
    probabilities: npt.ArrayLike, *, images: int, classes: int, where: str
) -> npt.NDArray[np.float32]:
    """Give class probabilities as a read-only float32 (n, k), or say what is wrong with them.

    Raises
    ------
    DataError : another shape than (images, classes), not finite, outside [0, 1], or a row that
        does not add up to 1
    """
    array = np.asarray(probabilities, dtype=np.float32)
    if array.shape != (images, classes):
        raise DataError(
            f"{where} must have shape ({images}, {classes}), one row an image and one column a"
            f" class, got {array.shape}"
        )
    finite = np.isfinite(array)
    if not finite.all():
        row, column = (int(i) for i in np.argwhere(~finite)[0])
        raise DataError(
            f"{where} must be finite, got {array[row, column]} at row {row}, class {column}"
        )
    outside = (array < 0) | (array > 1 + _SUM_TOLERANCE)
    if outside.any():
        row, column = (int(i) for i in np.argwhere(outside)[0])
        raise DataError(
            f"{where} must be from 0 to 1, got {array[row, column]:.4g} at row {row}, class"
            f" {column}: does the last layer end in softmax?"
        )
    totals = array.sum(axis=1, dtype=np.float64)
    off = np.abs(totals - 1) > _SUM_TOLERANCE
    if off.any():
        row = int(np.argmax(off))
        raise DataError(
            f"{where} must add up to 1 in each row, got {totals[row]:.4g} at row {row}: does the"
            " last layer end in softmax?"
        )
    return _frozen(array)


def _f1(jaccard: Estimate | None) -> Estimate | None:
    if jaccard is None or jaccard.low is None or jaccard.high is None:
        return None
    low, value, high = (2 * j / (1 + j) for j in (jaccard.low, jaccard.value, jaccard.high))
    return Estimate(
        value=value,
        low=low,
        high=high,
        level=jaccard.level,
        n=jaccard.n,
        over="images",
        method="Wilson of Jaccard's index",
    )


def _frozen(array: npt.NDArray[_Scalar]) -> npt.NDArray[_Scalar]:
    view = array.view()  # the caller's own array stays writeable
    view.flags.writeable = False
    return view
