"""Schedules against Keras' own rates, and against what they must be."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inkproof.errors import ConfigurationError
from inkproof.optimizers import SGD
from inkproof.schedules import (
    CosineDecay,
    OneCycle,
    PiecewiseConstantDecay,
    schedule_from_config,
)

GOLDEN = json.loads((Path(__file__).parent / "golden" / "keras_training.json").read_text())
KINDS = {
    "cosine": CosineDecay,
    "cosine after a warm-up": CosineDecay,
    "step": PiecewiseConstantDecay,
}


@pytest.mark.parametrize("title", GOLDEN["schedules"])
def test_rates_are_those_of_keras(title):
    case = GOLDEN["schedules"][title]
    rates = KINDS[title](**case["arguments"]).rates(0, 30, 30)
    np.testing.assert_allclose(rates, case["rates"], rtol=1e-6, atol=1e-8)


ANY = st.one_of(
    st.builds(
        OneCycle,
        peak_learning_rate=st.floats(1e-6, 10),
        warmup_share=st.floats(0, 0.99),
        initial_share=st.floats(0, 1),
        decay=st.sampled_from(["linear", "cosine"]),
    ),
    st.builds(
        CosineDecay,
        initial_learning_rate=st.floats(1e-6, 10),
        decay_steps=st.none() | st.integers(1, 50),
        alpha=st.floats(0, 1),
        warmup_target=st.floats(1e-6, 10),
        warmup_steps=st.integers(0, 30),
    ),
    st.builds(
        PiecewiseConstantDecay,
        boundaries=st.just((2, 11)),
        values=st.tuples(*[st.floats(1e-6, 10)] * 3),
    ),
)


@given(ANY, st.integers(1, 60), st.integers(0, 59))
def test_pieces_are_those_of_the_whole(schedule, total, cut):
    whole = schedule.rates(0, total, total)
    cut = min(cut, total)
    parts = [schedule.rates(0, cut, total), schedule.rates(cut, total - cut, total)]
    assert whole.dtype == np.float32
    assert np.concatenate(parts).tobytes() == whole.tobytes()
    assert np.isfinite(whole).all()
    assert (whole >= 0).all()


@given(ANY)
def test_a_schedule_survives_json(schedule):
    assert schedule_from_config(json.loads(json.dumps(schedule.config()))) == schedule


@given(ANY, st.integers(1, 40), st.integers(1, 40))
def test_what_hangs_on_the_total_says_so(schedule, one, other):
    count = min(one, other)
    if not schedule.depends_on_total:
        same = schedule.rates(0, count, one) == schedule.rates(0, count, other)
        assert same.all()


@pytest.mark.parametrize("decay", ["linear", "cosine"])
def test_one_cycle_climbs_and_falls(decay):
    schedule = OneCycle(peak_learning_rate=2, warmup_share=0.25, initial_share=0.1, decay=decay)
    rates = schedule.rates(0, 101, 100).astype(float)
    assert rates[0] == pytest.approx(0.2)
    assert rates[25] == rates.max() == 2
    assert (np.diff(rates[:26]) > 0).all()
    assert np.ptp(np.diff(rates[:26])) < 1e-6
    assert (np.diff(rates[25:]) < 0).all()
    assert rates[100] == pytest.approx(0, abs=1e-7)
    left = 0.5 if decay == "linear" else 0.5 * (1 + math.cos(math.pi * 37 / 75))
    assert rates[62] == pytest.approx(2 * left, rel=0.02)


def test_one_cycle_without_a_climb_begins_at_the_top():
    assert OneCycle(peak_learning_rate=3, warmup_share=0).rates(0, 2, 4).tolist() == [3, 2.25]


def test_cosine_fills_what_is_left():
    free = CosineDecay(initial_learning_rate=0.0, warmup_target=0.5, warmup_steps=10)
    told = CosineDecay(
        initial_learning_rate=0.0, warmup_target=0.5, warmup_steps=10, decay_steps=30
    )
    assert (free.rates(0, 40, 40) == told.rates(0, 40, 40)).all()
    assert (free.depends_on_total, told.depends_on_total) == (True, False)
    short = free.rates(0, 5, 5)  # all of it is warm-up
    assert short.tolist() == pytest.approx([0, 0.05, 0.1, 0.15, 0.2])


def test_an_optimizer_takes_either():
    assert SGD(learning_rate=0.1).rates(7, 3, 100).tolist() == pytest.approx([0.1] * 3)
    schedule = PiecewiseConstantDecay(boundaries=[8], values=[1.0, 0.5])
    assert SGD(learning_rate=schedule).rates(7, 3, 100).tolist() == [1.0, 1.0, 0.5]


WHERE = "training.optimizer.learning_rate"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"schedule": "cosin"},
            f"{WHERE}.schedule: unknown schedule 'cosin'; known: cosine, one_cycle, step. "
            "Did you mean 'cosine'?",
        ),
        ({"schedule": "cosine"}, f"{WHERE} needs 'initial_learning_rate'"),
        ({"schedule": "cosine", "peak": 1}, f"{WHERE}: unknown key 'peak'; known: "),
        (
            {"schedule": "cosine", "initial_learning_rate": 0},
            f"{WHERE}.initial_learning_rate must be a number above 0",
        ),
        (
            {"schedule": "cosine", "initial_learning_rate": 1, "decay_steps": 0},
            f"{WHERE}.decay_steps must be a whole number of at least 1, got 0",
        ),
        (
            {"schedule": "cosine", "initial_learning_rate": 1, "alpha": 2},
            f"{WHERE}.alpha must be a share from 0 to 1, got 2",
        ),
        (
            {"schedule": "cosine", "initial_learning_rate": 1, "warmup_steps": 5},
            f"{WHERE}.warmup_steps needs a warmup_target, got 5 without",
        ),
        (
            {"schedule": "step", "boundaries": [5, 5], "values": [1, 2, 3]},
            f"{WHERE}.boundaries must rise, got [5, 5]",
        ),
        (
            {"schedule": "step", "boundaries": [5], "values": [1]},
            f"{WHERE}.values must be one more than boundaries, expected 2, got 1",
        ),
        (
            {"schedule": "step", "boundaries": 5, "values": [1]},
            f"{WHERE}.boundaries must be a list of at least one number, got 5",
        ),
        (
            {"schedule": "step", "boundaries": [0.5], "values": [1, 2]},
            f"{WHERE}.boundaries[0] must be a whole number of at least 0, got 0.5",
        ),
        (
            {"schedule": "one_cycle", "peak_learning_rate": 1, "warmup_share": 1},
            f"{WHERE}.warmup_share must be a share from 0 to below 1, got 1",
        ),
        (
            {"schedule": "one_cycle", "peak_learning_rate": 1, "decay": "linaer"},
            f"{WHERE}.decay: unknown decay 'linaer'; known: cosine, linear. Did you mean 'linear'?",
        ),
    ],
)
def test_what_a_schedule_must_be(values, message):
    with pytest.raises(ConfigurationError, match=f"^{re.escape(message)}") as caught:
        schedule_from_config(values)
    assert "\n" not in str(caught.value)
