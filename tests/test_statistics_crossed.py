"""Crossed intervals, plans, Holm and resampling against statsmodels, SciPy and brute force."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import statsmodels.formula.api as smf
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.anova import anova_lm
from statsmodels.stats.multitest import multipletests

from inkproof.errors import ConfigurationError, DataError
from inkproof.statistics import (
    LEAST_BCA,
    bca_interval,
    correlation_interval,
    crossed_interval,
    exact_share_interval,
    holm,
    plan,
    planning,
    power,
    ranks_with_ties,
    sign_flip_interval,
    sign_flip_test,
)
from inkproof.statistics.crossed import degrees_of_freedom


def drawn(rng, runs, images, run=0.3, image=0.5, rest=1.0, mean=0.0):
    return (
        mean
        + run * rng.normal(size=(runs, 1))
        + image * rng.normal(size=images)
        + rest * rng.normal(size=(runs, images))
    )


class TestCrossed:
    @pytest.mark.parametrize(("runs", "images"), [(2, 2), (3, 7), (6, 12)])
    def test_mean_squares_are_those_of_the_analysis_of_variance(self, runs, images):
        table = drawn(np.random.default_rng(runs), runs, images, run=2.0, image=2.0)
        cells = pd.DataFrame(
            [(r, i, table[r, i]) for r in range(runs) for i in range(images)],
            columns=["run", "image", "y"],
        )
        squares = anova_lm(smf.ols("y ~ C(run) + C(image)", cells).fit())["mean_sq"]
        found = crossed_interval(table)
        rest = squares["Residual"]
        assert found.rest_variance == pytest.approx(rest)
        assert found.run_variance == pytest.approx(max(0, (squares["C(run)"] - rest) / images))
        assert found.image_variance == pytest.approx(max(0, (squares["C(image)"] - rest) / runs))
        variance = squares["C(run)"] + max(0, squares["C(image)"] - rest)
        assert found.standard_error**2 == pytest.approx(variance / (runs * images))

    def test_only_runs_vary_it_is_student_s_interval(self):
        values = np.array([1.0, 2.0, 4.0, 3.5])
        found = crossed_interval(np.repeat(values[:, np.newaxis], 5, axis=1))
        peer = scipy.stats.ttest_1samp(values, 0)
        assert found.df == pytest.approx(3)
        low, high = peer.confidence_interval(0.95)
        assert (found.estimate.low, found.estimate.high) == pytest.approx((low, high))
        assert found.p_value() == pytest.approx(peer.pvalue)

    def test_equivalence_is_two_one_sided_tests(self):
        values = np.array([0.1, -0.2, 0.05, 0.12])
        found = crossed_interval(np.repeat(values[:, np.newaxis], 5, axis=1))
        above = scipy.stats.ttest_1samp(values, -0.3, alternative="greater").pvalue
        below = scipy.stats.ttest_1samp(values, 0.3, alternative="less").pvalue
        assert found.p_equivalent(0.3) == pytest.approx(max(above, below))

    @given(margin=st.floats(0.01, 2), level=st.floats(0.6, 0.99))
    def test_equivalence_and_its_interval_say_the_same(self, margin, level):
        found = crossed_interval(drawn(np.random.default_rng(5), 4, 9, mean=0.2))
        within = found.at_level(2 * level - 1).estimate
        inside = -margin < within.low and within.high < margin
        assert (found.p_equivalent(margin) < 1 - level) == inside

    @given(st.data())
    def test_whole_numbers_and_floats_agree(self, data):
        runs, images = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 9))
        cells = data.draw(
            st.lists(st.integers(-1, 1), min_size=runs * images, max_size=runs * images)
        )
        table = np.array(cells, dtype=np.int8).reshape(runs, images)
        whole, floats = crossed_interval(table), crossed_interval(table.astype(float))
        assert whole.estimate.value == pytest.approx(floats.estimate.value, abs=1e-15)
        for name in ("run_variance", "image_variance", "rest_variance", "standard_error"):
            assert getattr(whole, name) == pytest.approx(getattr(floats, name), abs=1e-9)

    @pytest.mark.parametrize("kind", [np.int32, np.int64, np.uint64, np.int8])
    def test_large_whole_numbers_do_not_overflow(self, kind):
        largest = np.iinfo(kind).max
        table = np.array([[largest, 0, largest, 0], [0, 0, largest, largest]], dtype=kind)
        whole, floats = crossed_interval(table), crossed_interval(table.astype(float))
        assert whole.estimate.value == pytest.approx(floats.estimate.value, rel=1e-12)
        for name in ("run_variance", "image_variance", "rest_variance", "standard_error"):
            assert getattr(whole, name) == pytest.approx(getattr(floats, name), rel=1e-9)
        assert whole.standard_error > 0

    def test_the_least_of_int8_has_a_size(self):
        table = np.array([[-128, 0], [0, 127]], dtype=np.int8)
        whole, floats = crossed_interval(table), crossed_interval(table.astype(float))
        assert whole.standard_error == pytest.approx(floats.standard_error)

    @given(st.data())
    def test_runs_and_images_change_places(self, data):
        table = drawn(np.random.default_rng(data.draw(st.integers(0, 99))), 5, 5, 1, 1)
        one, other = crossed_interval(table), crossed_interval(table.T)
        assert one.run_variance == pytest.approx(other.image_variance, abs=1e-9)
        assert one.estimate.value == pytest.approx(other.estimate.value)

    def test_equal_cells_have_no_width(self):
        for table in (np.full((6, 10), 0.1), np.zeros((6, 10), dtype=np.int8)):
            found = crossed_interval(table)
            assert found.estimate.low == found.estimate.value == found.estimate.high
            assert found.standard_error == 0
        assert found.p_value() == 1
        assert found.p_equivalent(0.01) == 0
        assert crossed_interval(np.full((6, 10), 0.1)).p_value() == 0

    def test_a_tie_over_runs_does_not_take_all_width(self):
        table = np.zeros((6, 100), dtype=np.int8)
        table[np.arange(6), np.arange(6)] = 1  # each run wins one image, another one each
        found = crossed_interval(table)
        assert found.standard_error > 0
        assert found.estimate.low < 0.01 < found.estimate.high

    @pytest.mark.parametrize("shape", [(1, 5), (5, 1), (1, 1)])
    def test_one_run_or_one_image_has_no_interval(self, shape):
        found = crossed_interval(np.ones(shape))
        assert (found.estimate.low, found.estimate.high) == (None, None)
        assert found.p_value() == found.p_equivalent(0.1) == 1.0

    @pytest.mark.parametrize("table", [np.empty((0, 3)), np.empty((3, 0)), np.ones(3), 1.0])
    def test_nothing_to_estimate(self, table):
        with pytest.raises(DataError, match="a table of at least one run and one image"):
            crossed_interval(table)

    def test_what_is_not_finite(self):
        with pytest.raises(DataError, match="must be finite, got nan in run 1, image 0"):
            crossed_interval([[1.0, 2.0], [math.nan, 1.0]])

    @pytest.mark.parametrize("level", [0.0, 1.0, math.nan])
    def test_levels(self, level):
        with pytest.raises(ConfigurationError, match="level must be between 0 and 1"):
            crossed_interval(np.ones((2, 2)), level)

    @pytest.mark.parametrize("more", [0.0, 1e-12, 1e-6, 0.01, 1.0])
    @pytest.mark.parametrize("runs", [2, 6])
    def test_its_degrees_of_freedom_are_never_too_few(self, runs, more):
        # Where images differ hardly more than the rest, Satterthwaite's formula gives next to none.
        ms_runs = np.array([0.0, 1e-12, 0.001, 1.0, 1e6])
        df = degrees_of_freedom(ms_runs, 1 + more, 1.0, runs, 50)
        assert (df >= min(runs, 50) - 1).all()

    @pytest.mark.parametrize("runs", [3, 6, 10])
    @pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
    def test_its_coverage_by_integration(self, runs, share):
        # MS_runs makes up this share of the variance and follows a chi-squared distribution; the
        # images' part is known. Then the coverage is an integral over MS_runs.
        u = (np.arange(20_000) + 0.5) / 20_000
        ms_runs = share * scipy.stats.chi2(runs - 1).ppf(u) / (runs - 1)
        df = degrees_of_freedom(ms_runs, 1 - share, 0.0, runs, 1e9)
        half = scipy.stats.t(df).ppf(0.975) * np.sqrt(ms_runs + 1 - share)
        coverage = float(np.mean(2 * scipy.stats.norm.cdf(half) - 1))
        assert 0.94 <= coverage <= 0.964

    def test_it_covers(self):
        # Bound: one in a million test runs fails.
        rng = np.random.default_rng()
        held = 0
        for _ in range(1000):
            found = crossed_interval(drawn(rng, 6, 200, mean=0.3)).estimate
            held += found.low <= 0.3 <= found.high
        assert held >= scipy.stats.binom(1000, 0.945).ppf(1e-6)


class TestPower:
    def test_agrees_with_the_noncentral_t(self):
        # Without an image part the interval is Student's over the runs' means.
        table = np.repeat(np.array([0.0, 1.0, 2.0, 0.5, 1.5])[:, np.newaxis], 4, axis=1)
        found = crossed_interval(table)
        for runs, difference in ((3, 1.0), (6, 0.5), (20, 0.3)):
            ours = power(found, difference=difference, runs=runs, images=100)
            shift = difference / math.sqrt(found.run_variance / runs)
            bound = scipy.stats.t(runs - 1).ppf(0.975)
            assert ours == pytest.approx(scipy.stats.nct(runs - 1, shift).sf(bound), abs=2e-3)

    def test_without_a_difference_it_is_half_of_what_the_level_leaves(self):
        found = crossed_interval(drawn(np.random.default_rng(1), 6, 50))
        assert 0.018 <= power(found, difference=0, runs=6, images=50) <= 0.0255

    @given(st.integers(2, 40), st.integers(2, 40), st.floats(0, 1), st.floats(0.05, 1))
    def test_either_is_between_the_larger_and_the_sum(self, runs, images, difference, margin):
        found = crossed_interval(drawn(np.random.default_rng(2), 6, 50))
        given_ = {"difference": difference, "runs": runs, "images": images, "margin": margin}
        one, other, either = (
            power(found, claim=claim, **given_) for claim in ("difference", "equivalence", "either")
        )
        assert max(one, other) - 1e-9 <= either <= min(1.0, one + other) + 1e-9

    def test_by_simulation(self):
        rng = np.random.default_rng()
        truth = crossed_interval(np.eye(3))
        parts = {"run": 0.2, "image": 0.8, "rest": 1.0}
        object.__setattr__(truth, "run_variance", 0.04)
        object.__setattr__(truth, "image_variance", 0.64)
        object.__setattr__(truth, "rest_variance", 1.0)
        for difference, margin in ((0.3, None), (0.05, 0.35)):
            expected = power(
                truth,
                difference=difference,
                runs=8,
                images=150,
                margin=margin,
                claim="difference" if margin is None else "equivalence",
            )
            said = 0
            for _ in range(600):
                found = crossed_interval(drawn(rng, 8, 150, **parts, mean=difference))
                said += (
                    found.estimate.low > 0 if margin is None else found.p_equivalent(margin) <= 0.05
                )
            low, high = scipy.stats.binom(600, expected).interval(1 - 1e-7)
            assert low - 30 <= said <= high + 30  # five points beside chance

    def test_plan_finds_the_least_numbers(self):
        table = drawn(np.random.default_rng(5), 6, 60, run=0.1, rest=0.5)
        found = crossed_interval(table - table.mean() + 0.2)
        planned = plan(found, margin=0.1, least_runs=6)
        value = {"difference": found.estimate.value, "margin": 0.1, "claim": "either"}
        assert planned.chance == power(found, runs=6, images=60, **value)
        assert planned.chance < 0.8
        assert power(found, runs=planned.runs, images=60, **value) >= 0.8
        assert power(found, runs=planned.runs - 1, images=60, **value) < 0.8
        assert power(found, runs=6, images=planned.images, **value) >= 0.8
        assert power(found, runs=6, images=planned.images - 1, **value) < 0.8

    @pytest.mark.parametrize("margin", [0.02, 0.15, 0.6])
    @pytest.mark.parametrize(("run", "image"), [(0.0, 0.0), (0.1, 0.3)])
    def test_each_node_forms_the_interval_that_a_study_has(self, monkeypatch, margin, run, image):
        # By hand, with nodes so fine that MS_runs falls where it is held up.
        nodes, runs, images, size = 4000, 4, 30, 0.1
        monkeypatch.setattr(planning, "_NODES", nodes)
        found = dataclasses.replace(
            crossed_interval(np.eye(3)), run_variance=run**2, image_variance=image**2,
            rest_variance=1.0,
        )  # fmt: skip
        ms_runs, ms_images = images * run**2 + 1, runs * image**2 + 1
        mean = scipy.stats.norm(size, math.sqrt((ms_runs + ms_images - 1) / (runs * images)))
        chi = scipy.stats.chi2(runs - 1)
        drawn_ = ms_runs * chi.ppf((np.arange(nodes) + 0.5) / nodes) / (runs - 1)
        held = np.maximum(drawn_, chi.ppf(0.001) / (runs - 1))
        assert (held > drawn_).any()
        error = np.sqrt((held + ms_images - 1) / (runs * images))
        df = degrees_of_freedom(held, ms_images, 1.0, runs, images)
        beyond = scipy.stats.t(df).ppf(0.975) * error
        inside = np.maximum(0, margin - scipy.stats.t(df).ppf(0.95) * error)
        within = mean.cdf(inside) - mean.cdf(-inside)
        either = np.where(
            inside > beyond, mean.sf(-inside), mean.sf(beyond) + within
        )  # two stretches, or one where they overlap
        for claim, expected in (
            ("difference", mean.sf(beyond)), ("equivalence", within), ("either", either)
        ):  # fmt: skip
            ours = power(
                found, difference=size, runs=runs, images=images, margin=margin, claim=claim
            )
            assert ours == pytest.approx(float(np.mean(expected)), rel=1e-9, abs=1e-12)

    def test_no_number_of_runs(self):
        # All the variance is in the images: more runs on them change nothing.
        rng = np.random.default_rng(6)
        table = np.repeat(rng.normal(size=(1, 40)), 6, axis=0)
        table -= table.mean() - 0.05
        planned = plan(crossed_interval(table), margin=0.01, least_runs=6)
        assert planned.runs is None
        assert planned.images > 40

    def test_no_variance_at_all(self):
        found = crossed_interval(np.full((6, 10), 0.5))
        assert power(found, difference=0.5, runs=2, images=2) == 1
        assert power(found, difference=0.0, runs=2, images=2) == 0
        assert power(found, difference=0.0, runs=2, images=2, margin=0.1, claim="either") == 1

    def test_refuses(self):
        found = crossed_interval(np.eye(3))
        with pytest.raises(ConfigurationError, match="runs and images must be at least 2"):
            power(found, difference=1, runs=1, images=5)
        with pytest.raises(ConfigurationError, match="margin must be above 0 for equivalence"):
            power(found, difference=1, runs=2, images=5, claim="equivalence")
        with pytest.raises(ConfigurationError, match="margin must be above 0, got 0"):
            found.p_equivalent(0)


class TestHolm:
    @given(st.lists(st.floats(0, 1), max_size=12))
    @settings(max_examples=40)
    def test_agrees_with_statsmodels(self, values):
        expected = multipletests(values, method="holm")[1] if values else []
        assert holm(values) == pytest.approx(list(expected))

    def test_refuses(self):
        with pytest.raises(DataError, match="p-values must be from 0 to 1"):
            holm([0.5, 1.5])

    def test_ranks(self):
        better = {("a", "b"), ("a", "c")}
        assert ranks_with_ties(["b", "c", "a"], better) == {"b": 2, "c": 2, "a": 1}
        assert ranks_with_ties(["b", "c"], set()) == {"b": 1, "c": 1}


class TestSignFlipInterval:
    @pytest.mark.parametrize("n", [6, 7, 9])
    def test_holds_what_the_test_does_not_reject(self, n):
        values = np.random.default_rng(n).normal(0.4, 1, n)
        found = sign_flip_interval(values)
        assert found.low < found.high
        step = 1e-6
        for inside, outside in (
            (found.low + step, found.low - step),
            (found.high - step, found.high + step),
        ):
            assert sign_flip_test(values - inside) > 0.05 >= sign_flip_test(values - outside)

    def test_six_give_the_range_and_five_nothing(self):
        found = sign_flip_interval([3.0, 1.0, 2.0, 5.0, 4.0, 2.5])
        assert (found.low, found.high, found.over) == (1.0, 5.0, "runs")
        assert sign_flip_interval([1.0, 2.0, 3.0, 4.0, 5.0]).low is None

    def test_many_differences(self):
        values = np.random.default_rng(0).normal(1, 2, 40)
        found = sign_flip_interval(values)
        peer = scipy.stats.ttest_1samp(values, 0).confidence_interval(0.95)
        assert (found.low, found.high) == pytest.approx(tuple(peer), abs=0.08)

    def test_equal_differences(self):
        found = sign_flip_interval([2.0] * 8)
        assert (found.low, found.high) == (2.0, 2.0)

    @given(
        values=st.lists(st.floats(-1, 1), min_size=6, max_size=18),
        level=st.floats(0.01, 0.95),
    )
    def test_its_mean_is_inside(self, values, level):
        found = sign_flip_interval(values, level)
        if found.low is not None:
            assert found.low <= found.value <= found.high

    @pytest.mark.parametrize("n", [6, 7, 20])
    def test_equal_differences_have_their_own_mean_whatever_rounding_does(self, n):
        found = sign_flip_interval([0.1] * n)
        assert found.value == 0.1
        assert (found.low, found.high) == pytest.approx((0.1, 0.1), rel=1e-15)
        assert found.low <= found.value <= found.high

    def test_none(self):
        with pytest.raises(DataError, match="expected at least 1 value, got none"):
            sign_flip_interval([])


class TestBootstrap:
    def test_agrees_with_scipy(self):
        values = np.random.default_rng(1).exponential(size=40)
        found = bca_interval(values, draws=20_000)
        peer = scipy.stats.bootstrap(
            (values,), np.mean, n_resamples=20_000, random_state=1
        ).confidence_interval
        assert (found.low, found.high) == pytest.approx((peer.low, peer.high), abs=0.08)

    def test_resamples_that_tie_with_the_mean_count_half(self):
        # A mean of zeros and ones in equal shares is binomial, and symmetric: no bias to correct.
        found = bca_interval([0.0, 1.0] * 10)
        exact = scipy.stats.binom(20, 0.5)
        assert (found.low, found.high) == (exact.ppf(0.025) / 20, exact.ppf(0.975) / 20)

    @pytest.mark.parametrize("n", [20, 30])
    def test_equal_values_have_no_width_whatever_rounding_does(self, n):
        found = bca_interval([0.1] * n)
        assert found.low == found.value == found.high == 0.1

    def test_too_few_runs(self):
        assert bca_interval(np.arange(LEAST_BCA - 1.0)).low is None
        assert bca_interval(np.full(LEAST_BCA, 2.0)).low == 2.0


def test_correlation_without_spread_or_with_few():
    assert correlation_interval([1, 1, 1], [1, 2, 3]) is None
    assert correlation_interval([1, 2], [1, 2]) is None
    assert correlation_interval([1, 2, 4], [1, 2, 3]).low is None
    assert correlation_interval([1, 2, 3, 4], [1, 2, 3, 4]).low == 1.0


class TestExactShare:
    @given(st.integers(1, 300), st.data(), st.floats(0.5, 0.99))
    def test_agrees_with_scipy(self, n, data, level):
        successes = data.draw(st.integers(0, n))
        found = exact_share_interval(successes, n, level)
        peer = scipy.stats.binomtest(successes, n).proportion_ci(level)
        assert (found.low, found.high) == pytest.approx((peer.low, peer.high), abs=1e-9)

    @pytest.mark.parametrize("n", [1, 5, 20])
    def test_never_falls_short(self, n):
        for share in np.linspace(0.01, 0.99, 25):
            held = sum(
                scipy.stats.binom(n, share).pmf(k)
                for k in range(n + 1)
                if exact_share_interval(k, n).low <= share <= exact_share_interval(k, n).high
            )
            assert held >= 0.95 - 1e-9

    def test_refuses(self):
        with pytest.raises(DataError, match="n must be at least 1, got 0"):
            exact_share_interval(0, 0)
        with pytest.raises(DataError, match="successes must be from 0 to n = 3, got 4"):
            exact_share_interval(4, 3)


def test_sign_flips_over_all_choices():
    # The interval's ends are order statistics of subset means: checked by listing the subsets.
    values = [0.3, -0.1, 0.8, 0.5, 0.2, 0.9, 0.4]
    means = sorted(
        sum(subset) / len(subset)
        for size in range(1, 8)
        for subset in itertools.combinations(values, size)
    )
    place = int(0.05 * 2**6)
    found = sign_flip_interval(values)
    assert (found.low, found.high) == pytest.approx((means[place - 1], means[-place]))
