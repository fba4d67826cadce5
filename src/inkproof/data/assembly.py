"""From arrays that a file held to a data set: labels checked, and a test split if none came."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from inkproof.data.dataset import Dataset, Role, Split, fingerprint, stratified_share
from inkproof.data.limits import MOST_CLASSES, shape_text
from inkproof.errors import DataError

__all__ = ["TEST_SHARE", "Labelled", "assemble", "numbered_classes"]

TEST_SHARE: Final = 1 / 6
"""The share that becomes the test split where a source has none, as in MNIST less a tenth."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Labelled:
    """Images with labels as a file held them.

    Parameters
    ----------
    images : uint8 (n, height, width) or (n, height, width, channels)
    labels : whole numbers (n,) or (n, 1)
    images_from, labels_from : the files, for messages
    line_of : gives the line in the labels' file of a row from 0, where that has lines
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[Any]
    images_from: str
    labels_from: str
    line_of: Callable[[int], int] | None = None


def numbered_classes(
    train: Labelled, test: Labelled | None, names: tuple[str, ...] | None = None
) -> tuple[str, ...]:
    """Name the classes of numbered labels: 0 to the largest label of the training images.

    Parameters
    ----------
    names : theirs, where the source has some; they are given back

    Raises
    ------
    DataError : no labels, one below 0 or too large, or a test label that training does not have;
        fewer names than classes
    """
    labels = _flat(train)
    if not labels.size:
        raise DataError(f"{train.labels_from}: expected labels, got none")
    _check_range(train, MOST_CLASSES, "")
    count = int(labels.max()) + 1
    if names is not None:
        if len(names) < count:
            raise DataError(
                f"{train.labels_from}: expected a name for each of {count} classes, "
                f"got {len(names)}"
            )
        count = len(names)
    if test is not None:
        _check_range(test, count, " as in the training labels" if names is None else "")
    return tuple(map(str, range(count))) if names is None else names


def assemble(
    source: str,
    name: str,
    train: Labelled,
    test: Labelled | None,
    class_names: tuple[str, ...],
    passed_over: tuple[str, ...] = (),
) -> Dataset:
    """Make a data set; without test images a stratified sixth of the training ones becomes them.

    Parameters
    ----------
    source, name, class_names, passed_over : as in the data set
    train, test : the images with their labels

    Raises
    ------
    DataError : images and labels that do not belong together, or two image sizes
    """
    whole = _split(train, "train", class_names)
    if test is None:
        chosen = stratified_share(whole.labels, len(class_names), TEST_SHARE, seed=0, index=1)
        splits = _part(whole, ~chosen, "train"), _part(whole, chosen, "test")
    else:
        splits = whole, _split(test, "test", class_names)
    for split in splits:
        if not len(split):
            raise DataError(f"{source}: expected images for both splits, got none to {split.role}")
    return Dataset(
        name=name,
        source=source,
        train=splits[0],
        test=splits[1],
        class_names=class_names,
        licence="unknown",
        fingerprint=fingerprint(*splits),
        passed_over=passed_over,
        has_own_test=test is not None,
    )


def _split(part: Labelled, role: Role, class_names: tuple[str, ...]) -> Split:
    labels = _flat(part)
    images = part.images
    if images.ndim == 3:
        images = images[..., np.newaxis]
    if images.ndim != 4 or images.shape[3] not in (1, 3) or 0 in images.shape[1:3]:
        raise DataError(
            f"{part.images_from}: expected images (n, height, width) or with 1 or 3 channels, "
            f"got {shape_text(part.images.shape)}"
        )
    if len(images) != len(labels):
        both = part.images_from if part.images_from == part.labels_from else part.labels_from
        raise DataError(
            f"{both}: expected a label for each of {len(images):,} images, got {len(labels):,}"
        )
    return Split(
        images=np.ascontiguousarray(images),
        labels=labels.astype(np.int64),
        role=role,
        class_names=class_names,
    )


def _flat(part: Labelled) -> npt.NDArray[Any]:
    labels = part.labels
    if labels.ndim == 2 and labels.shape[1] == 1:  # the form of Keras' CIFAR files
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise DataError(
            f"{part.labels_from}: expected whole numbers (n,) as labels, "
            f"got {labels.dtype} {labels.shape}"
        )
    return labels


def _check_range(part: Labelled, count: int, why: str) -> None:
    labels = _flat(part)
    wrong = np.flatnonzero((labels < 0) | (labels >= count))
    if wrong.size:
        row = int(wrong[0])
        place, where = "", f" in row {row}"
        if part.line_of is not None:
            place, where = f":{part.line_of(row)}", ""
        raise DataError(
            f"{part.labels_from}{place}: labels must be 0 to {count - 1}{why}, "
            f"got {labels[row]}{where}"
        )


def _part(split: Split, chosen: npt.NDArray[np.bool_], role: Role) -> Split:
    rows = np.flatnonzero(chosen)
    return Split(
        images=split.images[rows],
        labels=split.labels[rows],
        role=role,
        class_names=split.class_names,
        indices=rows,
    )
