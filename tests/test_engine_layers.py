"""The engine's general network: every layer's gradients, predictions and draws against float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from inkproof import engine
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
    output_shapes,
    walk,
)
from reference_network import Reference

VARIANTS = engine.variants()
KINK = 1e-6
HIDDEN = ("linear", "relu", "leaky_relu", "gelu", "tanh", "sigmoid")


def random_weights(layers, shape, rng):
    """Draw weights of a size at which no layer saturates; statistics as of unlike data."""
    weights = []
    for at in walk(layers, shape):
        for spec in at.own_weights:
            if spec.name == "kernel":
                limit = math.sqrt(6 / (spec.size / spec.shape[-1] + spec.shape[-1]))
                values = rng.uniform(-limit, limit, spec.shape)
            elif spec.name in ("gamma", "moving_variance"):
                values = rng.uniform(0.5, 1.5, spec.shape)
            else:
                values = rng.uniform(-0.3, 0.3, spec.shape)
            weights.append(values.astype(np.float32))
    return weights


def network(layers, shape, weights, **options):
    net = engine.Network(layers, shape, **options)
    net.set_weights(weights)
    return net


def flat(x):
    return np.ascontiguousarray(x.reshape(len(x), -1))


def assert_gradients(found, expected, tolerance=1e-5):
    assert len(found) == len(expected)
    largest = max(np.abs(want).max() for want in expected)
    for got, want in zip(found, expected, strict=True):
        assert got.shape == want.shape
        assert got.dtype == np.float32
        assert np.abs(got - want).max() <= tolerance * largest


def check(layers, shape, rows, rng, *, isa, threads, smoothing=0.0, weighted=False, weights=None):
    """Compare one network's gradients and predictions; False where a kink is too near."""
    if weights is None:
        weights = random_weights(layers, shape, rng)
    x = rng.uniform(-1, 1, (rows, *shape)).astype(np.float32)
    x[rng.random(x.shape) < 0.2] = 0
    labels = rng.integers(0, layers[-1].units, rows)
    row_weights = rng.uniform(0.2, 2, rows).astype(np.float32) if weighted else None
    reference = Reference(layers, weights)
    reference.moving = False
    draws = {"seed": 7, "epoch": 3}
    expected, _, _ = reference.gradients(
        x, labels, smoothing=smoothing, weights=row_weights, **draws
    )
    if reference.nearest_kink <= KINK:
        return False
    net = network(layers, shape, weights, isa=isa, threads=threads)
    found = net.gradients(
        net.prepare(flat(x)),
        labels,
        label_smoothing=smoothing,
        row_weights=row_weights,
        general=True,
        **draws,
    )
    assert_gradients(found, expected)
    probabilities = reference.probabilities(x)
    # Rounding takes a share of the logits: the further they lie apart, the more of a probability.
    apart = -np.log(probabilities.min())
    assert np.abs(net.predict(flat(x)) - probabilities).max() < 4e-7 * (5 + apart)
    return True


@st.composite
def image_networks(draw):
    """Draw a small network for images, each kind of layer in it at some time."""
    shape = (draw(st.integers(3, 9)), draw(st.integers(3, 9)), draw(st.sampled_from([1, 3, 8, 10])))
    layers, here = [], shape
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(["conv", "conv", "max", "mean", "norm", "drop", "act", "res"]))
        same = draw(st.sampled_from(["same", "valid"]))
        window = (draw(st.integers(1, 5)), draw(st.integers(1, 5)))
        if window[0] > here[0] or window[1] > here[1]:
            same = "same"
        strides = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
        activation = draw(st.sampled_from(HIDDEN))
        if kind == "conv":
            filters = draw(st.sampled_from([1, 4, 8, 17, 20]))
            layer = Conv2D(
                filters,
                window,
                strides=strides,
                padding=same,
                activation=activation,
                use_bias=draw(st.booleans()),
            )
        elif kind in ("max", "mean"):
            make = MaxPool2D if kind == "max" else AveragePool2D
            layer = make(window, strides=strides, padding=same)
        elif kind == "norm":
            layer = BatchNormalization(center=draw(st.booleans()), scale=draw(st.booleans()))
        elif kind == "drop":
            layer = Dropout(draw(st.sampled_from([0.0, 0.25, 0.5])))
        elif kind == "act":
            layer = Activation(activation)
        else:
            block = [Conv2D(here[2], 3, padding="same", activation=activation)]
            if draw(st.booleans()):
                block = [Residual(tuple(block)), BatchNormalization()]
            layer = Residual(tuple(block))
        layers.append(layer)
        here = output_shapes([layer], here)[0]
    layers.append(GlobalAveragePool2D() if draw(st.booleans()) else Flatten())
    layers.append(Dense(draw(st.sampled_from([2, 10, 17])), activation="softmax"))
    return tuple(layers), shape


@pytest.mark.parametrize("isa", VARIANTS)
@settings(deadline=None, max_examples=80)
@given(
    drawn=image_networks(),
    rows=st.sampled_from([2, 5, 31, 32, 33, 70]),
    threads=st.integers(1, 3),
    seed=st.integers(0, 2**32),
    smoothing=st.sampled_from([0.0, 0.1]),
    weighted=st.booleans(),
)
def test_gradients_of_any_network(isa, drawn, rows, threads, seed, smoothing, weighted):
    layers, shape = drawn
    rng = np.random.default_rng(seed)
    checked = check(
        layers,
        shape,
        rows,
        rng,
        isa=isa,
        threads=threads,
        smoothing=smoothing,
        weighted=weighted,
    )
    event("compared" if checked else "left out: within 1e-6 of a kink")


@pytest.mark.parametrize("isa", VARIANTS)
@settings(deadline=None, max_examples=40)
@given(
    shape=st.tuples(st.integers(3, 11), st.integers(3, 11), st.sampled_from([16, 32, 48])),
    filters=st.lists(st.sampled_from([16, 32]), min_size=1, max_size=2),
    padding=st.sampled_from(["same", "valid"]),
    activation=st.sampled_from(HIDDEN),
    use_bias=st.booleans(),
    between=st.sampled_from(["nothing", "max", "norm", "residual"]),
    rows=st.sampled_from([1, 7, 32, 45]),
    threads=st.integers(1, 3),
    seed=st.integers(0, 2**32),
)
def test_gradients_of_windows_of_three_by_three(
    isa, shape, filters, padding, activation, use_bias, between, rows, threads, seed
):
    """Whole panels of channels and filters go another way, by fewer multiplications."""
    layers = []
    for count in filters:
        layers.append(Conv2D(count, 3, padding=padding, activation=activation, use_bias=use_bias))
        if between == "max":
            layers.append(MaxPool2D(2, padding="same"))
        elif between == "norm":
            layers.append(BatchNormalization())
        elif between == "residual":
            layers.append(Residual((Conv2D(count, 3, padding="same", activation=activation),)))
        padding = "same"
    layers += [GlobalAveragePool2D(), Dense(5, activation="softmax")]
    rng = np.random.default_rng(seed)
    # Two numbers that are nearly alike lose their digits when they are normalised.
    rows = max(rows, 7 if between == "norm" else 2)
    checked = check(tuple(layers), shape, rows, rng, isa=isa, threads=threads)
    event("compared" if checked else "left out: within 1e-6 of a kink")


@pytest.mark.parametrize("isa", VARIANTS)
@settings(deadline=None, max_examples=60)
@given(
    shape=st.tuples(st.integers(4, 12), st.integers(4, 20), st.sampled_from([1, 3, 16, 70])),
    convolution=st.sampled_from([None, 1, 3]),
    filters=st.sampled_from([3, 16, 32, 70]),
    activation=st.sampled_from([None, "linear", "relu", "tanh"]),
    pool=st.sampled_from([None, (2, 2), (1, 2), (2, 1), (1, 3), (4, 1), (3, 3), "overlapping"]),
    padding=st.sampled_from(["same", "valid"]),
    first=st.booleans(),
    rows=st.sampled_from([2, 7, 32, 45]),
    threads=st.integers(1, 3),
    seed=st.integers(0, 2**32),
)
def test_gradients_of_what_goes_together_with_batch_normalization(
    isa, shape, convolution, filters, activation, pool, padding, first, rows, threads, seed
):
    """ReLU and pooling after it, whatever is before it, and channels that change their sign."""
    layers = []
    if convolution:
        layers.append(Conv2D(filters, convolution, padding="same", use_bias=False))
    layers.append(BatchNormalization())
    if activation:
        layers.append(Activation(activation))
    if pool == "overlapping":
        layers.append(MaxPool2D(3, strides=2, padding=padding))
    elif pool:
        layers.append(MaxPool2D(pool, padding=padding))
    if not first:  # something before it learns, so that errors are sent on
        layers.insert(0, Conv2D(shape[2], 1))
    layers += [GlobalAveragePool2D(), Dense(5, activation="softmax")]
    rng = np.random.default_rng(seed)
    weights = random_weights(layers, shape, rng)
    names = [spec.name for at in walk(layers, shape) for spec in at.own_weights]
    gamma = weights[names.index("gamma")]
    gamma *= rng.choice([-1, 1], gamma.shape)
    checked = check(tuple(layers), shape, rows, rng, isa=isa, threads=threads, weights=weights)
    event("compared" if checked else "left out: within 1e-6 of a kink")


@pytest.mark.parametrize("isa", VARIANTS)
@pytest.mark.parametrize("center", [0.0, 3.0, 300.0])
def test_batch_normalization_far_from_zero(isa, center):
    """The variance of numbers whose mean is much larger keeps its digits."""
    layers = (BatchNormalization(), Flatten(), Dense(3, activation="softmax"))
    rng = np.random.default_rng(3)
    x = (center + rng.normal(0, 1, (40, 9, 9, 5))).astype(np.float32)
    x[:, 0] += 2  # one row of the images is unlike the others
    weights = random_weights(layers, x.shape[1:], rng)
    net = network(layers, x.shape[1:], weights, isa=isa)
    labels = rng.integers(0, 3, len(x))
    found = net.gradients(net.prepare(flat(x)), labels, general=True)
    expected, _, _ = Reference(layers, weights).gradients(x, labels)
    assert_gradients(found, expected, tolerance=1e-5 + 2e-7 * center)


@pytest.mark.parametrize("isa", VARIANTS)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_gradients_of_a_first_layer_of_common_size(isa, channels, padding):
    # Long sums in many parts, over windows inside the image and at its edge.
    layers = (
        Conv2D(33, 5, padding=padding, activation="tanh"),
        AveragePool2D(4),
        Flatten(),
        Dense(10, activation="softmax"),
    )
    rng = np.random.default_rng(channels)
    assert check(layers, (28, 28, channels), 33, rng, isa=isa, threads=2)


@pytest.mark.parametrize("isa", VARIANTS)
@pytest.mark.parametrize(
    ("window", "strides", "padding"),
    [
        (2, 2, "valid"),
        (2, 2, "same"),
        (3, 3, "same"),
        (2, 3, "valid"),
        (3, 2, "same"),
        (1, 2, "same"),
        ((2, 3), (2, 2), "valid"),
        ((1, 3), (1, 4), "same"),
    ],
)
def test_gradients_of_a_first_layer_that_is_pooled(isa, window, strides, padding):
    # Where windows share no row, the convolution does the pooling; some rows belong to no window.
    layers = (
        Dropout(0.2),
        Conv2D(17, 3, activation="relu"),
        MaxPool2D(window, strides=strides, padding=padding),
        Conv2D(4, 2),
        MaxPool2D(2),
        Flatten(),
        Dense(10, activation="softmax"),
    )
    checked = 0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        checked += check(layers, (13, 12, 3), 37, rng, isa=isa, threads=2)
    assert checked >= 2  # the others are within 1e-6 of a kink


@pytest.mark.parametrize("isa", VARIANTS)
@pytest.mark.parametrize(
    ("filters", "padding", "window", "shape", "rows"),
    [
        (1, "valid", 26, (28, 28, 1), 33),
        (64, "valid", 26, (28, 28, 1), 33),
        (64, "same", 2, (4, 80, 1), 9),
    ],
    ids=["tall", "tall, beyond a cache", "wide, beyond a cache"],
)
def test_gradients_of_a_first_layer_whose_pooling_has_large_rows(
    isa, filters, padding, window, shape, rows
):
    layers = (
        Conv2D(filters, 3, padding=padding),
        MaxPool2D(window),
        Flatten(),
        Dense(10, activation="softmax"),
    )
    checked = 0
    for seed in range(4):
        checked += check(layers, shape, rows, np.random.default_rng(seed), isa=isa, threads=2)
    assert checked >= 1  # the others are within 1e-6 of a kink


@pytest.mark.parametrize("isa", VARIANTS)
@pytest.mark.parametrize(
    "after",
    [
        (BatchNormalization(),),
        (BatchNormalization(), Activation("relu"), MaxPool2D(2)),
        (BatchNormalization(), Activation("relu"), MaxPool2D((3, 1))),
        (Residual((BatchNormalization(), Activation("tanh"))), MaxPool2D(2)),
    ],
    ids=["alone", "pooled", "tall", "in a block"],
)
def test_gradients_of_a_first_layer_that_is_normalized(isa, after):
    # The convolution asks for its errors a few rows at a time, but not where others send some, too.
    layers = (Conv2D(17, 3), *after, Flatten(), Dense(10, activation="softmax"))
    checked = 0
    for seed in range(4):
        checked += check(layers, (14, 13, 3), 37, np.random.default_rng(seed), isa=isa, threads=2)
    assert checked >= 1  # the others are within 1e-6 of a kink


@pytest.mark.parametrize("isa", VARIANTS)
def test_gradients_of_the_largest_window(isa):
    layers = (Conv2D(1, 1), MaxPool2D(64), Flatten(), Dense(3, activation="softmax"))
    rng = np.random.default_rng(0)
    weights = random_weights(layers, (64, 64, 1), rng)
    x = np.zeros((3, 64, 64, 1), dtype=np.float32)
    x[0, -1, -1], x[1, 0, 0], x[2, 30, 7] = 1, 2, 3
    x *= np.sign(weights[0].item())
    net = network(layers, x.shape[1:], weights, isa=isa)
    labels = np.arange(3)
    found = net.gradients(net.prepare(flat(x)), labels)
    expected, _, _ = Reference(layers, weights).gradients(x, labels)
    assert_gradients(found, expected)


@pytest.mark.parametrize("isa", VARIANTS)
@pytest.mark.parametrize("second", HIDDEN)
@pytest.mark.parametrize("first", HIDDEN)
def test_an_activation_after_an_activation(isa, first, second):
    # The second may not take the place of what the first one's gradient is told by.
    rng = np.random.default_rng(1)
    image = (
        Conv2D(9, 2, activation=first),
        Activation(second),
        Flatten(),
        Dense(20, activation=second),
        Activation(first),
        Activation(second),
        Dense(5, activation="softmax"),
    )
    assert check(image, (3, 4, 2), 33, rng, isa=isa, threads=2)
