"""Optimisers' settings: what they must be, what the engine gets, and what is kept on record."""

from __future__ import annotations

import dataclasses
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

import inkproof
from inkproof.errors import ConfigurationError, UnknownNameError
from inkproof.optimizers import (
    OPTIMIZERS,
    SGD,
    Adam,
    AdamW,
    Muon,
    optimizer_from_config,
)
from inkproof.schedules import CosineDecay, OneCycle, PiecewiseConstantDecay

ENGINE_KEYS = {
    "kind",
    "momentum",
    "nesterov",
    "beta_1",
    "beta_2",
    "epsilon",
    "weight_decay",
    "clipvalue",
    "clipnorm",
    "global_clipnorm",
    "ema_momentum",
    "muon_steps",
    "muon_hold_norm",
    "adam_ratio",
    "adam_weight_decay",
}


def test_defaults_are_those_of_keras():
    assert SGD() == SGD(learning_rate=0.01, momentum=0.0, nesterov=False, weight_decay=None)
    assert Adam() == Adam(
        learning_rate=0.001, beta_1=0.9, beta_2=0.999, epsilon=1e-7, weight_decay=None
    )
    assert (AdamW().weight_decay, AdamW().learning_rate) == (0.004, 0.001)
    for kind in OPTIMIZERS.values():
        made = kind()
        assert (made.use_ema, made.ema_momentum) == (False, 0.99)
        assert made.clipnorm is made.clipvalue is made.global_clipnorm is None


def test_the_old_name_of_sgd_stays():
    from inkproof import training

    assert inkproof.SGD is training.SGD is SGD


@pytest.mark.parametrize("kind", OPTIMIZERS.values())
def test_the_engine_gets_the_same_keys_of_each(kind):
    options = kind().engine_options()
    assert options.keys() == ENGINE_KEYS
    assert {type(value) for value in options.values()} == {float}


def test_what_the_engine_gets():
    options = SGD(momentum=0.9, nesterov=True, clipnorm=2, weight_decay=0.1).engine_options()
    on = {"kind": 0, "momentum": 0.9, "nesterov": 1, "clipnorm": 2, "weight_decay": 0.1}
    assert {key: options[key] for key in on} == on
    assert (options["clipvalue"], options["global_clipnorm"], options["ema_momentum"]) == (0, 0, 0)
    options = AdamW(beta_1=0.8, beta_2=0.99, epsilon=1e-5, use_ema=True).engine_options()
    on = {
        "kind": 1,
        "beta_1": 0.8,
        "beta_2": 0.99,
        "epsilon": 1e-5,
        "weight_decay": 0.004,
        "ema_momentum": 0.99,
    }
    assert {key: options[key] for key in on} == on
    options = Muon(
        ns_steps=4, hold_norm=True, adam_lr_ratio=0.2, adam_beta_1=0.7, adam_weight_decay=0.03
    ).engine_options()
    on = {
        "kind": 2,
        "momentum": 0.95,
        "nesterov": 1,
        "beta_1": 0.7,
        "weight_decay": 0,
        "muon_steps": 4,
        "muon_hold_norm": 1,
        "adam_ratio": 0.2,
        "adam_weight_decay": 0.03,
    }
    assert {key: options[key] for key in on} == on


def test_a_record_of_plain_sgd_is_what_it_always_was():
    assert SGD().config() == {"name": "sgd", "learning_rate": 0.01}


def test_what_is_off_is_not_on_record_unless_it_is_on_by_default():
    assert Adam(clipvalue=1.5).config() == {
        "name": "adam",
        "learning_rate": 0.001,
        "clipvalue": 1.5,
        "beta_1": 0.9,
        "beta_2": 0.999,
        "epsilon": 1e-7,
    }
    assert Muon(nesterov=False).config()["nesterov"] is False
    assert AdamW(weight_decay=0.0).config()["weight_decay"] == 0.0


@pytest.mark.parametrize(
    ("optimizer", "plain", "remembers"),
    [
        (SGD(learning_rate=0.5), True, False),
        (SGD(nesterov=True), True, False),  # without momentum there is nothing to look ahead with
        (SGD(weight_decay=0.0), True, False),
        (SGD(weight_decay=0.1), False, False),
        (SGD(clipnorm=1), False, False),
        (SGD(momentum=0.9), False, True),
        (SGD(use_ema=True), False, True),
        (SGD(learning_rate=OneCycle(peak_learning_rate=1)), False, False),
        (Adam(), False, True),
        (Muon(), False, True),
    ],
)
def test_what_is_plain_and_what_remembers(optimizer, plain, remembers):
    assert (optimizer.is_plain, optimizer.has_state) == (plain, remembers)


FRACTIONS = st.floats(0, 0.999)
RATES = st.one_of(
    st.floats(1e-30, 1e30),
    st.builds(OneCycle, peak_learning_rate=st.floats(1e-9, 1e9), warmup_share=FRACTIONS),
    st.builds(
        CosineDecay,
        initial_learning_rate=st.floats(1e-9, 1e9),
        decay_steps=st.none() | st.integers(1, 10**6),
    ),
    st.just(PiecewiseConstantDecay(boundaries=(3,), values=(0.1, 0.2))),
)
COMMON = {
    "learning_rate": RATES,
    "clipnorm": st.none() | st.floats(1e-6, 1e6),
    "use_ema": st.booleans(),
}
ANY = st.one_of(
    st.builds(SGD, momentum=FRACTIONS, nesterov=st.booleans(), **COMMON),
    st.builds(Adam, beta_1=FRACTIONS, weight_decay=st.none() | st.floats(0, 1), **COMMON),
    st.builds(AdamW, epsilon=st.floats(1e-12, 1), weight_decay=st.floats(0, 1), **COMMON),
    st.builds(Muon, ns_steps=st.integers(1, 9), hold_norm=st.booleans(), **COMMON),
)


@given(ANY)
def test_an_optimizer_survives_json(optimizer):
    assert optimizer_from_config(json.loads(json.dumps(optimizer.config()))) == optimizer


def test_without_a_name_it_is_sgd():
    assert optimizer_from_config({"momentum": 0.5}) == SGD(momentum=0.5)


WHERE = "training.optimizer"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"momentum": 1}, f"{WHERE}.momentum must be a number from 0 to below 1, got 1"),
        (
            {"momentum": 0.99999999},
            f"{WHERE}.momentum must be a number that float32 keeps below 1, got 0.99999999",
        ),
        ({"momentum": "x"}, f"{WHERE}.momentum must be a number from 0 to below 1, got 'x'"),
        ({"nesterov": 1}, f"{WHERE}.nesterov must be true or false, got 1"),
        ({"weight_decay": -1}, f"{WHERE}.weight_decay must be a number of at least 0, got -1"),
        ({"clipnorm": 0}, f"{WHERE}.clipnorm must be a number above 0, got 0"),
        (
            {"clipnorm": 1, "clipvalue": 2},
            f"{WHERE} takes one of clipnorm, clipvalue, global_clipnorm, "
            "got clipnorm and clipvalue",
        ),
        ({"use_ema": "yes"}, f"{WHERE}.use_ema must be true or false, got 'yes'"),
        ({"ema_momentum": 1.0}, f"{WHERE}.ema_momentum must be a number between 0 and 1, got 1.0"),
        (
            {"name": "adam", "beta_2": 1.0},
            f"{WHERE}.beta_2 must be a number from 0 to below 1, got 1.0",
        ),
        ({"name": "adam", "epsilon": 0}, f"{WHERE}.epsilon must be a number above 0, got 0"),
        (
            {"name": "adam", "epsilon": float("nan")},
            f"{WHERE}.epsilon must be a number above 0, got nan",
        ),
        (
            {"name": "adamw", "weight_decay": None},
            f"{WHERE}.weight_decay must be a number of at least 0, got None",
        ),
        ({"name": "muon", "ns_steps": 0}, f"{WHERE}.ns_steps must be a whole number of at least 1"),
        ({"name": "muon", "adam_lr_ratio": 0}, f"{WHERE}.adam_lr_ratio must be a number above 0"),
        (
            {"name": "adma"},
            f"{WHERE}.name: unknown optimizer 'adma'; known: adam, adamw, muon, sgd. "
            "Did you mean 'adam'?",
        ),
        ({"name": ["sgd"]}, f"{WHERE}.name: unknown optimizer"),
        ({"beta_1": 0.9}, f"{WHERE}: unknown key 'beta_1'; known: "),
        ({"learning_rate": {}}, f"{WHERE}.learning_rate.schedule: unknown schedule 'None'"),
        ({"learning_rate": [0.1]}, f"{WHERE}.learning_rate must be a number above 0, got [0.1]"),
        ({"momentum": 10**400}, f"{WHERE}.momentum must be a number from 0 to below 1, got 1000"),
    ],
)
def test_what_an_optimizer_must_be(values, message):
    with pytest.raises(ConfigurationError, match=f"^{re.escape(message)}") as caught:
        optimizer_from_config(values)
    assert "\n" not in str(caught.value)


def test_an_unknown_name_is_an_error_of_its_own():
    with pytest.raises(UnknownNameError):
        optimizer_from_config({"name": "lion"})


@pytest.mark.parametrize("kind", OPTIMIZERS.values())
def test_all_is_frozen(kind):
    with pytest.raises(dataclasses.FrozenInstanceError):
        kind().learning_rate = 1.0
