"""Made-up histories with a known answer, noisy ones with bounded error, the published ones."""

from __future__ import annotations

import csv
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from inkproof import diagnosis
from inkproof.diagnosis import diagnose, diagnose_runs
from inkproof.errors import DataError
from inkproof.findings import Finding
from inkproof.history import History
from inkproof.statistics import wilson_interval

CODES = ["IPF001", "IPF002", "IPF003", "IPF004", "IPF005", "IPF006"]
EPOCHS = np.arange(1, 31)
GOLDEN = Path(__file__).parent / "golden"


def history(loss, val_loss=(), accuracy=(), val_accuracy=()) -> History:
    return History(
        loss=tuple(map(float, loss)),
        val_loss=tuple(map(float, val_loss)),
        accuracy=tuple(map(float, accuracy)),
        val_accuracy=tuple(map(float, val_accuracy)),
    )


def levels(loss, val_loss, accuracy=0.99, val_accuracy=0.985) -> History:
    """A history with such losses and constant accuracies."""
    n = len(loss)
    return history(loss, val_loss, [accuracy] * n, [val_accuracy] * n)


def published(name: str) -> History:
    with (GOLDEN / "published_history.csv").open(newline="") as handle:
        rows = [row for row in csv.DictReader(handle) if row["model"] == name]
    keys = ("loss", "val_loss", "accuracy", "val_accuracy")
    return history(*([row[key] for row in rows] for key in keys))


def by_code(findings: list[Finding]) -> dict[str, Finding]:
    assert [finding.code for finding in findings] == CODES
    return {finding.code: finding for finding in findings}


def statuses(findings: list[Finding]) -> str:
    """The outcomes as letters, such as "pfpn": passed, failed, passed, not applicable."""
    return "".join(finding.status[0] for finding in by_code(findings).values())


FALLING = levels(0.6 * np.exp(-EPOCHS / 5), 0.3 * EPOCHS**-0.5)
SETTLED = levels(0.6 * np.exp(-EPOCHS / 5), 0.3 * np.exp(-EPOCHS / 4) + 0.08)
OVERFITTED = levels(
    0.6 * np.exp(-EPOCHS / 5), 0.3 * np.exp(-EPOCHS / 3) + 0.05 + 0.004 * EPOCHS, 0.999, 0.97
)
UNSTABLE = levels(
    np.where(EPOCHS < 20, 0.6 * np.exp(-EPOCHS / 5), 0.5),
    np.where(EPOCHS < 20, 0.3 * np.exp(-EPOCHS / 5) + 0.05, 0.6),
)
UNDERFITTED = levels(np.full(30, 0.28), np.full(30, 0.28), 0.921, 0.92)


class TestShapes:
    def test_falling(self):
        found = by_code(diagnose(FALLING))
        assert statuses(diagnose(FALLING)) == "ppfppp"
        assert found["IPF001"].explanation == (
            "Validation loss is lowest at epoch 30 of 30 (0.0548) and has not risen since."
        )
        assert found["IPF003"].explanation == (
            "Validation loss was still falling at the end: its median over the last five epochs is"
            " 0.0567, 9.4 % below that of the five epochs before. More epochs would probably lower"
            " it further."
        )

    def test_settled(self):
        assert statuses(diagnose(SETTLED)) == "pppppp"

    def test_overfitted(self):
        found = by_code(diagnose(OVERFITTED))
        assert statuses(diagnose(OVERFITTED)) == "ffpppf"
        lowest = int(np.argmin(OVERFITTED.val_loss)) + 1
        low, end = min(OVERFITTED.val_loss), OVERFITTED.val_loss[-2]
        evidence = found["IPF001"].evidence
        assert evidence["overfitted"] is True
        assert evidence["lowest_epoch"] == lowest == 10
        assert evidence["lowest_val_loss"] == low
        assert evidence["last_level"] == end
        assert found["IPF001"].explanation.startswith(
            f"Validation loss is lowest at epoch 10 of 30 ({low:.4f}) and ends at a level of"
            f" {end:.4f}, "
        )
        assert (
            "while the level of the training loss went from 0.0812 to 0.0018"
            in found["IPF001"].explanation
        )
        assert found["IPF001"].explanation.endswith("From about epoch 10 on it overfitted.")

    def test_a_rise_of_both_losses_is_not_called_overfitting(self):
        found = by_code(diagnose(UNSTABLE))
        assert found["IPF001"].status == "failed"
        assert found["IPF001"].evidence["overfitted"] is False
        assert "training became unstable, which is not overfitting" in found["IPF001"].explanation

    def test_the_percentage_follows_from_the_numbers_beside_it(self):
        val_loss = [1.0, 0.8, 0.6, 0.5, 0.45, 0.42, 0.40, 0.44, 0.5, 0.55, 0.6, 0.64, 0.65]
        finding = diagnose(levels([3.45, 2.3, 4.0, *[0.1] * 10], val_loss))[0]
        assert finding.explanation.startswith(
            "Validation loss is lowest at epoch 7 of 13 (0.4000) and ends at a level of 0.6400,"
            " 52.4 % above its lowest level of 0.4200, while the level of the training loss went"
            " from 0.1000 to 0.1000."
        )

    @given(val_loss=st.lists(st.floats(0.1, 10), min_size=6, max_size=20))
    def test_it_follows_for_any_history(self, val_loss):
        text = diagnose(levels([0.1] * len(val_loss), val_loss))[0].explanation
        found = re.search(
            r"level of ([\d.]+), ([\d.]+) % above its lowest level of ([\d.]+),", text
        )
        if found is None:
            assert text.endswith("has not risen since.")
            return
        end, rise, low = map(float, found.groups())
        rounding = 0.05 + 100 * 5e-5 * (1 / low + end / low**2)
        assert 100 * (end / low - 1) == pytest.approx(rise, abs=1.01 * rounding)

    @pytest.mark.parametrize(("rise", "outcome"), [(0.04, "passed"), (0.06, "failed")])
    def test_a_rise_begins_at_five_percent(self, rise, outcome):
        val_loss = [0.1] * 10 + [0.1 * (1 + rise)] * 10
        finding = diagnose(levels([0.1] * 20, val_loss))[0]
        assert finding.status == outcome
        assert f" {100 * rise:.1f} % above its lowest" in finding.explanation

    @pytest.mark.parametrize(("rise", "overfitted"), [(0.04, True), (0.06, False)])
    def test_so_does_a_rise_of_training_loss(self, rise, overfitted):
        loss = [0.1] * 10 + [0.1 * (1 + rise)] * 10
        finding = diagnose(levels(loss, [0.1] * 10 + [0.2] * 10))[0]
        assert finding.status == "failed"
        assert finding.evidence["overfitted"] is overfitted

    def test_underfitted(self):
        found = by_code(diagnose(UNDERFITTED))
        assert statuses(diagnose(UNDERFITTED)) == "pppfpp"
        assert found["IPF004"].explanation.startswith(
            "The network gets only 92.10 % of the training and 92.00 % of the validation images"
        )

    def test_a_poor_network_with_a_gap_is_not_underfitted(self):
        found = by_code(diagnose(levels([0.3] * 9, [0.6] * 9, 0.93, 0.85)))
        assert found["IPF004"].status == "passed"
        assert "the gap, not the fit" in found["IPF004"].explanation
        assert found["IPF002"].status == "failed"

    def test_dropout_that_holds_training_accuracy_down_is_not_underfitting(self):
        assert diagnose(levels([0.3] * 9, [0.1] * 9, 0.93, 0.97))[3].status == "passed"

    def test_the_gap_at_the_end_and_at_the_lowest_epoch(self):
        evidence = by_code(diagnose(OVERFITTED))["IPF002"].evidence
        assert evidence["accuracy_gap"] == pytest.approx(0.999 - 0.97)
        assert evidence["lowest_epoch"] == 10
        assert evidence["loss_gap_at_lowest"] == OVERFITTED.val_loss[9] - OVERFITTED.loss[9]
        assert evidence["loss_gap"] == OVERFITTED.val_loss[-2] - OVERFITTED.loss[-2]


class TestPublished:
    """What the exercise's own tables support, and no more."""

    def test_500x2(self):
        found = by_code(diagnose(published("500x2"), name="500x2"))
        assert [f.status for f in found.values()] == [
            *("passed", "failed", "failed", "passed", "passed", "passed"),
        ]
        assert found["IPF001"].evidence["lowest_epoch"] == 30
        assert found["IPF001"].explanation == (
            "500x2: Validation loss is lowest at epoch 30 of 30 (0.0760) and has not risen since."
        )
        assert "a gap of 1.69 points (loss 0.0287 and 0.0777;" in found["IPF002"].explanation
        assert "0.0781, 7.6 % below that of the five" in found["IPF003"].explanation

    def test_512x3(self):
        found = by_code(diagnose(published("512x3")))
        assert [f.status for f in found.values()] == [
            *("passed", "failed", "passed", "passed", "passed", "failed"),
        ]
        assert found["IPF001"].evidence["lowest_epoch"] == 29
        assert "a level of 0.0783, 1.6 % above its lowest" in found["IPF001"].explanation
        assert "a gap of 2.08 points (loss 0.0091 and 0.0783;" in found["IPF002"].explanation
        assert found["IPF003"].evidence["settled_epoch"] == 20
        assert "at epoch 20 and no longer falls" in found["IPF003"].explanation


class TestOneNoisyEpoch:
    @pytest.mark.parametrize("base", [FALLING, SETTLED, OVERFITTED, UNDERFITTED])
    @pytest.mark.parametrize("factor", [0.3, 0.8, 1.25, 3.0])
    def test_changes_no_verdict(self, base, factor):
        expected = statuses(diagnose(base))
        for epoch in range(len(base)):
            val_loss, val_accuracy = list(base.val_loss), list(base.val_accuracy)
            val_loss[epoch] *= factor
            val_accuracy[epoch] = val_accuracy[epoch] - 0.1 if factor > 1 else 1.0
            changed = history(base.loss, val_loss, base.accuracy, val_accuracy)
            assert statuses(diagnose(changed)) == expected, f"epoch {epoch + 1}"


def failures(curve, code: str, *, studies: int = 400) -> int:
    return sum(
        by_code(diagnose(levels(0.6 * np.exp(-EPOCHS / 5), curve())))[code].status == "failed"
        for _ in range(studies)
    )


class TestNoise:
    """Bounds that a rule with the stated rate breaks less than once in a million test runs."""

    @pytest.mark.parametrize("size", [0.01, 0.1])
    def test_a_flat_noisy_loss_is_seldom_called_risen_or_falling(self, size):
        rng = np.random.default_rng()

        def flat():
            return 0.1 * (1 + size * rng.standard_normal(30))

        allowed = scipy.stats.binom(400, 0.05).isf(1e-6)
        assert failures(flat, "IPF001") <= allowed
        assert failures(flat, "IPF003") <= allowed

    def test_a_clear_rise_is_found_through_noise(self):
        rng = np.random.default_rng()

        def rising():
            return np.array(OVERFITTED.val_loss) * (1 + 0.02 * rng.standard_normal(30))

        assert failures(rising, "IPF001") >= scipy.stats.binom(400, 0.98).ppf(1e-6)

    def test_a_clear_fall_is_found_through_noise(self):
        rng = np.random.default_rng()

        def falling():
            return np.array(FALLING.val_loss) * (1 + 0.01 * rng.standard_normal(30))

        assert failures(falling, "IPF003") >= scipy.stats.binom(400, 0.98).ppf(1e-6)

    def test_the_noise_is_estimated(self):
        # 20,000 epochs: the estimate's standard error is about 1 %; the bound is five of them.
        values = 0.3 + 0.02 * np.random.default_rng().standard_normal(20_000)
        noise = by_code(diagnose(levels(np.ones(20_000), values)))["IPF001"].evidence["noise"]
        assert noise == pytest.approx(0.02, rel=0.06)


class TestNotApplicable:
    def test_without_validation(self):
        found = diagnose(history([0.5, 0.4, 0.3], accuracy=[0.8, 0.9, 0.95]), name="m")
        assert statuses(found) == "nnnnpn"
        assert found[0].explanation == ("m: There was no validation data, so this cannot be known.")

    def test_without_accuracies(self):
        assert statuses(diagnose(history(FALLING.loss, FALLING.val_loss))) == "pnfnpn"

    @pytest.mark.parametrize(
        ("epochs", "outcome"),
        [
            (1, "nnnnpn"),
            (2, "nnnnpn"),
            (3, "npnppp"),
            (5, "npnppp"),
            (6, "ppfppp"),
        ],
    )
    def test_with_too_few_epochs(self, epochs, outcome):
        found = diagnose(levels(FALLING.loss[:epochs], FALLING.val_loss[:epochs]))
        assert statuses(found) == outcome

    def test_says_how_many_epochs_it_takes(self):
        assert diagnose(levels([0.5], [0.5]))[0].explanation == (
            "One epoch cannot show this: it takes at least six epochs."
        )

    @pytest.mark.parametrize("value", [math.nan, math.inf])
    def test_after_divergence(self, value):
        loss = [0.5, 0.4, value, value, value, value, value]
        found = diagnose(levels(loss, [0.5] * 7))
        assert statuses(found) == "nnnnfn"
        assert found[4].explanation == (
            "The loss is no longer finite in epoch 3; it was 0.4000 in the epoch before. A smaller"
            " learning rate would help."
        )
        assert found[4].evidence == {"epochs": 7, "epoch": 3, "last_finite_loss": 0.4}
        assert found[0].explanation == (
            "The history is not finite at epoch 3: training diverged there."
        )

    def test_no_epochs(self):
        with pytest.raises(DataError, match="expected a history of at least one epoch, got none"):
            diagnose(History())

    def test_columns_of_different_lengths(self):
        with pytest.raises(
            DataError, match="val_loss must have a number an epoch, expected 3, got"
        ):
            diagnose(history([1, 2, 3], [1, 2]))


class TestValidationImages:
    def test_a_gap_within_the_interval_is_no_failure(self):
        case = levels([0.1] * 5, [0.1] * 5, 0.985, 0.97)
        assert diagnose(case)[1].status == "failed"
        few = diagnose(case, validation_images=100)[1]
        many = diagnose(case, validation_images=6000)[1]
        assert (few.status, many.status) == ("passed", "failed")
        peer = wilson_interval(97, 100)
        assert few.evidence["val_accuracy_low"] == peer.low
        assert few.evidence["val_accuracy_high"] == peer.high
        assert few.explanation.endswith("validation accuracy is 91.55 % to 98.97 %.")


@st.composite
def histories(draw):
    n = draw(st.integers(1, 40))
    losses = st.lists(st.floats(0.0, 10.0), min_size=n, max_size=n)
    shares = st.lists(st.floats(0.0, 1.0), min_size=n, max_size=n)
    loss, accuracy = draw(losses), draw(shares)
    return history(
        loss,
        draw(st.one_of(st.just([]), losses)),
        accuracy,
        draw(st.one_of(st.just([]), shares)),
    )


class TestDivergence:
    def test_a_loss_that_ends_above_where_it_began(self):
        found = by_code(diagnose(history([2.3, 2.2, 4.0])))["IPF005"]
        assert (found.status, found.severity) == ("failed", "error")
        assert found.explanation == (
            "Training loss ended above where it began, at 4.0000 after 2.3000 in the first epoch:"
            " it learned nothing that lasted."
        )

    def test_it_names_the_learning_rate(self):
        found = diagnose(History(loss=(math.nan,), learning_rate=(3.0,)))[4]
        assert found.explanation == (
            "The loss is no longer finite in epoch 1 at the learning rate 3, the first. A smaller"
            " learning rate would help."
        )
        assert found.evidence == {"epochs": 1, "epoch": 1, "learning_rate": 3.0}

    @pytest.mark.parametrize("rate", [math.nan, math.inf])
    def test_a_rate_that_is_no_number_is_left_out(self, rate):
        found = diagnose(History(loss=(0.5, math.nan), learning_rate=(0.1, rate)))[4]
        assert found.explanation.startswith("The loss is no longer finite in epoch 2; it was 0.5")
        assert "learning_rate" not in found.evidence


class TestByHeart:
    @pytest.mark.parametrize(
        ("accuracy", "val_loss", "status"),
        [(0.9995, 0.06, "failed"), (0.9995, 0.04, "passed"), (0.998, 0.06, "passed")],
    )
    def test_takes_both(self, accuracy, val_loss, status):
        one = levels([0.01] * 6, [val_loss] * 6, accuracy, 0.98)
        assert by_code(diagnose(one))["IPF006"].status == status

    def test_a_loss_of_next_to_nothing_has_no_ratio(self):
        known = [levels([loss] * 6, [1.0] * 6, 1.0, 0.98) for loss in (0.0, 5e-324, 0.25)]
        evidence = by_code(diagnose_runs(known, name="m"))["IPF006"].evidence
        assert evidence["loss_ratios"] == [None, None, 4.0]


class TestAnyHistory:
    @given(one=histories(), images=st.one_of(st.none(), st.integers(1, 10**6)))
    def test_has_every_finding_in_words_and_json(self, one, images):
        found = diagnose(one, name="m", validation_images=images)
        for finding in by_code(found).values():
            assert finding.explanation.startswith("m: ")
            assert finding.explanation.endswith(".")
            assert "nan" not in finding.explanation
            assert "inf %" not in finding.explanation
            json.dumps(finding.evidence, allow_nan=False)

    @given(
        runs=st.lists(histories(), min_size=1, max_size=5),
        images=st.one_of(st.none(), st.integers(1, 10**6)),
    )
    def test_over_runs_too(self, runs, images):
        found = by_code(diagnose_runs(runs, name="m", validation_images=images))
        for code, finding in found.items():
            single = [by_code(diagnose(one, validation_images=images))[code].status for one in runs]
            assert finding.evidence["runs"] == len(runs)
            assert finding.evidence["failed"] == single.count("failed")
            assert finding.evidence["applicable"] == len(runs) - single.count("not applicable")
            assert finding.explanation.startswith("m: ")
            assert "of 1 run" not in finding.explanation
            json.dumps(finding.evidence, allow_nan=False)

    @given(whole=st.lists(st.integers(-1000, 1000), min_size=1, max_size=5))
    def test_the_gap_has_no_impossible_interval_and_none_without_width(self, whole):
        gaps = [one / 1000 for one in whole]
        runs = [levels([0.1] * 3, [0.1] * 3, max(0, gap), max(0, -gap)) for gap in gaps]
        evidence = diagnose_runs(runs)[1].evidence
        low, high = evidence["mean_accuracy_gap_low"], evidence["mean_accuracy_gap_high"]
        if len(set(gaps)) == 1:
            assert low is high is None
        else:
            assert -1 <= low <= evidence["mean_accuracy_gap"] <= high <= 1

    @given(one=histories(), scale=st.sampled_from([0.125, 8.0]))
    def test_the_unit_of_loss_does_not_matter(self, one, scale):
        scaled = history(
            [scale * x for x in one.loss],
            [scale * x for x in one.val_loss],
            one.accuracy,
            one.val_accuracy,
        )
        assert statuses(diagnose(scaled)) == statuses(diagnose(one))


class TestRuns:
    def test_the_epoch_of_the_lowest_loss_has_a_median_and_a_range(self):
        found = by_code(diagnose_runs([OVERFITTED, FALLING, SETTLED], name="net"))
        assert found["IPF001"].status == "passed"  # one of three is not most
        assert found["IPF001"].explanation == (
            "net: Validation loss is lowest at epoch 30 of 30 (median of three runs; 10 to 30);"
            " 1 of 3 runs overfitted."
        )
        assert found["IPF001"].evidence["lowest_epochs"] == [10, 30, 30]

    def test_fails_where_most_runs_fail(self):
        assert diagnose_runs([OVERFITTED, FALLING, OVERFITTED])[0].status == "failed"
        assert diagnose_runs([OVERFITTED, FALLING])[0].status == "passed"

    def test_unstable_runs_are_counted_apart(self):
        explanation = diagnose_runs([UNSTABLE, OVERFITTED])[0].explanation
        assert "1 of 2 runs overfitted. In 1 of 2 runs training became unstable" in explanation

    def test_the_gap_has_an_interval_over_runs(self):
        gaps = [0.02, 0.025, 0.021, 0.03]
        runs = [levels([0.1] * 5, [0.2] * 5, 0.99, 0.99 - gap) for gap in gaps]
        finding = diagnose_runs(runs, level=0.9)[1]
        peer = scipy.stats.ttest_1samp(gaps, 0).confidence_interval(0.9)
        assert finding.status == "failed"
        assert finding.evidence["mean_accuracy_gap_low"] == pytest.approx(peer.low)
        assert finding.evidence["mean_accuracy_gap_high"] == pytest.approx(peer.high)
        assert (
            f"(90 % interval {100 * peer.low:.2f} to {100 * peer.high:.2f} over new training"
            in (finding.explanation)
        )

    def test_a_gap_within_the_interval_is_no_failure_over_runs_either(self):
        runs = [levels([0.1] * 5, [0.1] * 5, 0.985, value) for value in (0.97, 0.968)]
        alone = [diagnose(one, validation_images=100)[1].status for one in runs]
        finding = diagnose_runs(runs, validation_images=100)[1]
        assert alone == ["passed", "passed"]
        assert finding.status == "passed"
        assert finding.explanation.endswith(
            " 0 of 2 runs exceeded 1 point and the 95 % interval of the validation accuracy, from"
            " 100 validation images."
        )
        assert diagnose_runs(runs)[1].status == "failed"
        assert diagnose_runs(runs)[1].explanation.endswith("; 2 of 2 runs exceeded 1 point.")

    def test_runs_that_tie_have_no_interval(self):
        finding = diagnose_runs([levels([0.1] * 5, [0.1] * 5)] * 3)[1]
        assert finding.evidence["mean_accuracy_gap_low"] is None
        assert finding.explanation.startswith(
            "At the end training accuracy is 0.50 points above validation accuracy, the mean of"
            " three runs, which all tied; 0 of 3 runs"
        )

    def test_one_run_is_not_one_of_one(self):
        found = by_code(diagnose_runs([OVERFITTED]))
        assert "; the one run overfitted." in found["IPF001"].explanation
        assert "; the one run exceeded 1 point." in found["IPF002"].explanation
        assert found["IPF004"].explanation.endswith("; no run underfitted.")
        assert found["IPF005"].explanation == "No run diverged."

    def test_one_run_has_no_interval(self):
        finding = diagnose_runs([SETTLED])[1]
        assert "interval" not in finding.explanation
        assert finding.evidence["mean_accuracy_gap_low"] is None

    def test_runs_to_which_a_check_does_not_apply_are_left_out(self):
        short = levels([0.5], [0.5])
        found = by_code(diagnose_runs([short, OVERFITTED]))
        assert found["IPF001"].evidence["applicable"] == 1
        assert found["IPF001"].status == "failed"
        assert statuses(diagnose_runs([short, short])) == "nnnnpn"

    def test_no_runs(self):
        with pytest.raises(DataError, match="expected at least one history, got none"):
            diagnose_runs([])


def test_public_names():
    own = {
        name
        for name, value in vars(diagnosis).items()
        if name[0] != "_"
        and (name.isupper() or getattr(value, "__module__", "") == diagnosis.__name__)
    }
    assert "diagnose" in diagnosis.__all__
    assert own <= set(diagnosis.__all__) <= set(vars(diagnosis))
