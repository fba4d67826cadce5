"""Networks that come down to a chain of dense layers, for the engine's fused path."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from inkproof.errors import UnsupportedError
from inkproof.layers.base import Layer, Shape
from inkproof.layers.dense import Activation, Dense, Flatten
from inkproof.layers.structure import output_shapes, place

__all__ = ["dense_stack"]

_HIDDEN: Final = ("linear", "relu")


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
            if not layer.use_bias:
                raise UnsupportedError(f"{here}: the engine has no Dense without a bias yet")
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
        if activation not in _HIDDEN:
            raise UnsupportedError(
                f'{here}: the engine has no {activation!r} yet; use "relu" or "linear" here'
            )
    if stack[-1][2] != "softmax":
        raise UnsupportedError(
            f"{places[-1]}: the engine needs softmax at the end of a network, got "
            f'"{stack[-1][2]}"; use Dense({stack[-1][1]}, activation="softmax") '
            'or add Activation("softmax")'
        )
    return stack


def _folded(before: str, after: str, here: str) -> str:
    if before == "linear" or before == after == "relu":
        return after
    if after == "linear":
        return before
    raise UnsupportedError(
        f"{here}: the engine does not apply {after!r} to the result of {before!r}; "
        "put a Dense between them or leave one out"
    )
