"""Studies: their files, their folders, and running them for real on small data."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import tracemalloc
import zipfile
from pathlib import Path
from types import SimpleNamespace

import jsonschema
import numpy as np
import pytest

import inkproof
from inkproof import published, run_folder, study
from inkproof.augmentation import Augmentation
from inkproof.comparison import MARGIN
from inkproof.errors import (
    ConfigurationError,
    DataError,
    FileFormatError,
    InkproofError,
    StorageError,
    UnknownNameError,
)
from inkproof.layers import (
    AveragePool2D,
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    GlobalAveragePool2D,
    MaxPool2D,
    Residual,
)
from inkproof.model import Model
from inkproof.optimizers import SGD, Adam, AdamW, Muon
from inkproof.results import StudyResult, json_schema
from inkproof.schedules import CosineDecay, OneCycle, PiecewiseConstantDecay
from inkproof.statistics import wilson_interval
from inkproof.stopping import EarlyStopping
from inkproof.study import (
    EpochFinished,
    RunFinished,
    RunKey,
    RunReused,
    RunStarted,
    StudyFinished,
    StudyStarted,
    _over_runs,
    choose_jobs,
    load_study_result,
    run_study,
    threads_each,
    train_one,
)
from inkproof.study_file import Study
from inkproof.training import TrainingConfig

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Give the path of 360 training and 120 test images, 8x8, of three classes."""
    rng = np.random.default_rng(0)

    def draw(n):
        labels = rng.integers(0, 3, n)
        images = rng.integers(0, 60, (n, 8, 8)).astype(np.uint8)
        for row, label in enumerate(labels):
            images[row, 2 * label : 2 * label + 3] += 120
        return images, labels

    (x_train, y_train), (x_test, y_test) = draw(360), draw(120)
    path = tmp_path_factory.mktemp("data") / "small.npz"
    np.savez(path, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    return path


def content(data, **changes):
    return {
        "name": "small",
        "seeds": 2,
        "data": {"source": str(data), "hold_out": 0.2},
        "training": {"epochs": 3, "batch_size": 16, "optimizer": {"learning_rate": 0.1}},
        "models": [
            {"name": "a", "layers": [{"type": "Dense", "units": 3, "activation": "softmax"}]},
            {
                "name": "b",
                "layers": [
                    {"type": "Dense", "units": 20, "activation": "relu"},
                    {"type": "Dense", "units": 3, "activation": "softmax"},
                ],
            },
        ],
        **changes,
    }


def small(data, **changes):
    return Study.from_content(content(data, **changes))


def model_bytes(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("model.safetensors"))
    }


def losses(result):
    return [run.history["val_loss"] for model in result.models for run in model.runs]


# --- The file -------------------------------------------------------------------------------------


def test_the_built_in_study_is_the_exercise():
    study = Study.built_in()
    assert study.seeds == (0, 1, 2, 3, 4, 5)
    assert (study.training.epochs, study.training.batch_size) == (30, 32)
    assert study.training.optimizer.learning_rate == 0.01
    assert [[layer.units for layer in model.layers] for model in study.models] == [
        [500, 500, 10],
        [512, 512, 512, 10],
    ]
    assert study.data.hold_out == 0.1


def test_the_margin_of_a_file_is_that_of_the_comparison(data, tmp_path):
    assert small(data).margin == MARGIN
    wide = small(data, comparison={"margin_points": 90})
    result = run_study(wide, tmp_path / "wide")
    again = run_study(dataclasses.replace(wide, margin=0.01), tmp_path / "wide")
    assert [r.comparisons[0].margin for r in (result, again)] == [0.9, 0.01]
    assert again.models == result.models  # no run is done anew for another margin


def test_the_copy_for_users_is_the_built_in_one():
    inside = ROOT / "src" / "inkproof" / "studies" / "notebook.toml"
    assert (ROOT / "studies" / "notebook.toml").read_bytes() == inside.read_bytes()


def test_a_study_comes_back_from_its_content(data):
    study = small(data)
    assert Study.from_content(study.content()) == study


EVERYTHING = """
name = "everything"
[training]
epochs = 9
label_smoothing = 0.1
mixup = 0.2
time_budget_seconds = 600
class_weight = { "0" = 2.0, "1" = 0.5 }
[training.optimizer]
name = "adamw"
weight_decay = 0.01
clipnorm = 1.0
use_ema = true
ema_momentum = 0.9
[training.optimizer.learning_rate]
schedule = "cosine"
initial_learning_rate = 0.0
warmup_target = 0.002
warmup_steps = 20
[training.augmentation]
shift = 2
[training.early_stopping]
monitor = "val_accuracy"
patience = 3
[[models]]
name = "a"
layers = [{ type = "Dense", units = 3, activation = "softmax" }]
"""


def test_a_file_may_ask_for_everything(tmp_path):
    (tmp_path / "s.toml").write_text(EVERYTHING)
    study = Study.from_file(tmp_path / "s.toml")
    assert study.training == TrainingConfig(
        epochs=9,
        label_smoothing=0.1,
        mixup=0.2,
        time_budget_seconds=600,
        class_weight={0: 2.0, 1: 0.5},
        optimizer=AdamW(
            weight_decay=0.01,
            clipnorm=1.0,
            use_ema=True,
            ema_momentum=0.9,
            learning_rate=CosineDecay(
                initial_learning_rate=0.0, warmup_target=0.002, warmup_steps=20
            ),
        ),
        augmentation=Augmentation(shift=2),
        early_stopping=EarlyStopping(monitor="val_accuracy", patience=3),
    )
    again = Study.from_content(json.loads(json.dumps(study.content())), origin=study.origin)
    assert dataclasses.replace(again, title=study.title) == study


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ('name = "muon"\nhold_norm = true', Muon(hold_norm=True)),
        ("momentum = 0.9\nnesterov = true", SGD(momentum=0.9, nesterov=True)),
        (
            'name = "adam"\nlearning_rate = '
            '{ schedule = "step", boundaries = [10], values = [0.1, 0.01] }',
            Adam(learning_rate=PiecewiseConstantDecay(boundaries=(10,), values=(0.1, 0.01))),
        ),
        (
            "[training.optimizer.learning_rate]\n"
            'schedule = "one_cycle"\npeak_learning_rate = 0.5\ndecay = "cosine"',
            SGD(learning_rate=OneCycle(peak_learning_rate=0.5, decay="cosine")),
        ),
    ],
)
def test_each_optimizer_and_schedule_of_a_file(tmp_path, given, made):
    text = EVERYTHING[EVERYTHING.index("[[models]]") :]
    (tmp_path / "s.toml").write_text(f'name = "s"\n[training.optimizer]\n{given}\n{text}')
    assert Study.from_file(tmp_path / "s.toml").training.optimizer == made


def test_published_histories_have_thirty_epochs():
    for columns in published.histories().values():
        assert {len(values) for values in columns.values()} == {30}
    assert published.histories()["500x2"]["val_accuracy"][-1] == 0.9772


def without(key):
    def change(content):
        del content[key]

    return change


def put(*path_and_value):
    *path, key, value = path_and_value

    def change(content):
        for step in path:
            content = content[step]
        content[key] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            put("training", "batch_size", 0),
            "training.batch_size must be a whole number of at least 1, got 0",
        ),
        (
            put("training", "epochs", "x"),
            "training.epochs must be a whole number of at least 1, got 'x'",
        ),
        (put("training", "epoch", 3), "unknown key 'epoch'; known: "),
        (put("training", "epoch", 3), "Did you mean 'epochs'?"),
        (put("training", "seed", 3), "training.seed is set by the study"),
        (put("training", "loss", "mse"), "unknown loss 'mse'"),
        (put("training", "optimizer", {"name": "adamm"}), "unknown optimizer 'adamm'"),
        (
            put("training", "optimizer", {"learning_rate": -1}),
            "learning_rate must be a number above 0, got -1",
        ),
        (
            put("training", "optimizer", {"learning_rate": {"schedule": "cosin"}}),
            "training.optimizer.learning_rate.schedule: unknown schedule 'cosin'",
        ),
        (
            put("training", "early_stopping", {"patience": -1}),
            "training.early_stopping.patience must be a whole number of at least 0, got -1",
        ),
        (
            put("training", "class_weight", {"a": "x"}),
            "training.class_weight.a must be a number of at least 0, got 'x'",
        ),
        (put("data", "hold_out", 1.5), "data.hold_out must be a share between 0 and 1, got 1.5"),
        (put("data", "sourc", "x"), "data: unknown key 'sourc'"),
        (
            put("comparison", {"margin_points": 0}),
            "comparison.margin_points must be points of accuracy between 0 and 100, got 0",
        ),
        (put("comparison", {"margin": 1}), "comparison: unknown key 'margin'"),
        (
            put("models", 0, "layers", 0, "type", "Dnese"),
            "models[0].layers[0].type: unknown layer 'Dnese'",
        ),
        (put("models", 0, "layers", 0, "type", "Dnese"), "Did you mean 'Dense'?"),
        (put("models", 0, "layers", 0, "activation", "rleu"), "Did you mean 'relu'?"),
        (put("models", 0, "layers", 0, "units", 0), "models[0].layers[0]"),
        (put("models", 0, "layers", []), "models[0].layers must be a list of layers"),
        (put("models", 0, "name", "../x"), "models[0].name must name the model"),
        (
            put("models", 0, "name", "B"),
            "models[1].name must differ from models[0].name in more than capitals, got 'b' and 'B'",
        ),
        (put("models", 0, "name", "b"), "in more than capitals, got 'b' for both"),
        (
            put("models", 1, "name", "Results.json"),
            "models[1].name must be none of assets, figures, report.html, report.md, results.json, "
            "which are written beside the models' folders, got 'Results.json'",
        ),
        (put("models", 0, "name", "figures"), "models[0].name must be none of assets, figures"),
        (put("training", "threads", 2), "training.threads changes no result and is no part of a "),
        (put("training", "threads", 2), "INKPROOF_THREADS in the environment sets the number of"),
        (put("models", 0, "published", "500x3"), "Did you mean '500x2'?"),
        (put("models", []), "models must be at least one [[models]] table"),
        (without("models"), "models must be at least one [[models]] table"),
        (without("name"), "name must name the study"),
        (put("seeds", 0), "seeds must be a whole number from 1 to 10000 or a list"),
        (put("seeds", [1, 1]), "seeds must be a whole number from 1 to 10000 or a list"),
        (put("seeds", True), "seeds must be a whole number from 1 to 10000 or a list"),
        (put("data", "mnist"), "data. must be a table"),
        (put("sedes", 3), "unknown key 'sedes'; known: "),
    ],
)
def test_a_mistake_in_the_file_names_the_key(data, change, message):
    values = json.loads(json.dumps(content(data)))
    change(values)
    with pytest.raises(ConfigurationError) as caught:
        Study.from_content(values, origin="mine.toml")
    assert str(caught.value).startswith("mine.toml: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_not_toml_is_told_with_its_line(tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text('name = "x"\nseeds = = 3\n')
    with pytest.raises(ConfigurationError, match=r"bad.toml: not TOML: .*line 2"):
        Study.from_file(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="not TOML"):
        Study.from_file(path)
    with pytest.raises(StorageError, match="there is no such study file; built-in studies: note"):
        Study.from_file(tmp_path / "notebok")


def test_a_file_may_have_layers_inside_layers(tmp_path):
    path = tmp_path / "conv.toml"
    path.write_text(
        """
name = "conv"

[[models]]
name = "residual"
layers = [
    { type = "Conv2D", filters = 8, kernel_size = [3, 3], padding = "same" },
    { type = "Residual", layers = [
        { type = "BatchNormalization", momentum = 0.9 },
        { type = "Conv2D", filters = 8, kernel_size = 3, padding = "same", use_bias = false },
    ] },
    { type = "MaxPooling2D", pool_size = 2 },
    { type = "AveragePool2D" },
    { type = "GlobalAveragePooling2D" },
    { type = "Dropout", rate = 0.5 },
    { type = "Dense", units = 10, activation = "softmax" },
]
"""
    )
    study = Study.from_file(path)
    assert study.models[0].layers == (
        Conv2D(8, 3, padding="same"),
        Residual([BatchNormalization(momentum=0.9), Conv2D(8, 3, padding="same", use_bias=False)]),
        MaxPool2D(),
        AveragePool2D(),
        GlobalAveragePool2D(),
        Dropout(0.5),
        Dense(10, activation="softmax"),
    )
    content = json.loads(json.dumps(study.content()))
    assert Study.from_content(content, origin=study.origin) == study
    path.write_text(path.read_text().replace("momentum", "momentun"))
    with pytest.raises(
        InkproofError,
        match=r"models\[0\].layers\[1\].layers\[0\]: unknown argument of BatchNormalization",
    ):
        Study.from_file(path)


def test_data_are_looked_for_beside_the_file(tmp_path, data):
    shutil.copy(data, tmp_path / "here.npz")
    text = (ROOT / "studies" / "notebook.toml").read_text()
    (tmp_path / "s.toml").write_text(text.replace('"mnist" ', '"here.npz"'))
    assert Study.from_file(tmp_path / "s.toml").data.source == str(tmp_path / "here.npz")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("mnits", "unknown data set 'mnits'; known: a path to a folder, "),
        ("mnits", "Did you mean 'mnist'?"),
        ("away/x.npz", "expected mnist or a path, got 'away/x.npz', which is not there"),
        ("x.npz", "expected mnist or a path, got 'x.npz', which is not there"),
    ],
)
def test_data_that_are_not_there_are_told_with_their_place(tmp_path, source, message):
    text = (ROOT / "studies" / "notebook.toml").read_text()
    (tmp_path / "s.toml").write_text(text.replace('"mnist" ', f'"{source}"'))
    study = Study.from_file(tmp_path / "s.toml")
    with pytest.raises(ConfigurationError) as caught:
        study.check_source()
    assert str(caught.value).startswith(f"{tmp_path / 's.toml'}: data.source: ")
    assert message in str(caught.value)
    study.changed(source="mnist").check_source()
    (tmp_path / "away").mkdir()
    for name in ("mnits", "away/x.npz", "x.npz"):
        (tmp_path / name).touch()
    Study.from_file(tmp_path / "s.toml").check_source()


def test_data_that_cannot_be_looked_for(tmp_path):
    text = (ROOT / "studies" / "notebook.toml").read_text()
    (tmp_path / "s.toml").write_text(text.replace('"mnist" ', f'"{"x" * 300}"'))
    with pytest.raises(ConfigurationError) as caught:
        Study.from_file(tmp_path / "s.toml")
    start = f"{tmp_path / 's.toml'}: data.source: cannot be looked for: File name too long, got 'xx"
    assert str(caught.value).startswith(start)
    assert len(str(caught.value)) < len(start) + 80


def test_a_network_that_does_not_fit_the_data_is_refused(data, tmp_path):
    values = content(data)
    values["models"][1]["layers"][-1]["units"] = 4
    with pytest.raises(InkproofError, match=r"models\[1\] \(b\): .*expected \(3,\), got \(4,\)"):
        run_study(Study.from_content(values), tmp_path)
    values["models"][1]["layers"][-1] |= {"units": 3, "activation": "relu"}
    with pytest.raises(InkproofError, match=r"models\[1\] \(b\): .*needs softmax at the end"):
        run_study(Study.from_content(values), tmp_path)


# --- Running --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "small"
    events = []
    result = run_study(small(data), folder, on_event=events.append)
    return folder, result, events


def test_events_tell_the_whole_story(finished):
    _, _, events = finished
    assert isinstance(events[0], StudyStarted)
    assert isinstance(events[-1], StudyFinished)
    keys = {RunKey(model=m, seed=s) for m in "ab" for s in (0, 1)}
    assert set(events[0].runs) == set(events[0].work) == keys
    for kind, count in ((RunStarted, 1), (EpochFinished, 3), (RunFinished, 1)):
        found = [event.run for event in events if isinstance(event, kind)]
        assert sorted(map(str, found)) == sorted(map(str, list(keys) * count))


def test_folders_hold_what_they_should(finished):
    folder, result, _ = finished
    for model in "ab":
        for seed in (0, 1):
            names = {path.name for path in (folder / model / f"seed-{seed}").iterdir()}
            assert names == {
                *("run.json", "history.csv", "model.safetensors", "predictions.npz"),
                *("validation.npz", "robustness.json"),
            }
    assert StudyResult.load(folder / "results.json") == result
    record = json.loads((folder / "a" / "seed-1" / "run.json").read_text())
    assert record["configuration"]["seed"] == 1
    assert record["configuration"]["data"]["fingerprint"] == result.data.fingerprint
    assert record["environment"]["isa"] in {"portable", "v3", "v4"}
    assert len(record["timings"]["epoch_seconds"]) == 3


def assert_possible(result):
    for model in result.models:
        accuracy, loss = model.test_accuracy, model.test_loss
        assert 0 <= accuracy.low < accuracy.high <= 1
        assert 0 <= loss.low < loss.high
        tied = len({run.test.accuracy for run in model.runs}) == 1
        assert accuracy.over == ("images" if tied else "runs")
        assert accuracy.value == pytest.approx(
            sum(run.test.accuracy for run in model.runs) / len(model.runs), rel=1e-12
        )
        # The same runs on the same images: what trust and robustness say of them is the same.
        ends = pytest.approx((accuracy.low, accuracy.value, accuracy.high), abs=1e-12)
        for other in (model.trust.accuracies[-1], model.robustness.curves[0].accuracies[0]):
            assert (other.low, other.value, other.high) == ends
            assert (other.over, other.method) == (accuracy.over, accuracy.method)


def test_intervals_over_runs_stay_where_accuracies_and_losses_can_be(finished):
    assert_possible(finished[1])


def test_so_they_do_where_two_runs_hardly_learned(data, tmp_path):
    training = {"epochs": 1, "batch_size": 16, "optimizer": {"learning_rate": 0.003}}
    result = run_study(small(data, training=training), tmp_path)
    assert_possible(result)
    assert any("cut at" in model.test_accuracy.method for model in result.models)


def test_a_model_is_judged_as_its_runs_are(finished):
    _, result, _ = finished
    for model in result.models:
        for place, finding in enumerate(model.findings):
            of_runs = [run.findings[place].status for run in model.runs]
            assert finding.evidence["failed"] == of_runs.count("failed")
        assert "from 72 validation images" in model.findings[1].explanation


@pytest.mark.parametrize(
    ("right", "low", "high", "method"),
    [
        ([80, 100], 0.0, 1.0, "Student t (cut at 0 and 1)"),
        ([100, 100, 100], 0.963, 1.0, "Wilson (the three runs tied)"),
        ([0, 0], 0.0, 0.037, "Wilson (the two runs tied)"),
    ],
)
def test_the_accuracy_of_few_runs(right, low, high, method):
    found = _over_runs([wilson_interval(count, 100) for count in right], most=1.0)
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-4)
    assert found.method == method


def test_results_keep_to_the_published_schema(finished):
    folder, _, _ = finished
    schema = json.loads(json_schema())
    assert schema == json.loads((ROOT / "docs" / "results.schema.json").read_text())
    jsonschema.validate(json.loads((folder / "results.json").read_text()), schema)


def test_the_numbers_are_those_of_the_runs(finished, data):
    folder, result, _ = finished
    loaded = load_study_result(folder)
    labels = np.load(data)["y_test"]
    for model in result.models:
        accuracies = [
            (loaded.probabilities[model.name, run.seed].argmax(axis=1) == labels).mean()
            for run in model.runs
        ]
        assert [run.test.accuracy for run in model.runs] == pytest.approx(accuracies)
        assert model.test_accuracy.value == pytest.approx(np.mean(accuracies))
        assert (result.data.train, result.data.validation, result.data.test) == (288, 72, 120)
        for run in model.runs:
            assert np.sum(run.test.confusion) == 120
            assert len(run.test.mistakes) == 120 - np.trace(run.test.confusion)
    assert [(c.a, c.b, len(c.pairs)) for c in result.comparisons] == [("a", "b", 2)]


def test_a_second_call_does_nothing_again(finished, data):
    folder, result, _ = finished
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("seed-*/*")}
    events = []
    again = run_study(small(data), folder, on_event=events.append)
    assert sum(isinstance(event, RunReused) for event in events) == 4
    assert not any(isinstance(event, RunStarted) for event in events)
    assert again.models == result.models
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("seed-*/*")} == before


def test_only_what_has_changed_is_done_again(finished, data, tmp_path):
    folder, _, _ = finished
    copy = tmp_path / "small"
    shutil.copytree(folder, copy)
    values = content(data, seeds=[1, 5])
    values["models"][1]["layers"][0]["units"] = 21
    events = []
    run_study(Study.from_content(values), copy, replace=True, on_event=events.append)
    assert [event.run for event in events if isinstance(event, RunReused)] == [
        RunKey(model="a", seed=1)
    ]
    assert sum(isinstance(event, RunFinished) for event in events) == 3


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"training": {"epochs": 1}}, "/seed-0: training.epochs is 3 there, 1 is asked for"),
        ({"training": {"label_smoothing": 0.1}}, "label_smoothing is 'off' there, 0.1 is asked"),
        ({"data": {"hold_out": 0.3}}, "data.hold_out is 0.2 there, 0.3 is asked for"),
    ],
)
def test_runs_of_other_settings_are_not_lost_unasked(finished, data, tmp_path, change, difference):
    folder, _, _ = finished
    copy = tmp_path / "small"
    shutil.copytree(folder, copy)
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    values = content(data)
    for table, settings in change.items():
        values[table] = values[table] | settings
    with pytest.raises(StorageError, match="four runs of other settings would be lost") as e:
        run_study(Study.from_content(values), copy)
    assert difference in str(e.value)
    assert "--out DIR keeps them, --replace replaces them" in str(e.value)
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before
    run_study(Study.from_content(values), copy, replace=True)
    assert {path.name for path in copy.rglob("*")} >= {"run.json", "results.json"}
    events = []
    run_study(Study.from_content(values), copy, on_event=events.append)
    assert sum(isinstance(event, RunReused) for event in events) == 4


def begun(data, folder, **training):
    """Begin a study of one run, and stop it after its second epoch."""
    values = content(data, seeds=[0])
    values["models"] = values["models"][:1]
    values["training"] = values["training"] | {"epochs": 9} | training

    def stop(event):
        if isinstance(event, EpochFinished) and event.epoch.number == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_study(Study.from_content(values), folder, jobs=1, on_event=stop)
    return values


@pytest.mark.parametrize(
    ("table", "change", "difference"),
    [
        ("training", {"label_smoothing": 0.1}, "label_smoothing is 'off' there, 0.1 is asked for"),
        ("training", {"epochs": 1}, "two epochs of training are done there, 1 asked for"),
        ("data", {"hold_out": 0.3}, "data.hold_out is 0.2 there, 0.3 is asked for"),
        ("data", {"source": "other.npz"}, "data.fingerprint is 'sha256:"),
    ],
)
def test_a_run_that_was_begun_is_not_lost_unasked(
    data, tmp_path, monkeypatch, table, change, difference
):
    monkeypatch.chdir(tmp_path)
    arrays = dict(np.load(data))
    arrays["x_train"][0, 0, 0] ^= 1
    np.savez("other.npz", **arrays)
    values = begun(data, tmp_path)
    (checkpoint,) = tmp_path.rglob("checkpoint.safetensors")
    before = checkpoint.read_bytes()
    other = Study.from_content(values | {table: values[table] | change})
    with pytest.raises(StorageError, match=f"one run of other settings would be .*{difference}"):
        run_study(other, tmp_path)
    assert checkpoint.read_bytes() == before
    more = Study.from_content(values | {"training": values["training"] | {"epochs": 4}})
    events = []
    run_study(more, tmp_path, jobs=1, on_event=events.append)  # other epochs go on
    numbers = [e.epoch.number for e in events if isinstance(e, EpochFinished)]
    assert numbers == [3, 4]
    assert not list(tmp_path.rglob("asked.json"))


def test_where_the_rate_hangs_on_the_epochs_other_epochs_are_another_training(data, tmp_path):
    rate = {"schedule": "one_cycle", "peak_learning_rate": 0.1}
    values = begun(data, tmp_path, optimizer={"learning_rate": rate})
    other = values | {"training": values["training"] | {"epochs": 12}}
    with pytest.raises(StorageError, match=r"training\.epochs is 9 there, 12 is asked for"):
        run_study(Study.from_content(other), tmp_path)
    events = []
    run_study(Study.from_content(values), tmp_path, on_event=events.append)
    assert next(e.epoch.number for e in events if isinstance(e, EpochFinished)) == 3


def test_a_folder_called_mnist_is_not_the_data(tmp_path, monkeypatch):
    (tmp_path / "mnist").mkdir()
    monkeypatch.chdir(tmp_path)
    source = inkproof.load("mnist").source
    assert study._path_from(Path("runs/x"), source) is None
    told = SimpleNamespace(path="../../mnist", source=source)  # as results of before have it
    assert len(study._data_of(told, Path("runs/x")).test) == 10_000


def test_a_path_goes_through_links(data, tmp_path, monkeypatch):
    (tmp_path / "far" / "x" / "y").mkdir(parents=True)
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "runs").symlink_to(tmp_path / "far" / "x" / "y")
    monkeypatch.chdir(tmp_path / "here")
    shutil.copy(data, "mine.npz")
    path = study._path_from(Path("runs/s"), "mine.npz")
    (tmp_path / "here" / "runs" / "s").mkdir()
    monkeypatch.chdir(tmp_path)
    assert (Path("here/runs/s") / path).exists()


@pytest.mark.parametrize("name", ["results.json", "a/seed-0/.inkproof-0.tmp"])
def test_what_cannot_be_removed_is_told(finished, data, tmp_path, name):
    copy = tmp_path / "small"
    shutil.copytree(finished[0], copy)
    (copy / name).unlink(missing_ok=True)
    (copy / name).mkdir()
    with pytest.raises(StorageError, match=f"{Path(name).name}: cannot be removed"):
        run_study(small(data), copy, fresh=True)


@pytest.mark.parametrize("name", ["results.json", "report.html", "figures"])
def test_a_folder_of_somebody_elses_is_not_written_over(data, tmp_path, name):
    if name == "figures":
        (tmp_path / name).mkdir()
    else:
        (tmp_path / name).write_text("mine")
    with pytest.raises(StorageError, match=f"{name} is there, which no study has written"):
        run_study(small(data), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_study_copied_without_its_hidden_files_goes_on(finished, data, tmp_path):
    copy = tmp_path / "small"
    shutil.copytree(finished[0], copy, ignore=shutil.ignore_patterns(".*"))
    events = []
    run_study(small(data), copy, on_event=events.append)
    assert sum(isinstance(event, RunReused) for event in events) == 4


@pytest.mark.parametrize("how", ["fresh", "replace"])
def test_what_is_replaced_is_gone_before_anything_is_done(finished, data, tmp_path, how):
    """An end in the middle leaves neither old results beside new runs, nor old runs as new ones."""
    folder, _, _ = finished
    copy = tmp_path / "small"
    shutil.copytree(folder, copy)
    values = content(data)
    values["training"] = values["training"] | {"epochs": 2}
    study = Study.from_content(values)

    def stop(event):
        if isinstance(event, RunFinished):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_study(study, copy, jobs=1, on_event=stop, **{how: True})
    assert not (copy / "results.json").exists()
    assert len(list(copy.rglob("run.json"))) == 1
    with pytest.raises(StorageError, match="run the study first"):
        load_study_result(copy)
    events = []
    run_study(study, copy, on_event=events.append)  # the same without the option goes on
    assert sum(isinstance(event, RunReused) for event in events) == 1


def test_a_run_that_ends_between_its_files_is_none(finished, data, tmp_path, monkeypatch):
    folder, _, _ = finished
    copy = tmp_path / "small"
    shutil.copytree(folder, copy)
    damaged = copy / "a" / "seed-1"
    (damaged / "predictions.npz").write_bytes(b"")

    def full(path, data):
        raise StorageError(f"{path}: cannot be written: No space left on device")

    monkeypatch.setattr(run_folder, "write_bytes", full)
    with pytest.raises(StorageError, match="No space left"):
        run_study(small(data), copy, jobs=1)
    assert not (damaged / "run.json").exists()


def test_a_study_is_read_from_any_folder(data, tmp_path, monkeypatch):
    (tmp_path / "project").mkdir()
    shutil.copy(data, tmp_path / "project" / "mine.npz")
    monkeypatch.chdir(tmp_path / "project")
    values = content("mine.npz")
    values["training"] = values["training"] | {"epochs": 1}
    run_study(Study.from_content(values), "runs/x")
    assert json.loads(Path("runs/x/results.json").read_text())["data"]["path"] == "../../mine.npz"
    monkeypatch.chdir(tmp_path)
    assert len(load_study_result("project/runs/x").dataset.test) > 0
    shutil.move("project", "moved")  # as a whole
    assert len(load_study_result("moved/runs/x").dataset.test) > 0
    Path("moved/mine.npz").unlink()
    with pytest.raises(DataError, match=r"results\.json: its data are no longer there: moved/runs"):
        load_study_result("moved/runs/x")


def test_what_a_killed_process_had_half_written_goes(finished, data, tmp_path):
    copy = tmp_path / "small"
    shutil.copytree(finished[0], copy)
    run = copy / "a" / "seed-1"
    (run / "predictions.npz").unlink()
    (run / ".inkproof-0123456789abcdef.tmp").write_bytes(bytes(9))
    (run / ".mine.tmp").write_bytes(bytes(9))
    run_study(small(data), copy)
    assert [path.name for path in run.glob(".*")] == [".mine.tmp"]


def test_results_of_other_runs_are_not_reported(finished, tmp_path):
    folder, _, _ = finished
    copy = tmp_path / "small"
    shutil.copytree(folder, copy)
    path = copy / "a" / "seed-0" / "predictions.npz"
    with np.load(path) as file:
        probabilities = file["probabilities"]
    np.savez(path, probabilities=np.roll(probabilities, 1, axis=1))
    with pytest.raises(FileFormatError, match=r"seed-0: not the run that .* run the study again"):
        load_study_result(copy)


def test_fresh_does_all_again_and_touches_nothing_else(finished, data, tmp_path):
    folder, result, _ = finished
    copy = tmp_path / "small"
    shutil.copytree(folder, copy)
    (copy / "a" / "seed-0" / "notes.txt").write_text("mine")
    events = []
    again = run_study(small(data), copy, fresh=True, on_event=events.append)
    assert sum(isinstance(event, RunFinished) for event in events) == 4
    assert (copy / "a" / "seed-0" / "notes.txt").read_text() == "mine"
    assert losses(again) == losses(result)
    assert model_bytes(copy) == model_bytes(folder)


@pytest.mark.parametrize("jobs", [1, 3])
def test_no_result_depends_on_the_jobs(finished, data, tmp_path, jobs):
    folder, result, _ = finished
    again = run_study(small(data), tmp_path / "x", jobs=jobs)
    assert losses(again) == losses(result)
    assert model_bytes(tmp_path / "x") == model_bytes(folder)


@pytest.mark.parametrize(
    "name", ["run.json", "history.csv", "predictions.npz", "model.safetensors"]
)
def test_a_damaged_run_is_done_again(finished, data, tmp_path, name):
    folder, result, _ = finished
    copy = tmp_path / "small"
    shutil.copytree(folder, copy)
    damaged = copy / "b" / "seed-1" / name
    if name == "model.safetensors":
        damaged.unlink()
    else:
        damaged.write_bytes(damaged.read_bytes()[:40])
    events = []
    again = run_study(small(data), copy, on_event=events.append)
    assert [event.run for event in events if isinstance(event, RunFinished)] == [
        RunKey(model="b", seed=1)
    ]
    assert losses(again) == losses(result)


@pytest.mark.parametrize("best", ["2", 0, 4, True, 1.5])
def test_a_best_epoch_that_cannot_be_is_damage(finished, tmp_path, best):
    copy = tmp_path / "run"
    shutil.copytree(finished[0] / "a" / "seed-0", copy)
    record = json.loads((copy / "run.json").read_text())
    (copy / "run.json").write_text(json.dumps(record | {"best_epoch": best}))
    with pytest.raises(FileFormatError, match="damaged: expected a best epoch of 1 to 3, got"):
        run_folder.read(copy, record["configuration"], images=1, classes=3)


def npy_bytes(header, numbers=b""):
    """Give an array's file with any header, however much it claims."""
    text = (str(header) + "\n").encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + numbers


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            npy_bytes({"descr": "<f4", "fortran_order": False, "shape": (3_000_000_000, 3)}),
            r"expected float32 \(4, 3\), got float32 \(3000000000, 3\)",
        ),
        (npy_bytes({"descr": "|O", "fortran_order": False, "shape": (4, 3)}, b"x"), "got object"),
        (npy_bytes({"descr": "<f4"}), "damaged"),
        (b"\x93NUMPY\x02\x00" + bytes(40), "an array of another format"),
        (b"nothing", "damaged"),
        (np.float32([[2, 0, 0]] * 4), "got numbers outside 0 to 1"),
        (np.float32([[np.nan, 0, 0]] * 4), "got numbers outside 0 to 1"),
        (np.float64([[1, 0, 0]] * 4), "got float64"),
    ],
)
def test_probabilities_that_cannot_be(tmp_path, content, message):
    with zipfile.ZipFile(tmp_path / "predictions.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        if isinstance(content, np.ndarray):
            buffer = io.BytesIO()
            np.save(buffer, content)
            content = buffer.getvalue()
        archive.writestr("probabilities.npy", content)
    with pytest.raises(FileFormatError, match=message):
        run_folder.read_predictions(tmp_path, images=4, classes=3)


def test_what_a_packed_file_claims_is_not_allocated(tmp_path):
    with zipfile.ZipFile(tmp_path / "predictions.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("probabilities.npy", bytes(200 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(FileFormatError, match="damaged"):
            run_folder.read_predictions(tmp_path, images=4, classes=3)
        assert tracemalloc.get_traced_memory()[1] < 5 << 20
    finally:
        tracemalloc.stop()


def test_seeds_are_shared_between_models(data):
    study = small(data, seeds=[4])
    trained, evaluation = train_one(
        Study.from_content(content(data, seeds=[4]) | {"models": content(data)["models"][:1]})
    )
    assert trained.name == "a"
    assert evaluation.n == 120
    with pytest.raises(ConfigurationError, match="one model and one seed"):
        train_one(study)


def test_a_second_process_is_kept_out(data, tmp_path):
    import fcntl

    folder = tmp_path / "held"
    folder.mkdir()
    with (folder / ".lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(StorageError, match="another inkproof is writing this folder"):
            run_study(small(data), folder)


def test_other_data_are_noticed(finished, data, tmp_path):
    folder, _, _ = finished
    copy = tmp_path / "small"
    shutil.copytree(folder, copy)
    arrays = dict(np.load(data))
    arrays["x_train"][0, 0, 0] ^= 1
    np.savez(tmp_path / "other.npz", **arrays)
    text = (copy / "results.json").read_text()
    other = json.loads(text)
    other["data"]["path"] = "../other.npz"
    (copy / "results.json").write_text(json.dumps(other))
    with pytest.raises(DataError, match="the study ran on other data"):
        load_study_result(copy)
    (copy / "results.json").write_text(text[:200])
    with pytest.raises(FileFormatError, match=r"results\.json"):
        load_study_result(copy)
    with pytest.raises(StorageError, match="run the study first"):
        load_study_result(tmp_path)


@pytest.mark.parametrize("name", ["../elsewhere", "/tmp/x", "", "a\nb", "x" * 65])  # noqa: S108
def test_names_in_results_are_held_to_those_of_a_study(finished, tmp_path, name):
    folder, _, _ = finished
    values = json.loads((folder / "results.json").read_text())
    values["models"][1]["name"] = name
    (tmp_path / "results.json").write_text(json.dumps(values))
    with pytest.raises(FileFormatError) as caught:
        load_study_result(tmp_path)
    text = str(caught.value)
    assert text.startswith(f"{tmp_path / 'results.json'}: models.1.name: expected letters, digits")
    assert text.endswith("; inkproof run makes it again, and keeps the runs that are complete")
    assert "\n" not in text


def test_damaged_results_are_told_with_their_remedy(finished, tmp_path):
    folder, _, _ = finished
    path = tmp_path / "results.json"
    remedy = "; inkproof run makes it again, and keeps the runs that are complete"
    whole = (folder / "results.json").read_text()
    values = json.loads(whole)
    for text, place in ((whole[:200], "content"), (json.dumps(values | {"data": 1}), "data")):
        path.write_text(text)
        with pytest.raises(FileFormatError) as caught:
            StudyResult.load(path)
        assert str(caught.value).startswith(f"{path}: {place}: ")
        assert str(caught.value).endswith(remedy)
        assert "\n" not in str(caught.value)
    path.write_text(json.dumps(values | {"a\nb": 1}))
    with pytest.raises(FileFormatError, match="a\N{REPLACEMENT CHARACTER}b: "):
        StudyResult.load(path)
    with pytest.raises(StorageError, match="cannot be read: No such file or directory"):
        StudyResult.load(tmp_path / "no.json")


def test_results_beyond_all_bounds_are_not_read(tmp_path):
    path = tmp_path / "results.json"
    path.touch()
    os.truncate(path, (1 << 30) + 1)  # a hole, not bytes
    tracemalloc.start()
    try:
        with pytest.raises(FileFormatError, match="expected at most 1,073,741,824 bytes, got"):
            StudyResult.load(path)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_an_unknown_source_is_told(tmp_path):
    with pytest.raises((UnknownNameError, DataError)):
        run_study(small("mnsit"), tmp_path)


def test_jobs_fill_the_cores():
    assert choose_jobs(2, 12) == 2
    assert choose_jobs(8, 3) == 3
    assert choose_jobs(1, 5) == 1
    assert [threads_each(8, jobs) for jobs in (1, 2, 3, 8, 9)] == [8, 4, 2, 1, 1]


def test_the_last_run_has_the_cores_of_the_others(data, tmp_path, monkeypatch):
    monkeypatch.setenv("INKPROOF_THREADS", "3")
    study = small(data, seeds=1, models=content(data)["models"][:1])
    run_study(study, tmp_path, jobs=3)
    record = json.loads((tmp_path / "a" / "seed-0" / "run.json").read_text())
    assert record["environment"]["threads"] == 3


def test_runs_side_by_side_evaluate_with_their_own_threads(data, tmp_path, monkeypatch):
    monkeypatch.setenv("INKPROOF_THREADS", "4")
    predict, seen = Model.predict, []

    def noted(model, images, *arguments, threads=None, **more):
        seen.append(threads)
        return predict(model, images, *arguments, threads=threads, **more)

    monkeypatch.setattr(Model, "predict", noted)
    run_study(small(data, seeds=2, models=content(data)["models"][:1]), tmp_path, jobs=2)
    assert set(seen) <= {2, 4}  # all cores where the other run has finished
    assert 2 in seen


def test_a_study_of_a_convolutional_network(data, tmp_path):
    convolution = [
        {"type": "Conv2D", "filters": 4, "kernel_size": 3, "use_bias": False},
        {"type": "BatchNormalization"},
        {"type": "Activation", "activation": "relu"},
        {"type": "MaxPool2D"},
        {"type": "Flatten"},
        {"type": "Dropout", "rate": 0.2},
        {"type": "Dense", "units": 3, "activation": "softmax"},
    ]
    study = small(
        data,
        models=[content(data)["models"][0], {"name": "c", "layers": convolution}],
        training={"epochs": 3, "batch_size": 16, "optimizer": {"name": "adam"}},
    )
    events = []
    result = run_study(study, tmp_path / "c", on_event=events.append)
    work = events[0].work
    kernels = 9 * 4 * 6 * 6 + 3 * 3 * 4 * 3
    assert work[RunKey(model="c", seed=0)] == 3 * kernels * 3
    assert work[RunKey(model="a", seed=0)] == 3 * 64 * 3 * 3
    assert result.study["training"]["optimizer"]["name"] == "adam"
    again = run_study(study, tmp_path / "c")
    assert again.models == result.models


# --- Runs that end early --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stopped(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "stopped"
    result = run_study(stopping(data), folder)
    return folder, result


def stopping(data, **changes):
    training = content(data)["training"] | {
        "epochs": 60,
        "early_stopping": {"patience": 2, "min_delta": 0.05},
    }
    return small(data, training=training | changes)


def test_a_run_that_ended_early_is_complete(stopped, data):
    folder, result = stopped
    events = []
    again = run_study(stopping(data), folder, on_event=events.append)
    assert sum(isinstance(event, RunReused) for event in events) == 4
    assert again.models == result.models
    for model in result.models:
        for run in model.runs:
            epochs = len(run.history["loss"])
            assert run.stopped_by == "early_stopping"
            assert run.best_epoch == epochs - 2
            assert 3 <= epochs < 60
            path = folder / run.folder / "run.json"
            record = json.loads(path.read_text())
            assert record["stopped"] == {"by": "early_stopping", "epoch": epochs}
            assert record["best_epoch"] == run.best_epoch
            assert record["params"]["epochs"] == 60
            training = record["configuration"]["training"]
            assert training["early_stopping"]["patience"] == 2
    jsonschema.validate(
        json.loads((folder / "results.json").read_text()), json.loads(json_schema())
    )
    assert StudyResult.load(folder / "results.json") == result


def test_the_best_epochs_model_is_the_one_that_is_tested(stopped, data, tmp_path):
    _, result = stopped
    run = result.models[0].runs[0]
    training = content(data)["training"] | {"epochs": run.best_epoch}
    plain = run_study(small(data, training=training, seeds=[run.seed]), tmp_path / "plain")
    assert plain.models[0].runs[0].test == run.test
    assert plain.models[0].runs[0].stopped_by is None


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record.pop("stopped"),
        lambda record: record["stopped"].update(epoch=2),
        lambda record: record["stopped"].update(by="boredom"),
        lambda record: record.update(stopped=3),
    ],
)
def test_a_record_that_does_not_say_so_is_damaged(stopped, data, tmp_path, change):
    folder, result = stopped
    copy = tmp_path / "stopped"
    shutil.copytree(folder, copy)
    path = copy / "a" / "seed-1" / "run.json"
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))
    events = []
    again = run_study(stopping(data), copy, on_event=events.append)
    assert [event.run for event in events if isinstance(event, RunFinished)] == [
        RunKey(model="a", seed=1)
    ]
    assert losses(again) == losses(result)


def test_a_time_budget_is_on_record(data, tmp_path):
    result = run_study(stopping(data, time_budget_seconds=1e-6), tmp_path / "short")
    for model in result.models:
        assert {run.stopped_by for run in model.runs} == {"time_budget"}
        assert {len(run.history["loss"]) for run in model.runs} == {1}
    assert result.study["training"]["time_budget_seconds"] == 1e-6


# --- Interruptions, for real ----------------------------------------------------------------------


LONG = """
name = "long"
seeds = 2
[data]
source = "{data}"
[training]
epochs = {epochs}
batch_size = 4
[[models]]
name = "a"
layers = [
  {{ type = "Dense", units = 200, activation = "relu" }},
  {{ type = "Dense", units = 3, activation = "softmax" }},
]
"""


def start(study, folder):
    return subprocess.Popen(
        [sys.executable, "-m", "inkproof", "run", str(study), "--out", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


def wait_for_epoch(process, number):
    """Read on until the run of seed 0 has told of an epoch, whose checkpoint is then written."""
    for line in process.stderr:
        if line.startswith("a seed 0") and f"epoch {number:3d}/" in line:
            return
    raise AssertionError("the run ended too early")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_study_goes_on_to_the_same_bits(data, tmp_path, how):
    study = tmp_path / "long.toml"
    study.write_text(LONG.format(data=data, epochs=150))
    process = start(study, tmp_path / "broken")
    wait_for_epoch(process, 20)
    process.send_signal(how)
    begin = time.monotonic()
    _, errors = process.communicate(timeout=20)
    seconds = time.monotonic() - begin
    assert (tmp_path / "broken" / "a" / "seed-0" / "checkpoint.safetensors").exists()
    if how == signal.SIGINT:
        assert process.returncode == 130
        assert seconds < 3  # 0.2 on a quiet machine
        assert "the same command goes on" in errors
        assert "Traceback" not in errors
    process = start(study, tmp_path / "broken")
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert "Report:" in output
    record = json.loads((tmp_path / "broken" / "a" / "seed-0" / "run.json").read_text())
    assert record["timings"]["resumed_from_epoch"] >= 20
    whole = run_study(Study.from_file(study), tmp_path / "whole")
    assert model_bytes(tmp_path / "broken") == model_bytes(tmp_path / "whole")
    resumed = StudyResult.load(tmp_path / "broken" / "results.json")
    assert losses(resumed) == losses(whole)
