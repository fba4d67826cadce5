"""What the engine's dropout drops: as a distribution, and word by word against the reference.

A network of dropout and one dense layer whose weights are zero tells it: with a class of its own
for each row, and one that no row has, the gradient at (feature, class of the row) less that at
(feature, class of none) is minus the row's input after dropout, over the number of rows.

Seeds are fixed, so that a test passes always or never; for other seeds, each would fail by chance
less often than once in 10**6.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from scipy import stats

from inkproof import engine
from inkproof.layers import Dense, Dropout
from reference_network import kept_by_dropout

VARIANTS = engine.variants()
ALPHA = 1e-6
RATES = (0.1, 0.25, 0.5, 0.8)
FEATURES = 96


@dataclass(frozen=True)
class Descent:
    def engine_options(self):
        return {"kind": 0}


def factors(rows, rate, *, layers=1, seed=0, epoch=1, isa=None, threads=1):
    """Give what dropout multiplied each input of one batch by: (rows, FEATURES)."""
    net = engine.Network(
        (*[Dropout(rate)] * layers, Dense(rows + 1, activation="softmax")),
        (FEATURES,),
        isa=isa,
        threads=threads,
    )
    net.set_weights(
        [np.zeros((FEATURES, rows + 1), np.float32), np.zeros(rows + 1, dtype=np.float32)]
    )
    ones = np.ones((rows, FEATURES), dtype=np.float32)
    kernel, _ = net.gradients(net.prepare(ones), np.arange(rows), seed=seed, epoch=epoch)
    return -rows * (kernel[:, :-1] - kernel[:, -1:]).T


def kept_in_training(batches, batch_size, rate, *, seed=0, epoch=1):
    """Say which inputs each batch of a pass kept: bool (batches, batch_size, FEATURES)."""
    rows = batches * batch_size
    net = engine.Network(
        (Dropout(rate), Dense(rows + 1, activation="softmax")), (FEATURES,), optimizer=Descent()
    )
    net.set_weights(
        [np.zeros((FEATURES, rows + 1), np.float32), np.zeros(rows + 1, dtype=np.float32)]
    )
    step = 1e-4  # small enough that the probabilities stay as they are
    net.train(
        net.prepare(np.ones((rows, FEATURES), dtype=np.float32)),
        np.arange(rows),
        np.arange(rows),
        batch_size=batch_size,
        learning_rate=step,
        seed=seed,
        epoch=epoch,
    )
    kernel = net.weights()[0]
    moved = (kernel[:, :-1] - kernel[:, -1:]).T * batch_size / step
    kept = moved > 0.5
    np.testing.assert_allclose(moved, kept / (1 - rate), atol=0.01)
    return kept.reshape(batches, batch_size, FEATURES)


def scores(left, right, rate):
    """Give how many standard deviations the covariance of two masks is from that of chance."""
    product = (left - (1 - rate)) * (right - (1 - rate))
    return product.sum() / (rate * (1 - rate) * np.sqrt(product.size))


def assert_independent(pairs, rate):
    found = [abs(scores(left, right, rate)) for left, right in pairs]
    assert max(found) < stats.norm.isf(ALPHA / 2 / len(found))


@pytest.mark.parametrize("isa", VARIANTS)
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("rows", [1, 31, 33, 600])
def test_an_input_is_zero_or_scaled_up(isa, rate, rows):
    found = factors(rows, rate, isa=isa, threads=2)
    kept = found > 0.5
    assert kept.any()
    np.testing.assert_allclose(found, kept / (1 - np.float32(rate)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("isa", VARIANTS)
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("threads", [1, 3])
def test_dropped_is_what_the_reference_drops(isa, rate, threads):
    for rows, seed, epoch in ((1, 0, 1), (33, 7, 2), (600, 2**63 + 5, 40)):
        kept = factors(rows, rate, seed=seed, epoch=epoch, isa=isa, threads=threads) > 0.5
        expected = kept_by_dropout(rows, FEATURES, rate, number=0, seed=seed, epoch=epoch)
        np.testing.assert_array_equal(kept, expected)


def test_each_step_and_each_layer_draw_their_own_numbers_as_in_the_reference():
    batches, size, rate = 3, 40, 0.5
    kept = kept_in_training(batches, size, rate, seed=9, epoch=3)
    for step in range(batches):
        expected = kept_by_dropout(size, FEATURES, rate, number=0, seed=9, epoch=3, step=step)
        np.testing.assert_array_equal(kept[step], expected)
    both = factors(size, rate, layers=2, seed=9, epoch=3) > 0.5
    first, second = (
        kept_by_dropout(size, FEATURES, rate, number=number, seed=9, epoch=3) for number in (0, 1)
    )
    np.testing.assert_array_equal(both, first & second)


@pytest.mark.parametrize("rate", RATES)
def test_the_rate_is_what_was_asked_for(rate):
    dropped = np.stack([factors(512, rate, seed=seed) < 0.5 for seed in range(4)])
    assert stats.binomtest(int(dropped.sum()), dropped.size, rate).pvalue > ALPHA
    # And in each lane, and at each feature: chi-squared over the counts.
    for axis in (1, 2):
        counts = dropped.sum(axis=tuple(i for i in range(3) if i != axis))
        tries = dropped.size / len(counts)
        squares = ((counts - tries * rate) ** 2).sum() / (tries * rate * (1 - rate))
        assert min(stats.chi2.sf(squares, len(counts)), stats.chi2.cdf(squares, len(counts))) > (
            ALPHA / 2
        )


@pytest.mark.parametrize("rate", RATES)
def test_rows_and_features_are_independent(rate):
    kept = np.stack([factors(512, rate, seed=seed) > 0.5 for seed in range(4)])
    lags = (1, 2, 3, 4, 7, 8, 16, 31, 32, 33, 64)
    assert_independent([(kept[:, :-lag], kept[:, lag:]) for lag in lags], rate)
    assert_independent([(kept[:, :, :-lag], kept[:, :, lag:]) for lag in lags], rate)
    diagonals = [(kept[:, :-lag, :-lag], kept[:, lag:, lag:]) for lag in lags]
    assert_independent(diagonals, rate)


@pytest.mark.parametrize("rate", RATES)
def test_steps_epochs_and_seeds_are_independent(rate):
    steps = kept_in_training(16, 32, rate, seed=1)
    assert_independent([(steps[:-lag], steps[lag:]) for lag in (1, 2, 3, 8)], rate)
    epochs = np.stack([factors(256, rate, epoch=epoch) > 0.5 for epoch in range(1, 9)])
    assert_independent([(epochs[:-lag], epochs[lag:]) for lag in (1, 2, 4)], rate)
    # Seeds that differ by one bit, low or high.
    base = factors(256, rate, seed=0) > 0.5
    others = [factors(256, rate, seed=1 << bit) > 0.5 for bit in (0, 1, 7, 31, 32, 33, 62)]
    assert_independent([(base, other) for other in others], rate)
    # A step, an epoch and a seed must not stand in for one another either.
    assert_independent([(epochs[1][:32], steps[1]), (others[0][:32], steps[1])], rate)


def test_nothing_is_dropped_in_inference():
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=(FEATURES, 5)).astype(np.float32), np.zeros(5, dtype=np.float32)]
    x = rng.random((70, FEATURES), dtype=np.float32)
    output = Dense(5, activation="softmax")
    nets = [engine.Network(layers, (FEATURES,)) for layers in ((Dropout(0.5), output), (output,))]
    for net in nets:
        net.set_weights(weights)
    np.testing.assert_allclose(nets[0].predict(x), nets[1].predict(x), atol=1e-6)
