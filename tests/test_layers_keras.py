"""What Keras makes of the same networks: see golden/make_layers.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inkproof.errors import ModelError
from inkproof.layers import layer_from_config, named, output_shapes, walk
from inkproof.model import Model

GOLDEN = json.loads((Path(__file__).parent / "golden" / "layers.json").read_text(encoding="utf-8"))
NETWORKS = GOLDEN["networks"]
INITIALIZERS = {"GlorotUniform": "glorot_uniform", "Ones": "ones", "Zeros": "zeros"}


def layers_of(network: dict[str, Any]) -> Any:
    return named([layer_from_config(config) for config in network["layers"]])


def model_of(network: dict[str, Any]) -> Model:
    return Model(layers_of(network), input_shape=network["input_shape"], name="net")


def test_every_kind_of_layer_is_there_often():
    kinds = [layer.kind for network in NETWORKS for layer in layers_of(network)]
    for kind in (
        *("Activation", "AveragePooling2D", "BatchNormalization", "Conv2D", "Dense", "Dropout"),
        *("Flatten", "GlobalAveragePooling2D", "MaxPooling2D", "Residual"),
    ):
        assert kinds.count(kind) >= 20, kind
    assert len(GOLDEN["refused"]) >= 10


def test_names_and_shapes_are_keras_own():
    for network in NETWORKS:
        layers = layers_of(network)
        assert [layer.name for layer in layers] == network["names"]
        shapes = output_shapes(layers, tuple(network["input_shape"]))
        assert [list(shape) for shape in shapes] == network["output_shapes"]


def test_weights_are_keras_own_in_keras_order():
    for network in NETWORKS:
        weights = [
            [f"{place.path}/{spec.name}", list(spec.shape), spec.trainable, spec.initializer]
            for place in walk(layers_of(network), tuple(network["input_shape"]))
            for spec in place.own_weights
        ]
        assert weights == [
            [path, shape, trainable, INITIALIZERS[initializer]]
            for path, shape, trainable, initializer in network["weights"]
        ]
        counts = [
            place.layer.count_params(place.input_shape)
            for place in walk(layers_of(network), tuple(network["input_shape"]))
            if "/" not in place.path
        ]
        assert counts == network["parameters"]


def test_models_have_these_weights():
    for network in NETWORKS[:20]:
        model = model_of(network)
        weights = model.weights()
        assert [list(array.shape) for array in weights] == [
            shape for _, shape, _, _ in network["weights"]
        ]
        for array, (_, _, _, initializer) in zip(weights, network["weights"], strict=True):
            if initializer != "GlorotUniform":
                np.testing.assert_array_equal(array, 1.0 if initializer == "Ones" else 0.0)
        assert model.count_params() == sum(network["parameters"])


@pytest.mark.parametrize("number", [i for i, each in enumerate(NETWORKS) if "summary" in each])
def test_tables_are_keras_own(number: int):
    assert model_of(NETWORKS[number]).summary().split("\n") == NETWORKS[number]["summary"]


def test_what_keras_refuses_is_refused():
    for network in GOLDEN["refused"]:
        last = len(network["layers"]) - 1
        with pytest.raises(ModelError, match=rf"^layers\[{last}\] .*: the window "):
            output_shapes(layers_of(network), tuple(network["input_shape"]))
