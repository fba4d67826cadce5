"""Layers: frozen descriptions of what a network is made of.

A layer knows its arguments, the shape that it makes of another shape, and which weights it needs
for that; it holds no weights and computes nothing. Names, arguments, parameter counts and output
shapes are Keras'. Shapes leave out the batch axis.

A new kind of layer is a frozen dataclass below :class:`Layer` with ``output_shape`` and
``weight_specs``, entered in ``LAYERS``; models, summaries, diagrams and files then know it.
"""

from __future__ import annotations

import dataclasses
import math
import operator
import re
import reprlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, Final, Literal, SupportsIndex, TypeAlias

from inkproof.errors import ConfigurationError, ModelError, UnknownNameError, UnsupportedError

__all__ = [
    "ACTIVATIONS",
    "LAYERS",
    "MAX_UNITS",
    "Activation",
    "Dense",
    "Flatten",
    "Initializer",
    "Layer",
    "Shape",
    "WeightSpec",
    "check_name",
    "dense_stack",
    "layer_from_config",
    "named",
    "output_shapes",
    "place",
]

Shape: TypeAlias = tuple[int, ...]
Initializer: TypeAlias = Literal["glorot_uniform", "zeros"]

ACTIVATIONS: Final = ("linear", "relu", "softmax")
MAX_UNITS: Final = 1 << 20
_MAX_NAME: Final = 100
_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.\- ]*[A-Za-z0-9_\-])?")


@dataclass(frozen=True, kw_only=True)
class WeightSpec:
    """One array that a layer needs.

    Parameters
    ----------
    name : Keras' name, such as ``"kernel"``
    shape : Keras' layout, such as (inputs, units)
    initializer : how the first values are made
    trainable : whether training moves it by gradients
    """

    name: str
    shape: Shape
    initializer: Initializer
    trainable: bool = True

    @property
    def size(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Layer(ABC):
    """What all layers have in common.

    Parameters
    ----------
    name : unique in its model; see :func:`check_name`; a model names the unnamed as Keras does
        (dense, dense_1)

    Raises
    ------
    ConfigurationError : an argument is wrong
    UnknownNameError : an activation that is not among ``ACTIVATIONS``
    """

    _: KW_ONLY
    name: str | None = None

    def __post_init__(self) -> None:
        if self.name is not None:
            check_name(self.name, f"{self.kind}.name")

    @property
    def kind(self) -> str:
        """Keras' class name, such as ``"Dense"``."""
        return type(self).__name__

    @abstractmethod
    def output_shape(self, input_shape: Shape) -> Shape:
        """Give the shape that this layer makes of ``input_shape``.

        Raises
        ------
        ModelError : the layer cannot take that shape
        """

    def weight_specs(self, input_shape: Shape) -> tuple[WeightSpec, ...]:
        """List the arrays that this layer needs for ``input_shape``, in Keras' order."""
        del input_shape
        return ()

    def count_params(self, input_shape: Shape) -> int:
        """Count the numbers in all its arrays, trainable or not."""
        return sum(spec.size for spec in self.weight_specs(input_shape))

    def config(self) -> dict[str, Any]:
        """Give the JSON values from which :func:`layer_from_config` makes an equal layer."""
        values = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        return {"type": self.kind} | {
            key: value for key, value in values.items() if value is not None
        }


@dataclass(frozen=True)
class Dense(Layer):
    """Fully connected: ``activation(inputs @ kernel + bias)``.

    Parameters
    ----------
    units : size of the output, 1 to 1,048,576
    activation : one of ``ACTIVATIONS``; None is linear
    """

    units: int
    _: KW_ONLY
    activation: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        units = _whole(self.units)
        if units is None or not 1 <= units <= MAX_UNITS:
            raise ConfigurationError(
                f"Dense.units must be a whole number from 1 to {MAX_UNITS:,}, "
                f"got {reprlib.repr(self.units)}"
            )
        object.__setattr__(self, "units", units)
        activation = "linear" if self.activation is None else self.activation
        object.__setattr__(self, "activation", _known_activation(activation, "Dense.activation"))

    def output_shape(self, input_shape: Shape) -> Shape:
        """Give ``(units,)``; the input must be flat."""
        if len(input_shape) != 1:
            raise ModelError(
                f"expected a flat input (features,), got {input_shape}; put Flatten() before it"
            )
        return (self.units,)

    def weight_specs(self, input_shape: Shape) -> tuple[WeightSpec, ...]:
        """List kernel (inputs, units), Glorot uniform, and bias (units,), zeros."""
        return (
            WeightSpec(
                name="kernel", shape=(*input_shape, self.units), initializer="glorot_uniform"
            ),
            WeightSpec(name="bias", shape=(self.units,), initializer="zeros"),
        )


@dataclass(frozen=True)
class Activation(Layer):
    """An activation function as a layer of its own.

    Parameters
    ----------
    activation : one of ``ACTIVATIONS``; softmax goes over the last axis
    """

    activation: str

    def __post_init__(self) -> None:
        super().__post_init__()
        _known_activation(self.activation, "Activation.activation")

    def output_shape(self, input_shape: Shape) -> Shape:
        """Give the shape that came."""
        return input_shape


@dataclass(frozen=True)
class Flatten(Layer):
    """All axes become one, in C order."""

    def output_shape(self, input_shape: Shape) -> Shape:
        """Give ``(product of the axes,)``."""
        return (math.prod(input_shape),)


LAYERS: Final[dict[str, type[Layer]]] = {
    "Activation": Activation,
    "Dense": Dense,
    "Flatten": Flatten,
}


def layer_from_config(config: object, *, where: str = "layer") -> Layer:
    """Make a layer of what a file or a study says.

    Parameters
    ----------
    config : a mapping such as ``{"type": "Dense", "units": 500, "activation": "relu"}``
    where : where it came from, for messages: ``"mine.toml: models[0].layers[1]"``

    Raises
    ------
    ConfigurationError : not such a mapping, a missing argument, or a wrong value
    UnknownNameError : a type, an argument or an activation that does not exist
    """
    if not isinstance(config, Mapping) or "type" not in config:
        raise ConfigurationError(
            f"{where} must be a table with a 'type' such as \"Dense\", got {reprlib.repr(config)}"
        )
    kind = config["type"]
    if not isinstance(kind, str) or kind not in LAYERS:
        raise UnknownNameError("layer", _brief(kind), LAYERS, where=f"{where}.type")
    arguments = {key: value for key, value in config.items() if key != "type"}
    fields = {item.name: item for item in dataclasses.fields(LAYERS[kind])}
    for key in arguments:
        if key not in fields:
            raise UnknownNameError(f"argument of {kind}", _brief(key), fields, where=where)
    for key, item in fields.items():
        if item.default is dataclasses.MISSING and key not in arguments:
            raise ConfigurationError(f"{where}: {kind} needs {key!r}")
    try:
        return LAYERS[kind](**arguments)
    except ConfigurationError as error:
        error.args = (f"{where}: {error}",)  # keeps the class, which callers tell apart
        raise


def named(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """Give the unnamed layers Keras' automatic names, counted within this model.

    Raises
    ------
    ConfigurationError : something that is not a layer
    ModelError : a name twice
    """
    taken: dict[str, int] = {}
    for index, layer in enumerate(layers):
        if not isinstance(layer, Layer):
            raise ConfigurationError(
                f"layers[{index}] must be a layer such as Dense(500), got {reprlib.repr(layer)}"
            )
        if layer.name is not None and layer.name in taken:
            raise ModelError(
                f"{place(index, layer)}: the name is that of layers[{taken[layer.name]}], too; "
                "names must be unique"
            )
        if layer.name is not None:
            taken[layer.name] = index
    counts: dict[str, int] = {}
    result = []
    for index, layer in enumerate(layers):
        name = layer.name
        while name is None:
            stem = _snake_case(layer.kind)
            count = counts.get(stem, 0)
            counts[stem] = count + 1
            candidate = f"{stem}_{count}" if count else stem
            name = None if candidate in taken else candidate
        taken[name] = index
        result.append(dataclasses.replace(layer, name=name))
    return tuple(result)


def output_shapes(layers: Sequence[Layer], input_shape: Shape) -> tuple[Shape, ...]:
    """Follow a shape through the layers and give what each makes of it.

    Raises
    ------
    ModelError : a layer cannot take what the one before it gives; the message names it
    """
    shapes: list[Shape] = []
    for index, layer in enumerate(layers):
        try:
            shapes.append(layer.output_shape(shapes[-1] if shapes else input_shape))
        except ModelError as error:
            raise ModelError(f"{place(index, layer)}: {error}") from None
    return tuple(shapes)


def dense_stack(layers: Sequence[Layer], input_shape: Shape) -> list[tuple[int, int, str]]:
    """Reduce layers to a chain of fused products: Flatten falls away, Activation folds in.

    Parameters
    ----------
    layers : from the first to the last
    input_shape : what the first one gets

    Returns
    -------
    (inputs, units, activation) of each Dense; hidden activations are ``"linear"`` or ``"relu"``,
    the last one is ``"softmax"``

    Raises
    ------
    ModelError : the layers do not fit one another
    UnsupportedError : a network of another form; the message names what there is instead
    """
    shapes = output_shapes(layers, input_shape)
    stack: list[tuple[int, int, str]] = []
    places: list[str] = []
    flat = math.prod(input_shape)
    for index, (layer, shape) in enumerate(zip(layers, shapes, strict=True)):
        here = place(index, layer)
        if isinstance(layer, Dense):
            stack.append((stack[-1][1] if stack else flat, layer.units, str(layer.activation)))
            places.append(here)
        elif isinstance(layer, Activation):
            if not stack:
                raise UnsupportedError(
                    f"{here}: the engine has no activation before the first Dense; "
                    "leave it out or put it after a Dense"
                )
            inputs, units, before = stack[-1]
            stack[-1] = (inputs, units, _folded(before, layer.activation, here))
            places[-1] = here
        elif not isinstance(layer, Flatten):
            raise UnsupportedError(
                f"{here}: the engine has no {layer.kind} yet; use Dense, Activation and Flatten"
            )
        flat = math.prod(shape)
    if not stack:
        raise UnsupportedError(
            "the engine needs at least one Dense layer; end with "
            'Dense(number of classes, activation="softmax")'
        )
    for here, (_, _, activation) in zip(places[:-1], stack[:-1], strict=True):
        if activation == "softmax":
            raise UnsupportedError(
                f"{here}: the engine has softmax only at the end of a network; "
                'use "relu" or "linear" here'
            )
    if stack[-1][2] != "softmax":
        raise UnsupportedError(
            f"{places[-1]}: the engine needs softmax at the end of a network, got "
            f'"{stack[-1][2]}"; use Dense({stack[-1][1]}, activation="softmax") '
            'or add Activation("softmax")'
        )
    return stack


def place(index: int, layer: Layer) -> str:
    """Say where a layer is, for messages: ``layers[1] 'hidden_2' (Dense)``."""
    name = "" if layer.name is None else f" {layer.name!r}"
    return f"layers[{index}]{name} ({layer.kind})"


def check_name(name: object, where: str) -> None:
    """Refuse a name that would not do in a table, a file's name and a folder's alike.

    Raises
    ------
    ConfigurationError : not 1 to 100 characters of ``A-Z a-z 0-9 _ - . space``, or the first is
        no letter, digit or ``_``, or the last is a dot or a space
    """
    if not (isinstance(name, str) and len(name) <= _MAX_NAME and _NAME.fullmatch(name)):
        raise ConfigurationError(
            f"{where} must be 1 to {_MAX_NAME} letters (A-Z), digits, '_', '-', '.' and spaces, "
            f"the first a letter, digit or '_', the last no dot or space, got {reprlib.repr(name)}"
        )


def _folded(before: str, after: str, here: str) -> str:
    if before == "linear" or before == after == "relu":
        return after
    if after == "linear":
        return before
    raise UnsupportedError(
        f"{here}: the engine does not apply {after!r} to the result of {before!r}; "
        "put a Dense between them or leave one out"
    )


def _known_activation(name: object, where: str) -> str:
    if not isinstance(name, str) or name not in ACTIVATIONS:
        raise UnknownNameError("activation", _brief(name), ACTIVATIONS, where=where)
    return name


def _whole(value: object) -> int | None:
    """Give an int for any integer type (NumPy's, too), None for anything else, and for bool."""
    if isinstance(value, bool) or not isinstance(value, SupportsIndex):
        return None
    try:
        return operator.index(value)
    except TypeError:  # an array of several numbers
        return None


def _brief(value: object) -> str:
    return value[:40] if isinstance(value, str) else reprlib.repr(value)


def _snake_case(name: str) -> str:
    """Turn a class name into Keras' automatic name: MaxPooling2D becomes max_pooling2d."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
