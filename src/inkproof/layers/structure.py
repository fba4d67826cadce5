"""Layers one after the other and inside one another: their names, their shapes, their order."""

from __future__ import annotations

import dataclasses
import re
import reprlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from inkproof.errors import ConfigurationError, ModelError
from inkproof.layers.base import Layer, Shape, WeightSpec

__all__ = [
    "MAX_DEPTH",
    "Place",
    "Residual",
    "named",
    "output_shapes",
    "place",
    "snake_case",
    "walk",
]

MAX_DEPTH: Final = 8
"""How many Residuals may be inside one another."""


@dataclass(frozen=True)
class Residual(Layer):
    """A block of layers, whose output is added to its input: ``x + block(x)``.

    He, Zhang, Ren, Sun, "Deep residual learning for image recognition", CVPR 2016. What comes
    after the sum, such as a ReLU, is a layer after this one.

    Parameters
    ----------
    layers : the block, from the first to the last, at least one; a tuple afterwards
    """

    layers: Sequence[Layer]

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.layers, str | Layer) or not isinstance(self.layers, Sequence):
            raise ConfigurationError(
                f"Residual.layers must be a list of layers, got {reprlib.repr(self.layers)}"
            )
        object.__setattr__(self, "layers", tuple(self.layers))
        if not self.layers:
            raise ConfigurationError("Residual.layers must be at least one layer, got none")
        for index, layer in enumerate(self.layers):
            _check_layer(layer, f"Residual.layers[{index}]")
        if _depth(self) > MAX_DEPTH:
            raise ConfigurationError(f"at most {MAX_DEPTH} Residual layers may be nested")

    def output_shape(self, input_shape: Shape) -> Shape:
        """Give the shape that came; the block must give it, too."""
        block = output_shapes(self.layers, input_shape, where="Residual.layers")
        return _sum_shape(input_shape, block[-1])

    def weight_specs(self, input_shape: Shape) -> tuple[WeightSpec, ...]:
        """List the arrays of the block's layers, from the first to the last."""
        return tuple(
            dataclasses.replace(spec, name=f"{inner.path}/{spec.name}")
            for inner in walk(self.layers, input_shape)
            for spec in inner.own_weights
        )

    def details(self) -> tuple[str, ...]:
        """Say that the input is added."""
        return ("adds its input",)


@dataclass(frozen=True, kw_only=True)
class Place:
    """A layer in a network.

    Parameters
    ----------
    where : for messages: ``layers[2].layers[0]``
    path : the names from the outermost layer to this one, with slashes between
    layer : the layer
    input_shape, output_shape : of this layer, without the batch axis
    """

    where: str
    path: str
    layer: Layer
    input_shape: Shape
    output_shape: Shape

    @property
    def own_weights(self) -> tuple[WeightSpec, ...]:
        """The arrays of this layer, without those of layers inside it."""
        if isinstance(self.layer, Residual):
            return ()
        return self.layer.weight_specs(self.input_shape)


def walk(layers: Sequence[Layer], input_shape: Shape, *, where: str = "layers") -> Iterator[Place]:
    """Go through all layers in the order of their weights, each Residual before what is in it.

    Parameters
    ----------
    layers : from the first to the last
    input_shape : what the first one gets
    where : what the list is called, for messages

    Raises
    ------
    ModelError : a layer cannot take what the one before it gives; the message names it
    """
    shape = input_shape
    for index, (layer, after) in enumerate(
        zip(layers, output_shapes(layers, input_shape, where=where), strict=True)
    ):
        here = f"{where}[{index}]"
        path = here if layer.name is None else layer.name
        yield Place(where=here, path=path, layer=layer, input_shape=shape, output_shape=after)
        if isinstance(layer, Residual):
            for inner in walk(layer.layers, shape, where=f"{here}.layers"):
                yield dataclasses.replace(inner, path=f"{path}/{inner.path}")
        shape = after


def named(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """Give the unnamed layers Keras' automatic names, counted within this model.

    A name is unique among all layers of the model, those inside others as well.

    Raises
    ------
    ConfigurationError : something that is not a layer
    ModelError : a name twice
    """
    taken: dict[str, str] = {}
    _note_names(layers, "layers", taken)
    return _named(layers, taken, {})


def output_shapes(
    layers: Sequence[Layer], input_shape: Shape, *, where: str = "layers"
) -> tuple[Shape, ...]:
    """Follow a shape through the layers and give what each makes of it.

    Parameters
    ----------
    layers : from the first to the last
    input_shape : what the first one gets
    where : what the list is called, for messages

    Raises
    ------
    ModelError : a layer cannot take what the one before it gives; the message names it
    """
    shapes: list[Shape] = []
    for index, layer in enumerate(layers):
        shape = shapes[-1] if shapes else input_shape
        block: tuple[Shape, ...] = ()
        if isinstance(layer, Residual):
            block = output_shapes(layer.layers, shape, where=f"{where}[{index}].layers")
        try:
            shapes.append(_sum_shape(shape, block[-1]) if block else layer.output_shape(shape))
        except ModelError as error:
            raise ModelError(f"{place(index, layer, where)}: {error}") from None
    return tuple(shapes)


def place(index: int, layer: Layer, where: str = "layers") -> str:
    """Say where a layer is, for messages: ``layers[1] 'hidden_2' (Dense)``."""
    name = "" if layer.name is None else f" {layer.name!r}"
    return f"{where}[{index}]{name} ({layer.kind})"


def _sum_shape(input_shape: Shape, block_shape: Shape) -> Shape:
    if block_shape != input_shape:
        raise ModelError(
            f"the block must give the shape that it gets, for the two are added: expected "
            f"{input_shape}, got {block_shape}"
        )
    return input_shape


def _check_layer(layer: object, where: str) -> None:
    if not isinstance(layer, Layer):
        raise ConfigurationError(
            f"{where} must be a layer such as Dense(500), got {reprlib.repr(layer)}"
        )


def _depth(layer: Layer) -> int:
    """Count the Residuals that are inside one another, this one included."""
    return 1 + max(map(_depth, layer.layers)) if isinstance(layer, Residual) else 0


def _note_names(layers: Sequence[Layer], where: str, taken: dict[str, str]) -> None:
    for index, layer in enumerate(layers):
        _check_layer(layer, f"{where}[{index}]")
        if layer.name is not None:
            if layer.name in taken:
                raise ModelError(
                    f"{place(index, layer, where)}: the name is that of {taken[layer.name]}, too; "
                    "names must be unique"
                )
            taken[layer.name] = f"{where}[{index}]"
        if isinstance(layer, Residual):
            _note_names(layer.layers, f"{where}[{index}].layers", taken)


def _named(
    layers: Sequence[Layer], taken: dict[str, str], counts: dict[str, int]
) -> tuple[Layer, ...]:
    result: list[Layer] = []
    for layer in layers:
        name = layer.name
        while name is None:
            stem = snake_case(layer.kind)
            count = counts.get(stem, 0)
            counts[stem] = count + 1
            candidate = f"{stem}_{count}" if count else stem
            name = None if candidate in taken else candidate
        if isinstance(layer, Residual):
            inner = _named(layer.layers, taken, counts)
            result.append(dataclasses.replace(layer, name=name, layers=inner))
        else:
            result.append(dataclasses.replace(layer, name=name))
    return tuple(result)


def snake_case(name: str) -> str:
    """Turn a class name into Keras' automatic name: MaxPooling2D becomes max_pooling2d."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
