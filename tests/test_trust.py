"""Findings IPT001 to IPT004 on networks whose trustworthiness is known by construction."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inkproof import trust as module
from inkproof.errors import DataError
from inkproof.trust import Judgement, trust


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return (e / e.sum(axis=1, keepdims=True)).astype(np.float32)


def run(rng, labels, *, sharpen=1.0, shuffle=False):
    """A run whose probabilities are right, sharpened by a factor, for given labels."""
    n = len(labels)
    logits = 2.0 * rng.normal(size=(n, 5))
    p = softmax(logits)
    drawn = (p.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1).clip(0, 4)
    shift = (labels - drawn) % 5  # turn the classes so that the drawn one is the label
    rows = np.arange(n)[:, np.newaxis]
    turned = logits[rows, (np.arange(5) - shift[:, np.newaxis]) % 5]
    return softmax(sharpen * (rng.permutation(turned) if shuffle else turned))


def judged(n=3, *, sharpen=1.0, validation=True, shuffle=0):
    """Give so many runs, of which the first ``shuffle`` have test images of another kind."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 5, 3000)
    truth = rng.integers(0, 5, 1000)
    runs = [
        Judgement(
            test=run(rng, labels, sharpen=sharpen, shuffle=place < shuffle),
            validation=(run(rng, truth, sharpen=sharpen), truth) if validation else None,
        )
        for place in range(n)
    ]
    return trust(runs, labels, name="m")


def statuses(found):
    assert [one.code for one in found.findings] == ["IPT001", "IPT002", "IPT003", "IPT004"]
    assert all(one.explanation.startswith("m: ") for one in found.findings)
    return [one.status for one in found.findings]


def test_a_calibrated_network():
    found = judged()
    assert statuses(found) == ["passed"] * 4
    assert found.calibration_error.over == "runs"
    assert all(0.9 < one.value < 1.1 for one in found.temperatures)
    assert found.accuracies[0].value > found.accuracies[-1].value
    assert found.brier.n == 3


def test_one_that_is_too_sure():
    found = judged(sharpen=3.0)
    assert statuses(found)[:2] == ["failed", "failed"]
    assert "too sure" in found.findings[0].explanation
    assert all(one.value == pytest.approx(3, rel=0.2) for one in found.temperatures)
    assert found.calibration_error_tempered.value < found.calibration_error.value / 3


def test_test_images_of_another_kind():
    found = judged(shuffle=3)
    assert statuses(found)[2] == "failed"
    assert found.findings[2].severity == "warning"
    assert "not like the validation images" in found.findings[2].explanation


@pytest.mark.parametrize(("bad", "status"), [(1, "passed"), (2, "failed")])
def test_coverage_fails_where_most_runs_fall_short(bad, status):
    finding = judged(shuffle=bad).findings[2]
    assert sum(p < 0.01 for p in finding.evidence["p_values"]) == bad
    assert finding.status == status
    assert f"In {bad} of three runs that is less than chance explains" in finding.explanation


def test_one_that_is_equally_sure_of_all_gains_nothing_by_abstaining():
    p = np.array([[0.8, 0.2]] * 20, dtype=np.float32)
    found = trust([Judgement(test=p)], [0, 1] * 10, name="m")
    assert found.accuracies[0].value == found.accuracies[-1].value == 0.5
    assert statuses(found)[3] == "failed"


def test_without_validation_images():
    found = judged(validation=False)
    assert statuses(found)[1:3] == ["not applicable"] * 2
    assert found.temperatures == []
    assert found.loss_tempered is None


def test_one_run_has_intervals_over_images():
    found = judged(1)
    assert {found.calibration_error.over, found.brier.over, found.accuracies[3].over} == {"images"}


def test_being_surer_where_it_is_wrong():
    p = np.array([[0.9, 0.1]] * 10 + [[0.6, 0.4]] * 10, dtype=np.float32)
    found = trust([Judgement(test=p)], [1] * 10 + [0] * 10, name="m")
    assert statuses(found)[3] == "failed"


def test_perfect_networks():
    p = np.eye(2, dtype=np.float32)[[0, 1] * 20]
    labels = np.array([0, 1] * 20)
    found = trust([Judgement(test=p, validation=(p, labels))] * 3, labels, name="m")
    assert "failed" not in statuses(found)
    assert found.calibration_error.value == 0


@given(seed=st.integers(0, 10_000), runs=st.integers(1, 4), n=st.integers(2, 12))
@settings(max_examples=40, deadline=None)
def test_no_interval_leaves_what_is_possible(seed, runs, n):
    rng = np.random.default_rng(seed)
    tests = [softmax(3 * rng.normal(size=(n, 3))) for _ in range(runs)]
    truth = rng.integers(0, 3, n)
    found = trust([Judgement(test=p, validation=(p, truth)) for p in tests], truth)
    for one in (*found.accuracies, found.brier, found.loss_tempered):
        assert 0 <= one.low <= one.value <= one.high
    errors = [found.calibration_error, found.calibration_error_tempered]
    assert all(0 <= one.low <= one.high <= 1 for one in errors)
    assert all(one.high <= 1 for one in found.accuracies)
    assert found.brier.high <= 2


def test_runs_that_tie_have_intervals_over_images():
    p = np.eye(2, dtype=np.float32)[[0, 1] * 20]
    labels = np.array([0, 1] * 20)
    found = trust([Judgement(test=p), Judgement(test=p), Judgement(test=p)], labels)
    everything, half = found.accuracies[-1], found.accuracies[0]
    assert (everything.value, everything.over, everything.n) == (1.0, "images", 40)
    assert (half.value, half.over, half.n) == (1.0, "images", 20)
    assert half.low < everything.low < everything.high == 1.0
    assert everything.method == "Wilson (the three runs tied)"


NEAREST = " On the test images what comes nearest takes the loss from "


def test_where_no_validation_image_is_wrong_no_temperature_fits_best():
    p, labels = np.array([[0.9, 0.1], [0.2, 0.8]] * 20, dtype=np.float32), np.array([0, 1] * 20)
    one = trust([Judgement(test=p, validation=(p, labels))], labels).findings[1]
    assert one.status == "failed"
    assert one.explanation.startswith(
        "On validation images no temperature between 0.05 and 20 fits best: the logits are not sure"
        " enough." + NEAREST
    )
    two = trust([Judgement(test=p, validation=(p, labels))] * 2, labels).findings[1]
    assert " fits best in any of two runs: the logits" in two.explanation


def test_where_the_loss_is_flat_nothing_is_said_of_the_logits():
    p, labels = np.eye(2, dtype=np.float32)[[0, 1] * 20], np.array([0, 1] * 20)
    one = trust([Judgement(test=p, validation=(p, labels))], labels).findings[1]
    assert one.status == "passed"
    assert one.explanation.startswith(
        "On validation images no temperature between 0.05 and 20 fits best: none lowers their loss"
        " by more than 2 %." + NEAREST
    )


def test_a_temperature_that_passes_does_not_blame_the_logits():
    found = judged().findings[1]
    assert found.status == "passed"
    assert (
        ": in at least half of the runs none lowers their loss by more than 2 %. On the test"
        in (found.explanation)
    )
    assert "sure" not in found.explanation
    failed = judged(sharpen=3.0).findings[1]
    assert failed.status == "failed"
    assert ": the logits are too sure. On the test images it takes" in failed.explanation


def test_runs_without_a_best_temperature_are_counted_apart():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 5, 500)
    p = run(rng, labels)
    right = np.eye(5, dtype=np.float32)[labels]
    found = trust(
        [Judgement(test=p, validation=(q, labels)) for q in (p, p, right)], labels
    ).findings[1]
    assert "; in 1 of 3 runs no temperature between 0.05 and 20 fits best" in found.explanation


def test_no_runs():
    with pytest.raises(DataError, match="trust: expected at least one run, got none"):
        trust([], np.array([0]))


def test_public_names():
    assert {"trust", "Judgement", "COVERAGES"} <= set(module.__all__) <= set(vars(module))
