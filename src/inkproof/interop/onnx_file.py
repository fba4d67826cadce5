"""A model as an ONNX graph, which ONNX Runtime and many other programs run.

The graph takes what the model takes, raw: ``images`` uint8 (n, height, width, channels), 0-255, or
``inputs`` float32 (n, features); and gives ``probabilities`` float32 (n, classes), or ``outputs``
if there is no softmax at its end. Opset 17, of 2022: what it needs, programs have had for years.
ONNX wants channels before rows, so images are turned once at the beginning and, where there is a
Flatten, once back.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from inkproof.errors import MissingExtraError
from inkproof.layers import (
    LEAKY_SLOPE,
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
    Windowed,
    output_shapes,
)
from inkproof.storage import write_bytes

if TYPE_CHECKING:
    from inkproof.model import Model

__all__ = ["onnx_bytes", "write_onnx"]

_OPSET: Final = 17
_IR_VERSION: Final = 8  # the one that came with the opset
_IMAGE_AXES: Final = 3
_TO_CHANNELS_FIRST: Final = (0, 3, 1, 2)
_TO_CHANNELS_LAST: Final = (0, 2, 3, 1)
_PLAIN: Final = {"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh"}


def write_onnx(model: Model, path: str | Path) -> None:
    """Write a model as ONNX; the same state, the same bytes.

    Raises
    ------
    MissingExtraError : the package onnx is not installed
    StorageError : it cannot be written; what was there is as before
    """
    write_bytes(path, onnx_bytes(model))


def onnx_bytes(model: Model) -> bytes:
    """Give what :func:`write_onnx` writes.

    Raises
    ------
    MissingExtraError : the package onnx is not installed
    """
    try:
        import onnx
    except ModuleNotFoundError as error:
        raise MissingExtraError("ONNX", "onnx") from error
    from inkproof import __version__

    graph = _Graph(onnx, model.weights())
    shape = model.input_shape
    name, kind = ("images", "UINT8") if model.takes_images else ("inputs", "FLOAT")
    value = graph.preprocessed(model, name)
    value = graph.chain(model.layers, value, model.layer_input_shape)
    if len(model.output_shape) == _IMAGE_AXES:
        value = graph.with_channels_last(value, "/turned_back")
    gives_shares = getattr(model.layers[-1], "activation", None) == "softmax"
    output = "probabilities" if gives_shares else "outputs"
    graph.give(value, output)
    described = onnx.helper.make_model(
        onnx.helper.make_graph(
            graph.nodes,
            "inkproof",
            [graph.described(name, kind, shape)],
            [graph.described(output, "FLOAT", model.output_shape)],
            graph.constants,
        ),
        opset_imports=[onnx.helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
        producer_name="inkproof",
        producer_version=__version__,
    )
    facts = {"class_names": json.dumps(list(model.class_names)), "name": model.name}
    onnx.helper.set_model_props(described, facts)
    onnx.checker.check_model(described, full_check=True)
    return bytes(described.SerializeToString(deterministic=True))


class _Graph:
    """Nodes and constants, as they come; a value that is an image has its channels first."""

    def __init__(self, onnx: Any, weights: Sequence[npt.NDArray[np.float32]]) -> None:
        self._onnx = onnx
        self._weights = iter(weights)
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def described(self, name: str, kind: str, shape: Shape) -> Any:
        element = getattr(self._onnx.TensorProto, kind)
        return self._onnx.helper.make_tensor_value_info(name, element, ["n", *shape])

    def preprocessed(self, model: Model, value: str) -> str:
        """Add what happens to a raw input before the first layer."""
        steps = model.preprocessing
        if model.takes_images:
            value = self._add("Cast", [value], "/floats", to=self._onnx.TensorProto.FLOAT)
        if steps.scale != 1.0:
            value = self._add("Mul", [value, self._constant("/scale", steps.scale)], "/scaled")
        if steps.offset != 0.0:
            value = self._add("Add", [value, self._constant("/offset", steps.offset)], "/shifted")
        if steps.flatten:
            return self._add("Flatten", [value], "/flattened", axis=1)
        if len(model.layer_input_shape) == _IMAGE_AXES:
            return self._add("Transpose", [value], "/turned", perm=_TO_CHANNELS_FIRST)
        return value

    def chain(self, layers: Sequence[Layer], value: str, shape: Shape) -> str:
        """Add layers one after the other; give the last one's value."""
        shapes = [shape, *output_shapes(layers, shape)]
        for layer, given in zip(layers, shapes[:-1], strict=True):
            value = self._layer(layer, value, given)
        return value

    def with_channels_last(self, value: str, name: str) -> str:
        """Turn an image back."""
        return self._add("Transpose", [value], name, perm=_TO_CHANNELS_LAST)

    def give(self, value: str, name: str) -> None:
        """Give a value its name outside."""
        self._add("Identity", [value], name)

    def _layer(self, layer: Layer, value: str, shape: Shape) -> str:
        name, output = str(layer.name), f"{layer.name}/output"
        match layer:
            case Residual():
                result = self._add("Add", [value, self.chain(layer.layers, value, shape)], output)
            case Dense():
                result = self._activated(layer.activation, self._dense(layer, value, name), name)
            case Conv2D():
                value = self._convolution(layer, value, shape, name)
                result = self._activated(layer.activation, value, name)
            case MaxPool2D() | AveragePool2D():
                operator = "MaxPool" if isinstance(layer, MaxPool2D) else "AveragePool"
                result = self._add(operator, [value], output, **_window(layer, shape))
            case GlobalAveragePool2D():
                value = self._add("GlobalAveragePool", [value], f"{name}/mean")
                result = self._add("Flatten", [value], output, axis=1)
            case BatchNormalization():
                result = self._normalization(layer, value, shape, name)
            case Flatten():
                if len(shape) == _IMAGE_AXES:
                    value = self.with_channels_last(value, f"{name}/turned")
                result = self._add("Flatten", [value], output, axis=1)
            case Activation():
                result = self._activated(layer.activation, value, name)
            case Dropout():
                result = value
            case _:
                raise AssertionError(layer)  # a test goes through all of LAYERS
        return result

    def _dense(self, layer: Dense, value: str, name: str) -> str:
        kernel = self._constant(f"{name}/kernel", next(self._weights))
        if not layer.use_bias:
            return self._add("MatMul", [value, kernel], f"{name}/sum")
        bias = self._constant(f"{name}/bias", next(self._weights))
        return self._add("Gemm", [value, kernel, bias], f"{name}/sum")

    def _convolution(self, layer: Conv2D, value: str, shape: Shape, name: str) -> str:
        kernel = np.ascontiguousarray(next(self._weights).transpose(3, 2, 0, 1))
        inputs = [value, self._constant(f"{name}/kernel", kernel)]
        if layer.use_bias:
            inputs.append(self._constant(f"{name}/bias", next(self._weights)))
        return self._add("Conv", inputs, f"{name}/sum", **_window(layer, shape))

    def _normalization(self, layer: BatchNormalization, value: str, shape: Shape, name: str) -> str:
        channels = shape[-1]
        wanted = {"gamma": layer.scale, "beta": layer.center, "mean": True, "variance": True}
        idle = {"gamma": np.ones, "beta": np.zeros}
        arrays = {
            key: next(self._weights) if is_there else idle[key](channels, dtype=np.float32)
            for key, is_there in wanted.items()
        }
        constants = [self._constant(f"{name}/{key}", array) for key, array in arrays.items()]
        return self._add(
            "BatchNormalization", [value, *constants], f"{name}/output", epsilon=layer.epsilon
        )

    def _activated(self, activation: str | None, value: str, name: str) -> str:
        if activation in _PLAIN:
            return self._add(_PLAIN[activation], [value], f"{name}/{activation}")
        if activation == "softmax":
            return self._add("Softmax", [value], f"{name}/softmax", axis=1)
        if activation == "leaky_relu":
            return self._add("LeakyRelu", [value], f"{name}/leaky_relu", alpha=LEAKY_SLOPE)
        if activation == "gelu":  # x / 2 (1 + erf(x / sqrt(2))); ONNX has it from opset 20 on
            root = self._constant(f"{name}/root", np.float32(np.sqrt(0.5)))
            half = self._constant(f"{name}/half", np.float32(0.5))
            one = self._constant(f"{name}/one", np.float32(1.0))
            scaled = self._add("Mul", [value, root], f"{name}/scaled")
            erf = self._add("Erf", [scaled], f"{name}/erf")
            share = self._add("Add", [erf, one], f"{name}/share")
            halved = self._add("Mul", [value, half], f"{name}/halved")
            return self._add("Mul", [halved, share], f"{name}/gelu")
        return value

    def _add(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(
            self._onnx.helper.make_node(operator, inputs, [output], name=output, **attributes)
        )
        return output

    def _constant(self, name: str, array: npt.ArrayLike) -> str:
        tensor = self._onnx.numpy_helper.from_array(np.asarray(array, dtype=np.float32), name)
        self.constants.append(tensor)
        return name


def _window(layer: Windowed, shape: Shape) -> dict[str, Any]:
    """Give a window's attributes; a padded pixel counts neither for a maximum nor for a mean."""
    (top, bottom), (left, right) = layer.pads(shape)
    return {
        "kernel_shape": layer.window,
        "strides": layer.step,
        "pads": (top, left, bottom, right),
    }
