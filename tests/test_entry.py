"""Commands that do not wait for the parser of all commands do what it would have had them do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import inkproof.photo.commands as commands
from inkproof import entry
from inkproof.cli import app

WORDS = (
    *("predict", "read", "a.png", "b.png", "./-c.png", "", "-", "--", "-x", "a=b", "--help"),
    *("--json", "--model", "--show", "--annotate", "--format", "json", "csv", "text", "xml"),
    *("--format=json", "--index", "--data", "3", "mnist", "other.safetensors"),
)


class Calls(list):
    """What the work was asked for; models called other do not read digits."""

    def __init__(self, patch):
        patch.setattr(commands, "predict_pictures", self.predict)
        patch.setattr(commands, "read_photos", self.read)
        patch.setattr(
            commands, "takes_digits", lambda model: model is None or "other" not in str(model)
        )

    def predict(self, paths, model, *, show, as_json):
        self.append(("predict", list(paths), model, show, as_json))
        return 7

    def read(self, paths, model, *, form, annotate):
        self.append(("read", list(paths), model, form, annotate))
        return 8


def parsed(words):
    """What the parser makes of it: the calls and the exit code; None for wrong usage."""
    with pytest.MonkeyPatch.context() as patch:
        calls = Calls(patch)
        try:
            code = app(words, standalone_mode=False)
        except typer.Exit as end:
            code = end.exit_code
        return list(calls), code


def direct(words):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENBLAS_NUM_THREADS", "1")
        calls = Calls(patch)
        work = entry._direct(words)
        return None if work is None else (list(calls), work(), list(calls))


@given(st.sampled_from(["predict", "read"]), st.lists(st.sampled_from(WORDS), max_size=6))
def test_what_goes_directly_is_what_the_parser_says(command, words):
    found = direct([command, *words])
    if found is not None:
        before, code, calls = found
        assert before == []
        assert parsed([command, *words]) == (calls, code)


@pytest.mark.parametrize(
    "words",
    [
        "predict a.png",
        "predict a.png b.png --json",
        "predict --show seen --model m.safetensors a.png",
        "read a.png",
        "read --format csv a.png --annotate seen b.png",
        "read --model m.safetensors a.png",
    ],
)
def test_what_is_asked_for_most_goes_directly(words):
    _, code, calls = direct(words.split())
    assert len(calls) == 1
    assert parsed(words.split()) == (calls, code)


@pytest.mark.parametrize(
    "words",
    [
        "",
        "--help",
        "--version",
        "--traceback predict a.png",
        "run",
        "predict",
        "predict --help",
        "predict a.png --help",
        "predict --data mnist --index 3",
        "predict a.png --model other.safetensors",
        "predict a.png --model",
        "predict a.png --model m --model n",
        "predict a.png --show --json",
        "predict a.png --format json",
        "predict -- -a.png",
        "predict -a.png",
        "read",
        "read a.png --json",
        "read a.png --format xml",
        "read a.png --format=json",
        "read a.png --annotate -seen",
    ],
)
def test_all_else_goes_to_the_parser(words):
    assert direct(words.split()) is None


def test_reading_imports_no_parser_and_no_scipy(tmp_path):
    Image.new("L", (60, 60), 255).save(tmp_path / "a.png")
    heavy = ("typer", "pydantic", "rich", "scipy", "pandas", "matplotlib", "numpy.ma")
    code = (
        "import atexit, sys; from inkproof.entry import main; "
        f"atexit.register(lambda: print([m for m in {heavy} if m in sys.modules])); main()"
    )
    for command in ("predict", "read"):
        process = subprocess.run(
            [sys.executable, "-c", code, command, "a.png"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        assert process.stdout.splitlines()[-1] == "[]"


def test_errors_end_as_they_do_elsewhere(tmp_path):
    for words in (["predict", "none.png"], ["read", "none.png"]):
        process = run(words, tmp_path)
        assert process.returncode == 1
        assert process.stderr.startswith("inkproof: error: none.png: cannot be read")
    process = run(["read", "a.png", "--model", "none\x1b.safetensors"], tmp_path)
    assert process.returncode == 1
    assert process.stderr == (
        "inkproof: error: none\N{REPLACEMENT CHARACTER}.safetensors: cannot be read: "
        "No such file or directory\n"
    )


def test_a_reader_that_goes_away(tmp_path):
    Image.new("L", (60, 60), 255).save(tmp_path / "a.png")
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as closed:
        process = subprocess.run(
            [sys.executable, "-m", "inkproof", "read", "a.png"],
            cwd=tmp_path,
            stdout=closed,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert process.returncode == 1
    assert process.stderr == ""


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "words",
    [
        "read a.png",
        "predict a.png --json",
        "read -- a.png",
        "read a.png --format json",
        "predict --data mnist --index 3",
        "--version",
        "read --help",
    ],
)
def test_output_that_cannot_be_written_is_one_line(tmp_path, words, unbuffered):
    Image.new("L", (60, 60), 255).save(tmp_path / "a.png")
    process = into_full_device(words, tmp_path, unbuffered)
    assert process.returncode == 1
    assert process.stderr == (
        "inkproof: error: the output cannot be written: No space left on device\n"
    )


def test_output_that_cannot_be_written_hides_no_other_error(tmp_path):
    # The first line is printed, but not yet written, when the second image gets too long a name.
    name = f"{'b' * 251}.png"
    (tmp_path / "c").mkdir()
    for path in (tmp_path / name, tmp_path / "c" / name):
        Image.fromarray(drawn_one()).save(path)
    words = f"predict {name} c/{name} --show seen"
    process = into_full_device(words, tmp_path)
    assert process.returncode == 1
    assert len(process.stderr.splitlines()) == 1
    assert process.stderr.startswith("inkproof: error: seen/bbb")


def test_closed_output_is_no_fault(tmp_path):
    Image.new("L", (60, 60), 255).save(tmp_path / "a.png")
    for words in ("read a.png", "--version"):
        process = subprocess.run(
            [sys.executable, "-m", "inkproof", *words.split()],
            cwd=tmp_path,
            preexec_fn=lambda: os.close(1),
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        assert (process.returncode, process.stderr) == (0, "")


def drawn_one():
    image = np.full((60, 60), 255, np.uint8)
    image[10:50, 28:33] = 0
    return image


def into_full_device(words, folder: Path, unbuffered=""):
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    with Path("/dev/full").open("w") as full:
        return subprocess.run(
            [sys.executable, "-m", "inkproof", *words.split()],
            cwd=folder,
            stdout=full,
            stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
            text=True,
            check=False,
        )


def run(words, folder: Path):
    return subprocess.run(
        [sys.executable, "-m", "inkproof", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
