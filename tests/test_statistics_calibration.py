"""Calibration and conformal sets against brute force, closed forms and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from inkproof.errors import ConfigurationError, DataError
from inkproof.statistics import (
    HIGHEST_TEMPERATURE,
    LOWEST_TEMPERATURE,
    accuracy_by_coverage,
    brier_scores,
    conformal_check,
    conformal_threshold,
    expected_calibration_error,
    fit_temperature,
    reliability,
    tempered,
)

RNG = np.random.default_rng(7)


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def labelled(rng, n, classes=5, temperature=1.0, spread=2.0):
    """Probabilities that are right as often as they say, and then too sure by a temperature."""
    logits = spread * rng.normal(size=(n, classes))
    p = softmax(logits)
    labels = (p.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1).clip(0, classes - 1)
    return softmax(temperature * logits), labels


@st.composite
def cases(draw):
    n, k = draw(st.integers(1, 40)), draw(st.integers(2, 4))
    return labelled(np.random.default_rng(draw(st.integers(0, 10_000))), n, k)


class TestError:
    @given(cases(), st.integers(1, 20))
    @settings(max_examples=50)
    def test_agrees_with_a_loop(self, case, bins):
        p, labels = case
        total = 0.0
        for b in range(bins):
            inside = [i for i in range(len(p)) if b / bins < p[i].max() <= (b + 1) / bins + 1e-15]
            if inside:
                confidence = sum(p[i].max() for i in inside) / len(inside)
                right = sum(p[i].argmax() == labels[i] for i in inside) / len(inside)
                total += len(inside) / len(p) * abs(confidence - right)
        found = expected_calibration_error(p, labels, bins=bins, draws=3)
        assert found.value == pytest.approx(total)
        diagram = reliability(p, labels, bins=bins)
        assert sum(diagram.images) == len(p)
        assert found.value == pytest.approx(
            sum(
                n * abs(c - a)
                for c, a, n in zip(
                    diagram.confidence, diagram.accuracy, diagram.images, strict=True
                )
            )
            / len(p)
        )

    def test_a_perfect_model(self):
        p = np.eye(3)[[0, 1, 2, 0]]
        found = expected_calibration_error(p, np.array([0, 1, 2, 0]))
        assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)
        found = expected_calibration_error(p, np.array([1, 2, 0, 1]))
        assert (found.value, found.low, found.high) == (1.0, 1.0, 1.0)

    def test_one_image_has_no_interval(self):
        assert expected_calibration_error(np.array([[0.7, 0.3]]), np.array([0])).low is None

    def test_none(self):
        with pytest.raises(DataError, match="at least one image and a label each"):
            expected_calibration_error(np.empty((0, 3)), np.empty(0, dtype=int))
        with pytest.raises(ConfigurationError, match="bins must be at least 1"):
            reliability(np.array([[0.7, 0.3]]), np.array([0]), bins=0)

    def test_its_interval_covers(self):
        # Of a model that is too sure: the true error by a million images.
        truth = expected_calibration_error(
            *labelled(np.random.default_rng(0), 1_000_000, temperature=2.0), draws=1
        ).value
        rng = np.random.default_rng()
        held = 0
        for seed in range(120):
            p, labels = labelled(rng, 1500, temperature=2.0)
            found = expected_calibration_error(p, labels, draws=200, seed=seed)
            held += found.low <= truth <= found.high
        assert held >= scipy.stats.binom(120, 0.9).ppf(1e-6)


class TestBrier:
    @given(cases())
    @settings(max_examples=50)
    def test_agrees_with_its_definition(self, case):
        p, labels = case
        target = np.eye(p.shape[1])[labels]
        assert brier_scores(p, labels) == pytest.approx(((p - target) ** 2).sum(axis=1))

    def test_ends(self):
        scores = brier_scores(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([0, 0]))
        assert scores.tolist() == [0.0, 2.0]


class TestTemperature:
    @pytest.mark.parametrize("truth", [0.5, 1.0, 2.5])
    def test_finds_the_one_that_it_was_made_with(self, truth):
        p, labels = labelled(np.random.default_rng(1), 40_000, temperature=truth)
        found = fit_temperature(p, labels)
        assert found.value == pytest.approx(truth, rel=0.04)
        assert found.loss_after <= found.loss_before
        assert not found.at_bound

    def test_agrees_with_another_minimiser(self):
        p, labels = labelled(RNG, 500, temperature=1.7)

        def loss(t):
            q = softmax(np.log(p) / t)
            return -np.mean(np.log(q[np.arange(len(q)), labels]))

        peer = minimize_scalar(loss, bracket=(0.5, 1, 3))
        found = fit_temperature(p, labels)
        assert found.value == pytest.approx(peer.x, rel=1e-3)
        assert found.loss_after == pytest.approx(peer.fun)
        assert found.loss_before == pytest.approx(loss(1.0))

    @pytest.mark.parametrize("sure", [0.6, 0.9, 0.999, 1 - 1e-6])
    def test_no_image_wrong(self, sure):
        # The colder the better, down to where the loss is 0 to the last digit: a flat stretch.
        p = np.array([[sure, 1 - sure], [1 - sure, sure]] * 20)
        found = fit_temperature(p, np.array([0, 1] * 20))
        assert found.at_bound
        assert found.value == pytest.approx(LOWEST_TEMPERATURE, rel=1e-12)
        assert found.loss_after < found.loss_before == pytest.approx(-math.log(sure))

    def test_no_image_right(self):
        p = np.array([[0.9, 0.1], [0.1, 0.9]])
        found = fit_temperature(p, np.array([1, 0]))
        assert found.at_bound
        assert found.value == pytest.approx(HIGHEST_TEMPERATURE, rel=1e-5)

    @pytest.mark.parametrize("p", [np.eye(2), np.full((2, 2), 0.5)])
    def test_a_loss_that_is_flat_chooses_no_temperature(self, p):
        found = fit_temperature(p, np.array([0, 1]))
        assert found.at_bound
        assert found.value == 1.0
        assert found.loss_after == found.loss_before

    @given(cases())
    @settings(max_examples=50)
    def test_it_never_raises_the_loss(self, case):
        found = fit_temperature(*case)
        assert found.loss_after <= found.loss_before
        assert (found.value == 1.0) == (found.loss_after == found.loss_before)

    def test_certain_of_a_wrong_class(self):
        p = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]], dtype=np.float32)
        found = fit_temperature(p, np.array([0, 1, 1]))
        assert math.isfinite(found.loss_after)
        assert found.value > 1

    @given(cases(), st.floats(0.1, 10))
    @settings(max_examples=50)
    def test_tempered(self, case, temperature):
        p, _ = case
        scaled = tempered(p, temperature)
        assert scaled.sum(axis=1) == pytest.approx(1)
        assert (scaled.argmax(axis=1) == p.argmax(axis=1)).all()
        assert tempered(p, 1.0) == pytest.approx(p)
        assert scaled == pytest.approx(softmax(np.log(p) / temperature))

    @pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, math.inf])
    def test_refuses(self, temperature):
        with pytest.raises(ConfigurationError, match="temperature must be above 0"):
            tempered(np.array([[0.5, 0.5]]), temperature)

    def test_helps_on_held_out_images_over_ten_splits(self):
        p, labels = labelled(np.random.default_rng(2), 6000, temperature=2.0)
        for split in range(10):
            order = np.random.default_rng(split).permutation(len(p))
            fit, judge = order[:3000], order[3000:]
            scaled = tempered(p[judge], fit_temperature(p[fit], labels[fit]).value)
            rows = np.arange(len(judge))
            before = -np.log(p[judge][rows, labels[judge]]).mean()
            after = -np.log(scaled[rows, labels[judge]]).mean()
            assert after < before
            assert (
                expected_calibration_error(scaled, labels[judge], draws=1).value
                < expected_calibration_error(p[judge], labels[judge], draws=1).value
            )


class TestCoverage:
    @given(cases())
    @settings(max_examples=50)
    def test_agrees_with_the_mean_over_orders_of_ties(self, case):
        p, labels = case
        n = len(p)
        order = np.argsort(-p.max(axis=1), kind="stable")
        right = (p.argmax(axis=1) == labels)[order]
        shares = np.arange(1, n + 1) / n
        expected = right.cumsum() / np.arange(1, n + 1)
        assert accuracy_by_coverage(p, labels, shares) == pytest.approx(expected)

    def test_ties_share(self):
        p = np.array([[0.8, 0.2]] * 4)
        assert accuracy_by_coverage(p, np.array([0, 0, 1, 1]), [0.25, 0.5, 1.0]) == [0.5] * 3

    @pytest.mark.parametrize("coverage", [0.0, 1.1])
    def test_refuses(self, coverage):
        with pytest.raises(ConfigurationError, match="coverages must be above 0 and up to 1"):
            accuracy_by_coverage(np.array([[0.8, 0.2]]), np.array([0]), [coverage])


class TestConformal:
    @given(st.integers(1, 60), st.floats(0.5, 0.99), st.integers(0, 999))
    @settings(max_examples=60)
    def test_the_threshold_is_an_order_statistic(self, n, coverage, seed):
        p, labels = labelled(np.random.default_rng(seed), n)
        own = sorted(p[np.arange(n), labels], reverse=True)
        rank = math.ceil((n + 1) * coverage - 1e-9)
        expected = 0.0 if rank > n else own[rank - 1]
        assert conformal_threshold(p, labels, coverage) == expected

    def test_keeps_its_promise_over_ten_splits(self):
        p, labels = labelled(np.random.default_rng(3), 8000, temperature=3.0)
        for split in range(10):
            order = np.random.default_rng(split).permutation(len(p))
            a, b = order[:2000], order[2000:]
            found = conformal_check((p[a], labels[a]), (p[b], labels[b]), 0.9)
            assert found.p_value > 1e-6
            assert found.coverage == pytest.approx(0.9, abs=0.04)
            sizes = (p[b] >= found.threshold).sum(axis=1)
            assert found.mean_size == pytest.approx(sizes.mean())
            assert sum(found.sizes) == found.images == 6000

    def test_its_p_value_is_beta_binomial(self):
        p, labels = labelled(RNG, 99)
        q, truth = labelled(RNG, 200)
        found = conformal_check((p, labels), (q, truth), 0.9)
        assert found.p_value == pytest.approx(
            scipy.stats.betabinom(200, 90, 10).cdf(found.covered), rel=1e-6
        )

    def test_a_broken_promise_shows(self):
        p, labels = labelled(RNG, 2000)
        q, truth = labelled(RNG, 2000, temperature=3.0)
        wrong = np.roll(truth, 1)
        assert conformal_check((p, labels), (q, wrong), 0.9).p_value < 1e-6

    def test_too_few_images_admit_all_classes(self):
        found = conformal_check(labelled(RNG, 5), labelled(RNG, 10), 0.99)
        assert (found.threshold, found.coverage, found.mean_size) == (0.0, 1.0, 5.0)
        assert found.p_value == 1.0

    def test_none(self):
        with pytest.raises(DataError, match="at least one image and a label each"):
            conformal_threshold(np.empty((0, 3)), np.empty(0, dtype=int))
