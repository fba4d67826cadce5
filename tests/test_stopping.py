"""Early stopping and reduction on a plateau against Keras' own callbacks."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from inkproof.errors import ConfigurationError
from inkproof.history import COLUMNS
from inkproof.optimizers import SGD
from inkproof.stopping import EarlyStopping, ReduceLROnPlateau, Watch
from inkproof.training_config import TrainingConfig

GOLDEN = json.loads((Path(__file__).parent / "golden" / "keras_training.json").read_text())


def rows(column, values):
    return {name: [0.0] * len(values) for name in COLUMNS} | {column: list(values)}


def settings_of(case):
    arguments = dict(case["arguments"])
    is_loss = arguments.pop("mode", "min") == "min"
    return ("val_loss" if is_loss else "val_accuracy"), arguments


@pytest.mark.parametrize("case", GOLDEN["early_stopping"])
def test_early_stopping_is_that_of_keras(case):
    monitor, arguments = settings_of(case)
    config = TrainingConfig(early_stopping=EarlyStopping(monitor=monitor, **arguments))
    seen, stops = case["values"], None
    for number in range(1, len(seen) + 1):
        watch = Watch(config, rows(monitor, seen[:number]))
        if watch.stopped_by() == "early_stopping":
            stops = number
            break
    assert (stops, watch.best_epoch) == (case["stops_after"], case["best_epoch"])


@pytest.mark.parametrize("case", GOLDEN["reduce_on_plateau"])
def test_the_reduction_is_that_of_keras(case):
    monitor, arguments = settings_of(case)
    config = TrainingConfig(
        optimizer=SGD(learning_rate=0.1),
        reduce_on_plateau=ReduceLROnPlateau(monitor=monitor, **arguments),
    )
    watch = Watch(config, rows(monitor, []))
    found = []
    for number, value in enumerate(case["values"], 1):
        watch.see(dict.fromkeys(COLUMNS, 0.0) | {monitor: value})
        found.append(watch.rate)
        assert Watch(config, rows(monitor, case["values"][:number])).rate == watch.rate
    assert found == pytest.approx(case["rates"], rel=1e-6)


def test_the_golden_file_has_all_kinds_of_endings():
    assert any(case["stops_after"] for case in GOLDEN["early_stopping"])
    assert any(case["stops_after"] is None for case in GOLDEN["early_stopping"])
    assert sum(len(set(case["rates"])) > 2 for case in GOLDEN["reduce_on_plateau"]) > 3


def test_without_restoring_no_epoch_is_the_best():
    config = TrainingConfig(early_stopping=EarlyStopping(restore_best_weights=False))
    assert Watch(config, rows("val_loss", [1.0, 2.0])).best_epoch is None
    assert Watch(TrainingConfig(), rows("val_loss", [1.0])).best_epoch is None


@pytest.mark.parametrize(
    ("seconds", "budget", "ends"),
    [
        ([], 1e-9, False),  # the first epoch always begins
        ([4.0], 8.0, False),
        ([4.0], 7.9, True),
        ([4.0, 1.0], 9.0, False),
        ([4.0, 1.0], 8.9, True),  # the next may take as long as the longest
    ],
)
def test_the_time_budget(seconds, budget, ends):
    watch = Watch(TrainingConfig(time_budget_seconds=budget), rows("seconds", seconds))
    assert (watch.stopped_by() == "time_budget") is ends


@pytest.mark.parametrize(
    "made",
    [
        EarlyStopping(monitor="val_accuracy", patience=3, min_delta=0.01),
        EarlyStopping(restore_best_weights=False, patience=0),
        ReduceLROnPlateau(monitor="loss", factor=0.3, cooldown=2, min_lr=1e-5),
    ],
)
def test_settings_survive_json(made):
    assert type(made).from_config(json.loads(json.dumps(made.config()))) == made


STOP, PLATEAU = "training.early_stopping", "training.reduce_on_plateau"


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (EarlyStopping, 3, f"{STOP} must be a table, got 3"),
        (
            EarlyStopping,
            {"monitor": "test_loss"},
            f"{STOP}.monitor: unknown measure 'test_loss'; known: val_accuracy, val_loss. "
            "Did you mean 'val_loss'?",
        ),
        (EarlyStopping, {"monitor": "loss"}, f"{STOP}.monitor: unknown measure 'loss'"),
        (EarlyStopping, {"patience": -1}, f"{STOP}.patience must be a whole number of at least 0"),
        (EarlyStopping, {"min_delta": -1}, f"{STOP}.min_delta must be a number of at least 0"),
        (EarlyStopping, {"patiense": 1}, f"{STOP}: unknown key 'patiense'; known: "),
        (
            EarlyStopping,
            {"restore_best_weights": 1},
            f"{STOP}.restore_best_weights must be true or false, got 1",
        ),
        (ReduceLROnPlateau, {"factor": 1}, f"{PLATEAU}.factor must be a number between 0 and 1"),
        (ReduceLROnPlateau, {"cooldown": 0.5}, f"{PLATEAU}.cooldown must be a whole number"),
        (ReduceLROnPlateau, {"min_lr": -1}, f"{PLATEAU}.min_lr must be a number of at least 0"),
        (ReduceLROnPlateau, {"monitor": "lr"}, f"{PLATEAU}.monitor: unknown measure 'lr'"),
    ],
)
def test_what_settings_must_be(kind, values, message):
    with pytest.raises(ConfigurationError, match=f"^{re.escape(message)}"):
        kind.from_config(values)
