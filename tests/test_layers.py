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
    walk,
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


# Layers for images.


@given(layers)
def test_layers_can_be_hashed_and_compared(layer: Layer):
    again = layer_from_config(layer.config())
    assert hash(again) == hash(layer)
    assert dataclasses.replace(layer) == layer


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
    paddings,
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


# Layers inside layers.


def test_a_block_must_be_a_list_of_layers():
    for value in (None, "ab", Dense(3), 5, {}):
        with pytest.raises(ConfigurationError, match=r"^Residual.layers must be a list of layers"):
            Residual(value)
    with pytest.raises(ConfigurationError, match=r"^Residual.layers must be at least one layer"):
        Residual([])
    with pytest.raises(ConfigurationError, match=r"^Residual.layers\[1\] must be a layer such as"):
        Residual([Dense(3), "relu"])


def test_nesting_has_an_end():
    layer: Layer = Flatten()
    config: dict[str, Any] = {"type": "Flatten"}
    for _ in range(MAX_DEPTH):
        layer = Residual([layer])
        config = {"type": "Residual", "layers": [config]}
    assert layer_from_config(config) == layer
    message = f"at most {MAX_DEPTH} Residual layers may be nested$"
    with pytest.raises(ConfigurationError, match=f"^{message}"):
        Residual([layer])
    for _ in range(2000):
        config = {"type": "Residual", "layers": [config]}
    with pytest.raises(ConfigurationError, match=message):
        layer_from_config(config)


def test_a_wrong_layer_in_a_block_says_where():
    config = {"type": "Residual", "layers": [{"type": "Flatten"}, {"type": "Dens"}]}
    with pytest.raises(UnknownNameError, match=r"^w.layers\[1\].type: unknown layer 'Dens'"):
        layer_from_config(config, where="w")
    config["layers"][1] = {"type": "Dense", "units": 0}
    with pytest.raises(ConfigurationError, match=r"^w.layers\[1\]: Dense.units must be"):
        layer_from_config(config, where="w")
    with pytest.raises(ConfigurationError, match=r"^w: Residual.layers must be a list"):
        layer_from_config({"type": "Residual", "layers": "Dense"}, where="w")


def test_shapes_inside_a_block_that_do_not_fit():
    block = Residual([Dense(4), Residual([Dense(5, name="wide")], name="inner")])
    with pytest.raises(
        ModelError,
        match=r"^layers\[1\].layers\[1\] 'inner' \(Residual\): the block must give the shape that "
        r"it gets, .*: expected \(4,\), got \(5,\)$",
    ):
        output_shapes([Flatten(), block], (2, 2, 1))
    with pytest.raises(ModelError, match=r"^layers\[0\].layers\[0\] \(Dense\): expected a flat"):
        output_shapes([block], (2, 2, 1))
    with pytest.raises(ModelError, match=r"^the block must give"):
        Residual([Dense(3)]).output_shape((4,))


def test_names_inside_a_block():
    stack = named(
        [
            Dense(4),
            Residual([Dense(4), Residual([Dense(4, name="a")]), Dense(4)]),
            Residual([Flatten()]),
        ]
    )
    assert [layer.name for layer in all_of(stack)] == [
        *("dense", "residual", "dense_1", "residual_1", "a", "dense_2", "residual_2", "flatten"),
    ]
    with pytest.raises(
        ModelError,
        match=r"^layers\[1\].layers\[0\] 'a' \(Dense\): the name is that of layers\[0\], too",
    ):
        named([Flatten(name="a"), Residual([Dense(3, name="a")])])


def test_walking_goes_in_the_order_of_the_weights():
    block = Residual([Dense(4), BatchNormalization(scale=False)])
    stack = named([Dense(4), block, Dense(2)])
    places = list(walk(stack, (3,)))
    assert [place.where for place in places] == [
        *("layers[0]", "layers[1]", "layers[1].layers[0]", "layers[1].layers[1]", "layers[2]"),
    ]
    assert [place.path for place in places] == [
        *("dense", "residual", "residual/dense_1", "residual/batch_normalization", "dense_2"),
    ]
    assert [place.input_shape for place in places] == [(3,), (4,), (4,), (4,), (4,)]
    assert [place.output_shape for place in places] == [(4,), (4,), (4,), (4,), (2,)]
    assert [spec.name for spec in stack[1].weight_specs((4,))] == [
        *("dense_1/kernel", "dense_1/bias"),
        *(f"batch_normalization/{name}" for name in ("beta", "moving_mean", "moving_variance")),
    ]
    assert block.weight_specs((4,))[0].name == "layers[0]/kernel"
    own = [spec.size for place in places for spec in place.own_weights]
    assert sum(own) == sum(
        layer.count_params(shape) for layer, shape in zip(stack, [(3,), (4,), (4,)], strict=True)
    )
