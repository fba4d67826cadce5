"""Statistical tests hold for any seed: each fails by chance less often than once in 10**8."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from inkproof.initializers import fans, glorot_limit, initial_weights
from inkproof.layers import (
    Activation,
    BatchNormalization,
    Conv2D,
    Dense,
    Flatten,
    Layer,
    Residual,
    walk,
)

ALPHA = 1e-9
SIGMAS = stats.norm.isf(ALPHA / 2)
seeds = st.integers(0, 2**64 - 1)


def weights_of(layers: list[Layer], inputs: int, seed: int) -> list[np.ndarray]:
    return weights_for(layers, (inputs,), seed)


def weights_for(layers: list[Layer], shape: tuple[int, ...], seed: int) -> list[np.ndarray]:
    return initial_weights([place.own_weights for place in walk(layers, shape)], seed=seed)


def assert_glorot_uniform(kernel: np.ndarray, fan_in: int, fan_out: int) -> None:
    limit = math.sqrt(6 / (fan_in + fan_out))
    values = kernel.astype(np.float64).ravel()
    assert np.abs(values).max() <= limit * (1 + 2**-23)
    n = values.size
    # Of a uniform on [-limit, limit]: variance limit**2 / 3, kurtosis 9/5.
    variance = limit**2 / 3
    assert abs(values.mean()) < SIGMAS * math.sqrt(variance / n)
    assert abs(np.mean(values**2) / variance - 1) < SIGMAS * math.sqrt((9 / 5 - 1) / n)
    test = stats.kstest(values, stats.uniform(loc=-limit, scale=2 * limit).cdf)
    assert test.pvalue > ALPHA


def test_fans_are_keras_for_dense_and_convolution_kernels():
    assert fans((784, 500)) == (784, 500)
    assert fans((3, 3, 32, 64)) == (9 * 32, 9 * 64)


def test_the_limit_is_glorots():
    # Keras: GlorotUniform draws from [-limit, limit], limit = sqrt(6 / (fan_in + fan_out))
    assert glorot_limit((784, 500)) == pytest.approx(math.sqrt(6 / 1284), rel=1e-15)


@settings(max_examples=20, deadline=None)
@given(seeds, st.integers(20, 800), st.integers(20, 600))
def test_kernels_are_glorot_uniform_and_biases_zero(seed: int, inputs: int, units: int):
    kernel, bias = weights_of([Dense(units)], inputs, seed)
    assert kernel.dtype == bias.dtype == np.float32
    assert kernel.shape == (inputs, units)
    np.testing.assert_array_equal(bias, np.zeros(units, np.float32))
    assert_glorot_uniform(kernel, inputs, units)


@settings(max_examples=20, deadline=None)
@given(seeds, st.integers(1, 7), st.integers(1, 7), st.integers(1, 24), st.integers(16, 64))
def test_kernels_of_convolutions_are_glorot_uniform(
    seed: int, height: int, width: int, channels: int, filters: int
):
    layers: list[Layer] = [Conv2D(filters, (height, width))]
    kernel, bias = weights_for(layers, (9, 9, channels), seed)
    assert kernel.dtype == np.float32
    assert kernel.shape == (height, width, channels, filters)
    np.testing.assert_array_equal(bias, np.zeros(filters, np.float32))
    # Keras counts each unit's inputs and outputs over the whole window.
    assert_glorot_uniform(kernel, height * width * channels, height * width * filters)


def test_batch_normalization_starts_as_keras_does():
    arrays = weights_for([BatchNormalization()], (4, 4, 3), 0)
    assert all(array.dtype == np.float32 for array in arrays)
    np.testing.assert_array_equal(arrays, [[1, 1, 1], [0, 0, 0], [0, 0, 0], [1, 1, 1]])


def test_a_layer_starts_the_same_inside_a_block():
    inner: list[Layer] = [Conv2D(3, 3, padding="same"), BatchNormalization(), Conv2D(3, 1)]
    tail: list[Layer] = [Flatten(), Dense(4)]
    plain = weights_for([*inner, *tail], (6, 6, 3), 7)
    nested = weights_for([Residual([Residual(inner[:2]), inner[2]]), *tail], (6, 6, 3), 7)
    for a, b in zip(plain, nested, strict=True):
        np.testing.assert_array_equal(a, b)


@settings(max_examples=20, deadline=None)
@given(seeds)
def test_layers_and_seeds_are_independent(seed: int):
    first, _, second, _ = weights_of([Dense(200), Dense(200)], 200, seed)
    other = weights_of([Dense(200)], 200, (seed + 1) % 2**64)[0]
    for a, b in ((first, second), (first, other)):
        correlation = np.corrcoef(a.ravel(), b.ravel())[0, 1]
        assert abs(correlation) < SIGMAS / math.sqrt(a.size)
        assert (a == b).mean() < 0.01


@given(seeds)
def test_the_seed_fixes_the_weights(seed: int):
    again = [weights_of([Dense(5), Dense(3)], 4, seed) for _ in range(2)]
    for a, b in zip(*again, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_weights_follow_from_the_raw_words_of_philox():
    kernel = weights_of([Dense(2)], 3, 42)[0]
    # By the definition, from the raw words of Philox, which the algorithm fixes.
    words = np.random.Philox(
        key=np.array([42, 2], np.uint64), counter=np.zeros(4, np.uint64)
    ).random_raw(6)
    expected = [(int(word) >> 11) / 2**53 * 2 - 1 for word in words]
    np.testing.assert_array_equal(
        kernel.ravel(), np.array([value * math.sqrt(6 / 5) for value in expected], np.float32)
    )


def test_layers_without_weights_change_no_other_layers_start():
    plain = weights_of([Dense(5, activation="relu"), Dense(3, activation="softmax")], 4, 7)
    split = weights_of(
        [Flatten(), Dense(5), Activation("relu"), Dense(3), Activation("softmax")], 4, 7
    )
    for a, b in zip(plain, split, strict=True):
        np.testing.assert_array_equal(a, b)
