from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inkproof.errors import ConfigurationError, ModelError, UnknownNameError, UnsupportedError
from inkproof.layers import (
    ACTIVATIONS,
    LAYERS,
    MAX_DEPTH,
    MAX_UNITS,
    PADDINGS,
    Activation,
    AveragePool2D,
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePool2D,
    Layer,
    MaxPool2D,
    Residual,
    check_name,
    dense_stack,
    layer_from_config,
    named,
    output_shapes,
)

activations = st.sampled_from(ACTIVATIONS)
names = st.none() | st.from_regex(
    r"[A-Za-z0-9_][A-Za-z0-9_.\- ]{0,98}[A-Za-z0-9_\-]", fullmatch=True
)


def sizes(most: int) -> st.SearchStrategy[Any]:
    return st.integers(1, most) | st.tuples(st.integers(1, most), st.integers(1, most))


paddings = st.sampled_from(PADDINGS)
convolutions = st.builds(
    Conv2D,
    st.integers(1, MAX_UNITS),
    sizes(7),
    strides=sizes(7),
    padding=paddings,
    activation=st.none() | activations,
    use_bias=st.booleans(),
    name=names,
)
pools = st.sampled_from([MaxPool2D, AveragePool2D]).flatmap(
    lambda pool: st.builds(
        pool, sizes(64), strides=st.none() | sizes(64), padding=paddings, name=names
    )
)
plain_layers = st.one_of(
    st.builds(
        Dense,
        st.integers(1, MAX_UNITS),
        activation=st.none() | activations,
        use_bias=st.booleans(),
        name=names,
    ),
    st.builds(Activation, activations, name=names),
    st.builds(Flatten, name=names),
    st.builds(GlobalAveragePool2D, name=names),
    st.builds(Dropout, st.floats(0, 1, exclude_max=True), name=names),
    st.builds(
        BatchNormalization,
        momentum=st.floats(0, 1),
        epsilon=st.floats(0, 1, exclude_min=True),
        center=st.booleans(),
        scale=st.booleans(),
        name=names,
    ),
    convolutions,
    pools,
)
layers = st.recursive(
    plain_layers,
    lambda inner: st.builds(Residual, st.lists(inner, min_size=1, max_size=3), name=names),
    max_leaves=6,
).filter(lambda layer: nesting(layer) <= MAX_DEPTH)


def nesting(layer: Layer) -> int:
    return 1 + max(map(nesting, layer.layers)) if isinstance(layer, Residual) else 0


def all_of(stack: Any) -> list[Layer]:
    """The layers and those inside them, in the order in which they are written."""
    result = []
    for layer in stack:
        result += [layer, *all_of(getattr(layer, "layers", ()))]
    return result


def nameless(layer: Layer) -> dict[str, Any]:
    config = layer.config()
    config.pop("name", None)
    if isinstance(layer, Residual):
        config["layers"] = [nameless(inner) for inner in layer.layers]
    return config


def test_dense_has_keras_arguments():
    layer = Dense(500, activation="relu", name="hidden_1")
    assert (layer.units, layer.activation, layer.name, layer.kind) == (
        500,
        "relu",
        "hidden_1",
        "Dense",
    )
    assert Dense(3).activation == "linear"
    assert Dense(3) == Dense(3, activation="linear")


def test_layers_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Dense(3).units = 4


def test_arguments_after_the_first_are_keyword_only():
    with pytest.raises(TypeError):
        Dense(3, "relu")


@pytest.mark.parametrize("units", [np.int64(7), np.uint8(7), 7])
def test_units_may_be_any_integer_type_and_become_int(units: Any):
    assert type(Dense(units).units) is int
    assert Dense(units) == Dense(7)


@pytest.mark.parametrize(
    "units", [0, -1, MAX_UNITS + 1, 1.0, "5", None, True, 10**400, [5], np.array([5, 5])]
)
def test_units_that_will_not_do(units: Any):
    with pytest.raises(
        ConfigurationError, match=r"^Dense.units must be a whole number from 1 to 1,048,576, got "
    ) as caught:
        Dense(units)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


def test_an_unknown_activation_suggests_the_nearest():
    message = (
        r"^Dense.activation: unknown activation 'ReLU'; known: gelu, leaky_relu, linear, relu, "
        r"sigmoid, softmax, tanh. Did you mean 'relu'\?$"
    )
    with pytest.raises(UnknownNameError, match=message):
        Dense(3, activation="ReLU")
    with pytest.raises(UnknownNameError, match=r"^Activation.activation: .*mean 'softmax'"):
        Activation("sofmax")
    with pytest.raises(UnknownNameError, match="unknown activation 'None'"):
        Activation(None)


@pytest.mark.parametrize("name", ["a", "hidden_1", "500x2", "a b.c-d", "_", "x" * 100])
def test_names_that_will_do(name: str):
    check_name(name, "name")
    assert Flatten(name=name).name == name


@pytest.mark.parametrize(
    "name",
    ["", "x" * 101, "a/b", "..", ".", ".a", "a.", " a", "a ", "-a", "ä", "a\n", "a\x00", "<b>", 5],
)
def test_names_that_will_not_do(name: Any):
    with pytest.raises(ConfigurationError, match=r"^Flatten.name must be 1 to 100 letters"):
        Flatten(name=name)


@given(layers)
def test_config_round_trips_through_json(layer: Layer):
    config = json.loads(json.dumps(layer.config()))
    assert layer_from_config(config) == layer


def test_config_is_that_of_a_study_file():
    assert Dense(5, activation="relu", name="a").config() == {
        "type": "Dense",
        "units": 5,
        "activation": "relu",
        "name": "a",
    }
    assert Flatten().config() == {"type": "Flatten"}


@pytest.mark.parametrize(
    ("config", "error", "message"),
    [
        (
            {"type": "Dens", "units": 5},
            UnknownNameError,
            "^w.type: unknown layer 'Dens'; known: Activation, AveragePool2D, .*, Residual. "
            r"Did you mean 'Dense'\?$",
        ),
        ({"type": 5}, UnknownNameError, "^w.type: unknown layer '5'"),
        ({"units": 5}, ConfigurationError, "^w must be a table with a 'type'"),
        ("Dense", ConfigurationError, "^w must be a table with a 'type'.* got 'Dense'$"),
        (None, ConfigurationError, "^w must be a table"),
        ({"type": "Dense"}, ConfigurationError, "^w: Dense needs 'units'$"),
        (
            {"type": "Dense", "unit": 5},
            UnknownNameError,
            "^w: unknown argument of Dense 'unit'; known: activation, name, units, use_bias. "
            r"Did you mean 'units'\?$",
        ),
        (
            {"type": "Dense", "units": 0},
            ConfigurationError,
            "^w: Dense.units must be a whole number from 1 to 1,048,576, got 0$",
        ),
        (
            {"type": "Activation", "activation": "rel"},
            UnknownNameError,
            "^w: Activation.activation: unknown activation 'rel'",
        ),
        ({"type": "Dense" * 10_000}, UnknownNameError, "^w.type: unknown layer"),
    ],
)
def test_a_wrong_config_says_where(config: Any, error: type[Exception], message: str):
    with pytest.raises(error, match=message) as caught:
        layer_from_config(config, where="w")
    assert type(caught.value) is error
    assert len(str(caught.value)) < 250
    assert "\n" not in str(caught.value)


def test_unnamed_layers_get_keras_names():
    result = named([Flatten(), Dense(4), Activation("relu"), Dense(4, name="mine"), Dense(2)])
    assert [layer.name for layer in result] == ["flatten", "dense", "activation", "mine", "dense_1"]


def test_automatic_names_pass_over_taken_ones():
    result = named([Dense(4), Dense(4, name="dense"), Dense(2, name="dense_1"), Dense(2)])
    assert [layer.name for layer in result] == ["dense_2", "dense", "dense_1", "dense_3"]


@given(st.lists(layers, max_size=8))
def test_names_are_unique_or_refused(stack: list[Layer]):
    given_names = [layer.name for layer in all_of(stack) if layer.name is not None]
    if len(set(given_names)) < len(given_names):
        with pytest.raises(ModelError, match="names must be unique"):
            named(stack)
        return
    result = named(stack)
    assert len({layer.name for layer in all_of(result)}) == len(all_of(stack))
    for before, after in zip(all_of(stack), all_of(result), strict=True):
        assert before.name in (None, after.name)
        assert nameless(after) == nameless(before)


def test_a_name_twice_names_both_places():
    with pytest.raises(
        ModelError, match=r"^layers\[2\] 'a' \(Dense\): the name is that of layers\[0\], too;"
    ):
        named([Dense(3, name="a"), Dense(3), Dense(3, name="a")])


def test_something_that_is_no_layer_is_named():
    with pytest.raises(
        ConfigurationError, match=r"^layers\[1\] must be a layer such as Dense\(500\), got 'relu'$"
    ):
        named([Dense(3), "relu"])


@given(st.integers(1, 10_000), st.integers(1, 10_000))
def test_dense_counts_as_keras_does(inputs: int, units: int):
    layer = Dense(units)
    assert layer.count_params((inputs,)) == (inputs + 1) * units
    assert layer.output_shape((inputs,)) == (units,)
    kernel, bias = layer.weight_specs((inputs,))
    assert (kernel.name, kernel.shape, kernel.initializer) == (
        "kernel",
        (inputs, units),
        "glorot_uniform",
    )
    assert (bias.name, bias.shape, bias.initializer) == ("bias", (units,), "zeros")


@given(st.lists(st.integers(1, 64), min_size=1, max_size=3).map(tuple))
def test_flatten_and_activation_shapes_are_numpys(shape: tuple[int, ...]):
    assert Flatten().output_shape(shape) == np.empty(shape, bool).reshape(-1).shape
    assert Activation("relu").output_shape(shape) == shape
    assert Flatten().count_params(shape) == Activation("relu").count_params(shape) == 0


def test_a_dense_on_images_names_layer_and_remedy():
    message = (
        r"^layers\[1\] 'head' \(Dense\): expected a flat input \(features,\), "
        r"got \(28, 28, 1\); put Flatten\(\) before it$"
    )
    with pytest.raises(ModelError, match=message):
        output_shapes([Activation("relu"), Dense(10, name="head")], (28, 28, 1))


@pytest.mark.parametrize(
    "stack",
    [
        [Dense(500, activation="relu"), Dense(10, activation="softmax")],
        [Flatten(), Dense(500, activation="relu"), Dense(10, activation="softmax")],
        [Dense(500), Activation("relu"), Dense(10), Activation("softmax")],
        [Dense(500), Flatten(), Activation("relu"), Dense(10), Activation("softmax"), Flatten()],
        [
            Dense(500, activation="relu"),
            Activation("relu"),
            Activation("linear"),
            Dense(10),
            Activation("linear"),
            Activation("softmax"),
        ],
    ],
)
def test_dense_stack_folds_what_is_the_same(stack: list[Layer]):
    assert dense_stack(stack, (784,)) == [(784, 500, "relu"), (500, 10, "softmax")]


def test_dense_stack_flattens_images():
    stack = [Flatten(), Dense(5), Dense(2, activation="softmax")]
    assert dense_stack(stack, (4, 3, 2)) == [(24, 5, "linear"), (5, 2, "softmax")]


@pytest.mark.parametrize(
    ("stack", "message"),
    [
        ([Dense(10)], r"layers\[0\] \(Dense\): .*needs softmax at the end.*got \"linear\""),
        ([Dense(10, activation="relu")], r"use Dense\(10, activation=\"softmax\"\)"),
        (
            [Dense(5), Activation("softmax", name="s"), Dense(3, activation="softmax")],
            r"^layers\[1\] 's' \(Activation\): the engine has softmax only at the end",
        ),
        (
            [Dense(5, activation="relu", name="d"), Activation("softmax", name="s")],
            r"^layers\[1\] 's' \(Activation\): .*'softmax' to the result of 'relu'; put a Dense",
        ),
        (
            [Activation("relu"), Dense(5, activation="softmax")],
            r"^layers\[0\] \(Activation\): the engine has no activation before the first Dense",
        ),
        ([Flatten()], r"needs at least one Dense layer; end with Dense\("),
        ([], r"needs at least one Dense layer"),
    ],
)
def test_dense_stack_names_the_alternative(stack: list[Layer], message: str):
    with pytest.raises(UnsupportedError, match=message):
        dense_stack(stack, (4,))


def test_dense_stack_refuses_a_layer_that_it_does_not_know():
    @dataclasses.dataclass(frozen=True)
    class Doubling(Layer):
        def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
            return input_shape

    with pytest.raises(UnsupportedError, match=r"the engine has no Doubling yet; use Dense, "):
        dense_stack([Doubling(), Dense(2, activation="softmax")], (4,))


@pytest.mark.parametrize(
    ("stack", "message"),
    [
        ([Dense(5, use_bias=False)], r"^layers\[0\] \(Dense\): the engine has no Dense without a"),
        ([Dense(5, activation="tanh")], r"^layers\[0\] \(Dense\): the engine has no 'tanh' yet"),
        ([Dense(5), Activation("gelu")], r"^layers\[1\] \(Activation\): the engine has no 'gelu'"),
        (
            [Dense(5, activation="relu"), Activation("tanh")],
            r"^layers\[1\] \(Activation\): .*does not apply 'tanh' to the result of 'relu'",
        ),
        ([Dense(5), Dropout(0.5)], r"^layers\[1\] \(Dropout\): the engine has no Dropout yet"),
        ([BatchNormalization()], "the engine has no BatchNormalization yet"),
        ([Residual([Dense(4)])], "the engine has no Residual yet"),
    ],
)
def test_dense_stack_refuses_what_only_other_engines_do(stack: list[Layer], message: str):
    with pytest.raises(UnsupportedError, match=message):
        dense_stack([*stack, Dense(2, activation="softmax")], (4,))


def test_the_registry_knows_every_layer_by_its_class_name():
    import inkproof

    assert all(kind == layer.__name__ for kind, layer in LAYERS.items())
    assert all(getattr(inkproof, kind) is layer for kind, layer in LAYERS.items())


@given(layers)
def test_layers_can_be_hashed_and_compared(layer: Layer):
    again = layer_from_config(layer.config())
    assert hash(again) == hash(layer)
    assert dataclasses.replace(layer) == layer
