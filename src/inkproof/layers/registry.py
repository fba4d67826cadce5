"""Layers by name, for files and studies."""

from __future__ import annotations

import dataclasses
import reprlib
from collections.abc import Mapping
from typing import Final

from inkproof.errors import ConfigurationError, UnknownNameError
from inkproof.layers.base import Layer, brief
from inkproof.layers.dense import Activation, BatchNormalization, Dense, Dropout, Flatten
from inkproof.layers.images import AveragePool2D, Conv2D, GlobalAveragePool2D, MaxPool2D
from inkproof.layers.structure import MAX_DEPTH, Residual

__all__ = ["LAYERS", "layer_from_config"]

LAYERS: Final[dict[str, type[Layer]]] = {
    "Activation": Activation,
    "AveragePool2D": AveragePool2D,
    "BatchNormalization": BatchNormalization,
    "Conv2D": Conv2D,
    "Dense": Dense,
    "Dropout": Dropout,
    "Flatten": Flatten,
    "GlobalAveragePool2D": GlobalAveragePool2D,
    "MaxPool2D": MaxPool2D,
    "Residual": Residual,
}
_KERAS_NAMES: Final[dict[str, type[Layer]]] = {
    "AveragePooling2D": AveragePool2D,
    "GlobalAveragePooling2D": GlobalAveragePool2D,
    "MaxPooling2D": MaxPool2D,
}


def layer_from_config(config: object, *, where: str = "layer") -> Layer:
    """Make a layer of what a file or a study says.

    Parameters
    ----------
    config : a mapping such as ``{"type": "Dense", "units": 500, "activation": "relu"}``; the type
        is the class's name, here or in Keras; a Residual's layers are such mappings again
    where : where it came from, for messages: ``"mine.toml: models[0].layers[1]"``

    Raises
    ------
    ConfigurationError : not such a mapping, a missing argument, or a wrong value
    UnknownNameError : a type, an argument or an activation that does not exist
    """
    return _made(config, where, MAX_DEPTH)


def _made(config: object, where: str, depth: int) -> Layer:
    if not isinstance(config, Mapping) or "type" not in config:
        raise ConfigurationError(
            f"{where} must be a table with a 'type' such as \"Dense\", got {reprlib.repr(config)}"
        )
    kind = config["type"]
    made = (LAYERS.get(kind) or _KERAS_NAMES.get(kind)) if isinstance(kind, str) else None
    if made is None:
        raise UnknownNameError("layer", brief(kind), LAYERS, where=f"{where}.type")
    arguments = {key: value for key, value in config.items() if key != "type"}
    fields = {item.name: item for item in dataclasses.fields(made)}
    for key in arguments:
        if key not in fields:
            raise UnknownNameError(f"argument of {kind}", brief(key), fields, where=where)
    for key, item in fields.items():
        if item.default is dataclasses.MISSING and key not in arguments:
            raise ConfigurationError(f"{where}: {kind} needs {key!r}")
    if made is Residual and isinstance(arguments["layers"], list | tuple):
        if depth == 0:  # before Python's own limit, which a hostile file might reach
            raise ConfigurationError(f"{where}: at most {MAX_DEPTH} Residual layers may be nested")
        arguments["layers"] = [
            _made(layer, f"{where}.layers[{index}]", depth - 1)
            for index, layer in enumerate(arguments["layers"])
        ]
    try:
        return made(**arguments)
    except ConfigurationError as error:
        error.args = (f"{where}: {error}",)  # keeps the class, which callers tell apart
        raise
