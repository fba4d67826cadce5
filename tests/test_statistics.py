"""Against scipy.stats, statsmodels, closed forms and brute force."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys

import numpy as np
import pytest
import scipy.stats
from hypothesis import assume, given
from hypothesis import strategies as st
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

from inkproof import randomness, statistics
from inkproof.errors import ConfigurationError, DataError
from inkproof.statistics import (
    EXACT_FLIPS,
    Estimate,
    basic,
    calibration,
    conformal,
    crossed,
    mcnemar_exact,
    mean_interval,
    multiplicity,
    over_runs,
    paired_interval,
    planning,
    resampling,
    sign_flip_test,
    wilson_interval,
)

LEVELS = st.floats(0.5, 0.999)
NUMBERS = st.floats(-1e6, 1e6, allow_nan=False, allow_subnormal=False)
WHOLE = st.integers(-50, 50)


@st.composite
def shares(draw):
    n = draw(st.integers(1, 20_000))
    return draw(st.integers(0, n)), n


def ends(estimate: Estimate) -> tuple[float, float]:
    assert estimate.low is not None
    assert estimate.high is not None
    return estimate.low, estimate.high


class TestWilson:
    @given(share=shares(), level=LEVELS)
    def test_agrees_with_statsmodels(self, share, level):
        successes, n = share
        low, high = proportion_confint(successes, n, alpha=1 - level, method="wilson")
        assert ends(wilson_interval(successes, n, level)) == pytest.approx(
            (low, high), rel=1e-9, abs=1e-12
        )

    @pytest.mark.parametrize(("successes", "n"), [(0, 1), (1, 1), (9779, 10_000), (10_000, 10_000)])
    def test_agrees_with_scipy(self, successes, n):
        peer = scipy.stats.binomtest(successes, n).proportion_ci(0.95, method="wilson")
        assert ends(wilson_interval(successes, n)) == pytest.approx((peer.low, peer.high), rel=1e-9)

    def test_the_published_accuracy(self):
        # (2 n p + z^2 -+ z sqrt(z^2 + 4 n p (1 - p))) / (2 (n + z^2)) with z = 1.959963984540054
        z, n, p = 1.959963984540054, 10_000, 0.9779
        root = z * math.sqrt(z * z + 4 * n * p * (1 - p))
        expected = Estimate(
            value=p,
            low=pytest.approx((2 * n * p + z * z - root) / (2 * (n + z * z)), rel=1e-12),
            high=pytest.approx((2 * n * p + z * z + root) / (2 * (n + z * z)), rel=1e-12),
            level=0.95,
            n=n,
            over="images",
            method="Wilson",
        )
        assert wilson_interval(9779, 10_000) == expected

    @given(share=shares(), level=LEVELS)
    def test_holds_the_share_and_stays_within_0_and_1(self, share, level):
        estimate = wilson_interval(*share, level)
        low, high = ends(estimate)
        assert 0 <= low <= estimate.value <= high <= 1
        assert low < high

    @given(share=shares(), level=LEVELS)
    def test_failures_mirror_successes(self, share, level):
        successes, n = share
        low, high = ends(wilson_interval(successes, n, level))
        assert ends(wilson_interval(n - successes, n, level)) == pytest.approx((1 - high, 1 - low))

    @given(n=st.integers(1, 10**7))
    def test_a_perfect_model_reaches_1_exactly_and_is_not_certain(self, n):
        perfect, hopeless = wilson_interval(n, n), wilson_interval(0, n)
        assert perfect.high == perfect.value == 1.0
        assert perfect.low < 1.0
        assert hopeless.low == hopeless.value == 0.0
        assert hopeless.high > 0.0

    @pytest.mark.parametrize("n", [10, 50, 200])
    def test_mean_coverage_is_near_the_level(self, n):
        # Exact, not simulated: the chance of each count times whether its interval holds the share.
        inside = [ends(wilson_interval(k, n)) for k in range(n + 1)]
        grid = np.linspace(0.02, 0.98, 193)
        covered = [
            sum(
                scipy.stats.binom.pmf(k, n, share)
                for k, (low, high) in enumerate(inside)
                if low <= share <= high
            )
            for share in grid
        ]
        assert np.mean(covered) == pytest.approx(0.95, abs=0.01)
        assert min(covered) > 0.83  # Wilson's dips, known from Brown, Cai and DasGupta (2001)

    @pytest.mark.parametrize(
        ("successes", "n", "message"),
        [
            (0, 0, "wilson_interval: n must be at least 1, got 0"),
            (-1, 5, "wilson_interval: successes must be from 0 to n = 5, got -1"),
            (6, 5, "wilson_interval: successes must be from 0 to n = 5, got 6"),
        ],
    )
    def test_refuses_impossible_counts(self, successes, n, message):
        with pytest.raises(DataError, match=message):
            wilson_interval(successes, n)


class TestMeans:
    @given(values=st.lists(NUMBERS, min_size=2, max_size=40), level=LEVELS)
    def test_agrees_with_scipy(self, values, level):
        assume(np.ptp(values) > 1e-6 * max(np.abs(values)))
        peer = scipy.stats.ttest_1samp(values, 0.0).confidence_interval(level)
        estimate = mean_interval(values, level, over="runs")
        tolerance = 1e-9 * max(np.abs(values))
        assert ends(estimate) == pytest.approx((peer.low, peer.high), rel=1e-8, abs=tolerance)
        assert estimate.value == pytest.approx(np.mean(values), abs=tolerance)
        assert (estimate.n, estimate.over, estimate.method) == (len(values), "runs", "Student t")

    @given(pairs=st.lists(st.tuples(NUMBERS, NUMBERS), min_size=2, max_size=40), level=LEVELS)
    def test_paired_agrees_with_scipy(self, pairs, level):
        a, b = np.array(pairs).T
        assume(np.ptp(b - a) > 1e-6 * max(1e-3, np.abs(b - a).max()))
        peer = scipy.stats.ttest_rel(b, a).confidence_interval(level)
        tolerance = 1e-8 * np.abs(b - a).max()
        assert ends(paired_interval(a, b, level, over="runs")) == pytest.approx(
            (peer.low, peer.high), rel=1e-8, abs=tolerance
        )

    @given(value=NUMBERS)
    def test_one_value_has_no_interval(self, value):
        estimate = mean_interval([value], over="runs")
        assert (estimate.value, estimate.low, estimate.high, estimate.n) == (value, None, None, 1)

    @given(value=NUMBERS, n=st.integers(2, 50))
    def test_equal_values_have_exactly_their_mean_and_no_width(self, value, n):
        estimate = mean_interval([value] * n, over="images")
        assert estimate.value == estimate.low == estimate.high == value

    @given(values=st.lists(NUMBERS, min_size=2, max_size=20))
    def test_a_model_against_itself_differs_by_exactly_nothing(self, values):
        estimate = paired_interval(values, values, over="runs")
        assert estimate.value == estimate.low == estimate.high == 0.0

    @given(values=st.lists(WHOLE, min_size=2, max_size=20), shift=WHOLE, scale=st.integers(1, 9))
    def test_moves_and_stretches_with_the_values(self, values, shift, scale):
        low, high = ends(mean_interval(values, over="runs"))
        moved = [scale * value + shift for value in values]
        assert ends(mean_interval(moved, over="runs")) == pytest.approx(
            (scale * low + shift, scale * high + shift), rel=1e-9, abs=1e-9
        )

    def test_covers_as_promised_over_normal_runs(self):
        # 4,000 studies of 6 runs: a fair interval misses this bound once in a million test runs.
        rng = np.random.default_rng()
        studies = rng.normal(loc=0.3, scale=2.0, size=(4000, 6))
        covered = 0
        for study in studies:
            low, high = ends(mean_interval(study, over="runs"))
            covered += low <= 0.3 <= high
        allowed = scipy.stats.binom(4000, 0.95)
        assert allowed.ppf(5e-7) <= covered <= allowed.isf(5e-7)

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ([], "mean_interval: expected at least 1 value, got none"),
            ([[1.0, 2.0]], r"mean_interval: expected numbers with one axis, got shape \(1, 2\)"),
            ([1.0, math.nan], "mean_interval: values must be finite, got nan at row 1"),
            ([math.inf, 1.0], "mean_interval: values must be finite, got inf at row 0"),
        ],
    )
    def test_refuses_what_has_no_mean(self, values, message):
        with pytest.raises(DataError, match=message):
            mean_interval(values, over="runs")

    def test_refuses_unequal_lengths(self):
        with pytest.raises(DataError, match="must have one value a pair, got 2 and 1"):
            paired_interval([1.0, 2.0], [1.0], over="runs")


class TestPossible:
    """Intervals of shares and losses stay where shares and losses can be."""

    @given(values=st.lists(st.floats(0, 1), min_size=2, max_size=12), level=LEVELS)
    def test_a_share_stays_within_0_and_1_and_holds_its_mean(self, values, level):
        free = mean_interval(values, level, over="runs")
        found = mean_interval(values, level, over="runs", least=0.0, most=1.0)
        low, high = ends(found)
        assert 0 <= low <= found.value <= high <= 1
        assert found.value == free.value
        # Only what is impossible is cut off: whatever can be is covered as before.
        for truth in (0.0, *values, 0.5, 1.0):
            assert (low <= truth <= high) == (free.low <= truth <= free.high)

    @given(values=st.lists(st.floats(0, 20), min_size=2, max_size=12), level=LEVELS)
    def test_a_loss_stays_at_0_or_above(self, values, level):
        free = mean_interval(values, level, over="runs")
        found = mean_interval(values, level, over="runs", least=0.0)
        assert found.low == max(0.0, free.low)
        assert found.high == free.high

    @pytest.mark.parametrize(
        ("values", "interval", "method"),
        [
            ([0.8, 1.0], (0.0, 1.0), "Student t (cut at 0 and 1)"),
            ([0.97, 0.99, 0.99], None, "Student t (cut at 1)"),
            ([0.01, 0.0, 0.02], None, "Student t (cut at 0)"),
            ([0.5, 0.51, 0.52], None, "Student t"),
        ],
    )
    def test_says_where_it_was_cut(self, values, interval, method):
        found = mean_interval(values, over="runs", least=0.0, most=1.0)
        assert found.method == method
        if interval is not None:
            assert ends(found) == interval

    @given(right=st.integers(0, 50), runs=st.integers(2, 9))
    def test_runs_that_tie_have_the_interval_over_images(self, right, runs):
        alone = wilson_interval(right, 50)
        found = over_runs([right / 50] * runs, lambda: alone, least=0.0, most=1.0)
        assert ends(found) == ends(alone)
        assert found.low < found.high
        assert (found.value, found.over, found.n) == (alone.value, "images", 50)
        assert found.method.startswith("Wilson (the ")
        assert found.method.endswith(" runs tied)")

    def test_rounding_is_no_spread(self):
        alone = wilson_interval(3, 3)
        found = over_runs([1.0, 1 - 2.0**-53], lambda: alone, least=0.0, most=1.0)
        assert (found.over, found.low) == ("images", alone.low)

    def test_one_run_has_its_own_and_others_never_ask_for_it(self):
        alone = wilson_interval(7, 9)
        assert over_runs([7 / 9], lambda: alone) is alone
        apart = over_runs([0.5, 0.6], lambda: pytest.fail("asked"), least=0.0, most=1.0)
        assert apart == mean_interval([0.5, 0.6], over="runs", least=0.0, most=1.0)


@pytest.mark.parametrize("level", [0.0, 1.0, -0.5, 95.0, math.nan])
def test_a_level_is_between_0_and_1(level):
    message = f"level must be between 0 and 1, got {level}"
    with pytest.raises(ConfigurationError, match=message):
        wilson_interval(1, 2, level)
    with pytest.raises(ConfigurationError, match=message):
        mean_interval([1.0, 2.0], level, over="runs")
    with pytest.raises(ConfigurationError, match=message):
        paired_interval([1.0, 2.0], [1.0, 2.0], level, over="runs")


class TestMcNemar:
    @given(only_a=st.integers(0, 400), only_b=st.integers(0, 400))
    def test_agrees_with_scipy(self, only_a, only_b):
        assume(only_a + only_b > 0)
        peer = scipy.stats.binomtest(only_a, only_a + only_b, 0.5).pvalue
        assert mcnemar_exact(only_a, only_b) == pytest.approx(peer, rel=1e-9)

    @given(only_a=st.integers(0, 60), only_b=st.integers(0, 60))
    def test_agrees_with_counting_tosses(self, only_a, only_b):
        n, fewer = only_a + only_b, min(only_a, only_b)
        ways = sum(math.comb(n, k) for k in range(n + 1) if min(k, n - k) <= fewer)
        assert mcnemar_exact(only_a, only_b) == pytest.approx(ways / 2**n, rel=1e-12)

    @pytest.mark.parametrize(("only_a", "only_b"), [(3, 10), (0, 6), (40, 41), (120, 150)])
    def test_agrees_with_statsmodels(self, only_a, only_b):
        peer = mcnemar([[9000, only_a], [only_b, 100]], exact=True).pvalue
        assert mcnemar_exact(only_a, only_b) == pytest.approx(peer, rel=1e-9)

    def test_identical_networks_have_p_1(self):
        assert mcnemar_exact(0, 0) == 1.0
        assert mcnemar_exact(17, 17) == 1.0

    def test_the_extreme_case_is_tiny_but_fine(self):
        assert mcnemar_exact(0, 1000) == pytest.approx(2.0**-999, rel=1e-9)
        assert mcnemar_exact(0, 1) == 1.0

    @given(only_a=st.integers(0, 400), only_b=st.integers(0, 400))
    def test_is_symmetric_and_a_p_value(self, only_a, only_b):
        p = mcnemar_exact(only_a, only_b)
        assert p == mcnemar_exact(only_b, only_a)
        assert 0 < p <= 1

    @pytest.mark.parametrize("n", [1, 7, 20, 133])
    @pytest.mark.parametrize("alpha", [0.01, 0.05, 0.2])
    def test_never_errs_more_often_than_promised(self, n, alpha):
        # Exact: the chance, with equally good networks, of a count whose p is at most alpha.
        wrong = sum(
            math.comb(n, k) / 2**n for k in range(n + 1) if mcnemar_exact(k, n - k) <= alpha
        )
        assert wrong <= alpha

    def test_refuses_negative_counts(self):
        with pytest.raises(DataError, match="counts must be at least 0, got -1 and 2"):
            mcnemar_exact(-1, 2)


def enumerated(values: list[int]) -> float:
    observed = abs(sum(values))
    sums = [
        abs(sum(sign * value for sign, value in zip(signs, values, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(values))
    ]
    return sum(one >= observed for one in sums) / len(sums)


class TestSignFlips:
    @given(values=st.lists(WHOLE, max_size=9))
    def test_agrees_with_going_through_all_flips(self, values):
        assert sign_flip_test(values) == enumerated(values)

    @given(values=st.lists(WHOLE, max_size=9), unit=st.sampled_from([1e-4, 1 / 3, 1e-300, 3e306]))
    def test_ties_survive_rounding(self, values, unit):
        assert sign_flip_test([value * unit for value in values]) == enumerated(values)

    @pytest.mark.parametrize("n", [3, 6, 10])
    def test_agrees_with_scipy(self, n):
        values = np.random.default_rng(n).normal(0.4, 1.0, n)
        peer = scipy.stats.permutation_test(
            (values,), np.mean, permutation_type="samples", n_resamples=np.inf
        )
        assert sign_flip_test(values) == pytest.approx(peer.pvalue, rel=1e-12)

    def test_six_runs_on_one_side_reach_one_thirty_second(self):
        assert sign_flip_test([3, 1, 4, 1, 5, 9]) == 2 / 64
        assert sign_flip_test([3, 1, 4, 1, 5]) == 2 / 32  # five cannot reach 0.05

    def test_no_runs_and_no_differences_say_nothing(self):
        assert sign_flip_test([]) == 1.0
        assert sign_flip_test([0.0] * 6) == 1.0
        assert sign_flip_test([0.0] * 30) == 1.0
        assert sign_flip_test([7.0]) == 1.0

    @given(values=st.lists(NUMBERS, min_size=1, max_size=12), data=st.data())
    def test_does_not_depend_on_order_scale_or_side(self, values, data):
        p = sign_flip_test(values)
        assert 2.0 ** (1 - len(values)) <= p <= 1
        assert sign_flip_test(data.draw(st.permutations(values))) == p
        assert sign_flip_test([-value for value in values]) == p
        assert sign_flip_test([1024 * value for value in values]) == p

    @given(sizes=st.lists(st.integers(0, 9), min_size=1, max_size=8))
    def test_never_errs_more_often_than_promised(self, sizes):
        # Exact: if nothing differs, all signs are equally likely; p at most alpha at most so often.
        ps = [
            sign_flip_test([sign * size for sign, size in zip(signs, sizes, strict=True)])
            for signs in itertools.product((1, -1), repeat=len(sizes))
        ]
        for alpha in (0.01, 0.05, 0.1, 0.3):
            assert np.mean([p <= alpha for p in ps]) <= alpha

    def test_goes_through_all_flips_up_to_twenty_runs(self):
        assert sign_flip_test([1] * 20) == 2.0**-19
        assert EXACT_FLIPS == 20

    def test_samples_beyond_and_is_never_zero(self):
        values = [1] * (EXACT_FLIPS + 30)
        assert sign_flip_test(values, draws=9_999) == 1 / 10_000
        assert sign_flip_test(values, draws=1) in {0.5, 1.0}

    def test_the_sample_agrees_with_all_flips(self, monkeypatch):
        # The exact p is known by convolution: a sum of +-1 is binomial. Bound: one in a million.
        values = [1] * 20 + [-1] * 8
        exact = 2 * scipy.stats.binom.cdf(8, 28, 0.5)
        monkeypatch.setattr(basic, "_CHUNK", 10_000)  # several chunks, the last one short
        draws = 40_000
        for seed in range(3):
            p = sign_flip_test(values, draws=draws, seed=seed)
            assert p == pytest.approx(exact, abs=5 * math.sqrt(exact / draws))

    def test_the_sample_is_the_same_each_time_and_other_with_another_seed(self):
        values = np.linspace(-1, 2, 25)
        assert sign_flip_test(values, draws=999) == sign_flip_test(values, draws=999)
        assert len({sign_flip_test(values, draws=999, seed=seed) for seed in range(8)}) > 1

    def test_chunks_use_new_random_numbers(self, monkeypatch):
        seen = []

        def spy(count, use, *, seed, index):
            seen.append((use, seed, index))
            return randomness.uniform(count, use, seed=seed, index=index)

        monkeypatch.setattr(basic, "uniform", spy)
        monkeypatch.setattr(basic, "_CHUNK", 300)
        sign_flip_test(np.ones(30), draws=25, seed=4)
        assert seen == [(randomness.Use.RESAMPLING, 4, index) for index in range(3)]

    def test_refuses_what_it_cannot_flip(self):
        with pytest.raises(DataError, match="values must be finite, got nan at row 2"):
            sign_flip_test([1.0, 2.0, math.nan])
        with pytest.raises(ConfigurationError, match="draws must be at least 1, got 0"):
            sign_flip_test([1.0], draws=0)


def test_importing_statistics_leaves_the_slow_parts_of_scipy_alone():
    code = "import sys, inkproof.statistics; print(*(m for m in sys.modules if m[:7] == 'scipy.s'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"scipy.stats", "scipy.special"} & set(done.stdout.split())


def test_public_names():
    assert len(set(statistics.__all__)) == len(statistics.__all__)
    assert set(statistics.__all__) <= set(vars(statistics))
    for module in (basic, calibration, conformal, crossed, multiplicity, planning, resampling):
        own = {
            name
            for name, value in vars(module).items()
            if name[0] != "_"
            and (name.isupper() or getattr(value, "__module__", "") == module.__name__)
        }
        listed = set(module.__all__)
        assert listed <= set(vars(module))
        assert own - listed <= {"LOWEST_TEMPERATURE", "HIGHEST_TEMPERATURE", "MOST_IMAGES"}
