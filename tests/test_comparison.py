"""Against scipy on the same accuracies, loops over images, and cases with a known answer."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import numpy.typing as npt
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from inkproof import comparison, results
from inkproof.comparison import LEAST_PAIRS, MCNEMAR_SCOPE, Comparison, compare, least_pairs
from inkproof.errors import ConfigurationError, DataError
from inkproof.findings import Finding

Runs = dict[int, npt.NDArray[np.float32]]
N = 1000
LABELS = np.zeros(N, dtype=np.int64)


def network(wrong: list[int] | range, sure: float = 0.75) -> npt.NDArray[np.float32]:
    """Probabilities (N, 2) that are wrong on these images (all are of class 0)."""
    rows = np.tile(np.array([sure, 1 - sure], dtype=np.float32), (N, 1))
    rows[list(wrong)] = rows[list(wrong), ::-1]
    return rows


def with_errors(counts: list[int], sure: float = 0.75) -> Runs:
    return {seed: network(range(count), sure) for seed, count in enumerate(counts)}


def codes(found: Comparison) -> dict[str, Finding]:
    by_code = {finding.code: finding for finding in found.findings}
    assert list(by_code) == ["IPC001", "IPC002", "IPC003", "IPC004", "IPC005"]
    return by_code


@st.composite
def studies(draw):
    """Runs of two models with two to eight common seeds on a few images, with many ties."""
    n, seeds = draw(st.integers(1, 12)), draw(st.integers(2, 8))
    share = st.sampled_from([0.0, 0.125, 0.5, 0.625, 0.875, 1.0])

    def runs() -> Runs:
        firsts = draw(hnp.arrays(np.float32, (seeds, n), elements=share))
        return {seed: np.stack([row, 1 - row], axis=1) for seed, row in enumerate(firsts)}

    return runs(), runs(), draw(hnp.arrays(np.int64, n, elements=st.integers(0, 1)))


def accuracies(runs: Runs, labels) -> list[float]:
    return [
        sum(
            (0 if row[0] >= row[1] else 1) == label
            for row, label in zip(probabilities.tolist(), labels, strict=True)
        )
        / len(labels)
        for probabilities in runs.values()
    ]


def losses(runs: Runs, labels) -> list[float]:
    return [
        float(
            np.mean(
                [
                    -math.log(min(max(row[label], 1e-7), 1 - 1e-7))
                    for row, label in zip(probabilities.tolist(), labels, strict=True)
                ]
            )
        )
        for probabilities in runs.values()
    ]


class TestAgainstScipy:
    @given(study=studies(), level=st.sampled_from([0.8, 0.95, 0.99]))
    def test_both_differences(self, study, level):
        a, b, labels = study
        found = compare("a", a, "b", b, labels, level=level)
        for ours, ones, others in (
            (found.difference, accuracies(b, labels), accuracies(a, labels)),
            (found.log_loss_difference, losses(a, labels), losses(b, labels)),
        ):
            apart = np.array(ones) - np.array(others)
            assert ours.value == pytest.approx(np.mean(apart), abs=1e-12)
            assert (ours.n, ours.over, ours.level) == (len(a), "runs", level)
            assert ours.method == "paired Student t"
            if np.ptp(apart) > 1e-9:
                peer = scipy.stats.ttest_rel(ones, others).confidence_interval(level)
                assert (ours.low, ours.high) == pytest.approx(tuple(peer), abs=1e-9)
            else:
                assert (ours.low, ours.high) == pytest.approx((ours.value, ours.value), abs=1e-9)

    @given(study=studies())
    def test_pairs(self, study):
        a, b, labels = study
        found = compare("a", a, "b", b, labels)
        for seed, pair in enumerate(found.pairs):
            right_a = [row.argmax() == label for row, label in zip(a[seed], labels, strict=True)]
            right_b = [row.argmax() == label for row, label in zip(b[seed], labels, strict=True)]
            only_a = sum(x and not y for x, y in zip(right_a, right_b, strict=True))
            only_b = sum(y and not x for x, y in zip(right_a, right_b, strict=True))
            assert (pair.seed, pair.only_a_right, pair.only_b_right) == (seed, only_a, only_b)
            peer = 1.0
            if only_a + only_b:
                peer = scipy.stats.binomtest(only_a, only_a + only_b).pvalue
            assert pair.p_mcnemar == pytest.approx(peer)

    @given(study=studies())
    def test_p_runs(self, study):
        a, b, labels = study
        apart = np.array(accuracies(b, labels)) - np.array(accuracies(a, labels))
        whole = np.rint(apart * len(labels))
        peer = scipy.stats.permutation_test(
            (whole,), np.sum, permutation_type="samples", n_resamples=np.inf
        )
        assert compare("a", a, "b", b, labels).p_runs == pytest.approx(peer.pvalue)

    @given(study=studies())
    def test_turned_round(self, study):
        a, b, labels = study
        one, other = compare("a", a, "b", b, labels), compare("b", b, "a", a, labels)
        turned = {"better": "worse", "worse": "better", "not resolved": "not resolved"}
        assert other.verdict == turned[one.verdict]
        assert other.difference.value == -one.difference.value
        assert other.p_runs == one.p_runs
        assert (one.difference.value > 0) <= ("behind a by" not in one.explanation)

    @given(study=studies())
    def test_the_sentence_follows_from_the_numbers(self, study):
        a, b, labels = study
        found = compare("a", a, "b", b, labels)
        low, high = found.difference.low, found.difference.high
        resolved = (low > 0 or high < 0) and len(a) >= LEAST_PAIRS
        assert (found.verdict == "better") == (resolved and low > 0)
        assert (found.verdict == "worse") == (resolved and high < 0)
        assert found.explanation.startswith("Not resolved: ") == (not resolved)
        assert found.explanation.endswith(".")
        assert found.explanation.count(". ") == 0  # one sentence
        assert "nan" not in found.explanation
        for finding in found.findings:
            json.dumps(finding.evidence, allow_nan=False)
        codes(found)


class TestVerdicts:
    def test_better(self):
        a = with_errors([30, 31, 32, 33, 34, 35])
        b = with_errors([28, 29, 31, 30, 32, 33])
        found = compare("500x2", a, "512x3", b, LABELS)
        assert found.verdict == "better"
        assert found.difference.value == 12 / 6 / N
        assert found.p_runs == 2 / 64
        low, high = scipy.stats.ttest_1samp([2, 2, 1, 3, 2, 2], 0).confidence_interval(0.95)
        assert found.explanation == (
            f"512x3 is ahead of 500x2 by 0.20 points of accuracy (95 % interval {low / 10:.2f} to"
            f" {high / 10:.2f} over new training runs, from six pairs of runs, on these 1,000 test"
            " images)."
        )
        assert codes(found)["IPC001"].status == "passed"
        assert codes(found)["IPC001"].explanation == found.explanation
        assert codes(found)["IPC001"].evidence["verdict"] == "better"

    def test_worse(self):
        a = with_errors([28, 29, 31, 30, 32, 33])
        b = with_errors([30, 31, 32, 33, 34, 35])
        found = compare("small", a, "large", b, LABELS)
        assert found.verdict == "worse"
        assert found.explanation.startswith(
            "large is behind small by 0.20 points of accuracy (95 %"
        )

    def test_not_resolved(self):
        a = with_errors([30, 31, 32, 33, 34, 35])
        b = with_errors([29, 33, 29, 34, 33, 34])
        found = compare("a", a, "b", b, LABELS)
        low, high = scipy.stats.ttest_1samp([1, -2, 3, -1, 1, 1], 0).confidence_interval(0.95)
        assert found.verdict == "not resolved"
        assert found.explanation == (
            "Not resolved: b came out 0.05 points of accuracy ahead of a (95 % interval from"
            f" {-low / 10:.2f} behind to {high / 10:.2f} ahead over new training runs, from six"
            " pairs of runs, on these 1,000 test images), so either may be the better one."
        )
        assert codes(found)["IPC001"].status == "failed"

    def test_level_on_average(self):
        a = with_errors([30, 31, 32, 33, 34, 35])
        b = with_errors([31, 30, 33, 32, 35, 34])
        assert "b came out level with a (95 %" in compare("a", a, "b", b, LABELS).explanation

    def test_an_end_near_0_is_not_rounded_onto_it(self):
        # Differences of 1 or 2 in 1,000 with an interval that begins at 0.0031 points.
        counts = [0, 0, 0, 1, 1, 1, 1, 2, 0, 0]
        a, b = with_errors([30] * 10), with_errors([30 - count for count in counts])
        found = compare("a", a, "b", b, LABELS, level=0.97)
        low = scipy.stats.ttest_1samp(counts, 0).confidence_interval(0.97).low / 10
        assert 0 < low < 0.005
        assert f"interval {low:.3f} to " in found.explanation

    def test_the_same_errors_each_time_have_no_width(self):
        found = compare("a", with_errors([30] * 6), "b", with_errors([30] * 6, 0.8), LABELS)
        assert (found.difference.value, found.difference.low, found.difference.high) == (0, 0, 0)
        assert found.p_runs == 1.0
        assert found.explanation == (
            "Not resolved: b and a got equally many of these 1,000 test images right in each of six"
            " pairs of runs."
        )

    def test_perfect_models(self):
        found = compare("a", with_errors([0] * 6), "b", with_errors([0] * 6, 0.9), LABELS)
        assert found.verdict == "not resolved"
        assert all(pair.p_mcnemar == 1.0 for pair in found.pairs)

    def test_on_nothing_but_noise_it_seldom_speaks(self):
        # Two models that are equally good by construction. Bound: one in a million test runs.
        rng = np.random.default_rng()
        studies, resolved = 300, 0
        for _ in range(studies):
            a = with_errors(rng.binomial(N, 0.03, 6).tolist())
            b = with_errors(rng.binomial(N, 0.03, 6).tolist())
            resolved += compare("a", a, "b", b, LABELS).verdict != "not resolved"
        # 0.06 leaves room for counts that are not quite normal.
        assert resolved <= scipy.stats.binom(studies, 0.06).isf(1e-6)


class TestFewRuns:
    def test_five_pairs_are_too_few_however_clear(self):
        found = compare("a", with_errors([50] * 5), "b", with_errors([9, 8, 9, 8, 9]), LABELS)
        assert found.difference.low > 0
        assert found.verdict == "not resolved"
        assert found.explanation.startswith(
            "Not resolved: a verdict takes at least six pairs of runs; b came out 4.14 points of"
            " accuracy ahead of a (95 % interval from 4.07 ahead to 4.21 ahead over new training"
        )
        finding = codes(found)["IPC002"]
        assert (finding.status, finding.severity) == ("failed", "warning")
        assert finding.explanation == (
            "There are five pairs of runs; a verdict at 95 % takes at least six pairs, since a"
            " two-sided sign-flip test over five pairs cannot go below p = 0.0625."
        )
        assert codes(found)["IPC004"].status == "not applicable"

    def test_six_are_enough_at_95_percent_and_not_at_99(self):
        a, b = with_errors([50] * 6), with_errors([9, 8, 9, 8, 9, 8])
        assert compare("a", a, "b", b, LABELS).verdict == "better"
        assert compare("a", a, "b", b, LABELS, level=0.99).verdict == "not resolved"

    @pytest.mark.parametrize(("errors", "words"), [(28, "2 fewer"), (33, "3 more")])
    def test_one_pair_has_no_interval(self, errors, words):
        found = compare("a", with_errors([errors]), "b", with_errors([30]), LABELS)
        assert (found.difference.low, found.difference.high, found.p_runs) == (None, None, None)
        assert found.difference.value == pytest.approx((errors - 30) / N)
        assert found.verdict == "not resolved"
        assert found.explanation == (
            f"Not resolved: in one pair of runs (seed 0) b got {words} of these 1,000 test images"
            f" right than a ({abs(errors - 30) / 10:.2f} points), and one pair shows nothing of how"
            " new training runs vary."
        )

    def test_one_pair_that_is_level(self):
        found = compare("a", with_errors([30]), "b", with_errors([30], 0.8), LABELS)
        assert "b got as many of these 1,000 test images right as a (0.00 points)" in (
            found.explanation
        )

    @pytest.mark.parametrize(
        ("level", "pairs"), [(0.5, 6), (0.95, 6), (0.96875, 6), (0.97, 7), (0.99, 8), (0.999, 11)]
    )
    def test_least_pairs(self, level, pairs):
        assert least_pairs(level) == pairs
        assert pairs == LEAST_PAIRS or 2.0 ** (2 - pairs) > 1 - level >= 2.0 ** (1 - pairs) - 1e-12

    @pytest.mark.parametrize("level", [0.0, 1.0, 95.0, math.nan])
    def test_a_level_is_between_0_and_1(self, level):
        with pytest.raises(ConfigurationError, match="level must be between 0 and 1, got"):
            compare("a", with_errors([1]), "b", with_errors([1]), LABELS, level=level)


class TestSeeds:
    def test_only_common_seeds_are_pairs(self):
        a = {seed: network(range(10 + seed)) for seed in (3, 1, 2, 9)}
        b = {seed: network(range(20), 0.8) for seed in (2, 3, 4)}
        found = compare("a", a, "b", b, LABELS)
        assert [pair.seed for pair in found.pairs] == [2, 3]
        assert found.difference.n == 2
        finding = codes(found)["IPC003"]
        assert (finding.status, finding.severity) == ("failed", "warning")
        assert finding.explanation == (
            "Left out, for want of a run of the other model with the same seed: seeds 1 and 9 of a"
            " and seed 4 of b."
        )
        assert finding.evidence == {"only_a": [1, 9], "only_b": [4]}

    def test_all_seeds_are_common(self):
        found = compare("a", with_errors([1, 2]), "b", with_errors([3, 4]), LABELS)
        assert codes(found)["IPC003"].status == "passed"

    def test_no_seed_in_common(self):
        message = "compare a with b: expected a seed that both have, got seeds 0 and 1 and seed 7"
        with pytest.raises(DataError, match=message):
            compare("a", with_errors([1, 2]), "b", {7: network([])}, LABELS)
        with pytest.raises(DataError, match="got no seeds and no seeds"):
            compare("a", {}, "b", {}, LABELS)


class TestLogLoss:
    def test_more_often_right_with_a_worse_loss(self):
        # As in the exercise: the second network was surer of its errors.
        a = with_errors([30, 31, 32, 33, 34, 35], sure=0.9)
        b = with_errors([28, 29, 31, 30, 32, 33], sure=0.9999)
        found = compare("500x2", a, "512x3", b, LABELS)
        assert found.verdict == "better"
        assert found.log_loss_difference.high < 0
        finding = codes(found)["IPC004"]
        assert finding.status == "failed"
        assert finding.explanation.startswith(
            "512x3 is right more often, but its test loss is 0.1042 nats above that of 500x2 (95 %"
        )

    def test_less_often_right_with_a_better_loss(self):
        a = with_errors([28, 29, 31, 30, 32, 33], sure=0.9999)
        b = with_errors([30, 31, 32, 33, 34, 35], sure=0.9)
        finding = codes(compare("500x2", a, "512x3", b, LABELS))["IPC004"]
        assert finding.status == "failed"
        assert finding.explanation.startswith("500x2 is right more often, but its test loss is")

    def test_agreeing(self):
        a = with_errors([30, 31, 32, 33, 34, 35], sure=0.9)
        b = with_errors([28, 29, 31, 30, 32, 33], sure=0.95)
        finding = codes(compare("a", a, "b", b, LABELS))["IPC004"]
        assert finding.status == "passed"
        assert "nats below that of a (95 % interval from" in finding.explanation


class TestIdentical:
    @pytest.mark.parametrize(("runs", "all_pairs"), [(1, "one pair"), (6, "all six pairs")])
    def test_a_network_against_its_copy(self, runs, all_pairs):
        a = with_errors(list(range(30, 30 + runs)))
        found = compare("a", a, "copy", dict(a), LABELS)
        assert found.verdict == "not resolved"
        assert found.difference.value == found.log_loss_difference.value == 0.0
        if runs > 1:
            assert found.difference.low == found.difference.high == 0.0
            assert found.p_runs == 1.0
        assert all(
            (pair.only_a_right, pair.only_b_right, pair.p_mcnemar) == (0, 0, 1.0)
            for pair in found.pairs
        )
        assert found.explanation == (
            "Not resolved: copy and a gave the same probabilities for these 1,000 test images in"
            f" {all_pairs} of runs, so there is no difference to find."
        )
        assert codes(found)["IPC005"].status == "failed"
        assert codes(found)["IPC005"].evidence == {"same": list(range(runs))}

    def test_one_shared_run_among_others(self):
        a = with_errors([30, 31, 32])
        found = compare("a", a, "b", with_errors([35, 31, 30]), LABELS)
        finding = codes(found)["IPC005"]
        assert (finding.status, finding.severity) == ("failed", "warning")
        assert finding.explanation == (
            "In the runs of seed 1, a and b gave the same probabilities for every image: one may be"
            " a copy of the other."
        )

    def test_different_networks(self):
        found = compare("a", with_errors([30, 31]), "b", with_errors([31, 30]), LABELS)
        assert codes(found)["IPC005"].status == "passed"


class TestRefuses:
    def test_other_test_sets(self):
        b = {0: network([]), 1: network([])[:900]}
        message = (
            r"compare a with b: b, seed 1: probabilities must have shape \(1000, 2\), one row an"
            r" image and one column a class, got \(900, 2\)"
        )
        with pytest.raises(DataError, match=message):
            compare("a", with_errors([1, 2]), "b", b, LABELS)

    def test_other_classes(self):
        b = {0: np.full((N, 4), 0.25, dtype=np.float32)}
        with pytest.raises(DataError, match=r"b, seed 0: .* \(1000, 2\), .*, got \(1000, 4\)"):
            compare("a", with_errors([1]), "b", b, LABELS)

    def test_too_few_labels(self):
        with pytest.raises(DataError, match=r"a, seed 0: .* shape \(7, 2\), .*, got \(1000, 2\)"):
            compare("a", with_errors([1]), "b", with_errors([1]), LABELS[:7])

    def test_no_images(self):
        empty = {0: np.empty((0, 2), dtype=np.float32)}
        with pytest.raises(DataError, match="compare a with b: expected at least one image, got"):
            compare("a", empty, "b", empty, LABELS[:0])

    def test_labels_that_are_no_classes(self):
        with pytest.raises(DataError, match="labels must be from 0 to 1, got 2 at row 0"):
            compare("a", with_errors([1]), "b", with_errors([1]), LABELS + 2)

    def test_what_is_not_finite(self):
        b = {0: np.where(np.arange(2 * N).reshape(N, 2) == 5, np.nan, network([]))}
        with pytest.raises(DataError, match="b, seed 0: probabilities must be finite, got nan at"):
            compare("a", with_errors([1]), "b", b, LABELS)

    def test_one_dimension(self):
        with pytest.raises(DataError, match=r"a, seed 0: .*\(images, classes\), got \(1000,\)"):
            compare("a", {0: LABELS}, "b", with_errors([1]), LABELS)


def test_it_fits_results_json():
    found = compare("a", with_errors([30, 31]), "b", with_errors([31, 30]), LABELS)
    fields = dataclasses.asdict(found)
    fields.pop("images")
    record = results.ComparisonResult.model_validate(fields)
    assert record.pairs[0].p_mcnemar == found.pairs[0].p_mcnemar
    assert record.verdict == "not resolved"
    assert json.loads(record.model_dump_json())["explanation"] == found.explanation


def test_what_mcnemar_speaks_about():
    assert MCNEMAR_SCOPE == "these two networks only"


def test_public_names():
    own = {
        name
        for name, value in vars(comparison).items()
        if name[0] != "_"
        and (name.isupper() or getattr(value, "__module__", "") == comparison.__name__)
    }
    assert own <= set(comparison.__all__) <= set(vars(comparison))
