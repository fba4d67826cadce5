"""Convolution, pooling, batch normalization and dropout: arguments, positions and padding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inkproof.errors import ConfigurationError, ModelError, UnknownNameError
from inkproof.layers import (
    LAYERS,
    PADDINGS,
    AveragePool2D,
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    GlobalAveragePool2D,
    Layer,
    MaxPool2D,
    Residual,
    layer_from_config,
    output_shapes,
)


def test_sizes_become_pairs():
    layer = Conv2D(8, 3, strides=[2, 1])
    assert (layer.kernel_size, layer.window) == ((3, 3), (3, 3))
    assert (layer.strides, layer.step) == ((2, 1), (2, 1))
    assert layer == Conv2D(np.int32(8), (np.int64(3), 3), strides=(2, 1), activation="linear")
    assert MaxPool2D().window == MaxPool2D().step == (2, 2)
    assert AveragePool2D((3, 2)).strides == (3, 2)
    assert AveragePool2D(3, strides=1).strides == (1, 1)


def test_config_has_keras_names_and_json_values():
    assert Conv2D(8, 3).config() == {
        "type": "Conv2D",
        "filters": 8,
        "kernel_size": [3, 3],
        "strides": [1, 1],
        "padding": "valid",
        "activation": "linear",
    }
    assert Conv2D(8, 3, use_bias=False).config()["use_bias"] is False
    assert MaxPool2D(name="p").config() == {
        "type": "MaxPooling2D",
        "pool_size": [2, 2],
        "strides": [2, 2],
        "padding": "valid",
        "name": "p",
    }
    assert Residual([Dropout(0.5)]).config() == {
        "type": "Residual",
        "layers": [{"type": "Dropout", "rate": 0.5}],
    }


@pytest.mark.parametrize("kind", ["MaxPool2D", "AveragePool2D", "GlobalAveragePool2D"])
def test_both_spellings_are_taken(kind: str):
    layer = layer_from_config({"type": kind})
    assert layer == layer_from_config({"type": kind.replace("Pool", "Pooling")}) == LAYERS[kind]()
    assert layer.kind == kind.replace("Pool", "Pooling")


SIZES_THAT_WILL_NOT_DO = [0, 8, -1, 1.0, "33", None, True, (), (3,), (3, 0), (3, 3, 3), (3, "3")]


@pytest.mark.parametrize("value", [*SIZES_THAT_WILL_NOT_DO, np.array([3, 3]), 10**400])
def test_kernels_that_will_not_do(value: Any):
    message = r"must be a whole number from 1 to 7, or two for height and width, got "
    with pytest.raises(ConfigurationError, match=rf"^Conv2D.kernel_size {message}") as caught:
        Conv2D(8, value)
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigurationError, match=rf"^Conv2D.strides {message}"):
        Conv2D(8, 3, strides=value)


@pytest.mark.parametrize("value", [0, 65, "22", (2,), (65, 2)])
def test_pools_that_will_not_do(value: Any):
    with pytest.raises(ConfigurationError, match=r"^MaxPool2D.pool_size must be .* 1 to 64, or "):
        MaxPool2D(value)
    with pytest.raises(ConfigurationError, match=r"^AveragePool2D.strides must be .* 1 to 64, or "):
        AveragePool2D(2, strides=value)


@pytest.mark.parametrize("rate", [-0.1, 1, 1.0, float("nan"), float("inf"), "0.5", None, True])
def test_rates_that_will_not_do(rate: Any):
    message = r"^Dropout.rate must be a number from 0 to less than 1, got "
    with pytest.raises(ConfigurationError, match=message):
        Dropout(rate)


def test_numbers_become_floats():
    assert type(Dropout(0).rate) is float
    assert type(BatchNormalization(momentum=1).momentum) is float


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"momentum": 1.1}, "momentum must be a number from 0 to 1, got 1.1"),
        ({"momentum": float("nan")}, "momentum must be a number from 0 to 1, got nan"),
        ({"epsilon": 0}, "epsilon must be a number above 0 and at most 1, got 0"),
        ({"epsilon": 10**400}, "epsilon must be a number above 0 and at most 1, got 1000"),
        ({"center": 1}, "center must be true or false, got 1"),
        ({"scale": None}, "scale must be true or false, got None"),
    ],
)
def test_batch_normalization_arguments_that_will_not_do(arguments: Any, message: str):
    with pytest.raises(ConfigurationError, match=f"^BatchNormalization.{message}"):
        BatchNormalization(**arguments)


def test_other_arguments_that_will_not_do():
    with pytest.raises(ConfigurationError, match=r"^Conv2D.filters must be a whole number from 1"):
        Conv2D(0, 3)
    with pytest.raises(ConfigurationError, match=r"^Dense.use_bias must be true or false, got 1$"):
        Dense(3, use_bias=1)
    with pytest.raises(ConfigurationError, match=r"^Conv2D.use_bias must be true or false, got ''"):
        Conv2D(3, 3, use_bias="")
    with pytest.raises(
        UnknownNameError,
        match=r"^Conv2D.padding: unknown padding 'Same'; known: same, valid. .*'same'\?$",
    ):
        Conv2D(3, 3, padding="Same")
    with pytest.raises(UnknownNameError, match=r"^MaxPool2D.padding: unknown padding 'None'"):
        MaxPool2D(padding=None)


def padded_windows(size: int, window: int, stride: int, pads: tuple[int, int]) -> list[range]:
    """All windows inside the padded image, as pixels of the image."""
    begin, end = -pads[0], size + pads[1]
    return [range(at, at + window) for at in range(begin, end - window + 1, stride)]


@given(
    st.sampled_from([(Conv2D, 7), (MaxPool2D, 64)]).flatmap(
        lambda made: st.tuples(st.just(made[0]), *[st.integers(1, made[1])] * 4)
    ),
    st.tuples(st.integers(1, 64), st.integers(1, 64)),
    st.sampled_from(PADDINGS),
)
def test_positions_are_those_of_windows_in_the_padded_image(
    made: Any, image: tuple[int, int], padding: str
):
    kind, height, width, down, right = made
    first = (4,) if kind is Conv2D else ()
    layer = kind(*first, (height, width), strides=(down, right), padding=padding)
    shape = (*image, 4)
    if padding == "valid" and (height > image[0] or width > image[1]):
        with pytest.raises(
            ModelError, match=r"^the window .* is larger than the image .*\"same\"$"
        ):
            layer.output_shape(shape)
        return
    pads = layer.pads(shape)
    axes = zip(image, layer.window, layer.step, pads, layer.output_shape(shape)[:2], strict=True)
    for size, window, stride, (before, after), positions in axes:
        windows = padded_windows(size, window, stride, (before, after))
        assert len(windows) == positions
        if padding == "valid":
            assert before == after == 0
            continue
        assert positions == -(-size // stride)
        assert after - before in (0, 1)
        # Each window has a pixel of the image, and no more is padded than what the last one needs.
        assert all(set(at) & set(range(size)) for at in windows)
        assert before + after == 0 or windows[-1].stop == size + after


@pytest.mark.parametrize("layer", [Conv2D(2, 3), MaxPool2D(), GlobalAveragePool2D()])
def test_layers_for_images_refuse_vectors(layer: Layer):
    with pytest.raises(
        ModelError,
        match=r"^layers\[0\] .*: expected images \(height, width, channels\), got \(9,\)$",
    ):
        output_shapes([layer], (9,))
