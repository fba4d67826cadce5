"""Against scipy on the same accuracies, loops over images, and cases with a known answer."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pytest
import scipy.stats
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from statsmodels.stats.multitest import multipletests

from inkproof import comparison, results
from inkproof.comparison import (
    LEAST_PAIRS,
    MCNEMAR_SCOPE,
    Comparison,
    checks,
    compare,
    least_pairs,
    rank,
    sentences,
)
from inkproof.errors import ConfigurationError, DataError
from inkproof.findings import Finding
from inkproof.statistics import Estimate, Plan, crossed_interval, plan
from inkproof.wording import counted

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
    assert list(by_code) == [f"IPC00{place}" for place in range(1, 8)]
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


def apart_by(gains: list[int], sure: float = 0.75) -> tuple[Runs, Runs]:
    """Runs of a and b that err on different images, b on so many fewer; all of them tell."""
    a = {seed: network(range(40)) for seed in range(len(gains))}
    b = {seed: network(range(50, 90 - gain), sure) for seed, gain in enumerate(gains)}
    return a, b


def crossed_by_hand(table, level):
    """The crossed interval from sums over cells, with Satterthwaite's formula guarded."""
    runs, images = len(table), len(table[0])
    mean = sum(map(sum, table)) / (runs * images)
    rows = [sum(row) / images for row in table]
    columns = [sum(column) / runs for column in zip(*table, strict=True)]
    ms_runs = images * sum((row - mean) ** 2 for row in rows) / (runs - 1)
    ms_images = runs * sum((column - mean) ** 2 for column in columns) / (images - 1)
    rest = sum(
        (table[r][i] - rows[r] - columns[i] + mean) ** 2 for r in range(runs) for i in range(images)
    ) / ((runs - 1) * (images - 1))
    ms_runs = max(ms_runs, rest * scipy.stats.chi2(runs - 1).ppf(0.001) / (runs - 1))
    part = max(0.0, ms_images - rest)
    total = ms_runs + part
    if ms_runs + ms_images + rest < 1e-15:
        return mean, mean, mean
    assume(abs(ms_images - rest) > 1e-9 * (ms_runs + ms_images + rest))  # on the edge of a guard
    squares = ms_runs**2 / (runs - 1)
    if part:
        squares += ms_images**2 / (images - 1) + rest**2 / ((runs - 1) * (images - 1))
    fewest = min(runs, images) - 1
    df = max(fewest, math.sqrt(total**2 / squares * fewest))
    half = scipy.stats.t(df).ppf(0.5 + level / 2) * math.sqrt(total / (runs * images))
    return mean, mean - half, mean + half


class TestAgainstScipy:
    @given(study=studies(), level=st.sampled_from([0.8, 0.95, 0.99]))
    def test_over_runs(self, study, level):
        a, b, labels = study
        ours = compare("a", a, "b", b, labels, level=level).over_runs
        apart = np.array(accuracies(b, labels)) - np.array(accuracies(a, labels))
        assert ours.value == pytest.approx(np.mean(apart), abs=1e-12)
        assert (ours.n, ours.over, ours.level) == (len(a), "runs", level)
        if np.ptp(apart) > 1e-9:
            peer = scipy.stats.ttest_1samp(apart, 0).confidence_interval(level)
            assert (ours.low, ours.high) == pytest.approx(tuple(peer), abs=1e-9)

    @given(study=studies(), level=st.sampled_from([0.8, 0.95, 0.99]))
    def test_both_differences(self, study, level):
        a, b, labels = study
        if len(labels) < 2:
            return
        found = compare("a", a, "b", b, labels, level=level)
        gained, saved = [], []
        for seed in a:
            right, loss = [], []
            for runs in (a, b):
                cells = list(zip(runs[seed].tolist(), labels, strict=True))
                right.append([int((0 if row[0] >= row[1] else 1) == y) for row, y in cells])
                loss.append([-math.log(min(max(row[y], 1e-7), 1 - 1e-7)) for row, y in cells])
            gained.append([y - x for x, y in zip(*right, strict=True)])
            saved.append([x - y for x, y in zip(*loss, strict=True)])
        for ours, table in ((found.difference, gained), (found.log_loss_difference, saved)):
            assert (ours.n, ours.over, ours.level) == (len(a), "both", level)
            expected = crossed_by_hand(table, level)
            assert (ours.value, ours.low, ours.high) == pytest.approx(expected, abs=1e-7)

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
        turned = one.verdict.replace("better", "?").replace("worse", "better").replace("?", "worse")
        assert other.verdict == turned
        assert other.difference.value == -one.difference.value
        assert other.p_runs == one.p_runs

    @given(study=studies())
    def test_the_sentence_follows_from_the_numbers(self, study):
        a, b, labels = study
        found = compare("a", a, "b", b, labels)
        ahead = found.verdict.startswith("better")
        if found.verdict.startswith(("better", "worse")):
            assert len(a) >= LEAST_PAIRS
            assert found.telling_images >= LEAST_PAIRS
            assert (found.difference.low > 0) if ahead else (found.difference.high < 0)
        assert found.explanation.startswith("Not resolved: ") == (found.verdict == "not resolved")
        assert (found.outlook != "") == (found.verdict == "not resolved")
        for sentence in (found.explanation, found.outlook or "."):
            assert sentence.endswith(".")
            assert sentence.count(". ") == 0  # one sentence
            assert "nan" not in sentence
        for finding in found.findings:
            json.dumps(finding.evidence, allow_nan=False)
        codes(found)


class TestVerdicts:
    def test_better(self):
        a, b = apart_by([30, 31, 29, 32, 30, 31])
        found = compare("500x2", a, "512x3", b, LABELS)
        assert found.verdict == "better"
        assert found.difference.value == 183 / 6 / N
        assert found.p_runs == 2 / 64
        low, high = found.difference.low, found.difference.high
        assert found.explanation == (
            f"512x3 is ahead of 500x2 by 3.05 points of accuracy (95 % interval {100 * low:.2f} to"
            f" {100 * high:.2f} over new training runs and new test images, from six pairs of runs"
            " on 1,000 images)."
        )
        assert codes(found)["IPC001"].status == "passed"
        assert codes(found)["IPC001"].explanation == found.explanation
        assert codes(found)["IPC001"].evidence["verdict"] == "better"
        assert found.p_value == found.p_adjusted < 0.001
        assert found.plan is None
        assert (found.exact_over_runs.low, found.exact_over_runs.high) == (0.029, 0.032)
        assert found.bootstrap_over_runs is None

    def test_worse(self):
        b, a = apart_by([30, 31, 29, 32, 30, 31])
        found = compare("small", a, "large", b, LABELS)
        assert found.verdict == "worse"
        assert found.explanation.startswith("large is behind small by 3.05 points of accuracy (95")

    def test_equivalent(self):
        a, b = apart_by([1, -1, 2, -2, 1, -1])
        found = compare("a", a, "b", b, LABELS, margin=0.03)
        assert found.verdict == "equivalent"
        assert found.within.level == pytest.approx(0.9)
        assert found.explanation.startswith(
            "b and a are equally accurate within the margin of 3 points: b came out level with a"
            " (90 % interval from "
        )
        assert compare("a", a, "b", b, LABELS, margin=0.01).verdict == "not resolved"

    @pytest.mark.parametrize(("turned", "verdict"), [(False, "better"), (True, "worse")])
    def test_within_the_margin(self, turned, verdict):
        a, b = apart_by([30, 31, 29, 32, 30, 31])
        found = compare("a", b if turned else a, "b", a if turned else b, LABELS, margin=0.06)
        assert found.verdict == f"{verdict} but within the margin"
        assert found.explanation.endswith(" images), which is within the margin of 6 points.")

    def test_not_resolved(self):
        a, b = apart_by([1, -2, 3, -1, 1, 1])
        found = compare("a", a, "b", b, LABELS)
        ends = [100 * abs(end) for end in (found.difference.low, found.difference.high)]
        assert found.verdict == "not resolved"
        assert found.explanation == (
            "Not resolved: b came out 0.05 points of accuracy ahead of a (95 % interval from"
            f" {ends[0]:.2f} behind to {ends[1]:.2f} ahead over new training runs and new test"
            " images, from six pairs of runs on 1,000 images), so either may be the better one."
        )
        assert codes(found)["IPC001"].status == "failed"
        assert found.plan.runs is None
        assert found.outlook.startswith(
            "What would resolve it: no number of runs on these test images, "
        )

    def test_more_runs_would_resolve_it(self):
        gains = [100, -20, 90, -10, 60, 80]
        a = {seed: network(range(100)) for seed in range(6)}
        b = {seed: network(range(150, 250 - gain), 0.8) for seed, gain in enumerate(gains)}
        found = compare("a", a, "b", b, LABELS)
        assert found.verdict == "not resolved"
        assert found.plan.runs > 6
        more = counted(found.plan.runs - 6, "more pair")
        assert found.outlook.startswith(f"What would resolve it: about {more} of runs")
        assert found.outlook.endswith("spread are as found, for a chance of 80 %.")

    def test_too_few_images_that_tell(self):
        a = with_errors([30] * 6)
        b = with_errors([25] * 6)
        found = compare("a", a, "b", b, LABELS)
        assert found.telling_images == 5
        assert found.difference.low > 0
        assert found.verdict == "not resolved"
        assert found.explanation.endswith("on 1,000 images), but too few images tell them apart.")
        finding = codes(found)["IPC006"]
        assert (finding.status, finding.severity) == ("failed", "warning")
        assert finding.explanation.startswith("Of 1,000 test images 5 are right by one and wrong")

    def test_an_end_near_0_is_not_rounded_onto_it(self):
        assert (
            sentences.ends_of(
                Estimate(value=1.0, low=0.00003, high=1, level=0.95, n=6, over="both", method="")
            )
            == "95 % interval from 0.003 ahead to 100.00 ahead"
        )

    def test_perfect_models(self):
        found = compare("a", with_errors([0] * 6), "b", with_errors([0] * 6, 0.9), LABELS)
        # None of 1,000 images: the share of disagreement may still be 0.3 points.
        assert found.verdict == "not resolved"
        assert found.p_equivalence == pytest.approx(0.998**1000)
        assert all(pair.p_mcnemar == 1.0 for pair in found.pairs)
        assert found.correlation is None
        assert "no pair of runs disagreed on any of these" in found.outlook
        found = compare(
            "a", with_errors([0] * 6), "b", with_errors([0] * 6, 0.9), LABELS, margin=0.003
        )
        assert found.verdict == "equivalent"

    def test_on_nothing_but_noise_it_seldom_speaks(self):
        # Two models that are equally good by construction. Bound: one in a million test runs.
        rng = np.random.default_rng()
        studies, resolved = 200, 0

        def drawn() -> Runs:
            return {
                seed: network(np.flatnonzero(rng.random(N) < 0.03).tolist()) for seed in range(6)
            }

        for _ in range(studies):
            verdict = compare("a", drawn(), "b", drawn(), LABELS).verdict
            resolved += verdict.startswith(("better", "worse"))
        assert resolved <= scipy.stats.binom(studies, 0.06).isf(1e-6)


class TestCorrelation:
    def test_agrees_with_scipy(self):
        a = with_errors([30, 35, 28, 33, 40, 31])
        b = with_errors([32, 36, 29, 31, 44, 30], 0.8)
        found = compare("a", a, "b", b, LABELS).correlation
        peer = scipy.stats.pearsonr([30, 35, 28, 33, 40, 31], [32, 36, 29, 31, 44, 30])
        assert found.value == pytest.approx(peer.statistic)
        assert (found.low, found.high) == pytest.approx(tuple(peer.confidence_interval(0.95)))


class TestRanking:
    def models(self, runs: int) -> dict[str, Runs]:
        _, ahead = apart_by([30] * runs)
        behind, level = apart_by([0] * runs, 0.8)
        return {"worse": behind, "same": level, "best": ahead}

    def test_ties(self):
        found = rank(self.models(8), LABELS)
        assert dict(found.ranks) == {"worse": 2, "same": 2, "best": 1}
        assert found.explanation == (
            "By accuracy, as far as three comparisons together resolve it: best, then worse and"
            " same (tied)."
        )
        assert [(c.a, c.b) for c in found.comparisons] == [
            *(("worse", "same"), ("worse", "best"), ("same", "best")),
        ]
        adjusted = multipletests([c.p_value for c in found.comparisons], method="holm")[1]
        assert [c.p_adjusted for c in found.comparisons] == pytest.approx(adjusted)
        assert codes(found.comparisons[1])["IPC007"].status == "passed"
        assert codes(found.comparisons[0])["IPC007"].status == "not applicable"

    def test_the_least_number_of_runs(self):
        found = rank(self.models(6), LABELS)
        assert found.least_pairs == least_pairs(0.95, 3) == 7
        assert set(found.ranks.values()) == {1}
        assert found.explanation == (
            "No order among three models: three comparisons together take at least seven pairs of"
            " runs each, and there are but six pairs."
        )
        assert 2.0 ** (1 - 7) <= 0.05 / 3 < 2.0 ** (1 - 6)

    def test_what_stands_alone_may_fall_among_several(self):
        rng = np.random.default_rng(3)
        models = {
            name: {s: network(np.flatnonzero(rng.random(N) < share).tolist()) for s in range(9)}
            for name, share in (("a", 0.06), ("b", 0.06), ("c", 0.06), ("d", 0.052), ("e", 0.06))
        }
        for one in rank(models, LABELS).comparisons:
            assert one.p_adjusted >= one.p_value
            finding = codes(one)["IPC007"]
            fell = one.p_value <= 0.05 < one.p_adjusted
            assert (finding.status == "failed") == fell
            if fell:
                assert one.verdict in ("not resolved", "equivalent")

    def test_equivalences_are_adjusted_by_holm_too(self):
        models = self.models(8)
        found = rank(models, LABELS, margin=0.03).comparisons
        alone = [compare(c.a, models[c.a], c.b, models[c.b], LABELS, margin=0.03) for c in found]
        raw = [one.p_equivalence for one in alone]
        adjusted = multipletests(raw, method="holm")[1]
        assert [c.p_equivalence for c in found] == pytest.approx(adjusted)
        assert raw != pytest.approx(adjusted)

    def test_a_plan_aims_at_the_level_of_several_comparisons(self):
        a, b = apart_by([1, -2, 3, -1, 1, 1, 0, 2])
        third = with_errors([30] * 8, 0.8)
        found = rank({"a": a, "b": b, "c": third}, LABELS).comparisons[0]
        gained = [
            (b[seed].argmax(axis=1) == 0).astype(int) - (a[seed].argmax(axis=1) == 0).astype(int)
            for seed in range(8)
        ]
        crossed = crossed_interval(np.array(gained))
        expected = plan(crossed, level=1 - 0.05 / 3, margin=found.margin, least_runs=7)
        assert found.plan == expected
        assert expected != plan(crossed, level=0.95, margin=found.margin, least_runs=7)

    def test_it_takes_as_many_images_as_pairs_and_says_so(self):
        # Six images tell a and b apart: enough for one comparison, not among three.
        a, b = with_errors([30] * 8), with_errors([24] * 8, 0.8)
        assert compare("a", a, "b", b, LABELS).verdict == "better"
        found = rank({"a": a, "b": b, "c": with_errors([200] * 8)}, LABELS).comparisons[0]
        assert found.telling_images == 6
        assert found.verdict == "not resolved"
        pairs, images = codes(found)["IPC002"], codes(found)["IPC006"]
        assert (pairs.status, pairs.evidence["least"]) == ("passed", 7)
        assert (images.status, images.evidence["least"]) == ("failed", 7)
        assert images.explanation.endswith(
            "takes at least seven such images, as many as it takes pairs of runs, for the same"
            " reason."
        )
        # So few images are no normal distribution: exactly binomial, times three by Holm.
        ranked = rank({"a": a, "b": b, "c": with_errors([200] * 8)}, LABELS, margin=0.012)
        exact = scipy.stats.binom(N, 0.012).cdf(6)
        assert ranked.comparisons[0].p_equivalence == pytest.approx(3 * exact)

    def test_one_model_is_no_ranking(self):
        with pytest.raises(ConfigurationError, match="rank: expected at least two models, got"):
            rank({"a": with_errors([1])}, LABELS)


class TestFewRuns:
    def test_five_pairs_are_too_few_however_clear(self):
        a, b = apart_by([35, 34, 35, 36, 34])
        found = compare("a", a, "b", b, LABELS)
        assert found.difference.low > 0
        assert found.verdict == "not resolved"
        assert found.explanation.startswith(
            "Not resolved: a verdict takes at least six pairs of runs; b came out 3.48 points of"
            " accuracy ahead of a (95 % interval from "
        )
        finding = codes(found)["IPC002"]
        assert (finding.status, finding.severity) == ("failed", "warning")
        assert finding.explanation == (
            "There are five pairs of runs; a verdict at 95 % takes at least six pairs, since a"
            " two-sided sign-flip test over five pairs cannot go below p = 0.0625."
        )
        assert codes(found)["IPC004"].status == "not applicable"
        assert found.plan.runs == 6
        assert found.outlook.startswith("What would resolve it: about one more pair of runs, ")

    def test_six_are_enough_at_95_percent_and_not_at_99(self):
        a, b = apart_by([35, 34, 35, 36, 34, 35])
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

    @pytest.mark.parametrize("level", [0.0, 0.5, 1.0, 95.0, math.nan])
    def test_a_level_is_between_0_and_1(self, level):
        with pytest.raises(ConfigurationError, match=r"level must be between 0\.5 and 1, got"):
            compare("a", with_errors([1]), "b", with_errors([1]), LABELS, level=level)


class TestOutlook:
    PLAN = Plan(chance=0.1, runs=20, images=5000, target=0.8)
    STUDY: ClassVar = {"pairs": 6, "images": 1000, "least": 6, "telling": 50, "within": False}
    AS_FOUND = "if the difference and its spread are as found, for a chance of 80 %."

    def test_names_what_is_still_missing_and_not_the_total(self):
        assert sentences.outlook(self.PLAN, **self.STUDY) == (
            "What would resolve it: about 14 more pairs of runs, or about 4,000 more test images"
            f" with these six pairs, {self.AS_FOUND}"
        )
        only_images = dataclasses.replace(self.PLAN, runs=None)
        assert sentences.outlook(only_images, **self.STUDY) == (
            "What would resolve it: no number of runs on these test images, but about 4,000 more"
            f" test images with these six pairs of runs, {self.AS_FOUND}"
        )

    def test_never_names_fewer_pairs_than_a_verdict_lacks(self):
        planned = dataclasses.replace(self.PLAN, runs=6)
        found = sentences.outlook(planned, **self.STUDY | {"pairs": 3, "least": 7})
        assert found.startswith("What would resolve it: about four more pairs of runs, or about")
        assert "more test images with at least seven pairs, " in found

    def test_one_pair(self):
        found = compare("a", with_errors([28]), "b", with_errors([30]), LABELS)
        assert found.outlook == (
            "What would resolve it: at least five more pairs of runs; how many in all shows only"
            " then."
        )

    @pytest.mark.parametrize(
        ("pairs", "wanted"),
        [
            (6, "more test images"),
            (4, "more test images and at least two more pairs of runs"),
            (1, "more test images and at least five more pairs of runs"),
        ],
    )
    def test_one_image(self, pairs, wanted):
        runs = {seed: network([])[:1] for seed in range(pairs)}
        other = {seed: network([0])[:1] for seed in range(pairs)}
        found = compare("a", runs, "b", other, LABELS[:1])
        assert found.outlook == f"What would resolve it: {wanted}; how many in all shows only then."

    def test_more_pairs_where_the_images_alone_are_within_the_margin(self):
        # 3,000 images without a disagreement: the share of it is below 0.2 points.
        a, b = (
            {seed: np.tile(network(range(30), sure), (3, 1)) for seed in range(5)}
            for sure in (0.75, 0.8)
        )
        labels = np.zeros(3 * N, dtype=np.int64)
        found = compare("a", a, "b", b, labels)
        assert found.verdict == "not resolved"
        assert found.outlook == (
            "What would resolve it: one more pair of runs, if they agree on these images as well."
        )
        for runs in (a, b):
            runs[5] = runs[0]
        assert compare("a", a, "b", b, labels).verdict == "equivalent"

    def test_no_number_of_runs_where_they_are_not(self):
        a, b = with_errors([30] * 5), with_errors([30] * 5, 0.8)
        found = compare("a", a, "b", b, LABELS)
        assert found.outlook.endswith("on any of these, so no number of runs would.")


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
    def test_the_two_measures_disagree(self):
        accuracy = Estimate(
            value=0.01, low=0.005, high=0.015, level=0.95, n=6, over="both", method=""
        )
        loss = Estimate(value=-0.1, low=-0.12, high=-0.08, level=0.95, n=6, over="both", method="")
        finding = checks.measures_agree("500x2", "512x3", accuracy, loss, 6)
        assert finding.status == "failed"
        assert finding.explanation == (
            "512x3 is right more often, but its test loss is 0.1000 nats above that of 500x2 (95 %"
            " interval 0.0800 to 0.1200): where it is wrong, it is too sure of it."
        )

    def test_agreeing(self):
        a, b = apart_by([30, 31, 29, 32, 30, 31])
        finding = codes(compare("a", a, "b", b, LABELS))["IPC004"]
        assert finding.status == "passed"
        assert "nats below that of a (95 % interval from" in finding.explanation


class TestIdentical:
    @pytest.mark.parametrize(("runs", "all_pairs"), [(1, "one pair"), (6, "all six pairs")])
    def test_a_network_against_its_copy(self, runs, all_pairs):
        a = with_errors(list(range(30, 30 + runs)))
        found = compare("a", a, "copy", dict(a), LABELS)
        assert found.verdict == "not resolved"  # 1,000 images do not show 0.2 points
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

    def test_a_copy_on_many_images_is_equivalent(self):
        a = {seed: np.tile(network(range(30)), (3, 1)) for seed in range(6)}
        found = compare("a", a, "copy", dict(a), np.zeros(3 * N, dtype=np.int64))
        assert found.verdict == "equivalent"
        assert found.explanation.startswith("copy and a gave the same probabilities for these")

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
