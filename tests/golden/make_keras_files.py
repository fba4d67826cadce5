"""Make the .keras files that tests/test_interop_keras.py reads; run with a Python that has Keras 3.

    python make_keras_files.py FOLDER

Each ``NAME.keras`` has a ``NAME.npz`` beside it: ``raw``, what Inkproof is given, and
``probabilities``, what Keras made of it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def main(folder: Path) -> None:
    """Build, train a little, save."""
    import keras
    import numpy as np
    from keras import layers as kl

    rng = np.random.default_rng(0)
    keras.utils.set_random_seed(0)
    raw = rng.integers(0, 256, (6, 12, 10, 1), dtype=np.uint8)
    labels = np.arange(6) % 3
    scaled = raw.astype("float32") / 255

    def save(name, model, inputs, given=raw):
        model.save(folder / f"{name}.keras")
        probabilities = model.predict(inputs, verbose=0)
        np.savez_compressed(folder / f"{name}.npz", raw=given, probabilities=probabilities)

    # The exercise's form: flattened outside, no input layer, compiled and trained with Adam.
    dense = keras.Sequential(
        [kl.Dense(9, activation="relu", name="hidden"), kl.Dense(3), kl.Activation("softmax")],
        name="dense",
    )
    dense.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    dense.fit(scaled.reshape(6, -1), np.eye(3)[labels], epochs=3, verbose=0)
    save("dense", dense, scaled.reshape(6, -1))

    convnet = keras.Sequential(
        [
            kl.Input((12, 10, 1)),
            kl.Conv2D(4, (3, 2), strides=2, padding="same", use_bias=False),
            kl.BatchNormalization(scale=False),
            kl.LeakyReLU(negative_slope=0.2),
            kl.AveragePooling2D((2, 1)),
            kl.Conv2D(3, 2),
            kl.ReLU(),
            kl.MaxPooling2D(2, strides=1, padding="same"),
            kl.Flatten(),
            kl.Dropout(0.5),
            kl.Dense(3),
            kl.Softmax(),
        ],
        name="convnet",
    )
    convnet.compile("sgd", "sparse_categorical_crossentropy")
    convnet.fit(scaled, labels, epochs=2, verbose=0)
    save("convnet", convnet, scaled)

    x = begin = keras.Input((12, 10, 1))
    x = kl.Rescaling(1 / 128, offset=-1)(x)
    x = kl.Conv2D(4, 3, padding="same", activation="gelu")(x)
    y = kl.Conv2D(4, 3, padding="same")(x)
    z = kl.Activation("tanh")(y)
    z = kl.Conv2D(4, 1)(z)
    y = kl.Add(name="inner")([z, y])
    x = kl.add([x, y])
    x = kl.GlobalAveragePooling2D()(x)
    save("residual", keras.Model(begin, kl.Dense(3, activation="softmax")(x), name="residual"), raw)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
