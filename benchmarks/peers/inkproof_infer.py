"""Predictions by Inkproof: ``Model.predict`` on raw images, as a user asks for them."""

from __future__ import annotations

from importlib.metadata import version

import inference
from inkproof import Conv2D, Dense, Dropout, Flatten, MaxPool2D, Model
from inkproof.layers import Layer


def main() -> None:
    given = inference.arguments(__doc__)
    data = inference.Asked(given.data)
    layers: list[Layer]
    if given.network == "convnet":
        layers = [
            Conv2D(32, 3, activation="relu"),
            MaxPool2D(2),
            Conv2D(64, 3, activation="relu"),
            MaxPool2D(2),
            Flatten(),
            Dropout(0.5),
        ]
    else:
        layers = [Flatten(), Dense(500, activation="relu"), Dense(500, activation="relu")]
    model = Model([*layers, Dense(10, activation="softmax")], input_shape=(28, 28, 1))
    model.set_weights(data.weights)
    inference.serve(given, data, model.predict, {"inkproof": version("inkproof")})


if __name__ == "__main__":
    main()
