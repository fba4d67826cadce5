"""Write what Keras itself makes of many networks: shapes, weights, names and tables.

Run by hand with a Python that has Keras 3 on TensorFlow, after a change of what is below:

    KERAS_BACKEND=tensorflow python tests/golden/make_layers.py

``layers.json`` was made with Keras 3.15.1. Keras has no Residual; the one below is the least that
there can be: a layer that holds others.
"""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

PATH = Path(__file__).parent / "layers.json"
SEED = 20261125
NETWORKS = 150
WITH_TABLE = 12
LINE_LENGTH = 76
ACTIVATIONS = ["gelu", "leaky_relu", "linear", "relu", "sigmoid", "softmax", "tanh"]

Config = dict[str, Any]

CONVNET: list[Config] = [
    {"type": "Conv2D", "filters": 32, "kernel_size": 3, "activation": "relu"},
    {"type": "MaxPooling2D"},
    {"type": "Conv2D", "filters": 64, "kernel_size": 3, "use_bias": False},
    {"type": "BatchNormalization"},
    {"type": "Activation", "activation": "relu"},
    {"type": "MaxPooling2D"},
    {"type": "Flatten"},
    {"type": "Dropout", "rate": 0.5},
    {"type": "Dense", "units": 10, "activation": "softmax"},
]
RESIDUAL: list[Config] = [
    {"type": "Conv2D", "filters": 16, "kernel_size": 3, "padding": "same", "name": "stem"},
    {
        "type": "Residual",
        "layers": [
            {"type": "BatchNormalization"},
            {"type": "Activation", "activation": "gelu"},
            {"type": "Conv2D", "filters": 16, "kernel_size": 3, "padding": "same"},
            {"type": "BatchNormalization", "scale": False},
        ],
    },
    {"type": "BatchNormalization"},
    {"type": "AveragePooling2D", "pool_size": 3, "strides": 2, "padding": "same"},
    {"type": "GlobalAveragePooling2D"},
    {"type": "Dense", "units": 10, "activation": "softmax"},
]


def image_layer(draw: random.Random, channels: int) -> Config:
    """Draw a layer for images; it may be one that does not fit."""
    kind = draw.choice(
        [
            *("Conv2D", "Conv2D", "Conv2D", "MaxPooling2D", "AveragePooling2D"),
            *("BatchNormalization", "Dropout", "Activation", "Residual"),
        ]
    )
    if kind == "Conv2D":
        config = {"kernel_size": sizes(draw, 7), "filters": draw.randint(1, 9)}
        config |= {"strides": sizes(draw, 7 if draw.random() < 0.2 else 2)}
        config |= {"padding": draw.choice(["same", "valid"]), "use_bias": draw.random() < 0.7}
        return {"type": kind, **config, "activation": draw.choice(ACTIVATIONS)}
    if kind.endswith("Pooling2D"):
        config = {"pool_size": sizes(draw, 9 if draw.random() < 0.2 else 3)}
        if draw.random() < 0.5:
            config["strides"] = sizes(draw, 4)
        return {"type": kind, **config, "padding": draw.choice(["same", "valid"])}
    if kind == "BatchNormalization":
        return {"type": kind, "center": draw.random() < 0.7, "scale": draw.random() < 0.7}
    if kind == "Residual":
        conv = {"type": "Conv2D", "filters": channels, "kernel_size": sizes(draw, 5)}
        return {
            "type": kind,
            "layers": [
                conv | {"padding": "same", "use_bias": draw.random() < 0.5},
                {"type": "BatchNormalization"},
                {"type": "Activation", "activation": draw.choice(ACTIVATIONS)},
            ][: draw.randint(1, 3)],
        }
    return {"type": kind} | (
        {"rate": draw.randint(0, 9) / 10}
        if kind == "Dropout"
        else {"activation": draw.choice(ACTIVATIONS)}
    )


def sizes(draw: random.Random, most: int) -> int | list[int]:
    """Draw one number for both axes, or two."""
    if draw.random() < 0.5:
        return draw.randint(1, most)
    return [draw.randint(1, most), draw.randint(1, most)]


def flat_layer(draw: random.Random) -> Config:
    """Draw a layer for vectors."""
    kind = draw.choice(["Dense", "Dense", "BatchNormalization", "Dropout", "Activation"])
    if kind == "Dense":
        config = {"units": draw.randint(1, 40), "use_bias": draw.random() < 0.7}
        return {"type": kind, **config, "activation": draw.choice(ACTIVATIONS)}
    if kind == "BatchNormalization":
        return {"type": kind}
    return {"type": kind} | ({"rate": 0.25} if kind == "Dropout" else {"activation": "relu"})


def made(config: Config) -> Any:
    """Make Keras' layer."""
    import keras

    class Residual(keras.layers.Layer):
        def __init__(self, inner: list[Any], **arguments: Any) -> None:
            super().__init__(**arguments)
            self.inner = inner

        def build(self, input_shape: Any) -> None:
            for layer in self.inner:
                layer.build(input_shape)
                input_shape = layer.compute_output_shape(input_shape)

        def call(self, inputs: Any) -> Any:
            outputs = inputs
            for layer in self.inner:
                outputs = layer(outputs)
            return inputs + outputs

    arguments = {key: value for key, value in config.items() if key != "type"}
    if config["type"] == "Residual":
        return Residual([made(layer) for layer in arguments.pop("layers")], **arguments)
    for key in ("kernel_size", "strides", "pool_size"):
        if isinstance(arguments.get(key), list):
            arguments[key] = tuple(arguments[key])
    return getattr(keras.layers, config["type"])(**arguments)


def weights_of(layer: Any) -> list[tuple[str, Any, Any]]:
    """List (path, weight, initializer), in Keras' order."""
    if hasattr(layer, "inner"):
        return [
            (f"{layer.name}/{path}", weight, initializer)
            for inner in layer.inner
            for path, weight, initializer in weights_of(inner)
        ]
    return [
        (f"{layer.name}/{weight.name}", weight, getattr(layer, f"{weight.name}_initializer"))
        for weight in layer.weights
    ]


def started(input_shape: list[int]) -> Any:
    """Give a network without layers, in which automatic names begin anew."""
    import keras

    keras.backend.clear_session()
    return keras.Sequential([keras.Input(shape=tuple(input_shape))], name="net")


def described(model: Any, input_shape: list[int], layers: list[Config]) -> dict[str, Any]:
    """Give all that Keras says of a network."""
    weights = [weight for layer in model.layers for weight in weights_of(layer)]
    # The order that is written down is that of model.get_weights().
    if [id(weight) for _, weight, _ in weights] != [id(weight) for weight in model.weights]:
        raise RuntimeError("the model has its weights in another order than its layers")
    lines: list[str] = []
    model.summary(print_fn=lines.append)
    return {
        "input_shape": input_shape,
        "layers": layers,
        "names": [layer.name for layer in model.layers],
        "output_shapes": [list(layer.output.shape[1:]) for layer in model.layers],
        "parameters": [layer.count_params() for layer in model.layers],
        "weights": [
            [path, list(weight.shape), bool(weight.trainable), type(initializer).__name__]
            for path, weight, initializer in weights
        ],
        "summary": "\n".join(lines).rstrip("\n").split("\n"),
    }


def written(input_shape: list[int], layers: list[Config]) -> dict[str, Any]:
    """Describe a network that is written above."""
    model = started(input_shape)
    for config in layers:
        model.add(made(config))
    return described(model, input_shape, layers)


def drawn(draw: random.Random) -> tuple[dict[str, Any], bool]:
    """Draw a network, and say whether Keras takes it."""
    channels = draw.choice([1, 3])
    shape = [draw.randint(8, 32), draw.randint(8, 32), channels]
    model = started(shape)
    layers: list[Config] = []
    for _ in range(draw.randint(1, 5)):
        layers.append(image_layer(draw, channels))
        try:
            model.add(made(layers[-1]))
        except ValueError:
            return {"input_shape": shape, "layers": layers}, False
        channels = model.output_shape[-1]
    tail = [{"type": draw.choice(["Flatten", "GlobalAveragePooling2D"])}]
    tail += [flat_layer(draw) for _ in range(draw.randint(0, 3))]
    for config in tail:
        model.add(made(config))
    return described(model, shape, [*layers, *tail]), True


def main() -> None:
    """Write the file."""
    import keras

    os.environ["COLUMNS"] = str(LINE_LENGTH + 4)
    draw = random.Random(SEED)  # noqa: S311  # nothing here is secret
    networks = [written([28, 28, 1], CONVNET), written([32, 32, 3], RESIDUAL)]
    refused = []
    for _ in range(NETWORKS):
        result, taken = drawn(draw)
        (networks if taken else refused).append(result)
    for result in networks[WITH_TABLE:]:
        del result["summary"]
    content = {"keras": keras.__version__, "networks": networks, "refused": refused}
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False)
    PATH.write_text(text.replace('{"input_shape"', '\n{"input_shape"') + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
