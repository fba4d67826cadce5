"""The benchmarks' runner and tables, on work so small that its times mean nothing."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"
ITEMS = 784 * 500 + 500 * 500 + 500 * 10


def module(name):
    spec = importlib.util.spec_from_file_location(f"benchmarks_{name}", FOLDER / f"{name}.py")
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def dense(*arguments):
    return subprocess.run(
        [sys.executable, FOLDER / "dense.py", *arguments],
        check=False,
        capture_output=True,
        text=True,
    )


def test_the_runner_measures_inkproof_alone(tmp_path: Path):
    done = dense(
        *("--peers", "", "--workloads", "500x2,500x2-dense", "--epochs", "3"),
        *("--images", "1800", "--pause", "0", "--out", str(tmp_path)),
    )
    assert done.returncode == 0, done.stderr
    files = sorted((tmp_path / "results").iterdir())
    on_mnist, on_dense = sorted((json.loads(file.read_text()) for file in files), key=len_of_name)
    assert [on_mnist["workload"], on_dense["workload"]] == ["500x2", "500x2-dense"]
    for content in (on_mnist, on_dense):
        assert (content["train_images"], content["validation_images"]) == (1800, 200)
        # 6 operations for each weight and image, but none for the gradient of the inputs.
        assert content["training_flops_per_epoch"] == (6 * ITEMS - 2 * 784 * 500) * 1800
        [ours] = content["participants"]
        assert ours["threads"] == content["machine"]["cores"] >= 1
        assert len(ours["rounds"]) == 3
        losses = [numbers["loss"] for numbers in ours["rounds"]]
        assert losses == sorted(losses, reverse=True)
        for numbers in ours["rounds"]:
            parts = numbers["train_seconds"] + numbers["validation_seconds"]
            assert 0 < numbers["train_seconds"] < numbers["seconds"] == pytest.approx(parts)
    assert on_mnist["participants"][0]["rounds"][-1]["val_accuracy"] > 0.5
    page = (tmp_path / "RESULTS.md").read_text()
    assert "## 784-500-500-10 on MNIST" in page
    assert "## 784-500-500-10 on dense random inputs" in page
    assert page.count("| Inkproof | inkproof ") == 2


def len_of_name(content):
    return len(content["workload"])


def participant(name, kind="training", **columns):
    rounds = [
        {"others_cpu_seconds": 0.02, **dict(zip(columns, values, strict=True))}
        for values in zip(*columns.values(), strict=True)
    ]
    return {
        "name": name,
        "label": name.title(),
        "kind": kind,
        "isa": "v4",
        "versions": {name: "1.0"},
        "rounds": rounds,
    }


def content(*participants):
    return {
        "workload": "500x2",
        "train_images": 54000,
        "validation_images": 6000,
        "batch_size": 32,
        "learning_rate": 0.01,
        "training_flops_per_epoch": 100_000_000_000,
        "date": "2026-01-02T03:04:05+00:00",
        "command": "python benchmarks/dense.py",
        "commit": "abc",
        "machine": {"processor": "P", "cores": 2, "os": "O", "python": "3", "load_before": 0.0},
        "participants": participants,
    }


OURS = {
    "seconds": (1.0, 2.0, 4.0),
    "train_seconds": (0.5, 1.0, 2.0),
    "val_accuracy": (0.1, 0.2, 0.9),
}


def test_ratios_are_of_one_round():
    slow = participant(
        "slow", seconds=(8.0, 12.0, 40.0), train_seconds=(4, 6, 20), val_accuracy=(0.1, 0.2, 0.8)
    )
    lines = module("render").measurement(content(participant("inkproof", **OURS), slow))
    rows = [line for line in lines if line.startswith("| ")]
    assert rows[2] == (
        "| Inkproof | inkproof 1.0 | 2.000 [1.000 - 4.000] | 1.000 [0.500 - 2.000] | 1 | 0.9000 |"
    )
    # The ratios are 8, 6 and 10; that of the medians would be 6.
    assert rows[3] == (
        "| Slow | slow 1.0 | 12.000 [8.000 - 40.000] | 6.000 [4.000 - 20.000] "
        "| 8.0 [6.0 - 10.0] | 0.8000 |"
    )
    assert any("validation accuracy after 4 epochs" in line for line in lines)
    [line] = [line for line in lines if "other programs took" in line]
    assert "0 % of the cores' time in the median turn, 1 % in the worst" in line


def test_ratios_are_to_both_precisions_where_both_were_measured():
    half = participant(
        "inkproof-bfloat16", **OURS | {"seconds": (0.5, 1.0, 1.0), "train_seconds": (0.4, 0.8, 0.9)}
    )
    slow = participant("slow", **OURS | {"seconds": (8.0, 12.0, 40.0)})
    lines = module("render").measurement(content(participant("inkproof", **OURS), half, slow))
    [header, *rows] = [line for line in lines if line.startswith(("| program", "| Ink", "| Slow"))]
    assert "ratio to Inkproof | ratio to Inkproof-Bfloat16 |" in header
    assert "| 1 | 2.0 [2.0 - 4.0] |" in rows[0]
    assert "| 0.5 [0.2 - 0.5] | 1 |" in rows[1]
    assert "| 8.0 [6.0 - 10.0] | 16.0 [12.0 - 40.0] |" in rows[2]


def test_predictions_and_growth_have_tables():
    render = module("render")
    ours = participant("inkproof", batch_1=(0.001, 0.002, 0.003), batch_1000=(0.01, 0.01, 0.02))
    theirs = participant("peer", batch_1=(0.002, 0.002, 0.002), batch_1000=(0.04, 0.01, 0.02))
    lines = render.inference(content(ours, theirs) | {"sizes": [1, 1000]})
    assert lines[-2:] == [
        "| 1 | 2.000 [1.000 - 3.000] | 2.000 [2.000 - 2.000] | 1.00 [0.67 - 2.00] |",
        "| 1,000 | 10.0 [10.0 - 20.0] | 20.0 [10.0 - 40.0] | 1.00 [1.00 - 4.00] |",
    ]
    point = {"value": 4096, "images": 1200, "seconds": 2.0, "ideal_seconds": 1.5}
    memory = {"width": 512, "taken": 13.1, "weights": 2.6, "state": 5.1}
    grown = content() | {"isa": "v4", "sweeps": {"width": [point]}, "memory": [memory]}
    lines = render.scaling(grown)
    assert "| width | 4,096 | 1,200 | 2.000 | 75 |" in lines
    assert lines[-1] == "| 512 | Adam | 13 | 3 | 5 | 79 |"


def test_the_share_of_matrix_products_is_of_one_round():
    library = participant(
        "mkl",
        kind="sgemm",
        seconds=(5, 5, 5),
        gflops=(200.0, 200.0, 100.0),
        gflops_by_shape=({"a": 200.0, "b": 1.0}, {"a": 200.0}, {"a": 1.0, "b": 100.0}),
    )
    lines = module("render").measurement(content(participant("inkproof", **OURS), library))
    # 200, 100 and 50 GFLOP/s of ours against 200, 200 and 100.
    assert lines[-1] == "| Mkl | mkl 1.0 | 200 [100 - 200] | a; b | 50 [50 - 100] |"
    assert any(line.startswith("Inkproof trains at 100 [50 - 200] GFLOP/s") for line in lines)


def test_all_files_become_one_page(tmp_path: Path):
    folder = tmp_path / "results"
    folder.mkdir()
    for day in (1, 2):
        found = content(participant("inkproof", **OURS)) | {"date": f"2026-01-0{day}T00:00:00"}
        (folder / f"{day}.json").write_text(json.dumps(found))
    starts = content() | {"workload": "startup", "commands": {"inkproof --help": [0.1, 0.3, 0.2]}}
    (folder / "startup.json").write_text(json.dumps(starts))
    page = module("render").write(tmp_path).read_text()
    assert page.index("2026-01-02") < page.index("2026-01-01") < page.index("## Start-up")
    assert page.count("## 784-500-500-10 on MNIST") == 1
    assert "| `inkproof --help` | 0.200 [0.100 - 0.300] |" in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--peers", "keras"), "--peers: unknown 'keras'; known: inkproof-bfloat16, keras-"),
        (("--workloads", "mnist"), "--workloads: unknown 'mnist'; known: 500x2, 512x3, "),
        (("--epochs", "0"), "--epochs must be at least 1"),
    ],
)
def test_a_wrong_argument_is_named(arguments, message):
    done = dense(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
