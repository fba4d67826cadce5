"""The exercise as Keras does it: ``model.fit`` with arrays in memory, all settings Keras' own.

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


def main() -> None:
    given = turns.arguments(__doc__)
    talk = turns.Turns()
    if keras.backend.backend() == "torch":
        import torch

        torch.set_num_threads(given.threads)
    data = turns.load(given.data)
    train, validation = data.floats()
    *hidden, classes = given.units
    model = keras.Sequential(
        [
            keras.Input((train.shape[1],)),
            *(keras.layers.Dense(units, activation="relu") for units in hidden),
            keras.layers.Dense(classes, activation="softmax"),
        ]
    )
    model.compile(
        loss="sparse_categorical_crossentropy",
        optimizer=keras.optimizers.SGD(given.learning_rate),
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
