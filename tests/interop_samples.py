"""Models of every layer and argument, for the files of other programs."""

from __future__ import annotations

import numpy as np

from inkproof import Model, Preprocessing
from inkproof.layers import (
    Activation,
    AveragePool2D,
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePool2D,
    MaxPool2D,
    Residual,
)

__all__ = ["MODELS", "raw_inputs", "sample"]

IMAGE = (9, 8, 2)

# Name -> layers without the last, input shape, preprocessing.
MODELS = {
    "dense": (
        [Dense(7, activation="relu", name="hidden 1"), Dense(5, use_bias=False)],
        IMAGE,
        None,
    ),
    "vectors": ([Dense(6, activation="tanh"), Dropout(0.2)], (11,), None),
    "shifted": ([Dense(6)], IMAGE, Preprocessing(scale=1 / 128, offset=-1.0, flatten=True)),
    "own flatten": ([Flatten(), Dense(4, activation="sigmoid", name="_odd")], IMAGE, None),
    "functions": (
        [
            Conv2D(3, 2, activation="gelu"),
            Activation("leaky_relu"),
            Activation("sigmoid"),
            Conv2D(3, (1, 2), activation="leaky_relu"),
            Flatten(),
            Activation("gelu"),
            Activation("linear"),
        ],
        IMAGE,
        None,
    ),
    "windows": (
        [
            Conv2D(4, (3, 2), strides=(2, 1), padding="same", use_bias=False, activation="relu"),
            MaxPool2D((3, 2), strides=(1, 2), padding="same"),
            AveragePool2D(3, strides=2, padding="same"),
            AveragePool2D((1, 2), strides=1),
            MaxPool2D((2, 1)),
            GlobalAveragePool2D(name="images"),
        ],
        IMAGE,
        None,
    ),
    "normalized": (
        [
            Conv2D(3, 3),
            BatchNormalization(epsilon=0.01),
            Flatten(),
            BatchNormalization(scale=False, center=False),
            Dense(4),
            BatchNormalization(center=False, name="probabilities"),
        ],
        IMAGE,
        None,
    ),
    "residual": (
        [
            Conv2D(3, 3, padding="same"),
            Residual(
                [
                    Residual([Conv2D(3, 1, activation="relu", name="h"), Dropout(0.1)], name="h_1"),
                    BatchNormalization(),
                    Residual([Conv2D(3, 3, padding="same", use_bias=False)]),
                ]
            ),
            Flatten(),
            Residual([Dense(216, name="h 1")]),
        ],
        IMAGE,
        None,
    ),
}


def sample(name, classes=3):
    """Give a model whose biases and statistics are not what they begin as."""
    layers, shape, preprocessing = MODELS[name]
    model = Model(
        [*layers, Dense(classes, activation="softmax")],
        input_shape=shape,
        preprocessing=preprocessing,
        name=f"a {name}",
        class_names=["zero", "<b>&", "ж"][:classes],
        seed=len(name),
    )
    rng = np.random.default_rng(len(name))
    # Every array another one, all variances above 0, no sum so large that softmax saturates.
    model.set_weights(
        [w + rng.uniform(0.01, 0.3, w.shape) * (w.ndim == 1) for w in model.weights()]
    )
    return model


def raw_inputs(model, count=5):
    """Give uint8 images or float32 vectors."""
    rng = np.random.default_rng(count)
    if model.takes_images:
        return rng.integers(0, 256, (count, *model.input_shape), dtype=np.uint8)
    return rng.normal(size=(count, *model.input_shape)).astype(np.float32)
