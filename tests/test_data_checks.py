"""Each code fails on data with that fault, and passes on data without it."""

from __future__ import annotations

import re
import time
from pathlib import Path

import numpy as np
import pytest

from inkproof.data import Dataset, Split, check, check_source, describe, load
from inkproof.data.dataset import fingerprint

CODES = [f"IPD{number:03d}" for number in range(1, 11)]
DOCS = Path(__file__).parent.parent / "docs" / "findings.md"


def split(images, labels, role, names):
    return Split(
        images=np.asarray(images, dtype=np.uint8),
        labels=np.asarray(labels, dtype=np.int64),
        role=role,
        class_names=names,
    )


def dataset(train, train_labels, test, test_labels, names=("a", "b"), **fields):
    first = split(train, train_labels, "train", names)
    second = split(test, test_labels, "test", names)
    return Dataset(
        name="small",
        source="here",
        train=first,
        test=second,
        class_names=names,
        licence="unknown",
        fingerprint=fingerprint(first, second),
        **fields,
    )


def noise(count, seed, high=256):
    return np.random.default_rng(seed).integers(0, high, (count, 6, 6, 1), dtype=np.uint8)


def clean():
    """Give arrays without a fault: training images and labels, test images and labels."""
    return noise(40, 1), np.tile([0, 1], 20), noise(20, 2), np.tile([0, 1], 10)


def outcome(code, *arrays, **fields):
    return next(finding for finding in check(dataset(*arrays, **fields)) if finding.code == code)


def test_clean_data_pass_every_check():
    findings = check(dataset(*clean()))
    assert [finding.code for finding in findings] == CODES
    assert {finding.status for finding in findings} == {"passed"}
    assert all("\n" not in finding.explanation for finding in findings)


def test_titles_are_those_of_the_docs():
    sections = dict(re.findall(r"^### (IPD\d{3}) (.+)$", DOCS.read_text("utf-8"), re.MULTILINE))
    assert {finding.code: finding.title for finding in check(dataset(*clean()))} == sections


@pytest.mark.parametrize(("role", "where"), [("train", 1), ("test", 3)])
def test_ipd001_names_a_class_without_images(role, where):
    arrays = list(clean())
    arrays[where] = np.zeros_like(arrays[where])
    finding = outcome("IPD001", *arrays)
    assert finding.status == "failed"
    assert finding.explanation == f"Without images: b in {role}."
    assert finding.evidence["absent"][role] == ["b"]


@pytest.mark.parametrize(("small", "status"), [(10, "passed"), (9, "failed")])
def test_ipd002_fails_above_three_times_as_many(small, status):
    train, _, test, test_labels = clean()
    labels = np.repeat([0, 1], [30, small])
    finding = outcome("IPD002", train[: len(labels)], labels, test, test_labels)
    assert finding.status == status
    assert finding.evidence["ratio"] == 30 / small
    assert ("Always guessing a would be right for 76.9 %" in finding.explanation) == (small == 9)


def test_ipd002_takes_two_classes():
    train, labels, test, test_labels = clean()
    finding = outcome("IPD002", train, np.zeros_like(labels), test, test_labels)
    assert finding.status == "not applicable"


def test_ipd003_counts_repeats_and_lists_their_rows():
    train, labels, test, test_labels = clean()
    train[[7, 9]] = train[3]
    finding = outcome("IPD003", train, labels, test, test_labels)
    assert finding.status == "failed"
    assert finding.evidence == {"extra": 2, "rows": [[3, 7, 9]]}
    assert finding.explanation.startswith("Two training images of 40 repeat an earlier one")


def test_ipd003_is_not_about_test_images():
    train, labels, test, test_labels = clean()
    test[4] = test[0]
    assert outcome("IPD003", train, labels, test, test_labels).status == "passed"


def test_ipd004_names_equal_images_with_different_labels():
    train, labels, test, test_labels = clean()
    test[5] = train[2]
    finding = outcome("IPD004", train, labels, test, test_labels)
    assert finding.status == "failed"
    assert finding.explanation == (
        "One image has copies with another label: the first is a in train row 2 and "
        "b in test row 5."
    )


def test_ipd004_passes_copies_with_the_same_label():
    train, labels, test, test_labels = clean()
    test[4] = train[2]
    assert outcome("IPD004", train, labels, test, test_labels).status == "passed"


def test_ipd005_names_test_images_that_are_in_training():
    train, labels, test, test_labels = clean()
    test[[4, 6]] = train[2]
    test[11] = train[3]
    finding = outcome("IPD005", train, labels, test, test_labels)
    assert finding.status == "failed"
    assert finding.severity == "error"
    assert finding.evidence == {"count": 3, "test_rows": [4, 6, 11]}


def test_ipd005_is_not_about_repeats_within_one_split():
    train, labels, test, test_labels = clean()
    test[4], train[4] = test[6], train[6]
    assert outcome("IPD005", train, labels, test, test_labels).status == "passed"


@pytest.mark.parametrize("value", [0, 17])
def test_ipd006_names_blank_images(value):
    train, labels, test, test_labels = clean()
    train[8] = value
    test[1] = value
    finding = outcome("IPD006", train, labels, test, test_labels)
    assert finding.status == "failed"
    assert finding.evidence == {"count": 2, "rows": {"train": [8], "test": [1]}}
    assert "one image in train (the first is row 8)" in finding.explanation


@pytest.mark.parametrize(
    "spoil",
    [lambda images: 255 - images // 2, lambda images: images // 255, lambda images: images // 3],
    ids=["inverted", "scaled to 0 and 1", "darkened"],
)
def test_ipd007_sees_test_images_prepared_in_another_way(spoil):
    train, labels, test, test_labels = clean()
    train = train // 2
    assert outcome("IPD007", train, labels, test // 2, test_labels).status == "passed"
    assert outcome("IPD007", train, labels, spoil(test), test_labels).status == "failed"


def test_ipd007_bears_what_chance_does_to_a_few_images():
    """Images of one brightness each: means of ten differ by much more than half a deviation."""
    labels = np.tile([0, 1], 5)
    train = np.full((10, 6, 6, 1), 100)
    test = np.full((10, 6, 6, 1), 100)
    train[:4], test[:4] = 0, 200
    train[:, 0, 0], test[:, 0, 0] = 255, 255
    finding = outcome("IPD007", train, labels, test, labels)
    difference = abs(finding.evidence["train_mean"] - finding.evidence["test_mean"])
    errors = [np.std(images.mean(axis=(1, 2, 3))) / np.sqrt(10) for images in (train, test)]
    assert 0.5 * finding.evidence["train_deviation"] < difference < 4 * np.hypot(*errors)
    assert finding.status == "passed"


def test_ipd007_takes_ten_images():
    train, labels, test, test_labels = clean()
    finding = outcome("IPD007", train, labels, test[:9], test_labels[:9])
    assert finding.status == "not applicable"


@pytest.mark.parametrize(("high", "status"), [(1, "failed"), (31, "failed"), (32, "passed")])
def test_ipd008_sees_pixels_that_hardly_differ(high, status):
    train, labels, test, test_labels = clean()
    train = train % (high + 1)
    train[0, 0, 0] = high
    train[0, 0, 1] = 0
    assert outcome("IPD008", train, labels, test, test_labels).status == status


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (2, "Not read: the folder 'a0'; the folder 'a1'."),
        (22, "the folder 'a19'; 2 more."),
    ],
)
def test_ipd009_names_what_was_passed_over(count, text):
    names = tuple(f"the folder 'a{number}'" for number in range(count))
    finding = outcome("IPD009", *clean(), passed_over=names)
    assert (finding.status, finding.severity) == ("failed", "warning")
    assert finding.explanation.endswith(text)
    assert finding.evidence == {"passed_over": list(names)}


def test_ipd010_tells_of_test_images_that_were_training_ones():
    finding = outcome("IPD010", *clean(), has_own_test=False)
    assert (finding.status, finding.severity) == ("failed", "info")
    assert "20 of its 60 images, a sixth of each class, were taken" in finding.explanation
    assert finding.evidence == {"test": 20, "total": 60}


def test_what_a_source_is_told_of_needs_no_image():
    codes = [finding.code for finding in check_source(dataset(*clean()))]
    assert codes == ["IPD009", "IPD010"]


def test_empty_splits_are_described():
    train, labels, test, test_labels = clean()
    described = describe(dataset(train[:0], labels[:0], test[:0], test_labels[:0]))
    assert described.train_counts == (0, 0)
    by_code = {finding.code: finding.status for finding in described.findings}
    assert by_code["IPD001"] == "failed"
    assert by_code["IPD008"] == "not applicable"


@pytest.fixture(scope="module")
def mnist():
    return load("mnist")


def test_mnist_passes_in_under_two_seconds(mnist):
    start = time.process_time()
    findings = check(mnist)
    assert time.process_time() - start < 2
    assert [finding.status for finding in findings] == ["passed"] * len(CODES)


def test_no_two_images_of_mnist_are_equal_by_another_count(mnist):
    images = [image.tobytes() for part in (mnist.train, mnist.test) for image in part.images]
    assert len(set(images)) == 70_000


def test_mnist_described(mnist):
    described = describe(mnist)
    assert (described.name, described.source) == ("mnist", "mnist")
    assert described.image_shape == (28, 28, 1)
    assert described.train_counts == (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949)
    assert described.test_counts == (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009)
    assert (described.pixel_min, described.pixel_max) == (0, 255)
    assert described.pixel_mean == pytest.approx(mnist.train.images.mean(), rel=1e-6)
