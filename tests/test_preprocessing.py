from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from inkproof.errors import ConfigurationError, ModelError
from inkproof.preprocessing import Preprocessing, checked_input_shape, flat_inputs

image_shapes = st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 3))


@given(image_shapes, st.integers(0, 5), st.data())
def test_all_forms_of_images_give_the_same_rows(shape: Any, count: int, data: st.DataObject):
    images = data.draw(hnp.arrays(np.uint8, (count, *shape)))
    rows = [list(image.flat) for image in images]
    expected = np.array(rows, np.uint8).reshape(count, math.prod(shape))
    forms = [images, np.asfortranarray(images)]
    if shape[-1] == 1:
        forms.append(images[..., 0])
    for form in forms:
        flat = flat_inputs(form, shape, where="here")
        np.testing.assert_array_equal(flat, expected)
        assert flat.dtype == np.uint8
        assert flat.flags.c_contiguous
    for image, row in zip(images, expected, strict=True):
        one = [image, image[..., 0]] if shape[-1] == 1 else [image]
        for form in one:
            np.testing.assert_array_equal(flat_inputs(form, shape, where="here"), row[None])


def test_contiguous_images_are_not_copied():
    images = np.zeros((3, 4, 4, 1), np.uint8)
    assert np.shares_memory(flat_inputs(images, (4, 4, 1), where="here"), images)


def test_vectors_come_alone_or_in_rows():
    rows = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(flat_inputs(rows, (3,), where="here"), rows)
    np.testing.assert_array_equal(flat_inputs(rows[1], (3,), where="here"), rows[1:])


GREY = r"^model 'm' expects uint8 \(n, 28, 28\[, 1\]\) or \(28, 28\[, 1\]\), got "


@pytest.mark.parametrize(
    ("inputs", "shape", "message"),
    [
        (
            np.zeros((2, 28, 28), np.float32),
            (28, 28, 1),
            GREY + r"float32 \(2, 28, 28\); pass the raw pixels, 0-255: the model scales them",
        ),
        (
            np.zeros((2, 28, 28), np.int64),
            (28, 28, 1),
            GREY + r"int64 \(2, 28, 28\); convert with .astype\('uint8'\)$",
        ),
        (np.zeros((2, 784), np.uint8), (28, 28, 1), GREY + r"uint8 \(2, 784\)$"),
        (np.zeros((28, 28, 3), np.uint8), (28, 28, 1), GREY + r"uint8 \(28, 28, 3\)$"),
        (np.zeros((1, 1, 28, 28), np.uint8), (28, 28, 1), GREY + r"uint8 \(1, 1, 28, 28\)$"),
        (np.uint8(3), (28, 28, 1), GREY + r"uint8 \(\)$"),
        (np.zeros((28, 28), bool), (28, 28, 1), GREY + r"bool \(28, 28\)$"),
        (["a", "b"], (28, 28, 1), GREY + "<U1"),
        ([[1, 2], [3]], (28, 28, 1), GREY + "rows of different lengths$"),
        (
            np.zeros((8, 8), np.uint8),
            (8, 8, 3),
            r"expects uint8 \(n, 8, 8, 3\) or \(8, 8, 3\), got uint8 \(8, 8\)$",
        ),
        (
            np.zeros((2, 3)),
            (3,),
            r"expects float32 \(n, 3\) or \(3,\), got float64 \(2, 3\); "
            r"convert with .astype\('float32'\)$",
        ),
        (np.zeros((2, 4), np.float32), (3,), r"got float32 \(2, 4\)$"),
        (np.array([[1, np.nan, 2]], np.float32), (3,), "got numbers that are not finite$"),
        (np.array([np.inf, 1, 2], np.float32), (3,), "got numbers that are not finite$"),
    ],
)
def test_anything_else_says_what_was_expected_and_what_came(
    inputs: Any, shape: tuple[int, ...], message: str
):
    with pytest.raises(ModelError, match=message) as caught:
        flat_inputs(inputs, shape, where="model 'm'")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "shape",
    [(), (28, 28), (0,), (28, 28, 0), (1, 2, 3, 4), "784", 784, None, (2.0,), (True,), [-1]],
)
def test_input_shapes_that_will_not_do(shape: Any):
    with pytest.raises(ConfigurationError, match=r"^model.input_shape must be \(height, width"):
        checked_input_shape(shape)


def test_an_input_shape_may_come_from_json_or_numpy():
    assert checked_input_shape([28, 28, 1]) == (28, 28, 1)
    assert checked_input_shape((np.int64(5),)) == (5,)
    with pytest.raises(ConfigurationError, match="at most 16,777,216 numbers"):
        checked_input_shape((10**30,))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e39, 10**400, "1", None, True])
def test_numbers_that_will_not_do(value: Any):
    for key in ("scale", "offset"):
        with pytest.raises(ConfigurationError, match=rf"preprocessing.{key} must be a finite"):
            Preprocessing(**{key: value})


def test_scale_zero_and_flatten_other_than_bool():
    with pytest.raises(ConfigurationError, match=r"preprocessing.scale must not be 0, got 0.0"):
        Preprocessing(scale=0)
    with pytest.raises(ConfigurationError, match=r"preprocessing.flatten must be true or false"):
        Preprocessing(flatten=1)


def test_describe():
    assert Preprocessing(scale=1 / 255, flatten=True).describe((28, 28, 1)) == (
        "uint8 images, 0 to 255, divided by 255, flattened"
    )
    assert Preprocessing(scale=2, offset=-1).describe((4,)) == "float32 vectors, times 2, plus -1"
    assert Preprocessing(flatten=True).describe((4,)) == "float32 vectors"
