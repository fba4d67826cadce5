"""A model as Keras 3's ``.keras`` file, written without Keras.

Such a file is a ZIP archive of ``config.json``, the layers and how they are joined;
``model.weights.h5``, HDF5 with the arrays of each layer as ``layers/<kind>[_<n>]/vars/<i>``; and
``metadata.json`` (Keras: keras/src/saving/saving_lib.py). A model is written as a Sequential, or as
a Functional one where it has Residual layers, whose sums are Add layers there; what happens to raw
inputs becomes a Rescaling and a Flatten. :mod:`inkproof.interop.keras_reading` is the way back.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from inkproof.errors import MissingExtraError
from inkproof.layers import (
    BatchNormalization,
    Conv2D,
    Dense,
    Flatten,
    GlobalAveragePool2D,
    Layer,
    Residual,
    Shape,
    Windowed,
    output_shapes,
    snake_case,
    walk,
)
from inkproof.storage import write_bytes

if TYPE_CHECKING:
    from inkproof.model import Model

__all__ = [
    "ARGUMENTS",
    "CONFIG",
    "WEIGHTS",
    "free_name",
    "group_names",
    "h5py",
    "keras_bytes",
    "write_keras",
]

CONFIG: Final = "config.json"
WEIGHTS: Final = "model.weights.h5"
ARGUMENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "Activation": ("activation",),
    "AveragePooling2D": ("padding", "pool_size", "strides"),
    "BatchNormalization": ("center", "epsilon", "momentum", "scale"),
    "Conv2D": ("activation", "filters", "kernel_size", "padding", "strides", "use_bias"),
    "Dense": ("activation", "units", "use_bias"),
    "Dropout": ("rate",),
    "Flatten": (),
    "GlobalAveragePooling2D": (),
    "MaxPooling2D": ("padding", "pool_size", "strides"),
}
"""Keras' class -> those of its arguments that a layer of ours has, too."""
_KERAS_VERSION: Final = "3.15.1"  # whose form is written; Keras from 3.0 on reads it
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)  # the earliest date that a ZIP archive can hold


def write_keras(model: Model, path: str | Path) -> None:
    """Write a model so that ``keras.models.load_model`` reads it; the same state, the same bytes.

    Raises
    ------
    MissingExtraError : the package h5py is not installed
    StorageError : it cannot be written; what was there is as before
    """
    write_bytes(path, keras_bytes(model))


def keras_bytes(model: Model) -> bytes:
    """Give what :func:`write_keras` writes.

    Raises
    ------
    MissingExtraError : the package h5py is not installed
    """
    parts = list(_parts(model))
    joined = any(isinstance(layer, Residual) for layer in model.layers)
    contents: dict[str, str | bytes] = {
        "metadata.json": _json({"keras_version": _KERAS_VERSION}),
        CONFIG: _json(_functional(model, parts) if joined else _sequential(model, parts)),
        WEIGHTS: _weights_file(model, parts if joined else parts[1:]),
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in contents.items():
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), content)
    return buffer.getvalue()


@dataclass(frozen=True, kw_only=True)
class _Part:
    """A layer as Keras will have it: its class, its arguments, and whose outputs it takes."""

    kind: str
    name: str
    arguments: Mapping[str, object]
    inputs: tuple[str, ...]
    input_shapes: tuple[Shape, ...]
    arrays: int = 0

    def config(self) -> dict[str, Any]:
        """Give what both forms of a model say of it."""
        batched = [[None, *shape] for shape in self.input_shapes]
        result: dict[str, Any] = {
            "class_name": self.kind,
            "config": {"dtype": "float32", "name": self.name, **self.arguments},
            "module": "keras.layers",
            "registered_name": None,
        }
        if batched:
            result["build_config"] = {"input_shape": batched if len(batched) > 1 else batched[0]}
        return result


def _parts(model: Model) -> Iterator[_Part]:
    """Go through the layers as Keras has them, the input first, each sum after what it adds."""
    names: dict[str, str] = {}  # those of ours that TensorFlow would refuse, made plain
    for place in walk(model.layers, model.layer_input_shape):
        names[str(place.layer.name)] = free_name(_plain(str(place.layer.name)), names.values())
    shape, steps = model.input_shape, model.preprocessing
    before = free_name("input_layer", names.values())
    arguments = {"batch_shape": [None, *shape], "ragged": False, "sparse": False}
    yield _Part(kind="InputLayer", name=before, arguments=arguments, inputs=(), input_shapes=())
    if (steps.scale, steps.offset) != (1.0, 0.0):
        arguments = {"offset": steps.offset, "scale": steps.scale}
        name = free_name("rescaling", names.values())
        yield _one("Rescaling", name, arguments, before, shape)
        before = name
    if steps.flatten:
        name = free_name("flatten_inputs", names.values())
        yield _one("Flatten", name, {"data_format": "channels_last"}, before, shape)
        before = name
    yield from _chain(model.layers, before, model.layer_input_shape, names)


def _plain(name: str) -> str:
    """Give a name without spaces that begins with no ``_``, as TensorFlow wants it."""
    return name.replace(" ", "_").lstrip("_") or "layer"


def free_name(stem: str, names: Iterable[str]) -> str:
    """Give the stem, or the stem with a number where that is among the names."""
    taken = set(names)
    numbered = (f"{stem}_{n}" if n else stem for n in range(len(taken) + 1))
    return next(name for name in numbered if name not in taken)


def _one(
    kind: str,
    name: str,
    arguments: Mapping[str, object],
    before: str,
    shape: Shape,
    arrays: int = 0,
) -> _Part:
    return _Part(
        kind=kind,
        name=name,
        arguments=arguments,
        inputs=(before,),
        input_shapes=(shape,),
        arrays=arrays,
    )


def _chain(
    layers: Sequence[Layer], before: str, shape: Shape, names: Mapping[str, str]
) -> Iterator[_Part]:
    for layer, after in zip(layers, output_shapes(layers, shape), strict=True):
        name = names[str(layer.name)]
        if isinstance(layer, Residual):
            yield from _chain(layer.layers, before, shape, names)
            yield _Part(
                kind="Add",
                name=name,
                arguments={},
                inputs=(before, names[str(layer.layers[-1].name)]),
                input_shapes=(shape, shape),
            )
        else:
            arrays = len(layer.weight_specs(shape))
            yield _one(layer.kind, name, _arguments(layer), before, shape, arrays)
        before, shape = name, after


def _arguments(layer: Layer) -> dict[str, object]:
    values = layer.config()
    result: dict[str, object] = {key: values[key] for key in ARGUMENTS[layer.kind] if key in values}
    if isinstance(layer, Dense | Conv2D):
        result["use_bias"] = layer.use_bias
    if isinstance(layer, Windowed | Flatten | GlobalAveragePool2D):
        result["data_format"] = "channels_last"
    if isinstance(layer, BatchNormalization):
        result["axis"] = -1
    return result


def _sequential(model: Model, parts: Sequence[_Part]) -> dict[str, Any]:
    shape = [None, *model.input_shape]
    return {
        "build_config": {"input_shape": shape},
        "class_name": "Sequential",
        "config": {
            "build_input_shape": shape,
            "dtype": "float32",
            "layers": [part.config() for part in parts],
            "name": _plain(model.name),
            "trainable": True,
        },
        "module": "keras",
        "registered_name": None,
    }


def _functional(model: Model, parts: Sequence[_Part]) -> dict[str, Any]:
    def tensor(name: str, shape: Shape) -> dict[str, Any]:
        config = {"dtype": "float32", "keras_history": [name, 0, 0], "shape": [None, *shape]}
        return {"class_name": "__keras_tensor__", "config": config}

    def nodes(part: _Part) -> list[dict[str, Any]]:
        tensors = [tensor(*given) for given in zip(part.inputs, part.input_shapes, strict=True)]
        if not tensors:
            return []
        return [{"args": [tensors] if len(tensors) > 1 else tensors, "kwargs": {}}]

    layers = [part.config() | {"inbound_nodes": nodes(part), "name": part.name} for part in parts]
    return {
        "class_name": "Functional",
        "config": {
            "input_layers": [parts[0].name, 0, 0],
            "layers": layers,
            "name": _plain(model.name),
            "output_layers": [parts[-1].name, 0, 0],
            "trainable": True,
        },
        "module": "keras.src.models.functional",
        "registered_name": "Functional",
    }


def _weights_file(model: Model, parts: Sequence[_Part]) -> bytes:
    weights = iter(model.weights())
    buffer = io.BytesIO()
    with h5py().File(buffer, "w") as file:
        file.create_group("vars").attrs["name"] = _plain(model.name)
        for part, group in zip(parts, group_names(part.kind for part in parts), strict=True):
            variables = file.create_group(f"layers/{group}/vars")
            variables.attrs["name"] = part.name
            for index in range(part.arrays):
                variables.create_dataset(str(index), data=next(weights))
    return buffer.getvalue()


def group_names(kinds: Iterable[str]) -> Iterator[str]:
    """Give the names of the groups of layers of these classes: dense, dense_1, ..."""
    counts: Counter[str] = Counter()
    for kind in kinds:
        stem = snake_case(kind)
        yield f"{stem}_{counts[stem]}" if counts[stem] else stem
        counts[stem] += 1


def h5py() -> Any:
    """Give the package of that name, which has no types.

    Raises
    ------
    MissingExtraError : it is not installed
    """
    from importlib import import_module

    try:
        return import_module("h5py")
    except ModuleNotFoundError as error:
        raise MissingExtraError("a .keras file", "keras") from error


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
