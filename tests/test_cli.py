"""The command line, as a process: what it prints, where to, and how it ends."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import inkproof
from inkproof import cli, interop
from inkproof.wording import classes_counted

STUDY = """
name = "tiny"
title = "Tiny"
seeds = 2
[data]
source = "small.npz"
hold_out = 0.2
[training]
epochs = {epochs}
batch_size = {batch_size}
[[models]]
name = "a"
layers = [{{ type = "Dense", units = {classes}, activation = "softmax" }}]
[[models]]
name = "b"
layers = [
  {{ type = "{layer}", units = 20, activation = "relu" }},
  {{ type = "Dense", units = {classes}, activation = "softmax" }},
]
"""


def arrays(n, rng):
    labels = rng.integers(0, 3, n)
    images = rng.integers(0, 60, (n, 8, 8)).astype(np.uint8)
    for row, label in enumerate(labels):
        images[row, 2 * label : 2 * label + 3] += 120
    return images, labels


def write_data(path, n=300, **changes):
    rng = np.random.default_rng(0)
    (x_train, y_train), (x_test, y_test) = arrays(n, rng), arrays(100, rng)
    np.savez(
        path,
        **({"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test} | changes),
    )


def write_study(folder, *, epochs=2, batch_size=16, classes=3, layer="Dense", name="tiny.toml"):
    path = folder / name
    path.write_text(
        STUDY.format(epochs=epochs, batch_size=batch_size, classes=classes, layer=layer)
    )
    return path


def call(*arguments, cwd, timeout=180, **more):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("INKPROOF_")}
    environment |= more.pop("env", {})
    return subprocess.run(
        [sys.executable, "-m", "inkproof", *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=timeout,
        env=environment,
        check=False,
        **more,
    )


def assert_refused(done, *parts, code=1):
    assert done.returncode == code, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("inkproof: error: ")
    for part in parts:
        assert part in last
    assert "Traceback" not in done.stderr
    assert "not foreseen" not in done.stderr


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Give a folder in which the tiny study has been run, and what the command printed."""
    folder = tmp_path_factory.mktemp("cli")
    write_data(folder / "small.npz")
    write_study(folder)
    return folder, call("run", "tiny.toml", cwd=folder)


def test_run_prints_a_table_and_the_verdict(done):
    folder, process = done
    assert process.returncode == 0, process.stderr
    lines = process.stdout.splitlines()
    header = next(line for line in lines if line.startswith("model"))
    rows = [line for line in lines if line.startswith(("a ", "b "))]
    assert len(rows) == 2
    assert {len(row) for row in rows} == {len(header)}  # columns align
    assert "[" in rows[0]
    assert "a verdict takes at least six pairs of runs" in process.stdout
    assert "Report:  runs/tiny/report.html" in process.stdout
    assert (folder / "runs" / "tiny" / "report.html").is_file()
    assert (folder / "runs" / "tiny" / "report.md").is_file()
    assert "epoch 2/2" in process.stderr
    assert "\x1b" not in process.stderr + process.stdout


@pytest.mark.parametrize(
    ("over", "runs", "words"),
    [
        (["runs", "runs"], 3, "runs"),
        (["images", "images"], 1, "images"),
        (["images", "images"], 3, "images, since the runs tied"),
        (["images", "runs"], 3, "runs, over images where they tied"),
    ],
)
def test_the_table_says_what_varies(over, runs, words):
    accuracy, loss = (SimpleNamespace(over=one) for one in over)
    model = SimpleNamespace(test_accuracy=accuracy, test_loss=loss, runs=[None] * runs)
    assert cli._varied(SimpleNamespace(models=[model])) == words


def test_the_table_shows_the_intervals_of_the_results(done):
    folder, process = done
    result = json.loads((folder / "runs" / "tiny" / "results.json").read_text())
    for model in result["models"]:
        accuracy, loss = model["test_accuracy"], model["test_loss"]
        assert 0 <= accuracy["low"] < accuracy["high"] <= 1
        assert 0 <= loss["low"] < loss["high"]
        (line,) = [
            one for one in process.stdout.splitlines() if one.startswith(model["name"] + " ")
        ]
        ends = [f"{100 * accuracy[end]:.2f}" for end in ("value", "low", "high")]
        assert f"{ends[0]} % [{ends[1]}, {ends[2]}]" in line
        assert f"[{loss['low']:.4f}, {loss['high']:.4f}]" in line


def test_run_writes_its_text_itself_where_no_other_process_does(
    done, tmp_path, monkeypatch, capsys
):
    folder, _ = done
    shutil.copytree(folder, tmp_path / "x")
    monkeypatch.chdir(tmp_path / "x")
    text = Path("runs/tiny/report.md").read_text()
    Path("runs/tiny/report.md").unlink()
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    cli.app(["run", "tiny.toml"], standalone_mode=False)
    assert "Report:  runs/tiny/report.html" in capsys.readouterr().out
    assert Path("runs/tiny/report.md").read_text() == text


def test_run_again_keeps_what_is_done(done):
    folder, first = done
    again = call("run", "tiny.toml", cwd=folder)
    assert again.returncode == 0
    assert again.stderr.count("already done, kept") == 4
    assert again.stdout == first.stdout


@pytest.mark.parametrize("form", ["html", "markdown", "jekyll"])
def test_report_writes_every_form(done, tmp_path, form):
    folder, _ = done
    process = call("report", folder / "runs/tiny", "--format", form, "--out", tmp_path, cwd=folder)
    assert process.returncode == 0, process.stderr
    written = [Path(line) for line in process.stdout.splitlines()]
    assert written
    assert all(path.is_file() for path in written)
    if form == "jekyll":
        page = (tmp_path / "tiny.md").read_text()
        assert page.startswith("---\n")
        front = page.split("---\n")[1]
        assert [line.split(":")[0] for line in front.splitlines() if line[:1].isalpha()] == [
            "name",
            "tools",
            "image",
            "description",
        ]
        assert sorted((tmp_path / "assets" / "img" / "tiny").glob("*.png"))


def test_diagnose_tables_of_one_and_of_several_runs(done, tmp_path):
    folder, _ = done
    history = folder / "runs" / "tiny" / "a" / "seed-0" / "history.csv"
    process = call("diagnose", history, "--figure", "fit.png", cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    assert [line.split()[0] for line in process.stdout.splitlines()[:6]] == [
        f"IPF00{place}" for place in range(1, 7)
    ]
    assert (tmp_path / "fit.png").is_file()
    golden = Path(__file__).parent / "golden" / "published_history.csv"
    process = call("diagnose", golden, "--validation-images", 6000, "--json", cwd=tmp_path)
    found = json.loads(process.stdout)
    assert list(found) == ["500x2", "512x3"]
    assert found["500x2"][2]["status"] == "failed"
    process = call("diagnose", "missing.csv", cwd=tmp_path)
    assert process.returncode == 1
    assert "missing.csv: cannot be read: No such file or directory" in process.stderr
    (tmp_path / "empty.csv").write_text("epoch,loss\n")
    assert_refused(
        call("diagnose", "empty.csv", cwd=tmp_path),
        "empty.csv: expected at least one epoch, got none",
    )
    (tmp_path / "percent.csv").write_text("epoch,loss,accuracy\n1,0.5,97.2\n")
    assert_refused(
        call("diagnose", "percent.csv", cwd=tmp_path),
        "percent.csv:2: accuracy must be a share from 0 to 1, got '97.2'",
    )


def strict(text):
    def refuse(constant):
        raise AssertionError(constant)

    return json.loads(text, parse_constant=refuse)


def test_diagnose_takes_validation_images_for_several_runs(tmp_path):
    rows = [f"{seed},{epoch},0.1,0.985,0.1,0.97" for seed in (0, 1) for epoch in (1, 2, 3)]
    table = "seed,epoch,loss,accuracy,val_loss,val_accuracy\n" + "\n".join(rows) + "\n"
    (tmp_path / "runs.csv").write_text(table)
    plain = call("diagnose", "runs.csv", "--json", cwd=tmp_path)
    few = call("diagnose", "runs.csv", "--validation-images", 100, "--json", cwd=tmp_path)
    assert strict(plain.stdout)[""][1]["status"] == "failed"
    assert strict(few.stdout)[""][1]["status"] == "passed"


@pytest.mark.parametrize(
    ("p", "text"), [(0.0, "<0.001"), (9.9e-4, "<0.001"), (0.001, "0.001"), (1.0, "1.000")]
)
def test_a_p_value_is_never_written_as_0(p, text):
    assert cli._p_value(p) == text


def test_one_class_is_not_one_classes():
    assert [classes_counted(count) for count in (1, 2, 10)] == [
        "1 class",
        "2 classes",
        "10 classes",
    ]


def test_json_has_null_for_what_is_not_finite(capsys):
    cli._print_json({"a": [float("nan"), np.float64("inf"), np.array([1.0, np.nan])], "b": 0.5})
    assert strict(capsys.readouterr().out) == {"a": [None, None, [1.0, None]], "b": 0.5}


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e308", "-1e308"])
def test_diagnose_prints_json_that_any_reader_takes(tmp_path, value):
    rows = [f"{epoch},{value if epoch % 3 else '0.5'},{value},nan,{value}" for epoch in range(8)]
    table = "epoch,loss,val_loss,accuracy,learning_rate\n" + "\n".join(rows) + "\n"
    (tmp_path / "strange.csv").write_text(table)
    process = call("diagnose", "strange.csv", "--json", cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    assert len(strict(process.stdout)[""]) == 6


def test_compare_evaluate_and_predict(done, tmp_path):
    folder, _ = done
    runs = folder / "runs" / "tiny"
    process = call("compare", runs / "a", runs / "b", cwd=folder)
    assert process.returncode == 0, process.stderr
    assert "McNemar p" in process.stdout
    found = json.loads(call("compare", runs / "a", runs / "b", "--json", cwd=folder).stdout)
    assert [pair["seed"] for pair in found["pairs"]] == [0, 1]
    assert found["verdict"] == "not resolved"
    assert found["margin"] == 0.002
    wide = call("compare", runs / "a", runs / "b", "--margin", 3, "--json", cwd=folder)
    assert json.loads(wide.stdout)["margin"] == 0.03
    assert "What would resolve it: " in process.stdout
    for margin in (-1, 0, 100, "nan"):
        assert_refused(
            call("compare", runs / "a", runs / "b", f"--margin={margin}", cwd=folder),
            f"--margin must be between 0 and 100 points, got {margin}",
        )

    model = runs / "b" / "seed-0" / "model.safetensors"
    shown = call("evaluate", model, "small.npz", cwd=folder)
    assert shown.returncode == 0, shown.stderr
    assert "100 test images" in shown.stdout
    record = json.loads(call("evaluate", model, "small.npz", "--json", cwd=folder).stdout)
    assert record["n"] == 100
    assert np.sum(record["confusion"]) == 100
    assert (
        record["accuracy"]["low"] < record["accuracy"]["value"] < record["accuracy"]["high"] + 1e-9
    )

    test = np.load(folder / "small.npz")
    Image.fromarray(test["x_test"][3]).save(tmp_path / "three.png")
    Image.fromarray(np.zeros((9, 7), np.uint8)).save(tmp_path / "other.png")
    one = call("predict", tmp_path / "three.png", "--model", model, "--json", cwd=folder)
    two = call(
        "predict", "--model", model, "--data", "small.npz", "--index", 3, "--json", cwd=folder
    )
    assert one.returncode == two.returncode == 0, one.stderr + two.stderr
    (first,), (second,) = json.loads(one.stdout), json.loads(two.stdout)
    assert first["probabilities"] == second["probabilities"]
    expected = inkproof.Model.load(model).predict(test["x_test"][3])[0]
    assert first["probabilities"] == pytest.approx(expected.tolist())
    assert first["predicted"] == str(expected.argmax())
    refused = call("predict", tmp_path / "other.png", "--model", model, cwd=folder)
    assert_refused(refused, "other.png", "expected an image of 8x8 pixels", "got 7x9")
    assert call("predict", "--model", model, cwd=folder).returncode == 2


def test_data_of_other_classes_are_refused(tmp_path):
    layers = [inkproof.Dense(3, activation="softmax")]
    for name, classes in (("named", ["apple", "banana", "pear"]), ("plain", None)):
        model = inkproof.Model(layers, input_shape=(8, 8, 1), class_names=classes)
        model.save(tmp_path / f"{name}.safetensors")
    write_data(tmp_path / "same.npz", class_names=np.array(["apple", "banana", "pear"]))
    write_data(tmp_path / "other.npz", class_names=np.array(["banana", "cherry", "pear"]))
    write_data(tmp_path / "turned.npz", class_names=np.array(["pear", "banana", "apple"]))
    for name, data in (("named", "same"), ("plain", "same"), ("plain", "other")):
        good = call("evaluate", f"{name}.safetensors", f"{data}.npz", cwd=tmp_path)
        assert good.returncode == 0, good.stderr
    for data, part in (
        ("other", "data's: the model has 'apple', 'banana', 'pear', the data have 'banana', "),
        ("turned", "data's, in the same order: the model has 'apple', "),
    ):
        bad = call("evaluate", "named.safetensors", f"{data}.npz", cwd=tmp_path)
        assert_refused(bad, "named.safetensors: the model's classes must be the ", part)


def test_test_images_that_were_training_ones_are_told_of(tmp_path):
    rows = np.column_stack([np.arange(60) % 3, np.arange(240).reshape(60, 4)])
    np.savetxt(tmp_path / "small.csv", rows, "%d", ",")
    layers = [inkproof.Dense(3, activation="softmax")]
    inkproof.Model(layers, input_shape=(2, 2, 1)).save(tmp_path / "m.safetensors")
    text = "IPD010 The source has no test images: 10 of its 60 images, a sixth of each class"
    shown = call("data", "small.csv", cwd=tmp_path)
    assert text.replace("IPD010", "IPD010 failed:") in shown.stdout
    for words in (
        ("evaluate", "m.safetensors", "small.csv"),
        ("predict", "--model", "m.safetensors", "--data", "small.csv", "--index", "0"),
    ):
        assert f"inkproof: {text}" in call(*words, cwd=tmp_path).stderr
    study = write_study(tmp_path)
    study.write_text(study.read_text().replace("small.npz", "small.csv"))
    assert call("run", study, cwd=tmp_path).stderr.count(f"inkproof: {text}") == 1


def test_train_saves_a_model(done, tmp_path):
    folder, _ = done
    out = tmp_path / "mine.safetensors"
    process = call("train", "tiny.toml", "--model", "b", "--seed", 1, "--out", out, cwd=folder)
    assert process.returncode == 0, process.stderr
    assert out.read_bytes() == (folder / "runs/tiny/b/seed-1/model.safetensors").read_bytes()
    refused = call("train", "tiny.toml", "--model", "bb", cwd=folder)
    assert_refused(refused, "unknown model 'bb'", "Did you mean 'b'?")


def test_an_interrupted_training_goes_on(done):
    folder, _ = done
    arguments = ["train", "tiny.toml", "--epochs", "400", "--out", "new/deep/m.safetensors"]
    process = subprocess.Popen(
        [sys.executable, "-m", "inkproof", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
    )
    with process:
        for line in process.stderr:
            if "epoch  20/" in line:
                break
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
    assert process.returncode == 130
    assert "m.safetensors.a-seed-0.checkpoint, the same command goes on" in rest
    again = call(*arguments, cwd=folder)
    assert again.returncode == 0, again.stderr
    assert "epoch  20/" not in again.stderr
    assert [path.name for path in (folder / "new/deep").iterdir()] == ["m.safetensors"]
    arguments[-1] = "whole.safetensors"
    assert call(*arguments, cwd=folder).returncode == 0
    whole = (folder / "whole.safetensors").read_bytes()
    assert whole == (folder / "new/deep/m.safetensors").read_bytes()


def test_data_shows_mnist(tmp_path):
    process = call("data", "mnist", "--figure", tmp_path / "mnist.png", cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    assert "(60000, 28, 28) uint8" in process.stdout
    assert "(10000, 28, 28) uint8" in process.stdout
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    for digit, count in enumerate(counts):
        assert any(
            line.split()[:2] == [str(digit), f"{count:,}"] for line in process.stdout.splitlines()
        )
    assert (tmp_path / "mnist.png").stat().st_size > 5000
    record = json.loads(call("data", "mnist", "--json", cwd=tmp_path).stdout)
    assert list(record["train_counts"]) == counts


@pytest.mark.parametrize(
    "command", ["run", "data", "train", "evaluate", "compare", "predict", "read", "report"]
)
def test_every_command_has_an_example(command, tmp_path):
    process = call(command, "--help", cwd=tmp_path)
    assert process.returncode == 0
    assert f"Example: inkproof {command}" in " ".join(process.stdout.split())


def test_help_answers_at_once(tmp_path):
    seconds = []
    for _ in range(5):
        begin = time.perf_counter()
        assert call("--help", cwd=tmp_path).returncode == 0
        seconds.append(time.perf_counter() - begin)
    assert min(seconds) < 0.3
    heavy = ("numpy", "pandas", "matplotlib", "rich")
    code = f"import sys, inkproof.cli; print([m for m in {heavy} if m in sys.modules])"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert loaded.stdout.strip() == "[]"


# --- Other programs' files ------------------------------------------------------------------------

KERAS_FILE = Path(__file__).parent / "golden" / "keras" / "dense.keras"


def test_a_keras_file_becomes_a_model_and_goes_on_to_onnx(tmp_path):
    shutil.copy(KERAS_FILE, tmp_path / "mine.keras")
    scaled = ("--scale", "1/255", "--input-shape", "12,10,1")
    names = ("--class-names", "cat,dog,owl")
    process = call("import", "mine.keras", *scaled, *names, cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    assert "hidden (Dense)" in process.stdout
    assert process.stdout.endswith("Model: mine.safetensors\n")
    model = inkproof.Model.load(tmp_path / "mine.safetensors")
    assert model.class_names == ("cat", "dog", "owl")
    moved = ("--scale", "1/127.5", "--offset", "-1", "--out", "moved.safetensors")
    assert call("import", "mine.keras", *scaled[2:], *moved, cwd=tmp_path).returncode == 0
    steps = inkproof.Model.load(tmp_path / "moved.safetensors").preprocessing
    assert (steps.scale, steps.offset) == (1 / 127.5, -1.0)
    with np.load(KERAS_FILE.with_suffix(".npz")) as file:
        assert np.abs(model.predict(file["raw"]) - file["probabilities"]).max() < 1e-6
    process = call("export", "mine.safetensors", "--to", "onnx", cwd=tmp_path)
    assert (process.stdout, process.returncode) == ("Model: mine.onnx\n", 0)
    assert (tmp_path / "mine.onnx").read_bytes() == interop.onnx_bytes(model)
    # Somebody's own file is not written over unless it is named.
    before = (tmp_path / "mine.keras").read_bytes()
    refused = call("export", "mine.safetensors", "--to", "keras", cwd=tmp_path)
    assert_refused(refused, "mine.keras: is there already; replace it with --out mine.keras")
    assert (tmp_path / "mine.keras").read_bytes() == before
    to = ("--to", "keras", "--out", "mine.keras")
    assert call("export", "mine.safetensors", *to, cwd=tmp_path).returncode == 0
    assert (tmp_path / "mine.keras").read_bytes() == interop.keras_bytes(model)


def test_other_files_that_will_not_do(tmp_path):
    def refuse(*words):
        return call(*words, cwd=tmp_path)

    out = ("--out", "a.safetensors")
    assert_refused(
        refuse("import", KERAS_FILE, "--input-shape", "12,10,1", *out), "give scale=1/255"
    )
    assert_refused(refuse("import", "none.keras"), "none.keras: cannot be read")
    assert_refused(refuse("export", KERAS_FILE, "--to", "onnx"), "inkproof import makes one")
    for words in (("--scale", "half"), ("--scale", "1/0"), ("--input-shape", "12x10")):
        process = refuse("import", KERAS_FILE, *words)
        assert process.returncode == 2
        assert f"{words[0]} must be" in process.stderr
        assert process.stderr.count("\n") == 1
    assert refuse("export", "a.safetensors", "--to", "tflite").returncode == 2
    assert list(tmp_path.iterdir()) == []


# --- Bad input ------------------------------------------------------------------------------------


def test_wrong_usage_is_2(tmp_path):
    for arguments in (["run", "--sedes", "3"], ["fly"], ["evaluate"], ["run", "--seeds", "many"]):
        process = call(*arguments, cwd=tmp_path)
        assert process.returncode == 2, arguments
        assert "Traceback" not in process.stderr


def test_a_truncated_data_file(tmp_path):
    write_data(tmp_path / "small.npz")
    path = tmp_path / "small.npz"
    path.write_bytes(path.read_bytes()[:3000])
    assert_refused(call("run", write_study(tmp_path), cwd=tmp_path), "small.npz")


def test_labels_out_of_range(tmp_path):
    write_data(tmp_path / "small.npz", y_train=np.full(300, -1))
    assert_refused(call("run", write_study(tmp_path), cwd=tmp_path), "-1")


def test_mistakes_in_the_study(tmp_path):
    write_data(tmp_path / "small.npz")
    cases = [
        ({"classes": 4}, ["models[0]", "expected (3,)", "got (4,)"]),
        ({"batch_size": 0}, ["training.batch_size must be a whole number of at least 1, got 0"]),
        ({"layer": "Dnese"}, ["models[1].layers[0].type", "unknown layer 'Dnese'", "'Dense'?"]),
    ]
    for changes, parts in cases:
        assert_refused(
            call("run", write_study(tmp_path, **changes), cwd=tmp_path), "tiny.toml", *parts
        )
    (tmp_path / "small.npz").unlink()
    place = "tiny.toml: data.source: expected mnist or a path, got 'small.npz', which is not there"
    assert_refused(call("run", write_study(tmp_path), cwd=tmp_path), place)
    assert_refused(call("train", write_study(tmp_path), cwd=tmp_path), place)
    assert_refused(call("run", "nothing.toml", cwd=tmp_path), "nothing.toml", "no such study file")
    assert_refused(call("run", "--epochs", 0, cwd=tmp_path), "epochs", "at least 1, got 0")


def test_settings_from_the_environment(tmp_path):
    bad = call("run", cwd=tmp_path, env={"INKPROOF_THREADS": "none"})
    assert_refused(bad, "INKPROOF_THREADS must be a whole number from 1 to 256, got 'none'")
    write_data(tmp_path / "small.npz")
    bad = call("run", write_study(tmp_path), cwd=tmp_path, env={"INKPROOF_ISA": "v5"})
    assert_refused(bad, "INKPROOF_ISA: unknown engine variant 'v5'")


def test_a_folder_that_cannot_be_written(tmp_path):
    write_data(tmp_path / "small.npz")
    study = write_study(tmp_path)
    (tmp_path / "file").write_text("")
    process = call("run", study, "--out", tmp_path / "file" / "below", cwd=tmp_path)
    assert_refused(process, "file/below", "cannot be made: Not a directory")


def test_a_folder_without_permission(tmp_path):
    write_data(tmp_path / "small.npz")
    study = write_study(tmp_path)
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o555)

    def as_anybody():
        # Root heeds permissions, too, once it may no longer override them.
        for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
            ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP

    process = call("run", study, "--out", locked / "x", cwd=tmp_path, preexec_fn=as_anybody)
    assert_refused(process, "locked/x: cannot be made: Permission denied")


def test_a_full_disk(tmp_path):
    write_data(tmp_path / "small.npz")
    study = write_study(tmp_path)

    def little_room():
        # Writing beyond this fails as on a full disk, with an error from the system.
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))

    process = call("run", study, "--out", "out", cwd=tmp_path, preexec_fn=little_room)
    assert_refused(process, "out/")
    assert not list((tmp_path / "out").rglob("run.json"))
    assert not list((tmp_path / "out").rglob("*.tmp*"))
    assert call("run", study, "--out", "out", cwd=tmp_path).returncode == 0


def test_a_reader_that_goes_away(done):
    folder, _ = done
    process = subprocess.Popen(
        [sys.executable, "-m", "inkproof", "data", "mnist"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=folder,
    )
    process.stdout.close()
    errors = process.stderr.read()
    process.wait(timeout=60)
    process.stderr.close()
    assert b"Traceback" not in errors
    assert b"Exception ignored" not in errors


def test_control_characters_of_files_do_not_reach_the_terminal(tmp_path):
    from inkproof.cli import _safe

    assert _safe("a\x1b[31mb\r\n\u202ec") == "a�[31mb���c"
    assert _safe("x" * 400, 10) == "x" * 9 + "…"


def test_pictures_and_pages_are_read(tmp_path):
    images = inkproof.load("mnist").train.images[:3, ..., 0]
    for n, image in enumerate(images):
        large = Image.fromarray(255 - image).resize((150, 150))
        large.save(tmp_path / f"{n}.png")
    (tmp_path / "bad\x1b[31m.png").write_bytes(b"nothing")
    Image.new("L", (50, 50), 255).save(tmp_path / "blank.png")
    files = ["0.png", "bad\x1b[31m.png", "1.png", "blank.png", "2.png"]
    process = call("predict", *files, "--show", "seen", cwd=tmp_path)
    assert process.returncode == 1
    lines = process.stdout.splitlines()
    assert [line.split(" (")[0] for line in lines] == [
        "0.png: 5",
        "1.png: 0",
        "blank.png: not a digit",
        "2.png: 4",
    ]
    assert len(process.stderr.splitlines()) == 1
    assert "something else" in process.stderr
    assert "\x1b" not in process.stderr + process.stdout
    with Image.open(tmp_path / "seen" / "0.png") as seen:
        assert seen.size == (28, 28)
    found = json.loads(call("predict", "0.png", "blank.png", "--json", cwd=tmp_path).stdout)
    assert [one["digit"] for one in found] == [5, None]
    assert sum(found[0]["probabilities"]) == pytest.approx(1)

    page = call("read", "0.png", "--format", "json", "--annotate", "drawn", cwd=tmp_path)
    assert page.returncode == 0, page.stderr
    assert [digit["digit"] for digit in json.loads(page.stdout)[0]["digits"]] == [5]
    with Image.open(tmp_path / "drawn" / "0.png") as drawn:
        assert drawn.size == (150, 150)
    table = call("read", "0.png", "none.png", "--format", "csv", cwd=tmp_path)
    assert table.returncode == 1
    assert "none.png: cannot be read" in table.stderr
    assert table.stdout.splitlines()[0].startswith("photo,line,number,digit,probability")
    assert table.stdout.splitlines()[1].startswith("0.png,1,1,5,")
    assert call("read", "1.png", "2.png", cwd=tmp_path).stdout == "1.png:\n0\n2.png:\n4\n"


@pytest.mark.parametrize(("command", "option"), [("predict", "--show"), ("read", "--annotate")])
def test_no_picture_that_is_read_is_written_over(tmp_path, command, option):
    zero, one = (Image.fromarray(255 - image) for image in mnist_digits(0, 1))
    zero.save(tmp_path / "a.jpg", quality=95)
    for name in ("a.png", "a-2.png"):
        one.save(tmp_path / name)
    (tmp_path / "there").symlink_to(tmp_path)
    (tmp_path / "round").symlink_to("round")
    before = {path: path.read_bytes() for path in tmp_path.glob("*.[jp]*g")}
    # Written under another name: the folder itself, and a link that leads to it.
    files = ["a.jpg", "there/a.png", "a-2.png", "none.png", "round"]
    texts = []
    for _ in range(2):
        process = call(command, *files, option, ".", cwd=tmp_path)
        assert process.returncode == 1
        assert "none.png: cannot be read" in process.stderr
        assert "not foreseen" not in process.stderr
        texts.append(process.stdout)
        assert {path: path.read_bytes() for path in before} == before
        written = {path.name for path in tmp_path.glob("*.png")} - {"a.png", "a-2.png"}
        assert written == {"a-3.png", "a-4.png", "a-2-2.png"}
    assert texts[0] == texts[1]


@pytest.mark.parametrize(("command", "option"), [("predict", "--show"), ("read", "--annotate")])
def test_only_earlier_output_is_replaced(tmp_path, command, option):
    Image.fromarray(255 - mnist_digits(0)[0]).save(tmp_path / "a.png")
    seen = tmp_path / "seen"
    (seen / "a-2.png").mkdir(parents=True)
    (seen / "a-3.png").symlink_to("nowhere")
    Image.new("L", (5, 5)).save(seen / "a.png")
    mine = (seen / "a.png").read_bytes()
    for _ in range(2):
        assert call(command, "a.png", option, "seen", cwd=tmp_path).returncode == 0
        assert (seen / "a.png").read_bytes() == mine
        assert {path.name for path in seen.iterdir()} == {
            f"a{n}.png" for n in ("", "-2", "-3", "-4")
        }
    written = (seen / "a-4.png").read_bytes()
    with Image.open(seen / "a-4.png") as picture:
        picture.load()
        assert picture.info["Software"] == f"inkproof {command} {option}"
    Image.fromarray(255 - mnist_digits(1)[0]).save(tmp_path / "a.png")
    assert call(command, "a.png", option, "seen", cwd=tmp_path).returncode == 0
    assert (seen / "a-4.png").read_bytes() != written
    # What the other command wrote is not this one's.
    other = {"predict": ("read", "--annotate"), "read": ("predict", "--show")}[command]
    written = (seen / "a-4.png").read_bytes()
    assert call(other[0], "a.png", other[1], "seen", cwd=tmp_path).returncode == 0
    assert (seen / "a-4.png").read_bytes() == written
    assert (seen / "a-5.png").is_file()


def mnist_digits(*rows):
    return [inkproof.load("mnist").train.images[row, ..., 0] for row in rows]


def test_a_model_of_one_class_has_no_runner_up(tmp_path):
    model = inkproof.Model(
        [inkproof.Dense(1, activation="softmax")], input_shape=(8, 8, 1), class_names=("only",)
    )
    model.save(tmp_path / "one.safetensors")
    Image.new("L", (8, 8), 50).save(tmp_path / "a.png")
    told = call("predict", "a.png", "--model", "one.safetensors", cwd=tmp_path)
    assert (told.returncode, told.stdout) == (0, "a.png: only (100.00%)\n")
    record = call("predict", "a.png", "--model", "one.safetensors", "--json", cwd=tmp_path)
    assert json.loads(record.stdout) == [
        {
            "image": "a.png",
            "predicted": "only",
            "probability": 1.0,
            "runner_up": None,
            "probabilities": [1.0],
        }
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("a.png --index 7", "--index picks test images of --data, which is not given"),
        ("a.png --index 7 --json", "--index picks test images of --data, which is not given"),
        ("--index 7", "--index picks test images of --data, which is not given"),
        ("a.png --data mnist", "name either pictures, or --data and --index, got both"),
        ("a.png --data mnist --index 7", "name either pictures, or --data and --index, got both"),
        ("--data mnist", "name an image, or --data and --index"),
        ("", "name an image, or --data and --index"),
    ],
)
def test_predict_takes_pictures_or_rows_of_data(tmp_path, words, message):
    process = call("predict", *words.split(), cwd=tmp_path)
    assert process.returncode == 2
    assert process.stdout == ""
    assert process.stderr == f"inkproof: usage: {message}; see --help\n"


def test_predict_takes_rows_of_data(tmp_path):
    process = call("predict", "--data", "mnist", "--index", 7, "--index", 0, cwd=tmp_path)
    assert process.returncode == 0
    labels = inkproof.load("mnist").test.labels
    assert [line.split(": ")[0] for line in process.stdout.splitlines()] == [
        f"test image {row} (target {labels[row]})" for row in (7, 0)
    ]


def test_a_page_that_lies_on_its_side_is_told(tmp_path):
    page = Image.new("L", (60 * 28, 130), 255)
    for place, image in enumerate(mnist_digits(*range(12))):
        page.paste(Image.fromarray(255 - image).resize((84, 84)), (40 + 130 * place, 20))
    page.save(tmp_path / "upright.png")
    turns = {"left": 90, "round": 180, "right": 270}  # against the clock
    for name, degrees in turns.items():
        page.rotate(degrees, expand=True).save(tmp_path / f"{name}.png")
    process = call("read", "upright.png", *(f"{name}.png" for name in turns), cwd=tmp_path)
    assert process.returncode == 0
    side = "the page seems to lie on its side; turn it by a quarter"
    assert process.stderr.splitlines() == [
        f"inkproof: note: left.png: {side} with the clock",
        "inkproof: note: round.png: the page seems to be upside down",
        f"inkproof: note: right.png: {side} against the clock",
    ]
    told = " ".join(call("read", "--help", cwd=tmp_path).stdout.split())
    assert "tilted by at most 15 degrees" in told
