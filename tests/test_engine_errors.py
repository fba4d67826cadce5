"""What the engine refuses, and what it says."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pytest

from inkproof import engine
from inkproof.engine.lowering import MAX_FEATURES
from inkproof.errors import ConfigurationError, ModelError, UnsupportedError
from inkproof.layers import (
    Activation,
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePool2D,
    Residual,
)

OUTPUT = Dense(3, activation="softmax")
CONVNET = (Conv2D(4, 3), BatchNormalization(), Flatten(), OUTPUT)
SHAPE, FEATURES = (5, 5, 1), 25
ADAM = {"kind": 1, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7}


@dataclass(frozen=True)
class Optimizer:
    options: dict[str, float]

    def engine_options(self):
        return self.options


def network(layers=CONVNET, shape=SHAPE, **options):
    return engine.Network(layers, shape, **options)


def prepared(net, rows=4):
    return net.prepare(np.ones((rows, FEATURES), dtype=np.uint8))


@pytest.mark.parametrize(
    ("layers", "shape", "message"),
    [
        (
            (Conv2D(4, 3), Flatten(), Dense(3)),
            SHAPE,
            "layers[2] (Dense): the engine needs softmax at the end of a network; use "
            'Dense(number of classes, activation="softmax") or add Activation("softmax")',
        ),
        (
            (Conv2D(4, 3), Flatten(), Dense(3, activation="sigmoid")),
            SHAPE,
            "layers[2] (Dense): the engine needs softmax at the end of a network; use "
            'Dense(number of classes, activation="softmax") or add Activation("softmax")',
        ),
        (
            (Conv2D(4, 3, activation="softmax"),),
            SHAPE,
            "layers[0] (Conv2D): the engine needs one probability a class at the end, got the "
            "shape (3, 3, 4); put Flatten() or GlobalAveragePool2D() before it",
        ),
        (
            (GlobalAveragePool2D(), Activation("softmax")),
            SHAPE,
            "the engine needs at least one layer with weights; end with "
            'Dense(number of classes, activation="softmax")',
        ),
        (
            (Dense(4, activation="softmax"), Dropout(0.5), OUTPUT),
            (7,),
            "layers[0] (Dense): the engine has softmax only at the end of a network; "
            'use "relu" or "linear" here',
        ),
        (
            (Residual((Conv2D(1, 3, padding="same"), Activation("softmax"))), Flatten(), OUTPUT),
            SHAPE,
            "layers[0].layers[1] (Activation): the engine has softmax only at the end of a "
            'network; use "relu" or "linear" here',
        ),
        (
            (Conv2D(2000, 3), GlobalAveragePool2D(), OUTPUT),
            (64, 64, 3),
            f"layers[0] (Conv2D): the engine takes at most {MAX_FEATURES:,} numbers from a layer, "
            "got 7,688,000; use strides, pooling or fewer filters",
        ),
        (
            (Residual((Conv2D(2000, 3), Conv2D(3, 3))), GlobalAveragePool2D(), OUTPUT),
            (64, 64, 3),
            None,  # the shapes do not agree, which the layers themselves say
        ),
    ],
)
def test_networks_that_the_engine_does_not_have(layers, shape, message):
    if message is None:
        with pytest.raises(ModelError):
            network(layers, shape)
        return
    with pytest.raises(UnsupportedError, match="^" + re.escape(message) + "$"):
        network(layers, shape)


def test_inputs_that_are_too_large():
    side = 4096
    message = (
        f"input_shape: the engine takes at most {MAX_FEATURES:,} numbers as input, "
        f"got {side * side * 3:,}; use smaller images"
    )
    with pytest.raises(UnsupportedError, match="^" + re.escape(message) + "$"):
        network((GlobalAveragePool2D(), OUTPUT), (side, side, 3))


@pytest.mark.parametrize("isa", engine.variants())
@pytest.mark.parametrize("shape", [(24,), (26,), (5, 5)])
def test_row_weights_of_another_length(isa, shape):
    net = network(isa=isa)
    rows = prepared(net, 4)
    labels = np.zeros(4, dtype=np.int64)
    weights = np.ones(shape, dtype=np.float32)
    message = "^" + re.escape(f"row_weights must be (4,), got {shape}") + "$"
    with pytest.raises(ModelError, match=message):
        net.train(rows, labels, np.arange(4), batch_size=2, learning_rate=0.1, row_weights=weights)
    with pytest.raises(ModelError, match=message):
        net.gradients(rows, labels, row_weights=weights)


def test_learning_rates_of_another_length():
    net = network()
    rates = np.full(3, 0.1, dtype=np.float32)
    with pytest.raises(
        ModelError, match=r"^learning_rate must be one number or \(2,\), got \(3,\)$"
    ):
        net.train(
            prepared(net),
            np.zeros(4, dtype=np.int64),
            np.arange(4),
            batch_size=2,
            learning_rate=rates,
        )


def test_weights_of_another_form():
    net = network()
    weights = net.weights()
    shapes = "[(3, 3, 1, 4), (4,), (4,), (4,), (4,), (4,), (36, 3), (3,)]"
    assert str([array.shape for array in weights]) == shapes
    message = "^" + re.escape(f"the engine expected weights of the shapes {shapes}, got ")
    for wrong in (weights[:-1], [*weights, weights[0]], [weights[0].T, *weights[1:]]):
        with pytest.raises(ModelError, match=message):
            net.set_weights(wrong)


@pytest.mark.parametrize(
    "name",
    ["first", "first/", "first/-1", "first/0x1", "first/²", "first/0099", "values/0000", "/0000"],
)
def test_state_that_no_network_has(name):
    net = network(optimizer=Optimizer(ADAM))
    array = np.zeros((3, 3, 1, 4), dtype=np.float32)
    message = f"the optimiser's state has no array {name!r} of the shape (3, 3, 1, 4)"
    with pytest.raises(ModelError, match="^" + re.escape(message) + "$"):
        net.set_state({name: array})


def test_state_of_another_network():
    net = network(optimizer=Optimizer(ADAM | {"ema_momentum": 0.9}))
    net.train(
        prepared(net), np.zeros(4, dtype=np.int64), np.arange(4), batch_size=2, learning_rate=0.1
    )
    state = net.state()
    assert {name.split("/")[0] for name in state} == {"first", "second", "average"}
    assert "first/0004" not in state  # a moving mean, which gradients do not move
    for shape in ((3, 3, 4, 1), (36,), (3, 3, 1, 5)):
        message = f"the optimiser's state has no array 'first/0000' of the shape {shape}"
        with pytest.raises(ModelError, match="^" + re.escape(message) + "$"):
            net.set_state(state | {"first/0000": np.zeros(shape, dtype=np.float32)})
    # Batch normalisation's statistics have no moments, and no average.
    message = "the optimiser's state has no array 'average/0004' of the shape (4,)"
    with pytest.raises(ModelError, match="^" + re.escape(message) + "$"):
        net.set_state({"average/0004": np.zeros(4, dtype=np.float32)})


def test_state_comes_back():
    labels = np.arange(4) % 3
    first, second = (network(optimizer=Optimizer(ADAM | {"ema_momentum": 0.9})) for _ in range(2))
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (4, FEATURES), dtype=np.uint8)
    first.set_weights([rng.uniform(0.1, 0.5, w.shape).astype(np.float32) for w in first.weights()])
    options = {"batch_size": 2, "learning_rate": 0.01}
    rows = first.prepare(x, scale=1 / 255)
    first.train(rows, labels, np.arange(4), **options)
    second.set_weights(first.weights())
    second.set_state(first.state())
    for net in (first, second):
        net.train(rows, labels, np.arange(4), **options, first_step=2, epoch=2)
    for get in ("weights", "averaged_weights"):
        pairs = zip(getattr(first, get)(), getattr(second, get)(), strict=True)
        assert all((a == b).all() for a, b in pairs)


def test_rows_labels_and_batches_that_do_not_fit():
    net = network()
    labels, order = np.zeros(4, dtype=np.int64), np.arange(4)
    options = {"batch_size": 2, "learning_rate": 0.1}
    with pytest.raises(ModelError, match=r"^order must name rows 0 to 3, at least one$"):
        net.train(prepared(net), labels, np.array([0, 4]), **options)
    with pytest.raises(ModelError, match=r"^labels must be 0 to 2, got 0 to 3$"):
        net.train(prepared(net), np.array([0, 1, 2, 3]), order, **options)
    with pytest.raises(
        ModelError, match=r"^the engine expected int64 labels \(4,\), got int64 \(3"
    ):
        net.train(prepared(net), labels[:3], order, **options)
    with pytest.raises(ConfigurationError, match=r"^batch_size must be at least 1, got 0$"):
        net.train(prepared(net), labels, order, **options | {"batch_size": 0})
    others = engine.Network((OUTPUT,), (4,)).prepare(np.ones((4, 4), dtype=np.uint8))
    message = (
        f"the inputs were prepared for 4 features and {net.isa}, this network has 25 and {net.isa}"
    )
    with pytest.raises(ModelError, match="^" + re.escape(message) + "$"):
        net.train(others, labels, order, **options)


def test_augmentation_of_what_is_no_image():
    net = engine.Network((Dropout(0.5), OUTPUT), (FEATURES,))
    with pytest.raises(
        ModelError,
        match=r"^augmentation needs images \(height, width, channels\), got \(25,\)$",
    ):
        net.train(
            prepared(net),
            np.zeros(4, dtype=np.int64),
            np.arange(4),
            batch_size=2,
            learning_rate=0.1,
            augmentation=Optimizer({}),
        )


def test_what_poll_raises_ends_a_pass_and_an_evaluation():
    net = network((Conv2D(64, 5, padding="same"), Flatten(), OUTPUT))
    count = 600_000  # which takes much longer than poll is waited for, on any machine
    rows = net.prepare(np.ones((count, FEATURES), dtype=np.uint8))
    labels = np.zeros(count, dtype=np.int64)

    def poll(done):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        net.train(rows, labels, np.arange(count), batch_size=32, learning_rate=0.001, poll=poll)
    with pytest.raises(KeyboardInterrupt):
        net.evaluate(rows, labels, poll=poll)


def test_a_loss_that_is_not_finite_is_told_with_its_step():
    net = network((Conv2D(4, 3), Flatten(), OUTPUT))
    net.set_weights([np.full(w.shape, 0.1, dtype=np.float32) for w in net.weights()])
    x = np.full((64, FEATURES), 1e30, dtype=np.float32)
    totals = net.train(
        net.prepare(x), np.arange(64) % 3, np.arange(64), batch_size=16, learning_rate=1e30
    )
    assert totals.bad_step is not None
    assert totals.steps <= totals.bad_step + 1 < 4
