"""Images with labels: a Split is one set of them, a Dataset is a training and a test split."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import numpy.typing as npt

from inkproof.data.limits import shape_text
from inkproof.errors import ConfigurationError, DataError
from inkproof.randomness import Use, permutation
from inkproof.wording import classes_counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Dataset", "Role", "Split", "fingerprint", "stratified_share"]

_MOST_NAMED: Final = 10
Role = Literal["train", "validation", "test"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """One set of images with their labels; its arrays are read-only views of those given.

    Parameters
    ----------
    images : uint8 (n, height, width, channels), 0-255; 1 channel for grey, 3 for colour
    labels : int64 (n,), 0 .. number of classes - 1
    role : what it may be used for: ``"train"``, ``"validation"`` or ``"test"``
    class_names : one for each class, all different
    indices : int64 (n,), the rows of the split that it was carved from, or None

    Raises
    ------
    DataError : shapes, dtypes or labels out of range; the message names the first wrong row
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    role: Role
    class_names: tuple[str, ...]
    indices: npt.NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        if self.role not in ("train", "validation", "test"):
            raise DataError(f"role must be train, validation or test, got {self.role!r}")
        _check_images(self.images, self.role)
        count = len(self.images)
        _check_rows(self.labels, count, f"{self.role}: labels")
        if self.indices is not None:
            _check_rows(self.indices, count, f"{self.role}: indices")
        object.__setattr__(self, "class_names", tuple(self.class_names))
        if len(set(self.class_names)) != len(self.class_names) or not self.class_names:
            raise DataError(f"{self.role}: class names must differ, got {self.class_names}")
        wrong = np.flatnonzero((self.labels < 0) | (self.labels >= len(self.class_names)))
        if wrong.size:
            raise DataError(
                f"{self.role}: labels must be 0 to {len(self.class_names) - 1}, "
                f"got {self.labels[wrong[0]]} in row {wrong[0]}"
            )
        for name in ("images", "labels", "indices"):
            array = getattr(self, name)
            if array is not None:
                view = np.ascontiguousarray(array).view()
                view.flags.writeable = False
                object.__setattr__(self, name, view)

    def __len__(self) -> int:
        """Count the images."""
        return len(self.images)

    def __repr__(self) -> str:
        return (
            f"Split({self.role!r}, images {self.images.dtype} {self.images.shape}, "
            f"{_classes(self.class_names)})"
        )

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width, channels."""
        _, height, width, channels = self.images.shape
        return height, width, channels

    @property
    def num_classes(self) -> int:
        """How many classes there are, with or without images."""
        return len(self.class_names)

    @property
    def class_counts(self) -> npt.NDArray[np.int64]:
        """Count each class's images: int64 (classes,)."""
        return np.bincount(self.labels, minlength=self.num_classes).astype(np.int64)

    @property
    def pixels(self) -> npt.NDArray[np.uint8]:
        """The images without the axis of the channels: uint8 (n, height, width); grey ones only."""
        if self.images.shape[3] != 1:
            raise DataError(f"pixels: expected grey images, got {self.images.shape[3]} channels")
        return self.images[..., 0]

    def one_hot(self) -> npt.NDArray[np.float32]:
        """Give the labels as float32 (n, classes): 1 at the label, 0 elsewhere."""
        return np.eye(self.num_classes, dtype=np.float32)[self.labels]

    def subset(self, indices: npt.ArrayLike) -> Split:
        """Take some rows, in the order given.

        Parameters
        ----------
        indices : whole numbers from 0, or a bool for each image

        Raises
        ------
        DataError : a row that is not there
        """
        return self._rows(_row_numbers(indices, len(self)), self.role)

    def hold_out(self, fraction: float, *, seed: int = 0) -> tuple[Split, Split]:
        """Carve a stratified validation split off this training split.

        It has ``round(n * fraction)`` images, and of each class its exact share, rounded down or
        up (the largest remainders are rounded up). Rows keep their order.

        Returns
        -------
        the rest, role ``"train"``, and what was held out, role ``"validation"``

        Raises
        ------
        ConfigurationError : fraction not between 0 and 1
        DataError : not a training split, or one of the two would be empty
        """
        if not 0 < fraction < 1:
            raise ConfigurationError(f"hold_out: fraction must be between 0 and 1, got {fraction}")
        if self.role != "train":
            raise DataError(f"hold_out: expected a training split, got role {self.role!r}")
        held = stratified_share(self.labels, self.num_classes, fraction, seed=seed)
        if held.all() or not held.any():
            raise DataError(
                f"hold_out: a share of {fraction} of {len(self)} images leaves one side empty"
            )
        return (
            self._rows(np.flatnonzero(~held), "train"),
            self._rows(np.flatnonzero(held), "validation"),
        )

    def show(
        self, indices: Sequence[int] = (0, 1, 2, 3, 4), *, titles: Sequence[str] | None = None
    ) -> Figure:
        """Draw some images, five in a row, each under its title: "Target: n" if none are given.

        Raises
        ------
        DataError : a row that is not there, or another number of titles
        """
        from inkproof import figures

        rows = _row_numbers(indices, len(self))
        if titles is None:
            titles = [f"Target: {self.class_names[self.labels[row]]}" for row in rows]
        return figures.image_grid(self.images[rows], titles, columns=5)

    def _rows(self, rows: npt.NDArray[np.int64], role: Role) -> Split:
        return Split(
            images=self.images[rows],
            labels=self.labels[rows],
            role=role,
            class_names=self.class_names,
            indices=rows if self.indices is None else self.indices[rows],
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """A training and a test split of the same classes and the same image shape.

    Parameters
    ----------
    name : what it is called in tables and reports
    source : what was given to :func:`inkproof.load`
    train, test : the splits, with those roles
    class_names : one for each class, those of both splits
    licence : under which its images may be used; ``"unknown"`` if nothing says so
    fingerprint : what :func:`fingerprint` gives for the two splits
    passed_over : what the source holds that was not read, for a list: ``the folder 'val'``
    has_own_test : whether the source had the test images, or they were taken from training

    Raises
    ------
    DataError : splits that do not belong together
    """

    name: str
    source: str
    train: Split
    test: Split
    class_names: tuple[str, ...]
    licence: str
    fingerprint: str
    passed_over: tuple[str, ...] = ()
    has_own_test: bool = True

    def __post_init__(self) -> None:
        for split, role in ((self.train, "train"), (self.test, "test")):
            if split.role != role:
                raise DataError(f"{self.name}: expected a {role} split, got role {split.role!r}")
            if split.class_names != tuple(self.class_names):
                raise DataError(
                    f"{self.name}: the {role} split has other classes than the data set: "
                    f"expected {len(self.class_names)}, got {split.num_classes}"
                )
        if self.train.image_shape != self.test.image_shape:
            raise DataError(
                f"{self.name}: images must have one size: train has "
                f"{shape_text(self.train.image_shape)}, test has "
                f"{shape_text(self.test.image_shape)}"
            )

    def __repr__(self) -> str:
        return (
            f"Dataset({self.name!r}, train {self.train.images.shape}, "
            f"test {self.test.images.shape}, {_classes(self.class_names)})"
        )


def _classes(names: tuple[str, ...]) -> str:
    """Write how many classes there are and the names of some: ``3 classes: 'a', 'b', 'c'``."""
    shown = ", ".join(map(repr, names[:_MOST_NAMED]))
    more = ", ..." if len(names) > _MOST_NAMED else ""
    return f"{classes_counted(len(names))}: {shown}{more}"


def fingerprint(train: Split, test: Split) -> str:
    """Hash shapes, images and labels of both splits: ``sha256:`` and 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for split in (train, test):
        array: npt.NDArray[Any]
        for array in (split.images, split.labels):
            little = array.astype(array.dtype.newbyteorder("<"), copy=False)
            digest.update(f"{little.dtype.str}{little.shape}".encode())
            digest.update(little.data)
    return f"sha256:{digest.hexdigest()}"


def stratified_share(
    labels: npt.NDArray[np.int64], num_classes: int, fraction: float, *, seed: int, index: int = 0
) -> npt.NDArray[np.bool_]:
    """Choose ``round(n * fraction)`` rows at random, of each class its share within one.

    Parameters
    ----------
    labels : int64 (n,), 0 .. num_classes - 1
    fraction : between 0 and 1
    seed, index : the key of the draw; index 0 is the hold-out's, 1 the test split's

    Returns
    -------
    bool (n,), true for the rows that were chosen
    """
    exact = np.bincount(labels, minlength=num_classes) * fraction
    take = np.floor(exact).astype(np.int64)
    short = round(len(labels) * fraction) - int(take.sum())
    take[np.argsort(-(exact - take), kind="stable")[:short]] += 1
    shuffled = permutation(len(labels), Use.HOLD_OUT, seed=seed, index=index)
    chosen = np.zeros(len(labels), dtype=bool)
    for label in range(num_classes):
        rows = shuffled[labels[shuffled] == label]
        chosen[rows[: take[label]]] = True
    return chosen


def _check_images(images: npt.NDArray[np.uint8], role: str) -> None:
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.ndim != 4:
        raise DataError(
            f"{role}: images must be uint8 (n, height, width, channels), got {_kind(images)}"
        )
    if images.shape[3] not in (1, 3):
        raise DataError(f"{role}: images must have 1 or 3 channels, got {images.shape[3]}")
    if 0 in images.shape[1:3]:
        raise DataError(f"{role}: images must have pixels, got {_kind(images)}")


def _check_rows(array: npt.NDArray[np.int64], count: int, where: str) -> None:
    if not isinstance(array, np.ndarray) or array.dtype != np.int64 or array.shape != (count,):
        raise DataError(f"{where} must be int64 ({count},), got {_kind(array)}")


def _kind(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {value.shape}"
    return type(value).__name__


def _row_numbers(indices: npt.ArrayLike, count: int) -> npt.NDArray[np.int64]:
    rows = np.asarray(indices)
    if rows.dtype == np.bool_ and rows.shape == (count,):
        return np.flatnonzero(rows)
    if rows.ndim != 1 or (rows.size and rows.dtype.kind not in "iu"):
        raise DataError(
            f"rows must be a list of whole numbers, or {count} bools, got {_kind(rows)}"
        )
    wrong = np.flatnonzero((rows < 0) | (rows >= count))
    if wrong.size:
        raise DataError(f"rows must be 0 to {count - 1}, got {rows[wrong[0]]}")
    return rows.astype(np.int64)
