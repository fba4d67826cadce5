"""Train a network with Keras itself; run by tests/test_keras.py with a Python that has Keras 3.

    python keras_fit.py INPUT.npz OUTPUT.npz

INPUT holds ``network`` (JSON: layers, loss, one_hot, epochs, batch_size, learning_rate, seeds) and
the arrays ``train``, ``train_labels``, ``validation``, ``validation_labels``: uint8 (n, features)
and int64 (n,). For each seed s, OUTPUT gets ``s/before/0, ...`` and ``s/after/0, ...``, the weights
in Keras' order, and ``s/history/...`` with the columns of ``model.fit(...).history``; then
``params`` and ``version``.
"""

from __future__ import annotations

import json
import os
import sys

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def main(source: str, target: str) -> None:
    """Do what the exercise does, in the order in which the rows lie."""
    import keras
    import numpy as np

    with np.load(source) as file:
        given = {name: file[name] for name in file.files}
    network = json.loads(str(given["network"]))

    def data(name: str, classes: int) -> tuple[np.ndarray, np.ndarray]:
        labels = given[f"{name}_labels"]
        if network["one_hot"]:
            labels = keras.utils.to_categorical(labels, classes)
        return given[name].astype("float32") / 255, labels

    found = {"version": np.asarray(f"{keras.__version__} on {keras.backend.backend()}")}
    for seed in network["seeds"]:
        keras.utils.set_random_seed(seed)
        model = keras.Sequential([keras.Input((given["train"].shape[1],))])
        for layer in network["layers"]:
            arguments = {key: value for key, value in layer.items() if key != "type"}
            model.add(getattr(keras.layers, layer["type"])(**arguments))
        model.compile(
            loss=network["loss"],
            optimizer=keras.optimizers.SGD(network["learning_rate"]),
            metrics=["accuracy"],
        )
        classes = model.output_shape[1]
        before = model.get_weights()
        fitted = model.fit(
            *data("train", classes),
            validation_data=data("validation", classes),
            batch_size=network["batch_size"],
            epochs=network["epochs"],
            shuffle=False,
            verbose=0,
        )
        for when, weights in (("before", before), ("after", model.get_weights())):
            found |= {f"{seed}/{when}/{index}": array for index, array in enumerate(weights)}
        found |= {
            f"{seed}/history/{name}": np.asarray(values) for name, values in fitted.history.items()
        }
        found["params"] = np.asarray(json.dumps(fitted.params))
    np.savez(target, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
