"""What may be wrong with a data set, as coded findings; and what is in it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from inkproof.data.dataset import Dataset, Split
from inkproof.findings import Finding, Severity
from inkproof.wording import counted

__all__ = ["Description", "check", "check_source", "describe"]

_MOST_IMBALANCE: Final = 3.0
_MOST_LISTED: Final = 20
_FEWEST_IMAGES: Final = 10
_LOW_RANGE: Final = 32
_CHUNK_PIXELS: Final = 2**22


@dataclass(frozen=True, kw_only=True)
class Description:
    """What is in a data set.

    Parameters
    ----------
    name, source, licence : as in the data set
    image_shape : height, width, channels
    class_names : one for each class
    train_counts, test_counts : images of each class
    pixel_min, pixel_mean, pixel_max : over all training images, 0-255
    findings : what :func:`check` gives
    """

    name: str
    source: str
    licence: str
    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    train_counts: tuple[int, ...]
    test_counts: tuple[int, ...]
    pixel_min: int
    pixel_mean: float
    pixel_max: int
    findings: tuple[Finding, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Rows:
    """What the checks need of each image of a split, taken in one pass."""

    low: npt.NDArray[np.uint8]
    high: npt.NDArray[np.uint8]
    mean: npt.NDArray[np.float64]
    square: npt.NDArray[np.float64]
    keys: list[bytes]


def describe(dataset: Dataset) -> Description:
    """Describe a data set: shape, classes, counts, pixels' range, findings."""
    train, test = _rows_of(dataset.train), _rows_of(dataset.test)
    height, width, channels = dataset.train.image_shape
    empty = not len(dataset.train)
    return Description(
        name=dataset.name,
        source=dataset.source,
        licence=dataset.licence,
        image_shape=(height, width, channels),
        class_names=dataset.class_names,
        train_counts=tuple(int(count) for count in dataset.train.class_counts),
        test_counts=tuple(int(count) for count in dataset.test.class_counts),
        pixel_min=0 if empty else int(train.low.min()),
        pixel_mean=0.0 if empty else float(train.mean.mean()),
        pixel_max=0 if empty else int(train.high.max()),
        findings=tuple(_findings(dataset, train, test)),
    )


def check(dataset: Dataset) -> list[Finding]:
    """Look for what would spoil training or evaluation; ``docs/findings.md`` explains each code.

    Two images are duplicates if all their pixels are equal.

    Returns
    -------
    one finding for each code, passed or not, in the codes' order
    """
    return _findings(dataset, _rows_of(dataset.train), _rows_of(dataset.test))


def check_source(dataset: Dataset) -> list[Finding]:
    """Give the findings about how the source was read, IPD009 and IPD010; no image is looked at."""
    return [_all_read(dataset), _own_test(dataset)]


def _findings(dataset: Dataset, train: _Rows, test: _Rows) -> list[Finding]:
    groups: dict[bytes, list[int]] = {}
    for row, key in enumerate([*train.keys, *test.keys]):
        groups.setdefault(key, []).append(row)
    repeated = [rows for rows in groups.values() if len(rows) > 1]
    return [
        _classes_present(dataset),
        _balance(dataset),
        _repeats(repeated, len(dataset.train)),
        _contradictions(dataset, repeated),
        _leaks(dataset, repeated),
        _blanks(train, test),
        _same_range(train, test),
        _full_range(train),
        *check_source(dataset),
    ]


def _rows_of(split: Split) -> _Rows:
    flat = split.images.reshape(len(split), math.prod(split.image_shape))
    low = np.empty(len(split), dtype=np.uint8)
    high = np.empty(len(split), dtype=np.uint8)
    mean = np.empty(len(split))
    square = np.empty(len(split))
    keys: list[bytes] = []
    for rows in _chunks(len(split), flat.shape[1]):
        block = flat[rows]
        low[rows] = block.min(axis=1)
        high[rows] = block.max(axis=1)
        mean[rows] = block.mean(axis=1, dtype=np.float32)
        values = block.astype(np.float32)
        square[rows] = np.einsum("ij,ij->i", values, values) / values.shape[1]
        keys.extend(hashlib.blake2b(row.data, digest_size=16).digest() for row in block)
    return _Rows(low=low, high=high, mean=mean, square=square, keys=keys)


def _chunks(count: int, pixels: int) -> Iterator[slice]:
    step = max(_CHUNK_PIXELS // pixels, 1)
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))


def _finding(
    code: str,
    title: str,
    severity: Severity,
    failed: bool | None,
    explanation: str,
    **evidence: Any,
) -> Finding:
    return Finding(
        code=code,
        title=title,
        severity=severity,
        status="not applicable" if failed is None else "failed" if failed else "passed",
        explanation=explanation,
        evidence=evidence,
    )


def _classes_present(dataset: Dataset) -> Finding:
    absent = {
        split.role: [
            name
            for name, count in zip(dataset.class_names, split.class_counts, strict=True)
            if not count
        ]
        for split in (dataset.train, dataset.test)
    }
    parts = [f"{_listed(names)} in {role}" for role, names in absent.items() if names]
    return _finding(
        "IPD001",
        "Every class has images",
        "error",
        bool(parts),
        f"Without images: {'; '.join(parts)}."
        if parts
        else f"Each of the {len(dataset.class_names)} classes has training and test images.",
        absent=absent,
    )


def _balance(dataset: Dataset) -> Finding:
    counts = dataset.train.class_counts
    present = np.flatnonzero(counts)
    title = "Classes of similar size"
    if len(present) < 2:
        text = f"It takes two classes with training images, got {len(present)}."
        return _finding("IPD002", title, "warning", None, text, classes=len(present))
    most = int(counts.argmax())
    least = int(present[counts[present].argmin()])
    ratio = float(counts[most] / counts[least])
    share = float(counts[most] / counts.sum())
    names = dataset.class_names
    text = (
        f"The largest class, {names[most]}, has {counts[most]:,} training images and the "
        f"smallest, {names[least]}, {counts[least]:,}: {ratio:.2f} times as many."
    )
    if ratio > _MOST_IMBALANCE:
        text += f" Always guessing {names[most]} would be right for {100 * share:.1f} % of them."
    return _finding(
        "IPD002",
        title,
        "warning",
        ratio > _MOST_IMBALANCE,
        text,
        largest=names[most],
        largest_count=int(counts[most]),
        smallest=names[least],
        smallest_count=int(counts[least]),
        ratio=ratio,
        limit=_MOST_IMBALANCE,
    )


def _repeats(repeated: list[list[int]], train_count: int) -> Finding:
    groups = [[row for row in rows if row < train_count] for rows in repeated]
    groups = [rows for rows in groups if len(rows) > 1]
    extra = sum(len(rows) - 1 for rows in groups)
    return _finding(
        "IPD003",
        "No image twice in training",
        "warning",
        extra > 0,
        f"{counted(extra, 'training image').capitalize()} of {train_count:,} "
        f"{'repeats' if extra == 1 else 'repeat'} an earlier one pixel for pixel.",
        extra=extra,
        rows=groups[:_MOST_LISTED],
    )


def _contradictions(dataset: Dataset, repeated: list[list[int]]) -> Finding:
    labels = np.concatenate([dataset.train.labels, dataset.test.labels])
    groups = [rows for rows in repeated if len(set(labels[rows].tolist())) > 1]
    examples = [_places(rows, labels, dataset) for rows in groups[:_MOST_LISTED]]
    text = "No two equal images have different labels."
    if groups:
        first, second = _differing(examples[0])
        text = (
            f"{counted(len(groups), 'image').capitalize()} "
            f"{'has' if len(groups) == 1 else 'have'} copies with another label: the first is "
            f"{first['label']} in {first['split']} row {first['row']} and "
            f"{second['label']} in {second['split']} row {second['row']}."
        )
    return _finding(
        "IPD004",
        "Equal images have equal labels",
        "error",
        bool(groups),
        text,
        count=len(groups),
        examples=examples,
    )


def _leaks(dataset: Dataset, repeated: list[list[int]]) -> Finding:
    edge = len(dataset.train)
    groups = [rows for rows in repeated if rows[0] < edge <= rows[-1]]
    rows = sorted(row - edge for group in groups for row in group if row >= edge)
    text = (
        f"{counted(len(rows), 'test image').capitalize()} of {len(dataset.test):,} "
        f"{'is' if len(rows) == 1 else 'are'} among the training images, pixel for pixel."
    )
    if rows:
        text += " The test accuracy is too good by what the model knows of them by heart."
    return _finding(
        "IPD005",
        "No test image in training",
        "error",
        bool(rows),
        text,
        count=len(rows),
        test_rows=rows[:_MOST_LISTED],
    )


def _blanks(train: _Rows, test: _Rows) -> Finding:
    blank = {
        role: np.flatnonzero(rows.low == rows.high) for role, rows in _both(train, test).items()
    }
    total = sum(len(found) for found in blank.values())
    parts = [
        f"{counted(len(found), 'image')} in {role} (the first is row {found[0]})"
        for role, found in blank.items()
        if len(found)
    ]
    return _finding(
        "IPD006",
        "No blank images",
        "warning",
        total > 0,
        f"All pixels are equal in {' and '.join(parts)}." if parts else "No image is blank.",
        count=total,
        rows={role: found[:_MOST_LISTED].tolist() for role, found in blank.items()},
    )


def _same_range(train: _Rows, test: _Rows) -> Finding:
    title = "Training and test pixels alike"
    counts = {role: len(rows.mean) for role, rows in _both(train, test).items()}
    if min(counts.values()) < _FEWEST_IMAGES:
        text = (
            f"It takes {_FEWEST_IMAGES} images in each split, got {counts['train']:,} training "
            f"and {counts['test']:,} test images."
        )
        return _finding("IPD007", title, "error", None, text, **counts)
    means = {role: float(rows.mean.mean()) for role, rows in _both(train, test).items()}
    highs = {role: int(rows.high.max()) for role, rows in _both(train, test).items()}
    difference = abs(means["train"] - means["test"])
    deviation = float(np.sqrt(max(train.square.mean() - means["train"] ** 2, 0.0)))
    noise = float(np.sqrt(sum(rows.mean.var() / len(rows.mean) for rows in (train, test))))
    shifted = difference > max(0.5 * deviation, 4 * noise)
    scaled = max(highs.values()) > 2 * min(highs.values()) + 1
    text = (
        f"The mean pixel is {means['train']:.1f} in training and {means['test']:.1f} in test, "
        f"the highest {highs['train']} and {highs['test']}."
    )
    if shifted or scaled:
        text += " One of them may be inverted or scaled; a model of the one misjudges the other."
    return _finding(
        "IPD007",
        title,
        "error",
        shifted or scaled,
        text,
        train_mean=means["train"],
        test_mean=means["test"],
        train_max=highs["train"],
        test_max=highs["test"],
        train_deviation=deviation,
    )


def _full_range(train: _Rows) -> Finding:
    title = "Pixels use the range 0 to 255"
    if not len(train.high):
        return _finding("IPD008", title, "warning", None, "There are no training images.")
    low, high = int(train.low.min()), int(train.high.max())
    failed = high - low < _LOW_RANGE
    text = f"Training pixels are {low} to {high}."
    if failed:
        text += " Models divide by 255, so that their inputs would hardly differ."
    return _finding("IPD008", title, "warning", failed, text, low=low, high=high, limit=_LOW_RANGE)


def _all_read(dataset: Dataset) -> Finding:
    left = dataset.passed_over
    more = len(left) - _MOST_LISTED
    return _finding(
        "IPD009",
        "Nothing passed over",
        "warning",
        bool(left),
        f"Not read: {'; '.join(left[:_MOST_LISTED])}{f'; {more} more' if more > 0 else ''}."
        if left
        else "Nothing in the source was passed over that looks like images.",
        passed_over=list(left),
    )


def _own_test(dataset: Dataset) -> Finding:
    test, total = len(dataset.test), len(dataset.train) + len(dataset.test)
    text = "The source itself tells training and test images apart."
    if not dataset.has_own_test:
        text = (
            f"The source has no test images: {test:,} of its {total:,} images, a sixth of each "
            "class, were taken for the test and are not trained on."
        )
    return _finding(
        "IPD010",
        "Test images of its own",
        "info",
        not dataset.has_own_test,
        text,
        test=test,
        total=total,
    )


def _both(train: _Rows, test: _Rows) -> dict[str, _Rows]:
    return {"train": train, "test": test}


def _places(
    rows: list[int], labels: npt.NDArray[np.int64], dataset: Dataset
) -> list[dict[str, Any]]:
    edge = len(dataset.train)
    return [
        {
            "split": "train" if row < edge else "test",
            "row": row if row < edge else row - edge,
            "label": dataset.class_names[labels[row]],
        }
        for row in rows
    ]


def _differing(places: list[dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    first = places[0]
    return first, next(place for place in places if place["label"] != first["label"])


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:_MOST_LISTED])
    more = len(names) - _MOST_LISTED
    return f"{shown} and {more} more" if more > 0 else shown
