"""The engine against float64 NumPy, against itself, and against bad input."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from inkproof import engine
from inkproof.engine import processor
from inkproof.errors import (
    ConfigurationError,
    ModelError,
    UnknownNameError,
    UnsupportedError,
)
from inkproof.layers import Activation, Dense, Flatten
from strategies import random_weights

VARIANTS = engine.variants()
KINK = 1e-6  # a hidden sum this near to zero may fall on either side of ReLU's kink


def layers(sizes, activation="relu"):
    hidden = [Dense(units, activation=activation) for units in sizes[1:-1]]
    return (*hidden, Dense(sizes[-1], activation="softmax"))


def network(sizes, *, threads=1, isa=None, activation="relu"):
    return engine.Network(layers(sizes, activation), (sizes[0],), threads=threads, isa=isa)


class Reference:
    """The same network in float64, written as the textbook has it."""

    def __init__(self, weights, activation="relu"):
        self.weights = [np.asarray(w, dtype=np.float64) for w in weights]
        self.is_relu = activation == "relu"
        self.nearest_kink = np.inf

    def forward(self, x):
        outputs = [np.asarray(x, dtype=np.float64)]
        count = len(self.weights) // 2
        for i in range(count):
            z = outputs[-1] @ self.weights[2 * i] + self.weights[2 * i + 1]
            if i < count - 1 and self.is_relu:
                self.nearest_kink = min(self.nearest_kink, np.abs(z).min())
                z = np.maximum(z, 0)
            outputs.append(z)
        z = outputs.pop()
        z = z - z.max(axis=1, keepdims=True)
        p = np.exp(z)
        return outputs, p / p.sum(axis=1, keepdims=True)

    def gradients(self, x, labels):
        outputs, p = self.forward(x)
        error = p.copy()
        error[np.arange(len(labels)), labels] -= 1
        error /= len(labels)
        found = []
        for i in range(len(self.weights) // 2 - 1, -1, -1):
            found = [outputs[i].T @ error, error.sum(axis=0), *found]
            if i:
                error = error @ self.weights[2 * i].T
                if self.is_relu:
                    error = error * (outputs[i] > 0)
        loss = -np.log(np.maximum(p[np.arange(len(labels)), labels], 1e-7)).mean()
        return found, loss, (p.argmax(axis=1) == labels).mean()

    def descend(self, x, labels, rate):
        gradients, loss, accuracy = self.gradients(x, labels)
        self.weights = [w - rate * g for w, g in zip(self.weights, gradients, strict=True)]
        return loss, accuracy


def assert_close(found, expected, tolerance=1e-5):
    """Check against the largest gradient of the whole network: a single one may cancel to 0."""
    assert len(found) == len(expected)
    largest = max(np.abs(want).max() for want in expected)
    for got, want in zip(found, expected, strict=True):
        assert got.dtype == np.float32
        assert np.abs(got - want).max() <= tolerance * largest


@st.composite
def problems(draw, batch_sizes=(1, 2, 31, 32, 33, 100, 129, 300)):
    """Draw sizes, weights and data; a share of the inputs is zero, as in images."""
    depth = draw(st.integers(0, 3))
    sizes = [
        draw(st.sampled_from([1, 2, 7, 16, 49, 130])),
        *(draw(st.sampled_from([1, 3, 16, 33, 64, 130, 200])) for _ in range(depth)),
        draw(st.sampled_from([2, 3, 10, 17, 65, 100])),
    ]
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    rows = draw(st.sampled_from(batch_sizes))
    x = rng.uniform(-1, 1, (rows, sizes[0])).astype(np.float32)
    x[rng.random(x.shape) < draw(st.sampled_from([0.0, 0.3, 0.8]))] = 0
    labels = rng.integers(0, sizes[-1], rows)
    return sizes, random_weights(sizes, rng), x, labels


@pytest.mark.parametrize("isa", VARIANTS)
@settings(deadline=None, max_examples=60)
@given(
    problem=problems(), threads=st.integers(1, 4), activation=st.sampled_from(["relu", "linear"])
)
def test_gradients_are_those_of_float64(isa, problem, threads, activation):
    sizes, weights, x, labels = problem
    reference = Reference(weights, activation)
    expected, loss, accuracy = reference.gradients(x, labels)
    assume(reference.nearest_kink > KINK)
    net = network(sizes, threads=threads, isa=isa, activation=activation)
    net.set_weights(weights)
    assert_close(net.gradients(net.prepare(x), labels), expected)
    totals = net.evaluate(net.prepare(x), labels)
    assert totals.loss == pytest.approx(loss, rel=1e-5, abs=1e-6)
    assert totals.accuracy == pytest.approx(accuracy, abs=1.01 / len(labels))


@pytest.mark.parametrize("isa", VARIANTS)
@pytest.mark.parametrize("batch", [1, 31, 32, 33, 1000])
@pytest.mark.parametrize("threads", [1, 2])
def test_gradients_of_the_exercise(isa, batch, threads):
    rng = np.random.default_rng(batch)
    sizes = [784, 500, 500, 10]
    weights = random_weights(sizes, rng)
    x = rng.integers(0, 256, (batch, 784), dtype=np.uint8)
    x[rng.random(x.shape) < 0.8] = 0
    labels = rng.integers(0, 10, batch)
    net = network(sizes, threads=threads, isa=isa)
    net.set_weights(weights)
    expected, _, _ = Reference(weights).gradients(x.astype(np.float64) / 255, labels)
    found = net.gradients(net.prepare(x, scale=1 / 255), labels)
    # With half a million hidden sums some lie within a rounding error of ReLU's kink; each moves
    # the gradient of one lane, so the bound is that of the largest, but for those.
    for got, want in zip(found, expected, strict=True):
        off = np.abs(got - want) > 1e-5 * np.abs(want).max()
        assert off.mean() <= 0.01, off.mean()
    near = np.concatenate([(g - w).ravel() for g, w in zip(found, expected, strict=True)])
    assert np.median(np.abs(near)) <= 1e-7


@pytest.mark.parametrize("isa", VARIANTS)
@settings(deadline=None, max_examples=40)
@given(
    problem=problems(batch_sizes=(40, 75)),
    batch_size=st.sampled_from([1, 5, 31, 32, 33, 64, 75]),
    threads=st.integers(1, 3),
)
def test_descent_is_that_of_float64(isa, problem, batch_size, threads):
    sizes, weights, x, labels = problem
    net = network(sizes, threads=threads, isa=isa)
    net.set_weights(weights)
    reference = Reference(weights)
    order = np.random.default_rng(1).permutation(len(x))
    losses, hits = [], []
    for first in range(0, len(x), batch_size):
        rows = order[first : first + batch_size]
        loss, accuracy = reference.descend(x[rows], labels[rows], 0.05)
        losses.append(loss * len(rows))
        hits.append(accuracy * len(rows))
    assume(reference.nearest_kink > KINK * 10)
    totals = net.train(net.prepare(x), labels, order, batch_size=batch_size, learning_rate=0.05)
    assert totals.steps == -(-len(x) // batch_size)
    assert totals.loss == pytest.approx(sum(losses) / len(x), rel=1e-4)
    assert totals.accuracy == pytest.approx(sum(hits) / len(x), abs=1.01 / len(x))
    for got, want in zip(net.weights(), reference.weights, strict=True):
        assert np.abs(got - want).max() <= 1e-5


@pytest.mark.parametrize("batch_size", [513, 600, 1500])
def test_large_batches_go_through_in_parts(batch_size):
    rng = np.random.default_rng(3)
    sizes = [20, 48, 5]
    weights = random_weights(sizes, rng)
    x = rng.random((1500, 20), dtype=np.float32)
    labels = rng.integers(0, 5, 1500)
    reference = Reference(weights)
    for first in range(0, 1500, batch_size):
        reference.descend(x[first : first + batch_size], labels[first : first + batch_size], 0.5)
    for threads in (1, 2):
        net = network(sizes, threads=threads)
        net.set_weights(weights)
        net.train(net.prepare(x), labels, np.arange(1500), batch_size=batch_size, learning_rate=0.5)
        for got, want in zip(net.weights(), reference.weights, strict=True):
            assert np.abs(got - want).max() <= 1e-5


@pytest.mark.parametrize("isa", VARIANTS)
def test_descent_of_weights_that_outgrow_the_caches(isa):
    rng = np.random.default_rng(4)
    sizes = [784, 1500, 1390, 10]  # 13 MB
    weights = random_weights(sizes, rng)
    x = rng.uniform(-1, 1, (70, 784)).astype(np.float32)
    labels = rng.integers(0, 10, 70)
    reference = Reference(weights, "linear")  # no kink in so many sums
    for first in (0, 32, 64):
        reference.descend(x[first : first + 32], labels[first : first + 32], 0.05)
    found = []
    for threads in (1, 2):
        net = network(sizes, threads=threads, isa=isa, activation="linear")
        net.set_weights(weights)
        net.train(net.prepare(x), labels, np.arange(70), batch_size=32, learning_rate=0.05)
        found.append(net.weights())
    for one, two, want in zip(*found, reference.weights, strict=True):
        assert one.tobytes() == two.tobytes()
        assert np.abs(one - want).max() <= 1e-5


def trained(sizes, x, labels, order, *, threads, isa=None, batch_size=32, passes=1):
    net = network(sizes, threads=threads, isa=isa)
    net.set_weights(random_weights(sizes, np.random.default_rng(0)))
    images = net.prepare(x, scale=1 / 255)
    losses = [
        net.train(images, labels, order, batch_size=batch_size, learning_rate=0.05).loss
        for _ in range(passes)
    ]
    return losses, net.weights()


def assert_same_bits(one, other):
    assert one[0] == other[0]
    for a, b in zip(one[1], other[1], strict=True):
        assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("isa", VARIANTS)
@settings(deadline=None, max_examples=25)
@given(
    sizes=st.lists(st.sampled_from([5, 16, 40, 130, 144, 300]), min_size=1, max_size=3),
    threads=st.integers(2, 6),
    batch_size=st.sampled_from([1, 16, 31, 32, 33, 64, 600]),
    classes=st.sampled_from([2, 10, 70]),
)
def test_same_bits_whatever_the_threads(isa, sizes, threads, batch_size, classes):
    rng = np.random.default_rng(7)
    rows = 640 if batch_size == 600 else 100
    x = rng.integers(0, 256, (rows, 150), dtype=np.uint8)
    x[rng.random(x.shape) < 0.7] = 0
    labels = rng.integers(0, classes, rows)
    order = rng.permutation(rows)
    shape = [150, *sizes, classes]
    one = trained(shape, x, labels, order, threads=1, isa=isa, batch_size=batch_size)
    other = trained(shape, x, labels, order, threads=threads, isa=isa, batch_size=batch_size)
    assert_same_bits(one, other)


@pytest.mark.parametrize("isa", VARIANTS)
def test_same_bits_over_twenty_repeats(isa):
    rng = np.random.default_rng(8)
    x = rng.integers(0, 256, (320, 784), dtype=np.uint8)
    x[rng.random(x.shape) < 0.8] = 0
    labels = rng.integers(0, 10, 320)
    order = rng.permutation(320)
    first = trained([784, 500, 500, 10], x, labels, order, threads=2, isa=isa)
    for repeat in range(19):
        again = trained([784, 500, 500, 10], x, labels, order, threads=1 + repeat % 2, isa=isa)
        assert_same_bits(first, again)


@pytest.mark.parametrize("isa", VARIANTS)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("batch_size", [31, 32, 96])
@pytest.mark.parametrize("zeros", [0.1, 0.8])
def test_skipping_zero_inputs_changes_no_bit(isa, dtype, batch_size, zeros):
    # Whether zeros are skipped is decided by the first thousand rows; the order names none of them.
    rng = np.random.default_rng(9)
    images = rng.integers(0, 256, (96, 300)).astype(dtype)
    images[rng.random(images.shape) < zeros] = 0
    labels = rng.integers(0, 10, 1024 + 96)
    order = 1024 + rng.permutation(96)
    full = np.concatenate([np.full((1024, 300), 9, dtype), images])
    empty = np.concatenate([np.zeros((1024, 300), dtype), images])
    sizes = [300, 100, 40, 10]
    how = {"threads": 2, "isa": isa, "passes": 2, "batch_size": batch_size}
    skipped = trained(sizes, empty, labels, order, **how)
    multiplied = trained(sizes, full, labels, order, **how)
    assert_same_bits(skipped, multiplied)


@pytest.mark.parametrize("isa", VARIANTS)
def test_sparse_data_of_more_inputs_than_16_bits_can_name(isa):
    rng = np.random.default_rng(12)
    sizes = [70_000, 20, 3]
    x = np.zeros((40, sizes[0]), np.uint8)
    x[rng.random(x.shape) < 0.01] = 200
    weights = random_weights(sizes, rng)
    net = network(sizes, threads=2, isa=isa)
    net.set_weights(weights)
    labels = rng.integers(0, 3, 40)
    expected, _, _ = Reference(weights).gradients(x / 255, labels)
    assert_close(net.gradients(net.prepare(x, scale=1 / 255), labels), expected)
    net.train(
        net.prepare(x, scale=1 / 255), labels, np.arange(40), batch_size=32, learning_rate=0.1
    )
    reference = Reference(weights)
    for rows in (slice(0, 32), slice(32, 40)):
        reference.descend(x[rows] / 255, labels[rows], 0.1)
    assert_close(net.weights(), reference.weights)


@pytest.mark.parametrize("activation", ["relu", "linear"])
@pytest.mark.parametrize("share", [0.3, 0.9, 1.0])
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("isa", VARIANTS)
def test_units_that_are_zero_in_the_whole_batch(isa, threads, share, activation):
    rng = np.random.default_rng(4)
    sizes = [20, 150, 140, 150, 10]
    weights = random_weights(sizes, rng)
    for kernel, bias in zip(weights[:-2:2], weights[1:-2:2], strict=True):
        dead = rng.random(bias.shape) < share
        kernel[:, dead] = 0
        bias[dead] = 0
    x = rng.uniform(-1, 1, (48, 20)).astype(np.float32)
    labels = rng.integers(0, 10, 48)
    net = network(sizes, threads=threads, isa=isa, activation=activation)
    net.set_weights(weights)
    net.gradients(net.prepare(x + 1), labels)  # leaves errors behind
    expected, _, _ = Reference(weights, activation).gradients(x, labels)
    assert_close(net.gradients(net.prepare(x), labels), expected)
    net.train(net.prepare(x), labels, np.arange(48), batch_size=16, learning_rate=0.1)
    reference = Reference(weights, activation)
    for first in range(0, 48, 16):
        reference.descend(x[first : first + 16], labels[first : first + 16], 0.1)
    assert_close(net.weights(), reference.weights)


@pytest.mark.parametrize("isa", VARIANTS)
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("batch_size", [17, 80])
def test_hidden_layers_fill_and_empty(isa, threads, batch_size):
    """Few zeros are multiplied, many left out: batches of either kind after those of the other."""
    rng = np.random.default_rng(6)
    sizes = [20, 150, 131, 90, 10]
    weights = random_weights(sizes, rng)
    for kernel in weights[:-2:2]:
        kernel[0] = 1
    levels = np.array([-3, 0, 3, 3, 0, 0, -3, 3], dtype=np.float32)
    x = rng.uniform(-1, 1, (len(levels) * batch_size, 20)).astype(np.float32)
    x[:, 0] += np.repeat(levels, batch_size)
    labels = rng.integers(0, 10, len(x))
    reference = Reference(weights)
    hidden = reference.forward(x)[0][1].reshape(len(levels), -1)
    shares = (hidden > 0).mean(axis=1)
    assert shares.min() < 0.2
    assert shares.max() > 0.8
    assert ((shares > 0.3) & (shares < 0.6)).any()
    net = network(sizes, threads=threads, isa=isa)
    net.set_weights(weights)
    order = np.arange(len(x))
    net.train(net.prepare(x), labels, order, batch_size=batch_size, learning_rate=0.01)
    for first in range(0, len(x), batch_size):
        rows = slice(first, first + batch_size)
        reference.descend(x[rows], labels[rows], 0.01)
    assert_close(net.weights(), reference.weights)
    assert_close([net.predict(x)], [reference.forward(x)[1]])


@pytest.mark.parametrize("isa", VARIANTS)
@pytest.mark.parametrize("rows", [1, 2, 31, 127, 128, 129, 300])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_predictions_are_those_of_float64(isa, rows, threads):
    rng = np.random.default_rng(rows)
    sizes = [70, 130, 20, 7]
    weights = random_weights(sizes, rng)
    x = rng.integers(0, 256, (rows, 70), dtype=np.uint8)
    net = network(sizes, threads=threads, isa=isa)
    net.set_weights(weights)
    _, expected = Reference(weights).forward(x / 128 - 1)
    found = net.predict(x, scale=1 / 128, offset=-1.0)
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() < 1e-6
    assert np.abs(found.sum(axis=1) - 1).max() < 1e-6


@given(st.lists(st.floats(-200, 200, width=32), min_size=2, max_size=20))
@settings(deadline=None, max_examples=200)
def test_softmax_of_any_outputs(outputs):
    # One input that is 1 and weights that are the outputs: the network computes just softmax.
    sizes = [1, len(outputs)]
    for isa in VARIANTS:
        net = network(sizes, isa=isa)
        net.set_weights(
            [np.array([outputs], dtype=np.float32), np.zeros(len(outputs), dtype=np.float32)]
        )
        z = np.array(outputs, dtype=np.float32).astype(np.float64)
        expected = np.exp(z - z.max())
        expected /= expected.sum()
        found = net.predict(np.ones((1, 1), dtype=np.float32))[0]
        assert np.abs(found - expected).max() < 5e-7


def test_weights_come_back_as_they_went_in():
    sizes = [19, 33, 16, 3]
    weights = random_weights(sizes, np.random.default_rng(0))
    net = network(sizes)
    net.set_weights(weights)
    for got, want in zip(net.weights(), weights, strict=True):
        assert got.tobytes() == want.tobytes()


def test_activations_of_their_own_and_flatten_are_the_same_network():
    rng = np.random.default_rng(0)
    weights = random_weights([12, 20, 4], rng)
    x = rng.random((9, 12), dtype=np.float32)
    apart = engine.Network(
        (Flatten(), Dense(20), Activation("relu"), Dense(4), Activation("softmax")), (3, 4)
    )
    together = network([12, 20, 4])
    for net in (apart, together):
        net.set_weights(weights)
    assert apart.predict(x).tobytes() == together.predict(x).tobytes()


def test_a_loss_that_is_not_finite_is_told_with_its_step():
    net = network([4, 8, 3])
    net.set_weights(random_weights([4, 8, 3], np.random.default_rng(0)))
    x = np.full((64, 4), 1e30, dtype=np.float32)
    labels = np.arange(64) % 3
    totals = net.train(net.prepare(x), labels, np.arange(64), batch_size=1, learning_rate=1e30)
    assert totals.bad_step is not None
    assert 0 < totals.bad_step < 5
    assert not np.isfinite(totals.loss)


def test_what_poll_raises_ends_the_pass():
    calls = []

    def poll(done):
        calls.append(done)
        raise RuntimeError("enough")

    net = network([784, 500, 10], threads=2)
    net.set_weights(random_weights([784, 500, 10], np.random.default_rng(0)))
    x = np.ones((60_000, 784), dtype=np.uint8)
    labels = np.zeros(60_000, dtype=np.int64)
    with pytest.raises(RuntimeError, match="enough"):
        net.train(
            net.prepare(x), labels, np.arange(60_000), batch_size=32, learning_rate=0.1, poll=poll
        )
    assert len(calls) == 1
    assert 0 < calls[0] < 60_000
    net.train(net.prepare(x[:64]), labels[:64], np.arange(64), batch_size=32, learning_rate=0.1)


def test_bad_input_is_refused():
    net = network([4, 3])
    labels = np.zeros(2, dtype=np.int64)
    good = np.zeros((2, 4), dtype=np.uint8)
    for bad in (
        np.zeros((2, 5), dtype=np.uint8),
        np.zeros((2, 4), dtype=np.float64),
        np.zeros((4, 2), dtype=np.uint8).T,
        np.zeros(4, dtype=np.uint8),
    ):
        with pytest.raises(ModelError, match=r"expected uint8 or float32 \(n, 4\) in C order, got"):
            net.predict(bad)
    with pytest.raises(ModelError, match="labels must be 0 to 2, got 0 to 3"):
        net.evaluate(net.prepare(good), np.array([0, 3]))
    with pytest.raises(ModelError, match=r"int64 labels \(2,\), got int64 \(3,\)"):
        net.evaluate(net.prepare(good), np.zeros(3, dtype=np.int64))
    with pytest.raises(ModelError, match="order must name rows 0 to 1"):
        net.train(net.prepare(good), labels, np.array([2]), batch_size=1, learning_rate=0.1)
    with pytest.raises(ConfigurationError, match="batch_size must be at least 1, got 0"):
        net.train(net.prepare(good), labels, np.array([0]), batch_size=0, learning_rate=0.1)
    with pytest.raises(ModelError, match="the engine expected weights of the shapes"):
        net.set_weights([np.zeros((4, 2), dtype=np.float32), np.zeros(3, dtype=np.float32)])
    assert net.predict(good[:0]).shape == (0, 3)


def test_the_variant_and_the_threads_can_be_named(monkeypatch):
    for isa in VARIANTS:
        monkeypatch.setenv("INKPROOF_ISA", isa)
        assert network([2, 2]).isa == isa
    monkeypatch.setenv("INKPROOF_ISA", "v33")
    with pytest.raises(UnknownNameError, match="INKPROOF_ISA: unknown engine variant 'v33'"):
        network([2, 2])
    monkeypatch.delenv("INKPROOF_ISA")
    monkeypatch.setenv("INKPROOF_THREADS", "3")
    assert engine.Network(layers([2, 2]), (2,)).threads == 3
    for wrong in ("0", "-1", "two", "1e3", "99999999999"):
        monkeypatch.setenv("INKPROOF_THREADS", wrong)
        with pytest.raises(ConfigurationError, match="INKPROOF_THREADS must be a whole number"):
            engine.default_threads()


def test_a_variant_that_cannot_run_here_is_refused(monkeypatch):
    monkeypatch.setattr(processor, "variants", lambda: ("portable",))
    with pytest.raises(UnsupportedError, match="'v4' does not run on this processor; use one of"):
        network([2, 2], isa="v4")


def test_a_network_without_softmax_is_refused():
    with pytest.raises(UnsupportedError, match="softmax"):
        engine.Network((Dense(3, activation="relu"),), (2,))
