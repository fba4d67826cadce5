"""The work as Keras does it: ``model.fit`` with arrays in memory, all settings Keras' own.

One call of ``fit`` does all epochs; a callback waits at the beginning of each for its turn, so
that what ``fit`` does once (copying the data, compiling) stays outside the timing.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import keras
import numpy as np
import turns

BACKEND_PACKAGES = {"tensorflow": "tensorflow", "jax": "jax", "torch": "torch"}


class InTurn(keras.callbacks.Callback):
    """Epoch 0 is the warm-up; every later one waits until it is told to begin."""

    def __init__(self, talk: turns.Turns, threads: int) -> None:
        super().__init__()
        self.talk = talk
        self.threads = threads
        self.train_seconds = 0.0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Wait for the turn."""
        if epoch > 0:
            self.talk.wait()

    def on_test_begin(self, logs: Any = None) -> None:
        """Take the time of training, which ends where validation begins."""
        # JAX works ahead of Python: asking for the last bias waits until training is over.
        np.asarray(keras.ops.convert_to_numpy(self.model.layers[-1].bias))
        self.train_seconds = self.talk.elapsed()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Report; reading the numbers waits until they are there."""
        numbers = {name: float(value) for name, value in logs.items()}
        if epoch > 0:
            self.talk.done(train_seconds=self.train_seconds, **numbers)
            return
        backend = keras.backend.backend()
        package = BACKEND_PACKAGES[backend]
        self.talk.ready(
            versions={"keras": keras.__version__, package: version(package)}, threads=self.threads
        )


def convolutions(*, normalized: bool) -> list[keras.layers.Layer]:
    """Give all layers but the last of what ``turns.NETWORKS`` says."""
    layers: list[keras.layers.Layer] = []
    for filters in turns.FILTERS:
        layers.append(keras.layers.Conv2D(filters, 3, use_bias=not normalized))
        if normalized:
            layers.append(keras.layers.BatchNormalization())
        layers += [keras.layers.Activation("relu"), keras.layers.MaxPooling2D(2)]
    return [*layers, keras.layers.Flatten(), keras.layers.Dropout(turns.DROPOUT)]


def optimizer(given: turns.argparse.Namespace) -> keras.optimizers.Optimizer:
    """Make Keras' own optimiser of that name."""
    if given.optimizer == "adam":
        return keras.optimizers.Adam(given.learning_rate)
    momentum = turns.MOMENTUM if given.optimizer == "momentum" else 0.0
    return keras.optimizers.SGD(given.learning_rate, momentum=momentum)


def main() -> None:
    given = turns.arguments(__doc__)
    talk = turns.Turns()
    if keras.backend.backend() == "torch":
        import torch

        torch.set_num_threads(given.threads)
    data = turns.load(given.data)
    train, validation = data.floats()
    *hidden, classes = given.units
    if given.network == "dense":
        body = [keras.layers.Dense(units, activation="relu") for units in hidden]
    else:
        side = round(train.shape[1] ** 0.5)
        train, validation = (x.reshape(-1, side, side, 1) for x in (train, validation))
        body = convolutions(normalized=given.network == "convnet-bn")
    model = keras.Sequential(
        [
            keras.Input(train.shape[1:]),
            *body,
            keras.layers.Dense(classes, activation="softmax"),
        ]
    )
    model.compile(
        loss="sparse_categorical_crossentropy",
        optimizer=optimizer(given),
        metrics=["accuracy"],
    )
    model.fit(
        train,
        data.train_labels,
        batch_size=given.batch_size,
        epochs=given.epochs,
        validation_data=(validation, data.validation_labels),
        verbose=0,
        callbacks=[InTurn(talk, given.threads)],
    )
    talk.wait()


if __name__ == "__main__":
    main()
