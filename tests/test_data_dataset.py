"""Splits refuse what does not fit, carve themselves stratified, and cannot be written to."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from inkproof.data import Dataset, Split
from inkproof.data.dataset import fingerprint, stratified_share
from inkproof.errors import ConfigurationError, DataError
from strategies import splits

LABELS = (0, 1, 2, 0, 1, 2, 0, 1)


def split(labels=LABELS, role="train", names=("a", "b", "c"), shape=(3, 2, 1), **fields):
    count = len(labels)
    images = np.arange(count * np.prod(shape), dtype=np.uint32).astype(np.uint8)
    given_fields = {
        "images": images.reshape(count, *shape),
        "labels": labels if isinstance(labels, np.ndarray) else np.array(labels, dtype=np.int64),
        "role": role,
        "class_names": names,
    }
    return Split(**(given_fields | fields))


def test_a_split_describes_itself():
    small = split()
    assert len(small) == 8
    assert small.image_shape == (3, 2, 1)
    assert small.num_classes == 3
    assert small.class_counts.tolist() == [3, 3, 2]
    assert small.class_counts.dtype == np.int64
    assert small.pixels.shape == (8, 3, 2)
    assert small.pixels.base is not None
    assert small.indices is None


def test_its_text_is_short():
    assert repr(split()) == "Split('train', images uint8 (8, 3, 2, 1), 3 classes: 'a', 'b', 'c')"
    names = tuple(map(str, range(1000)))
    first, second = split(names=names), split(names=names, role="test")
    whole = Dataset(
        name="small",
        source="here",
        train=first,
        test=second,
        class_names=names,
        licence="unknown",
        fingerprint=fingerprint(first, second),
    )
    assert str(whole) == (
        "Dataset('small', train (8, 3, 2, 1), test (8, 3, 2, 1), 1000 classes: "
        "'0', '1', '2', '3', '4', '5', '6', '7', '8', '9', ...)"
    )


def test_classes_without_images_are_counted():
    assert split(names=("a", "b", "c", "d")).class_counts.tolist() == [3, 3, 2, 0]


def test_one_hot_is_one_at_the_label():
    hot = split().one_hot()
    assert hot.dtype == np.float32
    assert hot.shape == (8, 3)
    assert hot.argmax(axis=1).tolist() == list(LABELS)
    assert hot.sum() == 8
    assert set(np.unique(hot)) == {0.0, 1.0}


def test_colour_images_have_no_plain_pixels():
    with pytest.raises(DataError, match="expected grey images, got 3 channels"):
        _ = split(shape=(3, 2, 3)).pixels


@pytest.mark.parametrize("name", ["images", "labels"])
def test_arrays_are_read_only_and_the_given_ones_stay_writeable(name):
    images = np.zeros((2, 1, 1, 1), dtype=np.uint8)
    labels = np.zeros(2, dtype=np.int64)
    small = Split(images=images, labels=labels, role="train", class_names=("a",))
    with pytest.raises(ValueError, match="read-only"):
        getattr(small, name)[0] = 1
    assert images.flags.writeable
    assert labels.flags.writeable


def test_images_become_contiguous():
    images = np.zeros((4, 6, 5, 1), dtype=np.uint8)[:, ::2]
    assert split((0, 0, 1, 1), images=images).images.flags.c_contiguous


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"images": np.zeros((8, 2, 2, 1))}, r"must be uint8 .*, got float64 \(8, 2, 2, 1\)"),
        ({"images": np.zeros((8, 2, 2), np.uint8)}, r"channels\), got uint8 \(8, 2, 2\)"),
        ({"images": [[1]]}, "got list"),
        ({"images": np.zeros((8, 2, 2, 4), np.uint8)}, "1 or 3 channels, got 4"),
        ({"images": np.zeros((8, 0, 2, 1), np.uint8)}, "must have pixels"),
        ({"images": np.zeros((7, 2, 2, 1), np.uint8)}, r"int64 \(7,\), got int64 \(8,\)"),
        ({"labels": np.zeros(8, np.int32)}, r"labels must be int64 \(8,\), got int32 \(8,\)"),
        ({"labels": np.array([0, 1, 2, 3, 4, 0, 0, 0])}, "must be 0 to 2, got 3 in row 3"),
        ({"labels": np.array([0, -1, 2, 3, 4, 0, 0, 0])}, "must be 0 to 2, got -1 in row 1"),
        ({"indices": np.arange(3)}, r"indices must be int64 \(8,\)"),
        ({"role": "valid"}, "role must be train, validation or test, got 'valid'"),
        ({"names": ("a", "b", "a")}, "class names must differ"),
        ({"names": ()}, "class names must differ"),
    ],
)
def test_what_does_not_fit_is_refused(fields, message):
    with pytest.raises(DataError, match=message) as caught:
        split(**fields)
    assert "\n" not in str(caught.value)


def test_a_subset_keeps_order_and_remembers_rows():
    part = split().subset([5, 0, 5])
    assert part.labels.tolist() == [2, 0, 2]
    assert part.indices.tolist() == [5, 0, 5]
    assert part.subset([1]).indices.tolist() == [0]
    assert np.array_equal(part.images[1], split().images[0])


def test_a_subset_may_be_bools_or_nothing():
    small = split()
    assert small.subset(small.labels == 1).indices.tolist() == [1, 4, 7]
    assert len(small.subset([])) == 0


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([0, 8], "rows must be 0 to 7, got 8"),
        ([-1], "rows must be 0 to 7, got -1"),
        ([0.5], "list of whole numbers"),
        (3, "list of whole numbers"),
        ([True, False], "or 8 bools"),
    ],
)
def test_rows_that_are_not_there_are_refused(rows, message):
    with pytest.raises(DataError, match=message):
        split().subset(rows)


FRACTIONS = st.floats(0.01, 0.99)


@given(splits(), FRACTIONS, st.integers(0, 2**32))
def test_a_hold_out_is_disjoint_complete_and_stratified(whole, fraction, seed):
    total = round(len(whole) * fraction)
    assume(0 < total < len(whole))
    train, validation = whole.hold_out(fraction, seed=seed)
    assert (train.role, validation.role) == ("train", "validation")
    assert len(validation) == total
    rows = np.concatenate([train.indices, validation.indices])
    assert sorted(rows.tolist()) == list(range(len(whole)))
    share = whole.class_counts * fraction
    assert np.all(np.abs(validation.class_counts - share) < 1)
    for part in (train, validation):
        assert np.all(np.diff(part.indices) > 0)
        assert np.array_equal(part.images, whole.images[part.indices])
        assert np.array_equal(part.labels, whole.labels[part.indices])


def test_a_hold_out_hangs_on_the_seed_only():
    whole = split(LABELS * 50)
    first, again, other = (whole.hold_out(0.25, seed=seed)[1].indices for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_every_row_is_held_out_with_the_same_probability():
    whole = split(LABELS * 5)
    times = np.zeros(len(whole))
    for seed in range(400):
        times[whole.hold_out(0.25, seed=seed)[1].indices] += 1
    # Of 400 draws, 100 are expected: the deviation is 8.7, of 40 rows none is five away.
    assert np.all(np.abs(times - 100) < 44)


def test_rows_of_a_second_hold_out_are_rows_of_the_first_split():
    rest, _ = split(LABELS * 10).hold_out(0.25, seed=1)
    _, second = rest.hold_out(0.5, seed=2)
    assert np.all(np.isin(second.indices, rest.indices))
    assert np.array_equal(second.labels, split(LABELS * 10).labels[second.indices])


def test_the_test_share_is_another_draw_than_the_hold_out():
    labels = np.zeros(600, dtype=np.int64)
    draws = [stratified_share(labels, 1, 1 / 6, seed=0, index=index) for index in (0, 1)]
    assert draws[0].sum() == draws[1].sum() == 100
    assert not np.array_equal(*draws)


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, float("nan")])
def test_a_fraction_is_between_0_and_1(fraction):
    with pytest.raises(ConfigurationError, match="fraction must be between 0 and 1, got"):
        split().hold_out(fraction)


def test_only_training_images_are_held_out():
    with pytest.raises(DataError, match="expected a training split, got role 'test'"):
        split(role="test").hold_out(0.1)


@pytest.mark.parametrize("fraction", [0.01, 0.99])
def test_a_hold_out_that_leaves_nothing_is_refused(fraction):
    with pytest.raises(DataError, match="of 8 images leaves one side empty"):
        split().hold_out(fraction)


def test_show_names_the_targets():
    pytest.importorskip("matplotlib")
    figure = split().show((0, 2, 4))
    texts = " ".join(text.get_text() for text in figure.findobj(lambda x: hasattr(x, "get_text")))
    assert [f"Target: {name}" in texts for name in "abc"] == [True, True, True]


def test_show_takes_titles_and_checks_rows():
    figure = split().show([1], titles=["mine"])
    texts = [text.get_text() for text in figure.findobj(lambda x: hasattr(x, "get_text"))]
    assert "mine" in texts
    with pytest.raises(DataError, match="rows must be 0 to 7, got 9"):
        split().show([9])


def dataset(train, test, names=("a", "b", "c")):
    return Dataset(
        name="small",
        source="here",
        train=train,
        test=test,
        class_names=names,
        licence="unknown",
        fingerprint=fingerprint(train, test),
    )


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ({"role": "test"}, {"role": "test"}, "expected a train split, got role 'test'"),
        ({}, {}, "expected a test split, got role 'train'"),
        ({}, {"role": "test", "names": ("a", "b", "c", "d")}, "other classes"),
        ({}, {"role": "test", "shape": (3, 3, 1)}, "train has 3x2x1, test has 3x3x1"),
    ],
)
def test_splits_of_a_dataset_belong_together(train, test, message):
    with pytest.raises(DataError, match=message):
        dataset(split(**train), split(**test))


def test_the_fingerprint_is_the_hash_of_shapes_images_and_labels():
    train, test = split(), split((2, 1), role="test")
    content = b""
    for part in (train, test):
        content += f"|u1{part.images.shape}".encode() + part.images.tobytes()
        content += f"<i8{part.labels.shape}".encode() + part.labels.astype("<i8").tobytes()
    expected = f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert dataset(train, test).fingerprint == expected


def test_the_fingerprint_changes_with_a_label():
    test = split((2, 1), role="test")
    other = split((*LABELS[:-1], 2))
    assert fingerprint(split(), test) != fingerprint(other, test)


def test_importing_and_loading_pulls_in_nothing_heavy():
    code = (
        "import sys, inkproof.data; inkproof.data.load('mnist'); "
        "print(*{'pandas', 'matplotlib', 'PIL', 'scipy'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
