"""What all layers have in common, and how their arguments are checked."""

from __future__ import annotations

import dataclasses
import math
import operator
import re
import reprlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, Final, Literal, SupportsIndex, TypeAlias

from inkproof.errors import ConfigurationError, UnknownNameError

__all__ = [
    "ACTIVATIONS",
    "LEAKY_SLOPE",
    "MAX_UNITS",
    "Initializer",
    "Layer",
    "Pair",
    "Shape",
    "WeightSpec",
    "brief",
    "check_flags",
    "check_name",
    "checked_activation",
    "checked_number",
    "checked_pair",
    "checked_units",
]

Shape: TypeAlias = tuple[int, ...]
Pair: TypeAlias = tuple[int, int]
"""(height, width), as of a window."""
Initializer: TypeAlias = Literal["glorot_uniform", "ones", "zeros"]

ACTIVATIONS: Final = ("gelu", "leaky_relu", "linear", "relu", "sigmoid", "softmax", "tanh")
"""Keras' functions of these names: leaky_relu with a slope of 0.2, gelu with the error function."""
LEAKY_SLOPE: Final = 0.2
MAX_UNITS: Final = 1 << 20
_MAX_NAME: Final = 100
_NAME: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.\- ]*[A-Za-z0-9_\-])?")


@dataclass(frozen=True, kw_only=True)
class WeightSpec:
    """One array that a layer needs.

    Parameters
    ----------
    name : Keras' name, such as ``"kernel"``; for a layer inside another one, that layer's name
        and a slash before it
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
    UnknownNameError : an activation or a padding that does not exist
    """

    _: KW_ONLY
    name: str | None = None

    def __post_init__(self) -> None:
        if self.name is not None:
            check_name(self.name, f"{type(self).__name__}.name")

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

    def details(self) -> tuple[str, ...]:
        """Say in a few words what else a drawing should tell: ``("3x3", "relu")``."""
        return ()

    def config(self) -> dict[str, Any]:
        """Give the JSON values from which :func:`layer_from_config` makes an equal layer."""
        values = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        return {"type": self.kind} | {
            key: _json(value)
            for key, value in values.items()
            # Files from before there was a choice of a bias say nothing of it.
            if value is not None and not (key == "use_bias" and value)
        }


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


def check_flags(layer: Layer, *names: str) -> None:
    """Refuse a layer whose arguments of these names are not all True or False."""
    for name in names:
        value = getattr(layer, name)
        if not isinstance(value, bool):
            raise ConfigurationError(
                f"{type(layer).__name__}.{name} must be true or false, got {reprlib.repr(value)}"
            )


def checked_units(value: object, where: str) -> int:
    """Give a number of outputs as an int, 1 to ``MAX_UNITS``."""
    units = _whole(value)
    if units is None or not 1 <= units <= MAX_UNITS:
        raise ConfigurationError(
            f"{where} must be a whole number from 1 to {MAX_UNITS:,}, got {reprlib.repr(value)}"
        )
    return units


def checked_activation(name: object, where: str) -> str:
    """Give the name of an activation that exists."""
    if not isinstance(name, str) or name not in ACTIVATIONS:
        raise UnknownNameError("activation", brief(name), ACTIVATIONS, where=where)
    return name


def checked_pair(value: object, most: int, where: str) -> Pair:
    """Give a whole number, or two of them, as (height, width), each from 1 to ``most``."""
    items: Sequence[object] = (value, value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        items = value
    pair = [number for number in map(_whole, items[:3]) if number and 1 <= number <= most]
    if len(items) != 2 or len(pair) != 2:
        raise ConfigurationError(
            f"{where} must be a whole number from 1 to {most}, or two for height and width, "
            f"got {reprlib.repr(value)}"
        )
    return pair[0], pair[1]


def checked_number(
    value: object, accepts: Callable[[float], bool], expected: str, where: str
) -> float:
    """Give a number that ``accepts`` takes as a float; it must refuse what is not finite."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not accepts(value):
        raise ConfigurationError(f"{where} must be {expected}, got {reprlib.repr(value)}")
    return float(value)


def brief(value: object) -> str:
    """Show a value that came in place of a name, cut to what fits into a message."""
    return value[:40] if isinstance(value, str) else reprlib.repr(value)


def _whole(value: object) -> int | None:
    """Give an int for any integer type (NumPy's, too), None for anything else, and for bool."""
    if isinstance(value, bool) or not isinstance(value, SupportsIndex):
        return None
    try:
        return operator.index(value)
    except TypeError:  # an array of several numbers
        return None


def _json(value: Any) -> Any:
    if isinstance(value, Layer):
        return value.config()
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [_json(item) for item in value]
    return value
