"""Keras 3's ``.keras`` files, read without Keras.

A file may come from anybody: code that Keras would take from one (Lambda layers, classes of one's
own) is refused by name, sizes are held against what the layers need before anything is allocated,
and links from its HDF5 file to others are not followed.
"""

from __future__ import annotations

import dataclasses
import io
import math
import re
import reprlib
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from inkproof.errors import (
    ConfigurationError,
    FileFormatError,
    InkproofError,
    ModelError,
    StorageError,
    UnsupportedError,
)
from inkproof.interop.keras_file import (
    ARGUMENTS,
    CONFIG,
    WEIGHTS,
    free_name,
    group_names,
    h5py,
)
from inkproof.layers import LEAKY_SLOPE, Activation, Layer, Residual, Shape, layer_from_config, walk
from inkproof.model import Model
from inkproof.model_file import parse_object
from inkproof.preprocessing import Preprocessing, checked_input_shape, is_image_shape

__all__ = ["read_keras"]

_LONGEST_NAME: Final = 80  # of a layer, with room for a number behind it
_MAX_CONFIG_BYTES: Final = 4 << 20
_MAX_EXTRA_BYTES: Final = 16 << 20  # of a file of weights, beside its numbers
_ITEM_BYTES: Final = 4
_MOST: Final = 1e30
_COMPRESSIONS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_SLOTS: Final = 4  # a weight, and at most three numbers of an optimizer for it
# Arguments that must have this value, Keras' own default, where a layer has them.
_FIXED: Final[Mapping[str, object]] = {
    "axis": -1,
    "data_format": "channels_last",
    "dilation_rate": [1, 1],
    "groups": 1,
    "keepdims": False,
    "max_value": None,
    "noise_shape": None,
    "renorm": False,
    "synchronized": False,
    "threshold": 0.0,
}
# Layers that are an activation: its name, and the slope that it must have.
_ACTIVATIONS: Final[Mapping[str, tuple[str, float]]] = {
    "LeakyReLU": ("leaky_relu", LEAKY_SLOPE),
    "ReLU": ("relu", 0.0),
    "Softmax": ("softmax", 0.0),
}
_KNOWN: Final = sorted({*ARGUMENTS, *_ACTIVATIONS, "Add", "InputLayer", "Rescaling"})


def read_keras(
    path: str | Path,
    *,
    scale: float | None = None,
    offset: float = 0.0,
    input_shape: Sequence[int] | None = None,
    class_names: Sequence[str] | None = None,
    from_logits: bool = False,
) -> Model:
    """Read a Sequential or Functional model that Keras 3 has saved; the file need not be trusted.

    Layers must follow one another, but for sums with what came before them (Add), which become a
    Residual. What a compiled model holds beside its layers is left out.

    Parameters
    ----------
    path : a ``.keras`` file
    scale, offset : what was done to inputs before they came to Keras, ``scale * raw + offset``;
        ``scale`` is needed for images where the file does not begin with a Rescaling layer
    input_shape : (height, width, channels) of the images where the file takes them flattened
    class_names : one for each output; without them the classes are called "0", "1", ...
    from_logits : whether the last layer gives logits, as that of a model does whose loss has
        ``from_logits=True``; a softmax is put behind it

    Raises
    ------
    ConfigurationError : ``scale`` missing, or given for a file that has its own; an ``input_shape``
        that does not fit; no softmax at the end, or one and ``from_logits``
    FileFormatError : damaged, cut off, or not Keras 3's
    MissingExtraError : the package h5py is not installed
    ModelError : layers that do not fit one another or are too large; other ``class_names`` than
        outputs
    StorageError : it cannot be read
    UnsupportedError : a layer or an argument that Inkproof has not; the message names it
    """
    where = str(path)
    with _archive(path) as archive:
        text = _member(archive, CONFIG, _MAX_CONFIG_BYTES, where)
        with _wrong_form(f"{where}: {CONFIG}"):
            described = _described(parse_object(text, f"{where}: {CONFIG}"), where)
        outer, preprocessing = _inputs(described, scale, offset, input_shape, where)
        layers = _joined(described, where)
        _end_in_softmax(layers, from_logits, where)
        try:
            model = Model(
                layers,
                input_shape=outer,
                name=described.name,
                class_names=class_names,
                preprocessing=preprocessing,
            )
        except (ConfigurationError, ModelError) as error:
            error.args = (f"{where}: {error}",)  # keeps the class
            raise
        most = _SLOTS * _ITEM_BYTES * model.count_params() + _MAX_EXTRA_BYTES
        arrays = _member(archive, WEIGHTS, most, where)
    try:
        model.set_weights(_weights(model, described, arrays, f"{where}: {WEIGHTS}"))
    except ModelError as error:
        raise FileFormatError(f"{where}: {error}") from error
    return model


@dataclass(frozen=True, kw_only=True)
class _Node:
    """One layer as the file has it."""

    kind: str
    name: str
    arguments: Mapping[str, Any]
    inputs: tuple[str, ...]
    """Names of the layers whose outputs it takes."""
    where: str


@dataclass(frozen=True, kw_only=True)
class _Described:
    """A file's configuration, with what comes before the layers taken off."""

    name: str
    shape: Shape
    rescaling: tuple[float, float] | None
    origin: str
    """The name of what the first layer takes."""
    nodes: tuple[_Node, ...]
    groups: Mapping[str, str]
    """Layer's name -> its group in the file of weights."""
    called: Mapping[str, str]
    """Layer's name -> what it is called here, where names are plainer."""


# --- The configuration ---------------------------------------------------------------------------


def _described(config: Mapping[str, Any], where: str) -> _Described:
    kind, inner = config["class_name"], config["config"]
    if kind not in ("Functional", "Sequential"):
        raise UnsupportedError(
            f"{where}: expected a Sequential or Functional model, got {reprlib.repr(kind)}"
        )
    is_functional = kind == "Functional"
    nodes = [
        _node(layer, f"{where}: layers[{index}]", is_functional)
        for index, layer in enumerate(inner["layers"])
    ]
    if not is_functional:
        nodes = [
            dataclasses.replace(node, inputs=(before.name,))
            for before, node in zip([nodes[0], *nodes], nodes, strict=False)
        ]
        if nodes[0].kind != "InputLayer":  # made without one, and built by what came
            shape = inner["build_input_shape"]
            given = {"batch_shape": shape}
            first = _Node(kind="InputLayer", name="", arguments=given, inputs=(), where=where)
            nodes = [first, dataclasses.replace(nodes[0], inputs=("",)), *nodes[1:]]
    saved = nodes if is_functional else nodes[1:]
    groups = dict(
        zip((node.name for node in saved), group_names(node.kind for node in saved), strict=True)
    )
    if len(groups) != len(saved):
        raise FileFormatError(f"{where}: two layers have one name")
    first, *rest = nodes
    shape = _shape(first, where)
    rescaling = None
    if rest and rest[0].kind == "Rescaling" and rest[0].inputs == (first.name,):
        first, *rest = rest
        rescaling = _number(first, "scale"), _number(first, "offset")
    if is_functional and _names(inner["output_layers"]) != [rest[-1].name]:
        raise UnsupportedError(f"{where}: expected one output, that of the last layer")
    called: dict[str, str] = {}
    for node in rest:
        called[node.name] = free_name(_plain(node.name), called.values())
    return _Described(
        name=_plain(inner["name"]),
        called=called,
        shape=shape,
        rescaling=rescaling,
        origin=first.name,
        nodes=tuple(rest),
        groups=groups,
    )


def _plain(name: str) -> str:
    """Give a name that a layer of ours can have: what cannot stand in one becomes ``_``."""
    text = re.sub(r"[^A-Za-z0-9_.\- ]", "_", name)[:_LONGEST_NAME]
    return re.sub(r"^[.\- ]+|[. ]+$", "", text) or "layer"


def _node(layer: Mapping[str, Any], where: str, is_functional: bool) -> _Node:
    kind, arguments = layer["class_name"], layer["config"]
    name = arguments["name"]
    where = f"{where} {reprlib.repr(name)} ({reprlib.repr(kind)[1:-1]})"
    is_keras = str(layer.get("module")).split(".")[0] == "keras"
    if kind not in _KNOWN or not is_keras or ">" in str(layer.get("registered_name")):
        raise UnsupportedError(f"{where}: no such layer here; known: {', '.join(_KNOWN)}")
    inputs: tuple[str, ...] = ()
    if is_functional and kind != "InputLayer":
        nodes = layer["inbound_nodes"]
        if len(nodes) != 1:
            raise UnsupportedError(f"{where}: is used {len(nodes)} times, expected once")
        tensors = nodes[0]["args"][0]
        listed = tensors if isinstance(tensors, list) else [tensors]
        inputs = tuple(tensor["config"]["keras_history"][0] for tensor in listed)
    return _Node(kind=kind, name=name, arguments=arguments, inputs=inputs, where=where)


def _names(outputs: Any) -> list[str]:
    """Give the layers of a list of outputs, which is ``[name, 0, 0]`` if there is one."""
    return [outputs[0]] if isinstance(outputs[0], str) else [name for name, *_ in outputs]


def _shape(node: _Node, where: str) -> Shape:
    if node.kind != "InputLayer":
        raise UnsupportedError(f"{where}: expected the input first, got {node.where}")
    axes = node.arguments["batch_shape"][1:]
    try:
        return checked_input_shape(axes)
    except ConfigurationError as error:
        raise UnsupportedError(f"{where}: {error}") from error


def _number(node: _Node, key: str) -> float:
    value = node.arguments[key]
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise UnsupportedError(f"{node.where}: {key} must be one number, got {reprlib.repr(value)}")
    if not abs(value) < _MOST:
        raise UnsupportedError(f"{node.where}: {key} must be within what float32 holds")
    return float(value)


def _inputs(
    described: _Described,
    scale: float | None,
    offset: float,
    input_shape: Sequence[int] | None,
    where: str,
) -> tuple[Shape, Preprocessing]:
    """Give the shape of a raw input, and what happens to it before the first layer."""
    inner = described.shape
    outer = inner if input_shape is None else checked_input_shape(input_shape)
    flattens = len(inner) == 1 and is_image_shape(outer)
    if outer != inner and not (flattens and math.prod(outer) == inner[0]):
        raise ConfigurationError(f"{where}: takes inputs of {inner}, got input_shape {outer}")
    if described.rescaling is not None:
        if scale is not None or offset:
            raise ConfigurationError(f"{where}: scales its inputs itself, got scale or offset")
        scale, offset = described.rescaling
    if scale is None and is_image_shape(outer):
        raise ConfigurationError(
            f"{where}: does not say how pixels were scaled before they came to it: give "
            "scale=1/255 if they were divided by 255, scale=1 if not at all"
        )
    scale = 1.0 if scale is None else scale
    return outer, Preprocessing(scale=scale, offset=offset, flatten=flattens)


def _end_in_softmax(layers: list[Layer], from_logits: bool, where: str) -> None:
    is_softmax = getattr(layers[-1], "activation", None) == "softmax"
    if is_softmax and from_logits:
        raise ConfigurationError(f"{where}: has a softmax at its end, got from_logits")
    if not is_softmax and not from_logits:
        raise ConfigurationError(
            f"{where}: has no softmax at its end: say --from-logits (from_logits=True) if its last "
            "layer gives logits"
        )
    if from_logits:
        layers.append(Activation("softmax"))


def _joined(described: _Described, where: str) -> list[Layer]:
    """Make the layers, and a Residual of each sum and what is between its two summands."""
    names: list[str] = []
    layers: list[Layer] = []
    for node in described.nodes:
        current = names[-1] if names else described.origin
        if node.kind == "Add":
            begin = _skipped(node, current, described.origin, names)
            try:
                layers[begin:] = [Residual(layers[begin:], name=described.called[node.name])]
            except ConfigurationError as error:
                raise UnsupportedError(f"{node.where}: {error}") from error
            names[begin:] = [node.name]
            continue
        if node.inputs != (current,):
            raise UnsupportedError(
                f"{node.where}: layers must follow one another: expected the output of "
                f"{current!r}, got {', '.join(map(repr, node.inputs))}"
            )
        layers.append(_layer(node, described.called[node.name]))
        names.append(node.name)
    if not layers:
        raise FileFormatError(f"{where}: no layers")
    return layers


def _skipped(node: _Node, current: str, origin: str, names: Sequence[str]) -> int:
    """Give where the layers begin whose output is added to their input."""
    others = [name for name in node.inputs if name != current]
    places = [origin, *names]
    if len(node.inputs) != 2 or len(others) != 1 or others[0] not in places:
        raise UnsupportedError(
            f"{node.where}: expected the sum of {current!r} and of one that it was made of, "
            f"got {', '.join(map(repr, node.inputs))}"
        )
    return places.index(others[0])


def _layer(node: _Node, name: str) -> Layer:
    given = node.arguments
    if node.kind in _ACTIVATIONS:
        activation, slope = _ACTIVATIONS[node.kind]
        if "negative_slope" in given and abs(_number(node, "negative_slope") - slope) > 1e-6:
            raise UnsupportedError(
                f"{node.where}: negative_slope must be {slope:g}, got {given['negative_slope']!r}"
            )
        kind, arguments = "Activation", {"activation": activation}
    elif node.kind in ARGUMENTS:
        kind = node.kind
        arguments = {key: given[key] for key in ARGUMENTS[kind] if key in given}
    else:
        raise UnsupportedError(f"{node.where}: only at the beginning")
    for key, value in _FIXED.items():
        if key in given and given[key] != value:
            raise UnsupportedError(
                f"{node.where}: {key} must be {value!r}, got {reprlib.repr(given[key])}"
            )
    try:
        return layer_from_config({"type": kind, "name": name, **arguments}, where=node.where)
    except ConfigurationError as error:
        raise UnsupportedError(str(error)) from error


# --- The arrays ----------------------------------------------------------------------------------


def _weights(
    model: Model, described: _Described, content: bytes, where: str
) -> list[npt.NDArray[np.float32]]:
    package = h5py()
    groups = {described.called[name]: described.groups[name] for name in described.called}
    wanted = [
        (f"layers/{groups[str(place.layer.name)]}/vars/{index}", spec.shape)
        for place in walk(model.layers, model.layer_input_shape)
        for index, spec in enumerate(place.own_weights)
    ]
    try:
        with package.File(io.BytesIO(content), "r") as file:
            return [_array(package, file, name, shape, where) for name, shape in wanted]
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise FileFormatError(f"{where}: damaged: {' '.join(str(error).split())[:200]}") from error


def _array(package: Any, file: Any, name: str, shape: Shape, where: str) -> npt.NDArray[np.float32]:
    found = file
    for part in name.split("/"):
        link = found.get(part, getlink=True) if isinstance(found, package.Group) else None
        if not isinstance(link, package.HardLink):
            raise FileFormatError(f"{where}: {name} is missing")
        found = found[part]
    if not isinstance(found, package.Dataset) or (found.dtype, found.shape) != (np.float32, shape):
        got = f"{found.dtype} {found.shape}" if isinstance(found, package.Dataset) else "a group"
        raise FileFormatError(f"{where}: {name}: expected float32 {shape}, got {got}")
    # What lies elsewhere, or grows when it is read, is nothing that Keras writes.
    if found.is_virtual or found.external or found.chunks:
        raise FileFormatError(f"{where}: {name}: expected numbers that lie in the file as they are")
    values: npt.NDArray[np.float32] = found[()]
    return values


# --- The archive ---------------------------------------------------------------------------------


@contextmanager
def _archive(path: str | Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except InkproofError:
        raise
    except (NotImplementedError, zipfile.BadZipFile) as error:
        raise FileFormatError(
            f"{path}: not a .keras file of Keras 3, or damaged: {error}"
        ) from error
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror or error}") from error


def _member(archive: zipfile.ZipFile, name: str, most: int, where: str) -> bytes:
    try:
        info = archive.getinfo(name)
    except KeyError as error:
        raise FileFormatError(f"{where}: not a .keras file of Keras 3: no {name} in it") from error
    if info.compress_type not in _COMPRESSIONS or info.flag_bits & 1:
        raise FileFormatError(f"{where}: {name}: expected it stored or deflated, not encrypted")
    size = info.file_size
    if size > most:
        raise FileFormatError(f"{where}: {name}: expected at most {most:,} bytes, got {size:,}")
    try:
        return archive.read(name)
    except (EOFError, NotImplementedError, RuntimeError, ValueError, zlib.error) as error:
        raise FileFormatError(f"{where}: {name}: damaged: {error}") from error


@contextmanager
def _wrong_form(where: str) -> Iterator[None]:
    """Call a file damaged in which a value is of another kind than Keras writes there."""
    try:
        yield
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, InkproofError):
            raise
        raise FileFormatError(f"{where}: not as Keras 3 writes it: {error!r:.200}") from error
