"""Layers inside layers: names, shapes, order."""

from __future__ import annotations

from typing import Any

import pytest

from inkproof.errors import ConfigurationError, ModelError, UnknownNameError
from inkproof.layers import (
    MAX_DEPTH,
    BatchNormalization,
    Dense,
    Flatten,
    Layer,
    Residual,
    layer_from_config,
    named,
    output_shapes,
    walk,
)


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
    assert [place.path.split("/")[-1] for place in walk(stack, (4,))] == [
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
