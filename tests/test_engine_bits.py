"""The general network gives the same bits whatever the threads, and on every repeat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

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
    walk,
)

VARIANTS = engine.variants()
SHAPE, CLASSES = (10, 9, 3), 10
ADAM = {"kind": 1, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7}
OPTIMIZERS = {
    "adam": ADAM,
    "adamw, clipped by value, averaged": ADAM
    | {"weight_decay": 0.004, "clipvalue": 0.01, "ema_momentum": 0.9},
    "momentum": {"kind": 0, "momentum": 0.9},
    "adamw, clipped, averaged": ADAM
    | {"weight_decay": 0.004, "global_clipnorm": 0.5, "ema_momentum": 0.9},
    "nesterov": {"kind": 0, "momentum": 0.9, "nesterov": 1, "clipnorm": 0.2},
    "muon": ADAM
    | {"kind": 2, "momentum": 0.95, "nesterov": 1, "muon_steps": 5, "adam_ratio": 0.1}
    | {"muon_hold_norm": 1, "adam_weight_decay": 0.01},
}
WITH_NORMALIZATION = (
    Conv2D(17, 3, padding="same", activation="relu"),
    BatchNormalization(),
    MaxPool2D(2, padding="same"),
    Dropout(0.25),
    Residual((Conv2D(17, 3, padding="same", activation="gelu"), BatchNormalization())),
    Conv2D(5, (2, 3), strides=2),
    Dropout(0.5),
    Flatten(),
    Dense(33, activation="tanh"),
    Dense(CLASSES, activation="softmax"),
)
WITHOUT = (
    Conv2D(20, 5, strides=2, activation="leaky_relu"),
    AveragePool2D(2, strides=1),
    Dropout(0.25),
    Conv2D(9, 1, activation="sigmoid"),
    GlobalAveragePool2D(),
    Dense(CLASSES, activation="softmax"),
)

# Windows of three by three with whole panels of channels; normalisation with ReLU and pooling.
OF_PANELS = (
    Conv2D(16, 3, padding="same", activation="relu"),
    Conv2D(32, 3, padding="same", use_bias=False),
    BatchNormalization(),
    Activation("relu"),
    MaxPool2D(2),
    Conv2D(48, 3, activation="relu"),
    Flatten(),
    Dense(CLASSES, activation="softmax"),
)
STACK = (
    Flatten(),
    Dense(150, activation="relu"),
    Dense(40, activation="relu"),
    Dense(CLASSES, activation="softmax"),
)
NETWORKS = {
    "normalized": WITH_NORMALIZATION,
    "plain": WITHOUT,
    "panels": OF_PANELS,
    "stack": STACK,
}


@dataclass(frozen=True)
class Optimizer:
    options: dict[str, float]

    def engine_options(self):
        return self.options


def trained(layers, optimizer, *, isa, threads, batch_size, dtype=np.uint8, rows=135, **extras):
    """Train two epochs and give every number that came of it."""
    rng = np.random.default_rng(5)
    raw = rng.integers(0, 256, (rows, int(np.prod(SHAPE))), dtype=np.uint8)
    filled, offset = extras.pop("filled", 1.0), extras.pop("offset", -0.3)
    if filled < 1:
        raw[rng.random(raw.shape) >= filled] = 0
    x = raw if dtype == np.uint8 else raw.astype(np.float32)
    labels = rng.integers(0, CLASSES, rows)
    net = engine.Network(
        layers, SHAPE, isa=isa, threads=threads, optimizer=Optimizer(OPTIMIZERS[optimizer])
    )
    net.set_weights(
        [
            rng.uniform(0.1, 0.3, spec.shape).astype(np.float32) - 0.2 * (len(spec.shape) > 1)
            for at in walk(layers, SHAPE)
            for spec in at.own_weights
        ]
    )
    if extras.pop("weighted", False):
        extras["row_weights"] = rng.uniform(0.2, 2, rows).astype(np.float32)
    prepared = net.prepare(x, scale=1 / 255, offset=offset)
    steps, numbers = 0, []
    for epoch in (1, 2):
        totals = net.train(
            prepared,
            labels,
            rng.permutation(rows),
            batch_size=batch_size,
            learning_rate=0.005,
            epoch=epoch,
            seed=3,
            first_step=steps,
            **extras,
        )
        steps += totals.steps
        seen = net.evaluate(prepared, labels)
        numbers += [totals.loss, totals.accuracy, seen.loss, seen.accuracy]
    arrays = [np.array(numbers), net.predict(x, scale=1 / 255, offset=offset)]
    arrays += [*net.weights(), *net.averaged_weights(), *net.state().values()]
    assert all(np.isfinite(array).all() for array in arrays)
    return b"".join(array.tobytes() for array in arrays)


@pytest.mark.parametrize("isa", VARIANTS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("batch_size", [31, 100])
@pytest.mark.parametrize("layers", [WITH_NORMALIZATION, STACK], ids=["normalized", "stack"])
def test_same_bits_for_every_optimiser(isa, optimizer, layers, batch_size):
    run = {"isa": isa, "batch_size": batch_size}
    one = trained(layers, optimizer, threads=1, **run)
    for threads in (2, 3):
        assert trained(layers, optimizer, threads=threads, **run) == one


@pytest.mark.parametrize("isa", VARIANTS)
@pytest.mark.parametrize(
    "extras",
    [
        {"label_smoothing": 0.1},
        {"weighted": True, "label_smoothing": 0.1},
        {"mixup": 0.3},
        {"dtype": np.float32},
        {"filled": 0.2, "offset": 0.0},
    ],
    ids=["smoothing", "weights", "mixup", "float32", "mostly zero"],
)
@pytest.mark.parametrize("layers", NETWORKS.values(), ids=NETWORKS)
def test_same_bits_whatever_the_loss_and_the_data(isa, layers, extras):
    run = {"isa": isa, "batch_size": 33}
    one = trained(layers, "adam", threads=1, **run, **extras)
    for threads in (2, 3):
        assert trained(layers, "adam", threads=threads, **run, **extras) == one


@pytest.mark.parametrize("isa", VARIANTS)
@pytest.mark.parametrize("layers", NETWORKS.values(), ids=NETWORKS)
def test_same_bits_where_a_batch_goes_through_in_parts(isa, layers):
    run = {"isa": isa, "batch_size": 600, "rows": 640}
    one = trained(layers, "adam", threads=1, **run)
    for threads in (2, 3):
        assert trained(layers, "adam", threads=threads, **run) == one


@pytest.mark.parametrize("isa", VARIANTS)
def test_same_bits_over_ten_repeats(isa):
    run = {"isa": isa, "batch_size": 32}
    one = trained(WITH_NORMALIZATION, "adam", threads=1, **run)
    assert {trained(WITH_NORMALIZATION, "adam", threads=2, **run) for _ in range(10)} == {one}


@pytest.mark.parametrize("isa", VARIANTS)
@pytest.mark.parametrize("layers", NETWORKS.values(), ids=NETWORKS)
def test_same_bits_for_few_images_as_for_many(isa, layers):
    rng = np.random.default_rng(6)
    weights = [
        rng.uniform(-0.3, 0.3, spec.shape).astype(np.float32)
        for at in walk(layers, SHAPE)
        for spec in at.own_weights
    ]
    images = rng.integers(0, 256, (70, int(np.prod(SHAPE))), dtype=np.uint8)
    images[rng.random(images.shape) < 0.5] = 0
    network = engine.Network(layers, SHAPE, threads=3, isa=isa)
    network.set_weights([np.abs(w) if w.ndim == 1 else w for w in weights])  # no variance below 0
    whole = network.predict(images, scale=1 / 255)
    for threads in (1, 2, 3):
        network = engine.Network(layers, SHAPE, threads=threads, isa=isa)
        network.set_weights([np.abs(w) if w.ndim == 1 else w for w in weights])
        for count in (1, 2, 3, 5, 6, 7, 11, 12, 13):
            some = network.predict(np.ascontiguousarray(images[9 : 9 + count]), scale=1 / 255)
            assert some.tobytes() == whole[9 : 9 + count].tobytes(), (threads, count)


@pytest.mark.parametrize("isa", VARIANTS)
def test_predictions_follow_the_weights(isa):
    """What is made of the weights before a network is run is made anew when they have changed."""
    rng = np.random.default_rng(8)
    images = rng.integers(0, 256, (40, int(np.prod(SHAPE))), dtype=np.uint8)
    labels = rng.integers(0, CLASSES, len(images))

    def weights():
        shapes = [spec.shape for at in walk(OF_PANELS, SHAPE) for spec in at.own_weights]
        return [np.abs(rng.normal(0, 0.1, shape)).astype(np.float32) for shape in shapes]

    def new_network(values):
        net = engine.Network(OF_PANELS, SHAPE, isa=isa, threads=2)
        net.set_weights(values)
        return net

    def agree(net):
        fresh = new_network(net.weights())
        for count in (1, 40):
            assert net.predict(images[:count]).tobytes() == fresh.predict(images[:count]).tobytes()

    net = new_network(weights())
    agree(net)
    net.set_weights(weights())
    agree(net)
    net.train(
        net.prepare(images, scale=1 / 255), labels, np.arange(40), batch_size=8, learning_rate=0.1
    )
    agree(net)
    net.gradients(net.prepare(images), labels, general=True)
    agree(net)


def test_another_loss_gives_other_bits():
    # Or else the comparisons above would compare nothing.
    run = {"isa": None, "threads": 1, "batch_size": 32}
    assert trained(WITH_NORMALIZATION, "adam", **run) != trained(
        WITH_NORMALIZATION, "adam", **run, mixup=0.3
    )
