"""ONNX Runtime computes from our file what the engine computes."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from inkproof import Dense, Model
from inkproof.errors import StorageError
from inkproof.interop import onnx_bytes, write_onnx
from inkproof.layers import LAYERS, Conv2D, Layer, walk
from interop_samples import MODELS, raw_inputs, sample

onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")


def run(content, inputs):
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    (probabilities,) = session.run(["probabilities"], {given.name: inputs})
    return probabilities


def test_the_samples_have_every_layer():
    models = map(sample, MODELS)
    places = [place for m in models for place in walk(m.layers, m.layer_input_shape)]
    assert {type(place.layer) for place in places} == set(LAYERS.values())


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("count", [1, 5])
def test_the_same_probabilities(name, count):
    model = sample(name)
    inputs = raw_inputs(model, count)
    wanted = model.predict(inputs)
    assert wanted.max() < 0.999  # or there would be nothing to see
    found = run(onnx_bytes(model), inputs)
    assert found.dtype == np.float32
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() < 2e-6


def test_what_a_file_says_of_itself():
    import onnx

    model = sample("dense")
    read = onnx.load_from_string(onnx_bytes(model))
    facts = {item.key: item.value for item in read.metadata_props}
    assert json.loads(facts["class_names"]) == list(model.class_names)
    assert facts["name"] == model.name
    assert read.producer_name == "inkproof"
    (given,) = read.graph.input
    assert given.name == "images"
    assert given.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    shape = [axis.dim_param or axis.dim_value for axis in given.type.tensor_type.shape.dim]
    assert shape == ["n", 9, 8, 2]
    assert {(o.domain, o.version) for o in read.opset_import} == {("", 17)}


def test_vectors_come_as_floats():
    import onnx

    (given,) = onnx.load_from_string(onnx_bytes(sample("vectors"))).graph.input
    assert given.name == "inputs"
    assert given.type.tensor_type.elem_type == onnx.TensorProto.FLOAT


def test_outputs_that_are_images_have_their_channels_last():
    model = Model([Conv2D(4, 2, activation="softmax")], input_shape=(3, 4, 1), seed=1)
    inputs = raw_inputs(model, 2)
    kernel, bias = (array.astype(np.float64) for array in model.weights())
    windows = np.lib.stride_tricks.sliding_window_view(inputs[..., 0] / 255, (2, 2), axis=(1, 2))
    sums = np.einsum("nhwij,ijf->nhwf", windows, kernel[:, :, 0]) + bias
    wanted = np.exp(sums) / np.exp(sums).sum(axis=-1, keepdims=True)
    found = run(onnx_bytes(model), inputs)
    assert found.shape == (2, 2, 3, 4)
    assert np.abs(found - wanted).max() < 1e-6


def test_the_same_bytes_each_time(tmp_path):
    write_onnx(sample("windows"), tmp_path / "a.onnx")
    assert (tmp_path / "a.onnx").read_bytes() == onnx_bytes(sample("windows"))


def test_a_file_that_cannot_be_written(tmp_path):
    with pytest.raises(StorageError, match="cannot be written: No such file or directory"):
        write_onnx(sample("dense"), tmp_path / "none" / "a.onnx")


@pytest.mark.parametrize(
    ("package", "call", "extra"),
    [
        ("onnx", "interop.onnx_bytes(model)", "onnx"),
        ("h5py", "interop.keras_bytes(model)", "keras"),
        ("sklearn", "__import__('inkproof.interop.sklearn')", "sklearn"),
    ],
)
def test_a_missing_package_names_its_extra(package, call, extra):
    script = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "import inkproof; from inkproof import interop\n"
        "model = inkproof.Model([inkproof.Dense(2)], input_shape=(3,))\n"
        "try:\n"
        f"    {call}\n"
        "except inkproof.MissingExtraError as error:\n"
        "    print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.rstrip().endswith(f"needs an extra: pip install 'inkproof[{extra}]'")


def test_an_unknown_layer_is_not_left_out():
    class Odd(Layer):
        def output_shape(self, input_shape):
            return input_shape

    model = Model([Dense(3), Odd()], input_shape=(2,))
    with pytest.raises(AssertionError):
        onnx_bytes(model)
