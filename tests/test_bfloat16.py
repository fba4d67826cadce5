"""Training with factors rounded to bfloat16, against float64 NumPy that rounds the same factors."""

from __future__ import annotations

import importlib
import itertools

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

import reference_optimizers
from inkproof import (
    BatchNormalization,
    Conv2D,
    Dense,
    Flatten,
    MaxPool2D,
    Model,
    TrainingConfig,
    engine,
    evaluate,
    load,
    train,
)
from inkproof.errors import UnknownNameError
from reference_network import Reference
from strategies import random_weights
from test_engine_optimizers import OPTIMIZERS

needs_bfloat16 = pytest.mark.skipif(
    engine.usable_precision("bfloat16") == "float32",
    reason="this processor multiplies bfloat16 no faster",
)
LEAST_UNITS = 64  # of a layer whose factors are rounded, where they are pairs
TILE = 32  # channels and filters of a convolution by tiles: multiples of it


def ways():
    """Name what can multiply rounded factors here."""
    cpu = importlib.import_module("inkproof.engine._cpu")
    return ["halves", "emulated tiles", *(["tiles"] if cpu.request_tiles() else [])]


BY_PIECES = [name for name in OPTIMIZERS if "norm" not in name and "muon" not in name]
every_way = pytest.mark.parametrize("way", ways())


def rounded(x):
    """Round to the nearest bfloat16, ties to even."""
    bits = np.ascontiguousarray(x, dtype=np.float32).view(np.uint32).astype(np.uint64)
    bits += 0x7FFF + ((bits >> 16) & 1)
    return (bits & 0xFFFF0000).astype(np.uint32).view(np.float32).astype(np.float64)


class Rounding(Reference):
    """The network in float64, but for products whose factors are rounded where the engine does.

    Parameters
    ----------
    way : one of :func:`ways`
    keeps : numbers of the dense layers that the fused network leaves as they are where factors are
        pairs; None: what the general network rounds
    """

    def __init__(self, layers, weights, way, keeps=None):
        super().__init__(layers, weights)
        self.way = way
        self.keeps = keeps

    def _rounds(self, layer, x, kernel, first):
        inputs, outputs = kernel.shape[-2:]
        if self.way != "halves":
            if isinstance(layer, Conv2D):
                return inputs % TILE == outputs % TILE == 0
            return self.keeps is not None
        if isinstance(layer, Conv2D):
            return inputs >= 8 and inputs % 2 == outputs % 2 == 0
        if self.keeps is None:
            return outputs >= LEAST_UNITS and inputs % 2 == outputs % 2 == 0
        return outputs >= LEAST_UNITS and first // 2 not in self.keeps

    def _dense(self, layer, x):
        return self._rounding(super()._dense, layer, x)

    def _convolution(self, layer, x):
        return self._rounding(super()._convolution, layer, x)

    def _rounding(self, product, layer, x):
        first = self.at
        kernel = self.weights[first]
        if not self._rounds(layer, x, kernel, first):
            return product(layer, x)
        self.weights[first] = rounded(kernel)
        z, back = product(layer, rounded(x))
        rounded_kernel, self.weights[first] = self.weights[first], kernel

        def back_of_rounded(error):
            self.weights[first] = rounded_kernel
            into = back(rounded(error))
            self.weights[first] = kernel
            if layer.use_bias:
                self.found[first + 1] = error.sum(axis=tuple(range(error.ndim - 1)))
            return into

        return z, back_of_rounded


def dense_layers(sizes):
    hidden = [Dense(units, activation="relu") for units in sizes[1:-1]]
    return (*hidden, Dense(sizes[-1], activation="softmax"))


def any_network(way, *args, **options):
    """Make a network that multiplies rounded factors in one of the :func:`ways`."""
    with pytest.MonkeyPatch.context() as patch:
        if way:
            patch.setattr("inkproof.engine.network.factors", lambda *_: way)
        return engine.Network(*args, precision="bfloat16", **options)


def network(sizes, way=None, *, threads=1, optimizer=None):
    return any_network(way, dense_layers(sizes), (sizes[0],), threads=threads, optimizer=optimizer)


def distance(found, expected):
    """Give the relative distance of all arrays together."""
    apart = sum(((a - b) ** 2).sum() for a, b in zip(found, expected, strict=True))
    return float(np.sqrt(apart / sum((np.asarray(b, np.float64) ** 2).sum() for b in expected)))


@st.composite
def problems(draw):
    depth = draw(st.integers(1, 3))
    sizes = [
        draw(st.sampled_from([7, 16, 49, 130, 145])),
        *(draw(st.sampled_from([20, 64, 65, 130, 201])) for _ in range(depth)),
        draw(st.sampled_from([2, 10, 17, 100])),
    ]
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    x = rng.uniform(0.1, 1, (draw(st.sampled_from([1, 2, 31, 33, 64, 600])), sizes[0]))
    is_sparse = draw(st.booleans())
    if is_sparse:
        x[rng.random(x.shape) < 0.9] = 0
    share = np.count_nonzero(x) / x.size
    keeps_first = share <= 0.35
    if not keeps_first:
        x[x == 0] = 0.5  # well away from the share at which data count as sparse
    labels = rng.integers(0, sizes[-1], len(x))
    return sizes, random_weights(sizes, rng), x.astype(np.float32), labels, keeps_first


@needs_bfloat16
@settings(deadline=None, max_examples=120)
@given(
    problem=problems(),
    way=st.sampled_from(ways()),
    threads=st.integers(1, 4),
    general=st.booleans(),
)
def test_gradients_are_those_of_rounded_factors(problem, way, threads, general):
    sizes, weights, x, labels, keeps_first = problem
    last = len(sizes) - 2
    keeps = None if general else {last, 0} if keeps_first else {last}
    reference = Rounding(dense_layers(sizes), weights, way, keeps)
    expected, _, _ = reference.gradients(x, labels)
    found = network(sizes, way, threads=threads)
    found.set_weights(weights)
    assert found.precision == "bfloat16"
    gradients = found.gradients(found.prepare(x), labels, general=general)
    # Sums of float32 may have the other sign where they are as near to 0 as this.
    if reference.nearest_kink <= 5e-6:
        event("left out: within 5e-6 of a kink")
        return
    event("compared")
    # A sum that falls on the other side of a rounding's middle moves the result a little.
    assert distance(gradients, expected) < 3e-3


@needs_bfloat16
@every_way
@pytest.mark.parametrize("name", ["plain", "nesterov", "adam ema", "adamw clipped", "clipnorm"])
@pytest.mark.parametrize("is_sparse", [True, False], ids=["sparse", "filled"])
@pytest.mark.parametrize("batch_size", [32, 33, 700])
def test_the_bits_hang_on_nothing_but_the_work(way, name, is_sparse, batch_size):
    optimizer = OPTIMIZERS[name]
    sizes = [98, 130, 75, 200, 10]
    rng = np.random.default_rng(3)
    weights = random_weights(sizes, rng)
    x = rng.random((1000, sizes[0]), dtype=np.float32)
    if is_sparse:
        x[rng.random(x.shape) < 0.8] = 0
    labels = rng.integers(0, 10, len(x))
    found = []
    for threads in (1, 2, 3, 4, 1):
        net = network(sizes, way, threads=threads, optimizer=optimizer)
        net.set_weights(weights)
        inputs = net.prepare(x)
        for epoch in (1, 2):
            order = np.random.default_rng(epoch).permutation(len(x))
            net.train(inputs, labels, order, batch_size=batch_size, learning_rate=0.05, epoch=epoch)
        found.append(np.concatenate([w.ravel() for w in net.weights()]))
        assert np.isfinite(found[-1]).all()
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])


@needs_bfloat16
@every_way
@pytest.mark.parametrize("name", BY_PIECES)
@pytest.mark.parametrize("sizes", [[64, 128, 96, 10], [50, 40, 33, 130], [70, 10], [20, 9, 200]])
def test_steps_go_where_the_gradients_point(way, name, sizes):
    # Fused updates against gradients that are taken by themselves. Some inputs and units are 0 for
    # all rows; what an optimiser remembers moves their weights still.
    optimizer = OPTIMIZERS[name]
    options, rate = optimizer.engine_options(), optimizer.learning_rate
    rng = np.random.default_rng(5)
    weights = random_weights(sizes, rng)
    for bias in weights[1:-1:2]:
        bias[::3] = -1
    x = rng.random((96, sizes[0]), dtype=np.float32)
    x[32:, 16:32] = 0
    labels = rng.integers(0, sizes[-1], len(x))
    whole, single, apart = (network(sizes, way, threads=n, optimizer=optimizer) for n in (2, 2, 1))
    for net in whole, single:
        net.set_weights(weights)
    whole.train(whole.prepare(x), labels, np.arange(96), batch_size=32, learning_rate=rate)
    inputs = single.prepare(x)
    state = reference_optimizers.start(weights, options)
    for step in range(3):
        rows = np.arange(32 * step, 32 * step + 32)
        before = single.weights()
        apart.set_weights(before)
        gradients = apart.gradients(apart.prepare(x[rows]), labels[rows])
        moved, state = reference_optimizers.step(before, gradients, state, options, rate, step + 1)
        single.train(inputs, labels, rows, batch_size=32, learning_rate=rate, first_step=step)
        way_gone = max(np.abs(m - b).max() for m, b in zip(moved, before, strict=True))
        for got, want in zip(single.weights(), moved, strict=True):
            np.testing.assert_allclose(got, want, rtol=0, atol=1e-4 * way_gone)
    for got, want in zip(whole.weights(), single.weights(), strict=True):
        np.testing.assert_array_equal(got, want)
    for got, want in zip(whole.averaged_weights(), single.averaged_weights(), strict=True):
        np.testing.assert_array_equal(got, want)


CONVOLUTIONS = {
    "same": (Conv2D(16, 3, padding="same", activation="relu"),),
    "strided": (Conv2D(24, 3, strides=2, activation="relu"),),
    "wide": (Conv2D(40, (3, 5), padding="same"),),
    "normalized": (Conv2D(16, 3, use_bias=False), BatchNormalization()),
    "odd": (Conv2D(9, 3, activation="relu"),),
    "by 32": (Conv2D(32, 3, padding="same", activation="relu"), Conv2D(64, (5, 3), strides=2)),
    "by 96": (Conv2D(96, 3),),
}


@needs_bfloat16
@every_way
@pytest.mark.parametrize("middle", CONVOLUTIONS.values(), ids=CONVOLUTIONS.keys())
@pytest.mark.parametrize("rows", [1, 33])
@pytest.mark.parametrize("channels", [8, 18, 32, 64])
def test_convolutions_round_their_factors_and_nothing_else(way, middle, rows, channels):
    stack = (
        Conv2D(channels, 3, activation="relu"),  # of one channel: not rounded
        *middle,
        MaxPool2D(2),
        Flatten(),
        Dense(10, activation="softmax"),
    )
    rng = np.random.default_rng(rows)
    images = rng.integers(0, 256, (rows, 12, 12, 1), dtype=np.uint8)
    labels = rng.integers(0, 10, rows)
    start = Model(stack, input_shape=(12, 12, 1), seed=1).weights()
    found = []
    for threads in (1, 2):
        net = any_network(way, stack, (12, 12, 1), threads=threads)
        net.set_weights(start)
        inputs = net.prepare(images.reshape(rows, -1), scale=1 / 255)
        found.append(net.gradients(inputs, labels))
    for one, two in zip(*found, strict=True):
        np.testing.assert_array_equal(one, two)
    of_rounded, of_exact = (
        distance(found[0], reference.gradients(images / 255, labels)[0])
        for reference in (Rounding(stack, start, way), Reference(stack, start))
    )
    sizes = [channels, *(layer.filters for layer in middle if isinstance(layer, Conv2D))]
    factor = 2 if way == "halves" else TILE
    if any(a % factor == b % factor == 0 for a, b in itertools.pairwise(sizes)):
        assert of_rounded < 2e-3 < 3 * of_exact
    else:
        assert of_rounded == of_exact < 1e-5


@needs_bfloat16
@every_way
def test_products_of_short_numbers_are_exact(way):
    # Whole numbers of few bits round to themselves, and their sums are exact in float32.
    stack = (
        Conv2D(32, 1),
        Conv2D(32, 3, padding="same"),
        Flatten(),
        Dense(10, activation="softmax"),
    )
    rng = np.random.default_rng(0)
    weights = [
        rng.integers(-3, 4, w.shape).astype(np.float32)
        for w in Model(stack, input_shape=(6, 6, 1), seed=0).weights()
    ]
    images = rng.integers(0, 4, (32, 36), dtype=np.uint8)
    labels = rng.integers(0, 10, 32)
    losses = []
    for net in (
        engine.Network(stack, (6, 6, 1), threads=1),
        any_network(way, stack, (6, 6, 1), threads=1),
    ):
        net.set_weights(weights)
        inputs = net.prepare(images)
        totals = net.train(inputs, labels, np.arange(32), batch_size=32, learning_rate=0.0)
        losses.append(totals.loss)
    assert losses[0] == losses[1] > 1


@every_way
def test_inference_is_float32_whatever_training_is(way):
    sizes = [64, 128, 10]
    rng = np.random.default_rng(2)
    weights = random_weights(sizes, rng)
    x = rng.random((300, 64), dtype=np.float32)
    found = []
    for net in (engine.Network(dense_layers(sizes), (64,)), network(sizes, way)):
        net.set_weights(weights)
        if net.precision == "bfloat16":  # what training leaves behind must not matter
            net.train(
                net.prepare(x),
                np.zeros(300, np.int64),
                np.arange(300),
                batch_size=32,
                learning_rate=0.0,
            )
        found.append(net.predict(x))
    np.testing.assert_array_equal(*found)


@needs_bfloat16
@every_way
@pytest.mark.parametrize("channels", [8, 18, 32, 64])
def test_convolutions_run_as_if_they_had_been_trained_in_float32(way, channels):
    stack = (
        Conv2D(channels, 3, activation="relu"),
        Conv2D(channels, 3, padding="same", activation="relu"),
        Flatten(),
        Dense(10, activation="softmax"),
    )
    weights = Model(stack, input_shape=(12, 12, 1), seed=1).weights()
    x = np.random.default_rng(3).random((40, 144), dtype=np.float32)
    labels = np.zeros(40, np.int64)
    exact = engine.Network(stack, (12, 12, 1))
    net = any_network(way, stack, (12, 12, 1), threads=2)
    for network in (exact, net):
        network.set_weights(weights)
    net.train(net.prepare(x), labels, np.arange(40), batch_size=32, learning_rate=0.1)
    exact.set_weights(net.weights())
    for rows in (1, 3, 40):
        np.testing.assert_array_equal(exact.predict(x[:rows]), net.predict(x[:rows]))


def test_a_processor_without_it_trains_in_float32(monkeypatch):
    cpu = importlib.import_module("inkproof.engine._cpu")
    monkeypatch.setattr(cpu, "gains_by_pairs", lambda: False)
    monkeypatch.setattr(cpu, "request_tiles", lambda: False)
    assert engine.usable_precision("bfloat16") == "float32"
    assert network([4, 64, 3]).precision == "float32"
    dataset = load("mnist")
    some = dataset.train.subset(range(320))
    results = {}
    for precision in engine.PRECISIONS:
        model = Model([Flatten(), *dense_layers([784, 64, 10])], input_shape=(28, 28, 1), seed=0)
        run = train(model, some, None, TrainingConfig(epochs=1, precision=precision))
        assert run.precision == "float32"
        results[precision] = model.weights()
    for got, want in zip(results["bfloat16"], results["float32"], strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("isa", [name for name in engine.variants() if name != "v4"])
def test_older_variants_train_in_float32(isa):
    assert engine.usable_precision("bfloat16", isa) == "float32"


def test_an_unknown_precision_is_named():
    with pytest.raises(
        UnknownNameError, match=r"unknown precision 'float16'; known: bfloat16, float32"
    ):
        engine.Network(dense_layers([4, 64, 3]), (4,), precision="float16")


@needs_bfloat16
def test_a_training_learns_as_well_and_is_not_resumed_in_another_precision(tmp_path):
    dataset = load("mnist")
    some = dataset.train.subset(range(6000))

    def trained(precision, epochs, folder):
        model = Model(
            [Flatten(), *dense_layers([784, 128, 128, 10])], input_shape=(28, 28, 1), seed=0
        )
        config = TrainingConfig(epochs=epochs, precision=precision)
        run = train(model, some, None, config, checkpoint=folder / "state")
        return run, evaluate(model, dataset.test).accuracy.value

    (tmp_path / "a").mkdir()
    first, accuracy = trained("bfloat16", 3, tmp_path / "a")
    _, exact = trained("float32", 3, tmp_path / "a")
    assert first.precision == "bfloat16"
    assert abs(accuracy - exact) < 0.01
    assert accuracy > 0.85
    again, _ = trained("bfloat16", 3, tmp_path / "a")
    assert again.resumed_from == 0  # the state was that of float32
    more, _ = trained("bfloat16", 4, tmp_path / "a")
    assert more.resumed_from == 3
