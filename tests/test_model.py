from __future__ import annotations

import copy
import itertools
import json
import math
import pickle
import threading
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from inkproof import model as model_module
from inkproof.errors import (
    ConfigurationError,
    ModelError,
    StorageError,
    UnknownNameError,
    UnsupportedError,
)
from inkproof.layers import (
    Activation,
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePool2D,
    Layer,
    MaxPool2D,
    Residual,
)
from inkproof.model import Model, Preprocessing


def notebook_model(**arguments: Any) -> Model:
    return Model(
        [
            Dense(500, activation="relu", name="hidden_1"),
            Dense(500, activation="relu", name="hidden_2"),
            Dense(10, activation="softmax", name="output"),
        ],
        input_shape=(28, 28, 1),
        name="500x2",
        **arguments,
    )


def small_model(**arguments: Any) -> Model:
    settings = {"input_shape": (3, 2, 1), "name": "small"} | arguments
    return Model([Dense(4, activation="relu"), Dense(3, activation="softmax")], **settings)


def residual_model(**arguments: Any) -> Model:
    block = [Conv2D(8, 3, padding="same", use_bias=False), BatchNormalization()]
    return Model(
        [
            Conv2D(8, 3, activation="relu"),
            Residual([*block, Activation("relu")]),
            MaxPool2D(),
            GlobalAveragePool2D(),
            Dropout(0.1),
            Dense(10, activation="softmax"),
        ],
        input_shape=(32, 30, 3),
        name="residual",
        **arguments,
    )


def forward(weights: list[Any], inputs: np.ndarray) -> np.ndarray:
    """Compute in float64 what a relu network with softmax at its end gives."""
    values = inputs.astype(np.float64)
    for kernel, bias in zip(weights[:-2:2], weights[1:-2:2], strict=True):
        values = np.maximum(values @ kernel.astype(np.float64) + bias, 0)
    logits = values @ weights[-2].astype(np.float64) + weights[-1]
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


class FakeNetwork:
    """Stands for the engine's network and notes what it is asked."""

    def __init__(
        self, layers: tuple[Layer, ...], input_shape: tuple[int, ...], threads: int | None
    ) -> None:
        self.layers, self.input_shape, self.threads = layers, input_shape, threads
        self.weights: list[Any] = []
        self.loads = 0
        self.batches: list[Any] = []
        self.shares: list[int | None] = []

    def share_among(self, threads: int | None) -> None:
        self.shares.append(threads)

    def set_weights(self, weights: list[Any]) -> None:
        self.weights = [array.copy() for array in weights]
        self.loads += 1

    def predict(self, inputs: Any, *, scale: float, offset: float) -> Any:
        assert inputs.flags.c_contiguous
        self.batches.append(inputs)
        return forward(self.weights, inputs * scale + offset).astype(np.float32)


@pytest.fixture
def networks(monkeypatch: pytest.MonkeyPatch) -> list[FakeNetwork]:
    made: list[FakeNetwork] = []

    def new_network(*arguments: Any) -> FakeNetwork:
        made.append(FakeNetwork(*arguments))
        return made[-1]

    monkeypatch.setattr(model_module, "_new_network", new_network)
    return made


def test_what_a_model_says_of_itself():
    model = notebook_model()
    assert model.name == "500x2"
    assert model.input_shape == (28, 28, 1)
    assert model.layer_input_shape == (784,)
    assert model.output_shape == (10,)
    assert model.num_classes == 10
    assert model.class_names == tuple("0123456789")
    assert model.count_params() == 648_010
    assert model.preprocessing == Preprocessing(scale=1 / 255, offset=0.0, flatten=True)
    assert model.takes_images
    assert [layer.name for layer in model.layers] == ["hidden_1", "hidden_2", "output"]
    assert repr(model) == "Model('500x2', (28, 28, 1) -> (10,), 648,010 parameters)"


def test_a_flatten_first_is_left_to_the_layers():
    model = Model([Flatten(), Dense(10)], input_shape=(28, 28, 1))
    assert model.preprocessing == Preprocessing(scale=1 / 255)
    assert model.layer_input_shape == (28, 28, 1)
    assert model.count_params() == 7850


def test_a_convolution_first_keeps_colour_images_as_they_are():
    model = residual_model()
    assert model.preprocessing == Preprocessing(scale=1 / 255)
    assert model.layer_input_shape == model.input_shape == (32, 30, 3)
    assert model.output_shape == (10,)
    assert [layer.name for layer in model.layers] == [
        *("conv2d", "residual", "max_pooling2d", "global_average_pooling2d", "dropout", "dense"),
    ]
    images = np.zeros((2, 32, 30, 3), np.uint8)
    assert model.flat_inputs(images).shape == model.flat_inputs(images[0]).repeat(2, 0).shape
    with pytest.raises(ModelError, match=r"expects uint8 \(n, 32, 30, 3\) or \(32, 30, 3\), got"):
        model.flat_inputs(images[..., 0])


def test_weights_of_layers_inside_others():
    model = residual_model()
    shapes = [(3, 3, 3, 8), (8,), (3, 3, 8, 8), (8,), (8,), (8,), (8,), (8, 10), (10,)]
    weights = model.weights()
    assert [array.shape for array in weights] == shapes
    assert model.count_params() == sum(array.size for array in weights)
    assert model.summary().endswith(
        " Trainable params: 906 (3.54 KB)\n Non-trainable params: 16 (64.00 B)"
    )
    weights[6] = weights[6] + 1  # the running variance
    model.set_weights(weights)
    np.testing.assert_array_equal(model.weights()[6], np.full(8, 2.0, np.float32))
    weights[6][3] = -0.5
    with pytest.raises(
        ModelError,
        match=r"weights\[6\] \(residual/batch_normalization/moving_variance\): expected variances "
        r"of at least 0, got -0.5$",
    ):
        model.set_weights(weights)


def test_layers_inside_others_count_as_layers():
    with pytest.raises(
        ConfigurationError, match=r"1 to 1000 layers, those inside others included, got 1001$"
    ):
        Model([Residual([Activation("relu")] * 999), Dense(2)], input_shape=(3,))


def test_no_layer_may_give_too_much():
    with pytest.raises(
        ModelError,
        match=r"^layers\[0\] 'conv2d' \(Conv2D\): a layer may give at most 16,777,216 numbers, "
        r"got \(64, 64, 4097\)$",
    ):
        Model([Conv2D(4097, 1), GlobalAveragePool2D()], input_shape=(64, 64, 1))


def test_vectors_are_left_as_they_are():
    model = Model([Dense(10)], input_shape=(784,))
    assert model.preprocessing == Preprocessing(scale=1.0, offset=0.0, flatten=False)
    assert not model.takes_images


@given(st.lists(st.integers(1, 60), min_size=2, max_size=6))
def test_weights_have_keras_order_layout_and_count(sizes: list[int]):
    model = Model([Dense(units) for units in sizes[1:]], input_shape=(sizes[0],))
    weights = model.weights()
    expected = []
    for inputs, units in itertools.pairwise(sizes):
        expected += [(inputs, units), (units,)]
    assert [array.shape for array in weights] == expected
    assert all(array.dtype == np.float32 for array in weights)
    assert model.count_params() == sum(map(math.prod, expected))


def test_the_seed_fixes_the_initial_weights():
    first, again, other = (small_model(seed=seed).weights() for seed in (1, 1, 2))
    for a, b, c in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert (a == c).all() == (a.ndim == 1)  # biases are zero for every seed


def test_weights_are_copies_both_ways():
    model = small_model()
    before = model.get_weights()
    model.weights()[0][:] = 5
    np.testing.assert_array_equal(model.weights()[0], before[0])
    mine = [array + 1 for array in before]
    model.set_weights(mine)
    mine[0][:] = 7
    np.testing.assert_array_equal(model.weights()[0], before[0] + 1)


def test_set_weights_takes_other_real_types():
    model = small_model()
    model.set_weights([array.astype(np.float64) for array in model.weights()])
    model.set_weights([np.asfortranarray(array.astype(np.int8)) for array in model.weights()])
    assert all(array.dtype == np.float32 and array.flags.c_contiguous for array in model.weights())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w[:-1], r"expected 4 arrays \(dense/kernel, dense/bias, .*\), got 3$"),
        (
            lambda w: [w[0].T, *w[1:]],
            r"weights\[0\] \(dense/kernel\): expected float32 \(6, 4\), got float32 \(4, 6\)$",
        ),
        (
            lambda w: [*w[:3], w[3] * np.nan],
            r"weights\[3\] \(dense_1/bias\): expected finite numbers, got infinity or NaN$",
        ),
        (lambda w: [*w[:3], np.full(3, 1e39)], r"expected finite numbers"),
        (lambda w: [*w[:3], np.array(["a"] * 3)], r"expected float32 \(3,\), got <U1 \(3,\)$"),
        (lambda w: [*w[:3], np.ones(3, complex)], r"got complex128"),
    ],
)
def test_wrong_weights_are_refused_and_change_nothing(change: Any, message: str):
    model = small_model()
    before = model.weights()
    with pytest.raises(ModelError, match=message):
        model.set_weights(change(model.weights()))
    for a, b in zip(before, model.weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"layers": []}, ConfigurationError, "model.layers must be 1 to 1000 layers, got 0$"),
        ({"layers": Dense(3)}, ConfigurationError, "got one layer outside a list$"),
        ({"layers": [Dense(1)] * 1001}, ConfigurationError, "got 1001$"),
        ({"layers": ["Dense"]}, ConfigurationError, r"^layers\[0\] must be a layer"),
        ({"name": "a/b"}, ConfigurationError, "^model.name must be 1 to 100 letters"),
        ({"input_shape": (28, 28)}, ConfigurationError, "^model.input_shape must be"),
        ({"seed": -1}, ConfigurationError, r"^model.seed must be .* 2\*\*64 - 1, got -1$"),
        ({"seed": 2**64}, ConfigurationError, "^model.seed"),
        ({"seed": 1.5}, ConfigurationError, "^model.seed .* got 1.5$"),
        ({"seed": True}, ConfigurationError, "^model.seed"),
        ({"class_names": "abc"}, ConfigurationError, "class_names must be a list"),
        ({"class_names": ["a", "", "c"]}, ConfigurationError, r"class_names\[1\] must be 1 to"),
        ({"class_names": ["a", "b\n", "c"]}, ConfigurationError, r"class_names\[1\]"),
        ({"class_names": ["a", "b", 3]}, ConfigurationError, r"class_names\[2\]"),
        (
            {"class_names": ["a", "b"]},
            ModelError,
            r"^the last layer, 'dense_1' \(Dense\), must have as many units as there are classes: "
            r"expected \(2,\), got \(3,\)$",
        ),
        (
            {"preprocessing": Preprocessing()},
            ModelError,
            r"^layers\[0\] 'dense' \(Dense\): expected a flat input",
        ),
        (
            {"layers": [Dense(1 << 20), Dense(1 << 20)]},
            ModelError,
            "at most 268,435,456 parameters, got ",
        ),
    ],
)
def test_arguments_that_will_not_do(
    arguments: dict[str, Any], error: type[Exception], message: str
):
    settings = {
        "layers": [Dense(4, activation="relu"), Dense(3, activation="softmax")],
        "input_shape": (3, 2, 1),
    } | arguments
    with pytest.raises(error, match=message) as caught:
        Model(settings.pop("layers"), **settings)
    assert "\n" not in str(caught.value)


def test_predict_gives_the_probabilities(networks: list[FakeNetwork]):
    model = small_model(seed=3)
    images = np.random.default_rng(0).integers(0, 256, (5, 3, 2), dtype=np.uint8)
    got = model.predict(images)
    assert got.dtype == np.float32
    assert got.shape == (5, 3)
    assert networks[0].layers == model.layers
    assert networks[0].input_shape == (6,)
    np.testing.assert_allclose(got, forward(model.weights(), images.reshape(5, 6) / 255), rtol=1e-6)
    np.testing.assert_array_equal(model.predict(images[..., None]), got)
    np.testing.assert_array_equal(model.predict(images[0]), got[:1])
    np.testing.assert_array_equal(model.predict(images[0][..., None]), got[:1])
    assert model.predict(images[:0]).shape == (0, 3)


def test_preprocessing_is_inside(networks: list[FakeNetwork]):
    model = Model(
        [Dense(4, activation="relu"), Dense(3, activation="softmax")],
        input_shape=(6,),
        preprocessing=Preprocessing(scale=2.0, offset=-1.0),
    )
    rows = np.random.default_rng(0).random((4, 6), dtype=np.float32)
    expected = forward(model.weights(), rows * 2.0 - 1.0)
    np.testing.assert_allclose(model.predict(rows), expected, rtol=1e-5)
    assert len(networks) == 1


@given(st.integers(1, 8))
def test_batches_change_nothing(batch_size: int):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_module, "_new_network", FakeNetwork)
        model = small_model()
        images = np.arange(42, dtype=np.uint8).reshape(7, 3, 2)
        whole = model.predict(images)
        np.testing.assert_allclose(model.predict(images, batch_size), whole, rtol=1e-6)


def test_the_network_is_kept_until_the_weights_change(networks: list[FakeNetwork]):
    model = small_model()
    image = np.zeros((3, 2), np.uint8)
    for _ in range(3):
        model.predict(image)
    assert [network.loads for network in networks] == [1]
    model.set_weights([np.zeros_like(array) for array in model.weights()])
    np.testing.assert_allclose(model.predict(image), np.full((1, 3), 1 / 3), rtol=1e-6)
    assert [network.loads for network in networks] == [2]


def test_predict_takes_as_many_threads_as_it_is_told(networks: list[FakeNetwork]):
    model = small_model()
    image = np.zeros((3, 2), np.uint8)
    for threads in (None, 1, 1, 2, None):
        model.predict(image, threads=threads)
    assert networks[0].shares == [1, 2, None]
    twin = pickle.loads(pickle.dumps(model))  # noqa: S301
    twin.predict(image)
    assert [network.shares for network in networks] == [[1, 2, None], []]
    other = small_model()
    other.predict(image, threads=1)
    other.predict(image, threads=2)
    assert [network.threads for network in networks] == [None, None, 1]
    assert networks[2].shares == [2]


def test_threads_change_no_prediction(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("INKPROOF_THREADS", "3")
    model = small_model(seed=5)
    images = np.random.default_rng(1).integers(0, 256, (300, 3, 2), dtype=np.uint8)
    expected = model.predict(images)
    for threads in (1, 2, None):
        np.testing.assert_array_equal(model.predict(images, threads=threads), expected)
    with pytest.raises(ConfigurationError, match=r"threads must be 1 to \d+, got 0"):
        model.predict(images, threads=0)
    np.testing.assert_array_equal(model.predict(images, threads=1), expected)


def test_wrong_images_are_refused_before_the_engine_sees_them(networks: list[FakeNetwork]):
    with pytest.raises(ModelError, match=r"^model 'small' expects uint8 .*raw pixels, 0-255"):
        small_model().predict(np.zeros((1, 3, 2)))
    with pytest.raises(ConfigurationError, match="batch_size must be at least 1, got 0"):
        small_model().predict(np.zeros((1, 3, 2), np.uint8), batch_size=0)
    assert networks == []


def test_threads_may_share_a_model(networks: list[FakeNetwork]):
    model = small_model()
    images = np.arange(60, dtype=np.uint8).reshape(10, 3, 2)
    results: list[Any] = []
    threads = [
        threading.Thread(target=lambda: results.append(model.predict(images))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(networks) == 1
    assert len(results) == 8
    for result in results:
        np.testing.assert_array_equal(result, results[0])


@pytest.mark.parametrize("how", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])  # noqa: S301
def test_copies_are_independent(how: Any, networks: list[FakeNetwork]):
    model = small_model()
    image = np.full((3, 2), 200, np.uint8)
    before = model.predict(image)
    other = how(model)
    np.testing.assert_array_equal(other.predict(image), before)
    other.set_weights([np.zeros_like(array) for array in other.weights()])
    np.testing.assert_array_equal(model.predict(image), before)
    assert len(networks) == 2


# The engine itself, against float64.


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.integers(1, 40), min_size=0, max_size=2),
    st.integers(2, 12),
    st.integers(1, 70),
    st.integers(0, 2**32),
)
def test_the_engine_agrees_with_float64(hidden: list[int], classes: int, count: int, seed: int):
    layers = [Dense(units, activation="relu") for units in hidden]
    model = Model([*layers, Dense(classes, activation="softmax")], input_shape=(5, 4, 1), seed=seed)
    images = np.random.default_rng(seed).integers(0, 256, (count, 5, 4), dtype=np.uint8)
    expected = forward(model.weights(), images.reshape(count, -1) / 255)
    got = model.predict(images)
    assert got.shape == (count, classes)
    np.testing.assert_allclose(got, expected, atol=2e-6)


def test_the_engine_takes_vectors_and_separate_activations():
    model = Model(
        [Dense(9), Activation("relu"), Dense(3), Activation("softmax")], input_shape=(7,), seed=5
    )
    rows = np.random.default_rng(1).standard_normal((33, 7)).astype(np.float32)
    np.testing.assert_allclose(model.predict(rows), forward(model.weights(), rows), atol=2e-6)


def test_what_the_engine_cannot_do_is_said():
    model = Model([Dense(3)], input_shape=(2,))
    with pytest.raises(UnsupportedError, match=r"^layers\[0\] 'dense' \(Dense\): .*softmax"):
        model.predict(np.zeros((1, 2), np.float32))


# Configurations.

config_layers = st.one_of(
    st.builds(Dense, st.integers(1, 20), activation=st.sampled_from(["linear", "relu", "softmax"])),
    st.builds(Activation, st.sampled_from(["linear", "relu", "softmax"])),
)


@given(
    st.lists(config_layers, max_size=5),
    st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 3))
    | st.tuples(st.integers(1, 50)),
    st.lists(
        st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=100),
        min_size=1,
        max_size=9,
    ),
    st.floats(-1e3, 1e3).filter(lambda value: abs(value) > 1e-20),
    st.floats(-1e3, 1e3),
)
def test_config_round_trips_through_json(
    layers: list[Layer], shape: tuple[int, ...], names: list[str], scale: float, offset: float
):
    model = Model(
        [Flatten(), *layers, Dense(len(names))],
        input_shape=shape,
        name="round trip",
        class_names=names,
        preprocessing=Preprocessing(scale=scale, offset=offset),
    )
    again = Model.from_config(json.loads(json.dumps(model.config())))
    assert again.config() == model.config()
    assert again.layers == model.layers
    assert again.preprocessing == model.preprocessing
    assert again.class_names == tuple(names)
    assert again.input_shape == shape
    for a, b in zip(again.weights(), model.weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_config_needs_little():
    model = Model.from_config({"layers": [{"type": "Dense", "units": 3}], "input_shape": [4]})
    assert model.name == "sequential"
    assert model.preprocessing == Preprocessing()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"layers": None}, ConfigurationError, "model must be a table with a list of layers"),
        (
            {"layers": [{"type": "Dense", "units": 2}, {"type": "Dens"}]},
            UnknownNameError,
            r"^layers\[1\].type: unknown layer 'Dens'.*Did you mean 'Dense'",
        ),
        ({"layers": [{}] * 1001}, ConfigurationError, "must be 1 to 1000 layers, got 1001"),
        ({"input_shapes": [4]}, UnknownNameError, "unknown key 'input_shapes'.*'input_shape'"),
        ({"input_shape": None}, ConfigurationError, "model.input_shape must be"),
        ({"name": 5}, ConfigurationError, "model.name must be"),
        ({"preprocessing": {"scal": 1}}, ConfigurationError, "must be a table of flatten, offset"),
        ({"preprocessing": [1]}, ConfigurationError, "preprocessing must be a table"),
        ({"preprocessing": {"scale": "1"}}, ConfigurationError, "preprocessing.scale must be"),
    ],
)
def test_a_wrong_config_says_where(change: dict[str, Any], error: type[Exception], message: str):
    config = small_model().config() | change
    with pytest.raises(error, match=message) as caught:
        Model.from_config(config)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_a_config_without_input_shape():
    config = small_model().config()
    del config["input_shape"]
    with pytest.raises(ConfigurationError, match=r"^model.input_shape is missing$"):
        Model.from_config(config)


# Pictures.


def test_the_diagram_shows_layers_and_shapes():
    root = ET.fromstring(notebook_model().plot())  # noqa: S314  # our own text
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts[:8] == [
        "input",
        "uint8 images, 0 to 255, divided by 255, flattened",
        "Output shape: (None, 28, 28, 1)",
        "hidden_1",
        "Dense, relu, 392,500 parameters",
        "Input shape: (None, 784)",
        "Output shape: (None, 500)",
        "hidden_2",
    ]
    assert texts[-1] == "Output shape: (None, 10)"


def test_the_diagram_shows_what_is_inside_a_block():
    root = ET.fromstring(residual_model().plot(show_shapes=False))  # noqa: S314  # our own text
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts == [
        *("input", "uint8 images, 0 to 255, divided by 255"),
        *("conv2d", "Conv2D, 3x3, relu, 224 parameters"),
        *("conv2d_1", "Conv2D, 3x3, same, linear, 576 parameters"),
        *("batch_normalization", "BatchNormalization, 32 parameters"),
        *("activation", "Activation, relu"),
        *("residual", "Residual, adds its input, 608 parameters"),
        *("max_pooling2d", "MaxPooling2D, 2x2"),
        *("global_average_pooling2d", "GlobalAveragePooling2D"),
        *("dropout", "Dropout, rate 0.1"),
        *("dense", "Dense, softmax, 90 parameters"),
    ]


def test_plot_writes_by_the_files_ending(tmp_path: Path):
    model = notebook_model()
    text = model.plot(tmp_path / "a.svg")
    assert (tmp_path / "a.svg").read_text(encoding="utf-8") == text
    assert model.plot(str(tmp_path / "b.PNG"), show_shapes=False) != text
    with Image.open(tmp_path / "b.PNG") as image:
        assert image.format == "PNG"
    with pytest.raises(UnknownNameError, match=r"c.pdf: unknown diagram format '.pdf'; known: "):
        model.plot(tmp_path / "c.pdf")
    with pytest.raises(StorageError, match=r"no/d.svg: cannot be written"):
        model.plot(tmp_path / "no" / "d.svg")
