"""The engine's optimisers step by step against float64, on gradients of the reference network."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reference_optimizers
from inkproof import SGD, Adam, AdamW, Muon, engine
from inkproof.layers import Activation, BatchNormalization, Conv2D, Dense, Flatten, MaxPool2D, walk
from reference_network import Reference
from test_engine_layers import flat, network, random_weights

VARIANTS = engine.variants()
SHAPE, ROWS, BATCH = (6, 6, 2), 70, 35
# Smooth throughout, so that both programs stay on the same side of everything.
LAYERS = (
    Conv2D(9, 3, activation="tanh"),
    BatchNormalization(),
    Activation("gelu"),
    Conv2D(20, 2, strides=2, activation="sigmoid"),
    Flatten(),
    Dense(33, activation="tanh"),
    Dense(5, activation="softmax"),
)
# What the engine trains by its fused network where the optimiser allows it.
STACK = (
    Dense(70, activation="relu"),
    Dense(40, activation="relu"),
    Dense(5, activation="softmax"),
)
OPTIMIZERS = {
    "plain": SGD(learning_rate=0.05),
    "momentum": SGD(learning_rate=0.05, momentum=0.9),
    "nesterov": SGD(learning_rate=0.05, momentum=0.9, nesterov=True),
    "sgd decay": SGD(learning_rate=0.05, momentum=0.5, weight_decay=0.01),
    "adam": Adam(learning_rate=0.003),
    "adam ema": Adam(learning_rate=0.003, use_ema=True, ema_momentum=0.9),
    "adamw": AdamW(learning_rate=0.003, weight_decay=0.1),
    "adamw clipped": AdamW(learning_rate=0.003, clipvalue=0.002),
    "clipnorm": SGD(learning_rate=0.5, clipnorm=0.02),
    "global clipnorm": Adam(learning_rate=0.003, global_clipnorm=0.05),
    "muon": Muon(learning_rate=0.02),
    "muon held": dataclasses.replace(Muon(learning_rate=0.02), hold_norm=True),
}


def data(rng):
    x = rng.uniform(-1, 1, (ROWS, *SHAPE)).astype(np.float32)
    return x, rng.integers(0, 5, ROWS)


@pytest.mark.parametrize("isa", VARIANTS)
@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("threads", [1, 2])
def test_steps_are_those_of_float64(isa, name, threads):
    rng = np.random.default_rng(5)
    weights = random_weights(LAYERS, SHAPE, rng)
    x, labels = data(rng)
    steps_are_those_of_float64(LAYERS, SHAPE, weights, x, labels, isa, name, threads)


@pytest.mark.parametrize("isa", VARIANTS)
@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("filled", [1.0, 0.05])
def test_steps_of_a_stack_are_those_of_float64(isa, name, threads, filled):
    """What is 0 in a whole batch is left out of products, but momentum moves its weights still."""
    rng = np.random.default_rng(6)
    shape = (math.prod(SHAPE),)
    weights = random_weights(STACK, shape, rng)
    for bias in weights[1], weights[3]:
        bias[: len(bias) // 3] = -1  # units that few rows switch on, or none
    x = rng.uniform(0.2, 1, (ROWS, *shape)).astype(np.float32)
    x *= rng.random(x.shape) < filled
    labels = rng.integers(0, 5, ROWS)
    for batch in x[:BATCH], x[BATCH:]:
        assert (batch == 0).all(axis=0).any() == (filled < 1)
    steps_are_those_of_float64(STACK, shape, weights, x, labels, isa, name, threads)


def steps_are_those_of_float64(layers, shape, weights, x, labels, isa, name, threads):
    optimizer = OPTIMIZERS[name]
    rng = np.random.default_rng(5)
    options = optimizer.engine_options()
    specs = [spec for at in walk(layers, shape) for spec in at.own_weights]
    trained = [index for index, spec in enumerate(specs) if spec.trainable]
    reference = Reference(layers, weights)
    state = reference_optimizers.start([reference.weights[i] for i in trained], options)
    net = network(layers, shape, weights, isa=isa, threads=threads, optimizer=optimizer)
    prepared = net.prepare(flat(x))
    rates = np.array([1.0, 0.5], dtype=np.float32) * options_rate(optimizer)
    for epoch in range(3):
        order = rng.permutation(ROWS)
        net.train(
            prepared,
            labels,
            order,
            batch_size=BATCH,
            learning_rate=rates,
            epoch=epoch + 1,
            first_step=2 * epoch,
        )
        for step, rate in enumerate(rates):
            rows = order[step * BATCH : (step + 1) * BATCH]
            gradients, _, _ = reference.gradients(x[rows], labels[rows])
            moved, state = reference_optimizers.step(
                [reference.weights[i] for i in trained],
                [gradients[i] for i in trained],
                state,
                options,
                float(rate),
                2 * epoch + step + 1,
            )
            for i, array in zip(trained, moved, strict=True):
                reference.weights[i] = array
    begun = [np.asarray(w, dtype=np.float64) for w in weights]
    # Adam divides by the root of a gradient's square: where that is near 0, digits are lost.
    tolerance = 2e-4 if options["kind"] else 2e-5
    way = max(np.abs(w - b).max() for w, b in zip(reference.weights, begun, strict=True))
    for got, want in zip(net.weights(), reference.weights, strict=True):
        assert np.abs(got - want).max() <= tolerance * way
    averaged = net.averaged_weights()
    if net.averages:
        for i, want in zip(trained, state["average"], strict=True):
            assert np.abs(averaged[i] - want).max() <= tolerance * way
            assert np.abs(averaged[i] - net.weights()[i]).max() > 0
    else:
        assert all((a == w).all() for a, w in zip(averaged, net.weights(), strict=True))


def options_rate(optimizer):
    return np.float32(optimizer.learning_rate)


@pytest.mark.parametrize("isa", VARIANTS)
@settings(deadline=None, max_examples=25)
@given(
    function=st.sampled_from(["sigmoid", "linear"]),
    name=st.sampled_from(sorted(OPTIMIZERS)),
    batch=st.sampled_from([1, 31, 33, 64, 600]),
    seed=st.integers(0, 2**32),
)
def test_one_step_of_a_dense_network(isa, function, name, batch, seed):
    layers = (Dense(30, activation=function), Dense(17), Dense(4, activation="softmax"))
    optimizer = OPTIMIZERS[name]
    rng = np.random.default_rng(seed)
    weights = random_weights(layers, (20,), rng)
    x = rng.uniform(-1, 1, (batch, 20)).astype(np.float32)
    labels = rng.integers(0, 4, batch)
    options = optimizer.engine_options()
    reference = Reference(layers, weights)
    gradients, loss, accuracy = reference.gradients(x, labels)
    moved, _ = reference_optimizers.step(
        reference.weights,
        gradients,
        reference_optimizers.start(reference.weights, options),
        options,
        0.01,
        1,
    )
    net = network(layers, (20,), weights, isa=isa, threads=2, optimizer=optimizer)
    totals = net.train(
        net.prepare(x), labels, np.arange(batch), batch_size=batch, learning_rate=0.01
    )
    assert totals.loss == pytest.approx(loss, rel=1e-5)
    assert totals.accuracy == pytest.approx(accuracy, abs=1.01 / batch)
    way = max(np.abs(m - w).max() for m, w in zip(moved, weights, strict=True))
    # An Adam step is rate * sign(g) at first, whatever the size of g: compare where g is not tiny.
    largest = max(np.abs(g).max() for g in gradients)
    for got, want, g in zip(net.weights(), moved, gradients, strict=True):
        sure = np.abs(g) > (1e-3 * largest if options["kind"] else -1)
        assert np.abs(got - want)[sure].max(initial=0) <= 2e-3 * way


@pytest.mark.parametrize(("layers", "shape"), [(LAYERS, SHAPE), (STACK, (math.prod(SHAPE),))])
def test_state_and_weights_carry_on_to_the_bit(layers, shape):
    rng = np.random.default_rng(8)
    weights = random_weights(layers, shape, rng)
    x, labels = data(rng)
    order = rng.permutation(ROWS)
    for optimizer in OPTIMIZERS.values():
        whole = network(layers, shape, weights, threads=2, optimizer=optimizer)
        first = network(layers, shape, weights, threads=1, optimizer=optimizer)
        for net in (whole, first):
            run_epoch(net, x, labels, order, 1)
        second = network(layers, shape, first.weights(), threads=1, optimizer=optimizer)
        second.set_state(first.state())
        for net in (whole, second):
            run_epoch(net, x, labels, order, 2)
        for a, b in zip(whole.weights(), second.weights(), strict=True):
            assert (a == b).all()
        for a, b in zip(whole.averaged_weights(), second.averaged_weights(), strict=True):
            assert (a == b).all()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_what_an_optimiser_remembers_goes_along_between_the_networks(name):
    """Label smoothing needs the general network, which this stack else does without."""
    rng = np.random.default_rng(9)
    shape = (math.prod(SHAPE),)
    weights = random_weights(STACK, shape, rng)
    x, labels = data(rng)
    order = rng.permutation(ROWS)
    optimizer = OPTIMIZERS[name]
    smoothing = [0.0, 1e-12, 0.0, 1e-12]  # too little to be seen in a number
    both = network(STACK, shape, weights, optimizer=optimizer)
    general = network(STACK, shape, weights, optimizer=optimizer)
    for epoch, share in enumerate(smoothing, start=1):
        run_epoch(both, x, labels, order, epoch, label_smoothing=share)
        run_epoch(general, x, labels, order, epoch, label_smoothing=1e-12)
        for got, want in (
            (both.weights(), general.weights()),
            (both.averaged_weights(), general.averaged_weights()),
            ([both.predict(flat(x))], [general.predict(flat(x))]),
        ):
            for a, b in zip(got, want, strict=True):
                np.testing.assert_allclose(a, b, rtol=0, atol=2e-4 * np.abs(b).max())
    assert both.state().keys() == general.state().keys()


def run_epoch(net, x, labels, order, epoch, **extras):
    net.train(
        net.prepare(flat(x)),
        labels,
        order,
        batch_size=BATCH,
        learning_rate=0.01,
        epoch=epoch,
        first_step=2 * (epoch - 1),
        **extras,
    )


def test_a_step_in_parts_is_a_step():
    """Batches beyond 512 rows go through in parts unless a layer needs the whole batch."""
    rng = np.random.default_rng(3)
    layers = (
        Conv2D(5, 3, activation="tanh"),
        MaxPool2D(2),
        Flatten(),
        Dense(3, activation="softmax"),
    )
    weights = random_weights(layers, (5, 5, 1), rng)
    x = rng.uniform(-1, 1, (1300, 5, 5, 1)).astype(np.float32)
    labels = rng.integers(0, 3, 1300)
    reference = Reference(layers, weights)
    expected, loss, _ = reference.gradients(x, labels)
    net = network(layers, (5, 5, 1), weights, threads=2)
    totals = net.train(
        net.prepare(flat(x)), labels, np.arange(1300), batch_size=1300, learning_rate=0.5
    )
    assert totals.steps == 1
    assert totals.loss == pytest.approx(loss, rel=1e-5)
    largest = max(np.abs(g).max() for g in expected)
    for got, begun, g in zip(net.weights(), weights, expected, strict=True):
        assert np.abs((begun - got) / 0.5 - g).max() <= 1e-5 * largest
