"""From layers to the operations that the native engine knows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NoReturn, TypeAlias

from inkproof.errors import UnsupportedError
from inkproof.layers import (
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
    Shape,
    output_shapes,
    place,
)

__all__ = ["MAX_FEATURES", "Operation", "operations"]

Operation: TypeAlias = tuple[str, list[int], list[float]]

MAX_FEATURES: Final = 1 << 22
"""The most numbers that one layer may give for one input: keeps the engine's indices in 31 bits."""
_FUNCTIONS: Final = ("linear", "relu", "leaky_relu", "gelu", "tanh", "sigmoid")


def operations(layers: Sequence[Layer], input_shape: Shape) -> list[Operation]:
    """Describe a network for the engine, which adds softmax and its loss at the end.

    Parameters
    ----------
    layers : from the first to the last
    input_shape : what the first one gets

    Returns
    -------
    (kind, whole numbers, numbers) of each operation, as ``csrc/graph.hpp`` lists them

    Raises
    ------
    ModelError : the layers do not fit one another
    UnsupportedError : a network that the engine cannot compute; the message says what to do
    """
    if math.prod(input_shape) > MAX_FEATURES:
        raise UnsupportedError(
            f"input_shape: the engine takes at most {MAX_FEATURES:,} numbers as input, "
            f"got {math.prod(input_shape):,}; use smaller images"
        )
    lowering = _Lowering()
    shapes = output_shapes(layers, input_shape)
    body, last = list(layers[:-1]), layers[-1]
    before = shapes[-2] if len(shapes) > 1 else input_shape
    here = place(len(layers) - 1, last)
    if getattr(last, "activation", None) != "softmax":
        raise UnsupportedError(
            f"{here}: the engine needs softmax at the end of a network; use "
            'Dense(number of classes, activation="softmax") or add Activation("softmax")'
        )
    if len(shapes[-1]) != 1:
        raise UnsupportedError(
            f"{here}: the engine needs one probability a class at the end, got the shape "
            f"{shapes[-1]}; put Flatten() or GlobalAveragePool2D() before it"
        )
    lowering.add_all(body, input_shape)
    if not isinstance(last, Activation):
        lowering.add(last, before, here, function="linear")
    if not lowering.learns:
        raise UnsupportedError(
            "the engine needs at least one layer with weights; end with "
            'Dense(number of classes, activation="softmax")'
        )
    return lowering.found


class _Lowering:
    def __init__(self) -> None:
        self.found: list[Operation] = []
        self.learns = False
        self._dropouts = 0

    def add_all(self, layers: Sequence[Layer], input_shape: Shape, where: str = "layers") -> None:
        shapes = output_shapes(layers, input_shape, where=where)
        for index, (layer, shape) in enumerate(zip(layers, shapes, strict=True)):
            before = shapes[index - 1] if index else input_shape
            here = place(index, layer, where)
            if math.prod(shape) > MAX_FEATURES:
                raise UnsupportedError(
                    f"{here}: the engine takes at most {MAX_FEATURES:,} numbers from a layer, "
                    f"got {math.prod(shape):,}; use strides, pooling or fewer filters"
                )
            if isinstance(layer, Residual):
                self.found.append(("fork", [], []))
                self.add_all(layer.layers, before, f"{where}[{index}].layers")
                self.found.append(("join", [], []))
            else:
                self.add(layer, before, here)

    def add(self, layer: Layer, shape: Shape, here: str, *, function: str | None = None) -> None:
        """Add one layer that gets ``shape``; ``function`` stands for its own activation."""
        match layer:
            case Dense():
                self.learns = True
                number = self._function(function or layer.activation, here)
                self.found.append(("dense", [layer.units, int(layer.use_bias), number], []))
            case Conv2D():
                self.learns = True
                number = self._function(function or layer.activation, here)
                self.found.append(
                    (
                        "convolution",
                        [
                            *shape,
                            layer.filters,
                            *layer.window,
                            *layer.step,
                            int(layer.padding == "same"),
                            int(layer.use_bias),
                            number,
                        ],
                        [],
                    )
                )
            case MaxPool2D() | AveragePool2D():
                kind = "max_pool" if isinstance(layer, MaxPool2D) else "average_pool"
                self.found.append(
                    (
                        kind,
                        [
                            *shape,
                            *layer.window,
                            *layer.step,
                            int(layer.padding == "same"),
                        ],
                        [],
                    )
                )
            case GlobalAveragePool2D():
                self.found.append(("global_average", [shape[0] * shape[1], shape[2]], []))
            case BatchNormalization():
                self.learns = True
                positions = math.prod(shape[:-1])
                flags = [int(layer.center), int(layer.scale)]
                numbers = [layer.momentum, layer.epsilon]
                self.found.append(("batch_normalization", [positions, shape[-1], *flags], numbers))
            case Dropout():
                if layer.rate > 0:
                    self.found.append(("dropout", [self._dropouts], [layer.rate]))
                self._dropouts += 1
            case Activation():
                number = self._function(layer.activation, here)
                if number:
                    self.found.append(("activation", [number], []))
            case Flatten():
                pass
            case _:
                _no_such(layer, here)

    def _function(self, name: str | None, here: str) -> int:
        if name == "softmax":
            raise UnsupportedError(
                f"{here}: the engine has softmax only at the end of a network; "
                'use "relu" or "linear" here'
            )
        return _FUNCTIONS.index(name or "linear")


def _no_such(layer: Layer, here: str) -> NoReturn:
    raise UnsupportedError(f"{here}: the engine has no {layer.kind} yet; use another layer")
