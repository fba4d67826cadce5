"""Train networks with Keras itself, batch by batch; run by tests/test_keras_layers.py.

    python keras_layers_fit.py INPUT.npz OUTPUT.npz

INPUT holds ``cases`` (JSON: a list of name, layers, input_shape, optimizer with its class_name and
config, batch_size, steps), the arrays ``images`` (float32, n rows) and ``labels`` (int64), and for
each case ``name/before/0, ...``: its weights in Keras' order. Steps take the rows as they lie, from
the first again after the last. For each case OUTPUT gets ``name/after/0, ...`` and
``name/losses``; then ``version``.
"""

from __future__ import annotations

import json
import os
import sys

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def main(source: str, target: str) -> None:
    """Train each case."""
    import keras
    import numpy as np

    with np.load(source) as file:
        given = {name: file[name] for name in file.files}
    found = {"version": np.asarray(f"{keras.__version__} on {keras.backend.backend()}")}
    for case in json.loads(str(given["cases"])):
        name, size = case["name"], case["batch_size"]
        model = keras.Sequential([keras.Input(tuple(case["input_shape"]))])
        for layer in case["layers"]:
            arguments = {key: value for key, value in layer.items() if key != "type"}
            model.add(getattr(keras.layers, layer["type"])(**arguments))
        count = len(model.get_weights())
        model.set_weights([given[f"{name}/before/{index}"] for index in range(count)])
        optimizer = getattr(keras.optimizers, case["optimizer"]["class_name"])
        model.compile(
            loss="sparse_categorical_crossentropy",
            optimizer=optimizer(**case["optimizer"]["config"]),
        )
        images = given["images"].reshape(-1, *case["input_shape"])
        batches = len(images) // size
        losses = []
        for step in range(case["steps"]):
            rows = slice(step % batches * size, (step % batches + 1) * size)
            losses.append(
                model.train_on_batch(images[rows], given["labels"][rows], return_dict=True)["loss"]
            )
        found[f"{name}/losses"] = np.asarray(losses)
        found |= {f"{name}/after/{index}": array for index, array in enumerate(model.get_weights())}
    np.savez(target, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
