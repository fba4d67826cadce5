"""Reading digits with any model that can."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import inkproof as ip
from inkproof.errors import FileFormatError, InkproofError, ModelError, StorageError
from inkproof.photo.reader import Calibration, Reader, Reading, calibration_path, combine

DIGITS = tuple("0123456789")


def model(names=DIGITS, *, seed=0, input_shape=(28, 28, 1), name="small"):
    layers = [
        ip.Flatten(),
        ip.Dense(16, activation="relu"),
        ip.Dense(len(names), activation="softmax"),
    ]
    return ip.Model(layers, input_shape=input_shape, class_names=names, seed=seed, name=name)


def images(count=7, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 28, 28), dtype=np.uint8)


def softmax(logits):
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


def logits_of(model, pixels):
    kernel_1, bias_1, kernel_2, bias_2 = (w.astype(np.float64) for w in model.weights())
    hidden = np.maximum(pixels.reshape(len(pixels), -1) / 255 @ kernel_1 + bias_1, 0)
    return hidden @ kernel_2 + bias_2


@pytest.mark.parametrize("none_at", [None, 0, 4, 10])
@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_a_reading_is_what_numpy_makes_of_the_weights(none_at, temperature):
    names = list(DIGITS)
    if none_at is not None:
        names.insert(none_at, "none")
    small = model(tuple(names), seed=3)
    pixels = images()
    found = Reader(small, Calibration(temperature=temperature, threshold=0.9)).read(pixels)
    logits = logits_of(small, pixels) / temperature
    columns = [names.index(digit) for digit in DIGITS]
    wanted = softmax(logits[:, columns])
    np.testing.assert_allclose([one.probabilities for one in found], wanted, atol=2e-6)
    ranked = np.argsort(-wanted, axis=1)
    assert [one.digit for one in found] == ranked[:, 0].tolist()
    assert [one.runner_up for one in found] == ranked[:, 1].tolist()
    for row, one in enumerate(found):
        assert one.probability == one.probabilities[one.digit]
        assert one.runner_up_probability == one.probabilities[one.runner_up]
        score = one.probability
        if none_at is None:
            assert one.ink is None
        else:
            score = 1 - softmax(logits)[row, none_at]
            assert one.ink == pytest.approx(score, abs=2e-6)
        assert one.is_digit == (score >= 0.9)


def test_classes_are_found_by_their_names():
    shuffled = ("9", "none", *"81726354", "0")
    small = model(shuffled)
    for one, row in zip(Reader(small).read(images()), small.predict(images()), strict=True):
        assert shuffled[int(np.argmax(np.where(np.arange(11) == 1, 0, row)))] == str(one.digit)


@given(
    st.integers(1, 5),
    st.floats(0.05, 20),
    st.integers(0, 2**32 - 1),
    st.booleans(),
)
@settings(max_examples=60)
def test_probabilities_stay_probabilities(count, temperature, seed, sure):
    rng = np.random.default_rng(seed)
    raw = rng.dirichlet(np.full(11, 0.01 if sure else 1.0), count).astype(np.float32)
    digits, ink = combine(raw[:, :10], raw[:, 10], temperature)
    np.testing.assert_allclose(digits.sum(axis=1), 1)
    assert ((digits >= 0) & (digits <= 1)).all()
    assert ((ink >= 0) & (ink <= 1)).all()


@pytest.mark.parametrize("at", range(11))
def test_a_network_that_is_quite_sure(at):
    raw = np.eye(11, dtype=np.float32)[[at]]
    digits, ink = combine(raw[:, :10], raw[:, 10], 0.05)
    np.testing.assert_allclose(digits.sum(), 1)
    assert ink[0] == pytest.approx(0.0 if at == 10 else 1.0)
    if at < 10:
        assert digits[0, at] == pytest.approx(1)


def test_no_images_no_readings():
    assert Reader(model()).read(np.empty((0, 28, 28), np.uint8)) == []


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((2, 28, 28), np.float32),
        np.zeros((28, 28), np.uint8),
        np.zeros((1, 28, 28, 1), np.uint8),
        np.zeros((1, 20, 20), np.uint8),
    ],
)
def test_other_images_are_refused(wrong):
    with pytest.raises(ModelError, match=r"a reader expects uint8 \(n, 28, 28\), got"):
        Reader(model()).read(wrong)


@pytest.mark.parametrize(
    ("names", "shape", "part"),
    [
        (("only",), (28, 28, 1), "expected the classes 0 to 9, .* got 'only'"),
        (("cat", "dog"), (28, 28, 1), "expected the classes 0 to 9, with or without 'none'"),
        (tuple("0123456788"[:9]), (28, 28, 1), "expected the classes 0 to 9"),
        ((*DIGITS, "O"), (28, 28, 1), "expected the classes 0 to 9"),
        ((*DIGITS, "none", "10"), (28, 28, 1), "expected the classes 0 to 9"),
        (DIGITS, (32, 32, 1), r"grey images 28x28 \(28, 28, 1\), got \(32, 32, 1\)"),
        (DIGITS, (28, 28, 3), r"got \(28, 28, 3\)"),
    ],
)
def test_a_model_of_something_else_is_one_clear_line(tmp_path, names, shape, part):
    path = tmp_path / "other.safetensors"
    model(names, input_shape=shape).save(path)
    with pytest.raises(ModelError, match=part) as caught:
        Reader.load(path)
    assert str(caught.value).startswith(f"{path}: model 'small': ")
    assert "\n" not in str(caught.value)


def test_a_model_of_vectors_is_refused():
    vectors = ip.Model([ip.Dense(10, activation="softmax")], input_shape=(784,))
    with pytest.raises(ModelError, match=r"got \(784,\)"):
        Reader(vectors)


def test_a_model_of_a_runs_folder_is_read_without_a_calibration(tmp_path):
    path = tmp_path / "model.safetensors"
    model(name="mine").save(path)
    reader = Reader.load(path)
    assert reader.name == "mine"
    assert not reader.knows_none
    assert reader.calibration == Calibration()
    assert [one.ink for one in reader.read(images())] == [None] * 7


def saved(folder, **changed):
    path = folder / "model.safetensors"
    model((*DIGITS, "none")).save(path)
    Calibration(temperature=0.5, threshold=0.25).save(calibration_path(path))
    if changed:
        beside = calibration_path(path)
        beside.write_text(json.dumps(json.loads(beside.read_text()) | changed))
    return path


def test_a_calibration_is_found_beside_the_model(tmp_path):
    reader = Reader.load(saved(tmp_path))
    assert reader.knows_none
    assert reader.calibration == Calibration(temperature=0.5, threshold=0.25)


@pytest.mark.parametrize(
    ("changed", "part"),
    [
        ({"temperature": 0}, "temperature must be a number from 0.01 to 100, got 0"),
        ({"temperature": 10**400}, "temperature must be"),
        ({"temperature": True}, "temperature must be"),
        ({"temperature": float("nan")}, "temperature must be"),
        ({"threshold": -0.1}, "threshold must be a number from 0 to 1, got -0.1"),
        ({"threshold": "0.5"}, "threshold must be"),
        ({"threshold": None}, "threshold must be"),
        ({"format": 2}, "expected calibration format 1, got 2"),
        ({"format": "1"}, "expected a calibration"),
        ({"model_sha256": "abc"}, "model_sha256 must be 64 hexadecimal digits"),
        ({"model_sha256": "0" * 64}, "belongs to another model"),
    ],
)
def test_a_wrong_calibration_is_one_clear_line(tmp_path, changed, part):
    path = saved(tmp_path, **changed)
    with pytest.raises(FileFormatError) as caught:
        Reader.load(path)
    assert str(caught.value).startswith(f"{calibration_path(path)}: ")
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 60_000, b" " * 70_000]
)
def test_a_calibration_that_is_none_is_one_clear_line(tmp_path, content):
    path = saved(tmp_path)
    calibration_path(path).write_bytes(content)
    with pytest.raises(FileFormatError, match=r"model\.calibration\.json: ") as caught:
        Reader.load(path)
    assert "\n" not in str(caught.value)


@given(st.data())
@settings(max_examples=40)
def test_a_damaged_model_is_one_clear_line(tmp_path_factory, data):
    path = saved(tmp_path_factory.mktemp("model"))
    content = bytearray(path.read_bytes())
    cut = data.draw(st.integers(0, len(content) - 1))
    path.write_bytes(content[:cut])
    with pytest.raises(InkproofError) as caught:
        Reader.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(StorageError, match=r"no\.safetensors: cannot be read"):
        Reader.load(tmp_path / "no.safetensors")


def test_a_reading_cannot_be_changed():
    one = Reader(model()).read(images(1))[0]
    assert isinstance(one, Reading)
    with pytest.raises(AttributeError):
        one.digit = 3


def test_reading_needs_neither_pandas_nor_training():
    code = (
        "import sys; from inkproof.photo.reader import Reader; Reader.load();"
        "print([m for m in ('pandas', 'matplotlib', 'scipy', 'pydantic', 'inkproof.training')"
        " if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
