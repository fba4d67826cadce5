"""Keras' files: Keras reads ours, we read its, and nothing in a hostile one does harm."""

from __future__ import annotations

import io
import itertools
import json
import subprocess
import zipfile
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inkproof import Dense, Model
from inkproof.errors import (
    ConfigurationError,
    FileFormatError,
    InkproofError,
    ModelError,
    StorageError,
    UnsupportedError,
)
from inkproof.interop import keras_bytes, read_keras, write_keras
from inkproof.layers import Residual, walk
from interop_samples import IMAGE, MODELS, raw_inputs, sample
from keras_python import keras_python

GOLDEN = Path(__file__).parent / "golden" / "keras"
LOAD = Path(__file__).parent / "golden" / "keras_load.py"
SCALING = {"dense": {"scale": 1 / 255, "input_shape": (12, 10, 1)}, "convnet": {"scale": 1 / 255}}
CONFIG, WEIGHTS = "config.json", "model.weights.h5"


@pytest.mark.parametrize("name", ["convnet", "dense", "residual"])
def test_what_keras_has_saved(name):
    model = read_keras(GOLDEN / f"{name}.keras", **SCALING.get(name, {}))
    with np.load(GOLDEN / f"{name}.npz") as file:
        assert file["probabilities"].max() < 0.99
        assert np.abs(model.predict(file["raw"]) - file["probabilities"]).max() < 1e-6
    assert model.name == name


def test_sums_become_residuals():
    layers = read_keras(GOLDEN / "residual.keras").layers
    outer = [layer for layer in layers if isinstance(layer, Residual)]
    assert len(outer) == 1
    assert [layer.kind for layer in outer[0].layers] == ["Conv2D", "Residual"]
    assert outer[0].layers[1].name == "inner"


@pytest.mark.parametrize("name", MODELS)
def test_there_and_back(name, tmp_path):
    model = sample(name)
    write_keras(model, tmp_path / "a.keras")
    again = read_keras(tmp_path / "a.keras", class_names=model.class_names)
    inputs = raw_inputs(model)
    assert again.predict(inputs).tobytes() == model.predict(inputs).tobytes()
    assert again.input_shape == model.input_shape
    assert again.class_names == model.class_names
    for ours, theirs in zip(model.weights(), again.weights(), strict=True):
        assert ours.tobytes() == theirs.tobytes()
    assert keras_bytes(model) == (tmp_path / "a.keras").read_bytes()


def test_names_that_tensorflow_refuses_are_made_plain(tmp_path):
    write_keras(sample("residual"), tmp_path / "a.keras")
    again = read_keras(tmp_path / "a.keras")
    names = [str(place.layer.name) for place in walk(again.layers, again.layer_input_shape)]
    assert {"h", "h_1", "h_1_1"} <= set(names)  # "h", "h_1" and "h 1"
    assert again.name == "a_residual"


@pytest.mark.keras
def test_keras_reads_all_of_them(tmp_path):
    python = keras_python()
    models = {name.replace(" ", "-"): sample(name) for name in MODELS}
    for name, model in models.items():
        write_keras(model, tmp_path / f"{name}.keras")
        np.save(tmp_path / f"{name}.npy", raw_inputs(model))
    done = subprocess.run([python, LOAD, tmp_path], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    for name, model in models.items():
        inputs = raw_inputs(model)
        found = np.load(tmp_path / f"{name}.found.npy")
        assert np.abs(found - model.predict(inputs)).max() < 2e-6, name
        assert len(json.loads((tmp_path / f"{name}.json").read_text())) >= len(model.layers)
        again = read_keras(tmp_path / f"{name}.again.keras")
        moved = np.load(tmp_path / f"{name}.again.npy")
        assert np.abs(moved - found).max() > 1e-5, name
        assert np.abs(again.predict(inputs) - moved).max() < 2e-6, name


# --- What is asked of whoever reads --------------------------------------------------------------


def test_how_pixels_were_scaled_must_be_said():
    with pytest.raises(ConfigurationError, match="give scale=1/255 if they were divided by 255"):
        read_keras(GOLDEN / "convnet.keras")
    with pytest.raises(ConfigurationError, match=r"give scale=1/255"):
        read_keras(GOLDEN / "dense.keras", input_shape=(12, 10, 1))
    with pytest.raises(ConfigurationError, match="scales its inputs itself, got scale or offset"):
        read_keras(GOLDEN / "residual.keras", scale=1 / 255)


def test_flat_inputs_without_a_shape_are_vectors():
    model = read_keras(GOLDEN / "dense.keras")
    assert model.input_shape == (120,)
    with np.load(GOLDEN / "dense.npz") as file:
        vectors = file["raw"].reshape(6, -1).astype(np.float32) / np.float32(255)
        assert np.abs(model.predict(vectors) - file["probabilities"]).max() < 1e-6


@pytest.mark.parametrize("shape", [(12, 10, 2), (119,), (12, 10)])
def test_a_shape_that_does_not_fit(shape):
    with pytest.raises(ConfigurationError, match="input_shape"):
        read_keras(GOLDEN / "dense.keras", scale=1, input_shape=shape)
    with pytest.raises(ConfigurationError, match="input_shape"):
        read_keras(GOLDEN / "convnet.keras", scale=1, input_shape=shape)


def test_class_names_that_do_not_fit():
    with pytest.raises(ModelError, match="as many units as there are classes"):
        read_keras(GOLDEN / "dense.keras", class_names=["a", "b"])


# --- What may be in a file -----------------------------------------------------------------------


def members(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write_members(path, contents, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return path


def changed(tmp_path, change, name="convnet"):
    """Give a file whose configuration ``change`` has changed in place."""
    contents = members(GOLDEN / f"{name}.keras")
    config = json.loads(contents[CONFIG])
    change(config)
    contents[CONFIG] = json.dumps(config)
    return write_members(tmp_path / "changed.keras", contents)


def layer(config, kind):
    return next(item for item in config["config"]["layers"] if item["class_name"] == kind)


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        ("Conv2D", {"dilation_rate": [2, 2]}, r"dilation_rate must be \[1, 1\], got \[2, 2\]"),
        ("Conv2D", {"groups": 2}, "groups must be 1, got 2"),
        ("Conv2D", {"data_format": "channels_first"}, "data_format must be 'channels_last'"),
        ("Conv2D", {"kernel_size": [9, 9]}, "kernel_size must be a whole number from 1 to 7"),
        ("Conv2D", {"activation": "swish"}, "unknown activation 'swish'"),
        ("Conv2D", {"activation": {"class_name": "mine>f"}}, "unknown activation"),
        ("BatchNormalization", {"axis": 1}, "axis must be -1, got 1"),
        ("LeakyReLU", {"negative_slope": 0.3}, r"negative_slope must be 0\.2, got 0\.3"),
        ("LeakyReLU", {"negative_slope": "0.2"}, "negative_slope must be one number"),
        ("ReLU", {"max_value": 6.0}, r"max_value must be None, got 6\.0"),
        ("Dropout", {"noise_shape": [1]}, "noise_shape must be None"),
        ("Dense", {"units": "3"}, "units must be a whole number"),
        ("Rescaling", {"scale": 10**400}, "scale must be within what float32 holds"),
        ("Rescaling", {"scale": [1.0, 2.0, 3.0]}, "scale must be one number"),
        ("InputLayer", {"batch_shape": [None, None, None, 1]}, "must be"),
    ],
)
def test_what_the_engine_has_not_is_refused_by_name(tmp_path, kind, arguments, message):
    name = "residual" if kind == "Rescaling" else "convnet"
    path = changed(tmp_path, lambda config: layer(config, kind)["config"].update(arguments), name)
    with pytest.raises(UnsupportedError, match=message):
        read_keras(path, scale=None if kind == "Rescaling" else 1)


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("../../etc", "_.._etc"),
        ("a\x1b[31m", "a__31m"),
        ("output:0", "output_0"),
        ("a:b", "a_b"),
        ("ж" * 300, "_" * 80),
        ("", "layer"),
    ],
)
def test_names_that_no_layer_here_can_have_are_made_plain(tmp_path, name, plain):
    def rename(config):
        layer(config, "Flatten")["config"]["name"] = name
        layer(config, "Dense")["config"]["name"] = "a?b"
        config["config"]["name"] = "mnist (v2)"

    with np.load(GOLDEN / "convnet.npz") as file:
        model = read_keras(changed(tmp_path, rename), scale=1 / 255)
        assert np.abs(model.predict(file["raw"]) - file["probabilities"]).max() < 1e-6
    names = [one.name for one in model.layers]
    assert plain in names
    assert ("a_b_1" if name == "a:b" else "a_b") in names
    assert model.name == "mnist _v2_"


def test_logits_are_not_taken_for_probabilities(tmp_path):
    def without(config):
        config["config"]["layers"].pop()

    path = changed(tmp_path, without)
    with pytest.raises(ConfigurationError, match="has no softmax at its end: say --from-logits"):
        read_keras(path, scale=1 / 255)
    with np.load(GOLDEN / "convnet.npz") as file:
        model = read_keras(path, scale=1 / 255, from_logits=True)
        assert np.abs(model.predict(file["raw"]) - file["probabilities"]).max() < 1e-6
    with pytest.raises(ConfigurationError, match="has a softmax at its end, got from_logits"):
        read_keras(GOLDEN / "convnet.keras", scale=1, from_logits=True)


@pytest.mark.parametrize(
    "change",
    [
        {"class_name": "Lambda"},
        {"class_name": "Functional"},
        {"module": "mine", "registered_name": "mine>Dense"},
        {"registered_name": "mine>Dense"},
    ],
)
def test_code_from_a_file_is_refused(tmp_path, change):
    path = changed(tmp_path, lambda config: layer(config, "Dense").update(change))
    with pytest.raises(UnsupportedError, match="no such layer here; known: Activation, Add"):
        read_keras(path, scale=1)


def test_branches_are_refused(tmp_path):
    def branch(config):
        dense = layer(config, "Dense")
        dense["inbound_nodes"][0]["args"][0]["config"]["keras_history"][0] = "inner"

    with pytest.raises(UnsupportedError, match="layers must follow one another: expected the out"):
        read_keras(changed(tmp_path, branch, "residual"))

    def twice(config):
        layer(config, "Dense")["inbound_nodes"] *= 2

    with pytest.raises(UnsupportedError, match="is used 2 times, expected once"):
        read_keras(changed(tmp_path, twice, "residual"))

    def itself(config):
        tensors = layer(config, "Add")["inbound_nodes"][0]["args"][0]
        tensors[0] = tensors[1] = tensors[0]

    with pytest.raises(UnsupportedError, match="expected the sum of"):
        read_keras(changed(tmp_path, itself, "residual"))

    def inner(config):
        config["config"]["output_layers"] = [["inner", 0, 0]]

    with pytest.raises(UnsupportedError, match="expected one output, that of the last layer"):
        read_keras(changed(tmp_path, inner, "residual"))


@pytest.mark.parametrize("name", ["convnet", "residual"])
def test_a_value_of_another_kind_is_a_damaged_file(tmp_path, name):
    """Each value of the configuration becomes two other kinds of things, or goes."""
    original = json.loads(members(GOLDEN / f"{name}.keras")[CONFIG])
    gone = object()

    def places(value, path=()):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            yield (*path, key)
            if isinstance(item, dict | list) and item:
                yield from places(item, (*path, key))

    refused = []
    others = itertools.cycle((7, "x", None, [], {}, gone, 0.5))
    for place, other in zip(2 * list(places(original)), others, strict=False):

        def change(config, place=place, other=other):
            *way, last = place
            for key in way:
                config = config[key]
            if other is gone:
                del config[last]
            else:
                config[last] = other

        try:
            read_keras(changed(tmp_path, change, name), scale=None if name == "residual" else 1)
        except InkproofError as error:
            refused.append(str(error))
    assert len(refused) > 100
    start = str(tmp_path / "changed.keras")
    assert [text for text in refused if not text.startswith(start) or "\n" in text] == []


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ({}, "no config.json in it"),
        ({CONFIG: b"{}"}, "not as Keras 3 writes it"),
        ({CONFIG: b"[]"}, "expected a JSON object"),
        ({CONFIG: b"nonsense"}, "not JSON"),
        ({CONFIG: b"[" * 100_000}, "nested too deeply"),
        ({CONFIG: b'{"a": 1, "a": 2}'}, "a key stands there twice"),
        ({CONFIG: b" " * ((4 << 20) + 1)}, "expected at most 4,194,304 bytes, got 4,194,305"),
    ],
)
def test_what_is_no_keras_file(tmp_path, contents, message):
    with pytest.raises(FileFormatError, match=message):
        read_keras(write_members(tmp_path / "a.keras", contents, zipfile.ZIP_DEFLATED))


@pytest.mark.parametrize("how", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_other_ways_of_packing_are_refused(tmp_path, how):
    path = write_members(tmp_path / "a.keras", members(GOLDEN / "dense.keras"), how)
    with pytest.raises(FileFormatError, match="expected it stored or deflated, not encrypted"):
        read_keras(path)


def test_an_archive_of_a_newer_form(tmp_path):
    content = bytearray((GOLDEN / "dense.keras").read_bytes())
    content[content.index(b"PK\x01\x02") + 6] = 196
    (tmp_path / "a.keras").write_bytes(content)
    with pytest.raises(FileFormatError, match="of Keras 3, or damaged"):
        read_keras(tmp_path / "a.keras")


def test_other_things_than_files(tmp_path):
    (tmp_path / "a.keras").write_bytes(b"no archive")
    with pytest.raises(FileFormatError, match="of Keras 3, or damaged"):
        read_keras(tmp_path / "a.keras")
    for path in (tmp_path, tmp_path / "none.keras"):
        with pytest.raises(StorageError, match="cannot be read"):
            read_keras(path)


def with_weights(tmp_path, change, name="dense"):
    """Give a file whose HDF5 part ``change`` has changed."""
    contents = members(GOLDEN / f"{name}.keras")
    buffer = io.BytesIO(contents[WEIGHTS])
    with h5py.File(buffer, "r+") as file:
        change(file)
    contents[WEIGHTS] = buffer.getvalue()
    return write_members(tmp_path / "changed.keras", contents)


KERNEL = "layers/dense/vars/0"


def replaced(file, **options):
    data = options.pop("data", np.zeros((120, 9), np.float32))
    del file[KERNEL]
    file.create_dataset(KERNEL, data=data, **options)


def linked(link):
    def change(file):
        del file[KERNEL]
        file[KERNEL] = link

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda file: file.pop(KERNEL), f"{KERNEL} is missing"),
        (lambda file: file.pop("layers"), f"{KERNEL} is missing"),
        (linked(h5py.SoftLink("/layers/dense_1/vars/0")), f"{KERNEL} is missing"),
        (linked(h5py.ExternalLink("/etc/passwd", "/")), f"{KERNEL} is missing"),
        (lambda file: replaced(file, data=np.zeros((9, 120), np.float32)), r"expected float32 \("),
        (lambda file: replaced(file, data=np.zeros((120, 9), np.float64)), "got float64"),
        (lambda file: replaced(file, data=np.full((120, 9), np.nan, np.float32)), "finite"),
        (lambda file: replaced(file, compression="gzip"), "lie in the file as they are"),
        (lambda file: (file.pop(KERNEL), file.create_group(KERNEL)), "got a group"),
    ],
)
def test_arrays_that_are_not_what_the_layers_need(tmp_path, change, message):
    with pytest.raises(FileFormatError, match=message):
        read_keras(with_weights(tmp_path, change))


def test_numbers_of_another_file_are_not_read(tmp_path):
    (tmp_path / "secret").write_bytes(bytes(120 * 9 * 4))

    def change(file):
        del file[KERNEL]
        external = [(str(tmp_path / "secret"), 0, 120 * 9 * 4)]
        file.create_dataset(KERNEL, (120, 9), np.float32, external=external)

    with pytest.raises(FileFormatError, match="lie in the file as they are"):
        read_keras(with_weights(tmp_path, change))


def test_an_archive_that_unpacks_to_very_much(tmp_path):
    contents = members(GOLDEN / "dense.keras") | {WEIGHTS: bytes(40 << 20)}
    path = write_members(tmp_path / "bomb.keras", contents, zipfile.ZIP_DEFLATED)
    with pytest.raises(FileFormatError, match=r"model\.weights\.h5: expected at most 16,"):
        read_keras(path)


def test_a_network_too_large_for_memory(tmp_path):
    path = changed(
        tmp_path, lambda config: layer(config, "Dense")["config"].update(units=1 << 20), "dense"
    )
    model_of = "the model may have at most|expected float32|expected at most"
    with pytest.raises(InkproofError, match=model_of):
        read_keras(path)


WHOLE = (GOLDEN / "residual.keras").read_bytes()


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_damaged_files_are_told_as_such(tmp_path_factory, data):
    """Cut off, or with some bytes changed: an error of ours, or a model: some bytes are idle."""
    content = bytearray(WHOLE)
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    for _ in range(data.draw(st.integers(1, 4))):
        if content:
            at = data.draw(st.integers(0, len(content) - 1))
            content[at] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damaged") / "a.keras"
    path.write_bytes(content)
    with suppress(InkproofError):
        assert isinstance(read_keras(path), Model)


def test_the_smallest_model(tmp_path):
    model = Model([Dense(1, activation="softmax")], input_shape=IMAGE)
    write_keras(model, tmp_path / "a.keras")
    assert read_keras(tmp_path / "a.keras").count_params() == model.count_params()
