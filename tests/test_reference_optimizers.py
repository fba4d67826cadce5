"""The reference formulas against Keras' own optimisers, as tests/golden/keras_training.py asked."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import reference_optimizers as reference
from inkproof.optimizers import SGD, Adam, AdamW, Muon

GOLDEN = json.loads((Path(__file__).parent / "golden" / "keras_training.json").read_text())
KINDS = {"SGD": SGD, "Adam": Adam, "AdamW": AdamW, "Muon": Muon}


def arrays(lists):
    return [np.array(values, dtype=np.float64) for values in lists]


# Keras rounds settings to float32; those of the others are such as float32 holds.
ROUNDED = {"adam", "adamw", "global clipnorm", "muon without nesterov"}


def ours(kind, arguments):
    more = {"adam_weight_decay": 0.0} if kind == "Muon" else {}
    return KINDS[kind](**arguments, **more)


@pytest.mark.parametrize("title", GOLDEN["optimizers"])
def test_steps_are_those_of_keras(title):
    case = GOLDEN["optimizers"][title]
    optimizer = ours(case["kind"], case["arguments"])
    options = optimizer.engine_options()
    params = arrays(GOLDEN["params"])
    state = reference.start(params, options)
    tolerance = {"rtol": 0, "atol": 1e-6 if title in ROUNDED else 1e-12}
    for number, (grads, wanted) in enumerate(zip(GOLDEN["grads"], case["after"], strict=True), 1):
        params, state = reference.step(
            params, arrays(grads), state, options, optimizer.learning_rate, number
        )
        if number == 1 and "average" in case:
            state["average"] = params  # Keras' average begins as the weights after the first step
        for found, want in zip(params, arrays(wanted), strict=True):
            np.testing.assert_allclose(found, want, **tolerance)
    for found, want in zip(state.get("average", []), case.get("average", []), strict=True):
        np.testing.assert_allclose(found, want, **tolerance)


def test_the_golden_file_moves_every_array():
    for case in GOLDEN["optimizers"].values():
        for before, after in zip(GOLDEN["params"], case["after"][-1], strict=True):
            assert np.abs(np.subtract(before, after)).max() > 1e-3


def test_the_loss_is_that_of_keras():
    case = GOLDEN["loss"]
    targets = reference.smoothed_targets(case["labels"], 4, case["smoothing"])
    loss, _ = reference.weighted_loss(np.array(case["probabilities"]), targets, case["weights"])
    assert loss == pytest.approx(case["loss"], rel=1e-12)


def test_the_loss_falls_as_its_gradient_says():
    rng = np.random.default_rng(3)
    sums, weights = rng.normal(size=(5, 3)), rng.uniform(0, 2, 5)
    targets = reference.smoothed_targets(rng.integers(0, 3, 5), 3, 0.2)

    def loss(sums):
        powers = np.exp(sums)
        return reference.weighted_loss(powers / powers.sum(axis=1, keepdims=True), targets, weights)

    _, gradient = loss(sums)
    for place in np.ndindex(sums.shape):
        nudge = np.zeros(sums.shape)
        nudge[place] = 1e-6
        slope = (loss(sums + nudge)[0] - loss(sums - nudge)[0]) / 2e-6
        assert slope == pytest.approx(gradient[place], abs=1e-8)


@pytest.mark.parametrize("shape", [(5, 5), (3, 9), (9, 3)])
def test_newton_schulz_brings_singular_values_near_one(shape):
    matrix = np.random.default_rng(1).normal(size=shape)
    values = np.linalg.svd(reference.orthogonalised(matrix, 5), compute_uv=False)
    assert values.min() > 0.3
    assert values.max() < 1.3


def test_a_convolution_is_a_matrix_of_outputs_by_everything_else():
    options = Muon(momentum=0.0, nesterov=False, hold_norm=True).engine_options()
    rng = np.random.default_rng(2)
    kernel, gradient, last = (rng.normal(size=s) for s in ((3, 2, 4, 5), (3, 2, 4, 5), (5, 2)))
    params = [kernel, last]
    (moved, _), _ = reference.step(
        params, [gradient, last], reference.start(params, options), options, 0.1, 1
    )
    matrix = reference.orthogonalised(np.moveaxis(gradient, -1, 0).reshape(5, 24), 5)
    held = np.moveaxis(kernel, -1, 0) * np.sqrt(5) / np.linalg.norm(kernel)
    wanted = held - 0.1 * matrix.reshape(5, 3, 2, 4)
    np.testing.assert_allclose(np.moveaxis(moved, -1, 0), wanted, rtol=1e-12)


def test_what_muon_leaves_to_adamw():
    shapes = [(4, 6), (6,), (3, 3, 6, 8), (8,), (8,), (8, 2), (2,)]
    assert reference.is_orthogonal(shapes) == [True, False, True, False, False, False, False]
