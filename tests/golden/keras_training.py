"""Ask Keras itself what its optimisers, schedules and callbacks do; writes keras_training.json.

    python keras_training.py

needs Keras 3 with TensorFlow. All is done in float64: given gradients are applied to given arrays,
schedules are asked for the rates of steps, and callbacks are told given histories.
tests/test_reference_optimizers.py, test_schedules.py and test_stopping.py hold our formulas against
what comes out.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

SHAPES = {
    "hidden/kernel": (4, 6),
    "hidden/bias": (6,),
    "output/kernel": (6, 2),
    "output/bias": (2,),
}
STEPS = 6
OPTIMIZERS = {
    "sgd": ("SGD", {"learning_rate": 0.125}),
    "momentum": ("SGD", {"learning_rate": 0.125, "momentum": 0.875}),
    "nesterov": ("SGD", {"learning_rate": 0.125, "momentum": 0.75, "nesterov": True}),
    "sgd with decay": ("SGD", {"learning_rate": 0.125, "momentum": 0.5, "weight_decay": 0.0625}),
    "clipvalue": ("SGD", {"learning_rate": 0.125, "momentum": 0.875, "clipvalue": 0.5}),
    "clipnorm": ("SGD", {"learning_rate": 0.125, "clipnorm": 1.25}),
    "global clipnorm": ("Adam", {"learning_rate": 0.01, "global_clipnorm": 2.0}),
    "adam": ("Adam", {}),
    "adam with all": (
        "Adam",
        {
            "learning_rate": 0.015625,
            "beta_1": 0.875,
            "beta_2": 0.96875,
            "epsilon": 0.0078125,
            "weight_decay": 0.125,
        },
    ),
    "adamw": ("AdamW", {}),
    "adamw averaged": (
        "AdamW",
        {
            "learning_rate": 0.015625,
            "beta_1": 0.75,
            "beta_2": 0.96875,
            "epsilon": 0.00390625,
            "weight_decay": 0.125,
            "use_ema": True,
            "ema_momentum": 0.75,
        },
    ),
    "muon": (
        "Muon",
        {
            "learning_rate": 0.03125,
            "momentum": 0.9375,
            "ns_steps": 5,
            "adam_beta_1": 0.875,
            "adam_beta_2": 0.96875,
            "epsilon": 0.0078125,
            "adam_lr_ratio": 0.125,
        },
    ),
    "muon without nesterov": (
        "Muon",
        {
            "learning_rate": 0.0625,
            "momentum": 0.625,
            "nesterov": False,
            "ns_steps": 3,
            "adam_lr_ratio": 0.25,
        },
    ),
}
# What Keras' Muon does beyond Jordan's: it scales steps, and decays kernels.
JORDAN = {
    "rms_rate": None,
    "weight_decay": None,
    "adam_weight_decay": None,
    "exclude_layers": ["output"],
}
SCHEDULES = {
    "cosine": ("CosineDecay", {"initial_learning_rate": 0.3, "decay_steps": 20, "alpha": 0.1}),
    "cosine after a warm-up": (
        "CosineDecay",
        {
            "initial_learning_rate": 0.01,
            "decay_steps": 15,
            "warmup_target": 0.4,
            "warmup_steps": 6,
        },
    ),
    "step": ("PiecewiseConstantDecay", {"boundaries": [3, 9], "values": [0.1, 0.05, 0.001]}),
}
SERIES = {
    "falls": [1.0, 0.8, 0.7, 0.65, 0.6, 0.58],
    "stalls": [1.0, 0.8, 0.81, 0.80001, 0.8, 0.79995, 0.82, 0.83, 0.9, 0.91, 0.92, 0.5, 0.6, 0.7],
    "rises": [0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0],
}
STOPPING = [
    {"patience": 0},
    {"patience": 2},
    {"patience": 3, "min_delta": 0.05},
    {"patience": 1, "mode": "max"},
]
PLATEAU = [
    {"factor": 0.5, "patience": 2},
    {"factor": 0.1, "patience": 1, "cooldown": 2},
    {"factor": 0.5, "patience": 0, "min_lr": 0.02},
    {"factor": 0.3, "patience": 3, "min_delta": 0.1},
    {"factor": 0.3, "patience": 2, "mode": "max"},
]


def main() -> None:
    """Write the answers beside this file."""
    import keras
    import numpy as np

    keras.config.set_floatx("float64")
    rng = np.random.default_rng(7)
    params = {name: rng.normal(size=shape) for name, shape in SHAPES.items()}
    grads = [{name: rng.normal(size=shape) for name, shape in SHAPES.items()} for _ in range(STEPS)]

    def lists(arrays: list) -> list:
        return [np.asarray(array).tolist() for array in arrays]

    found = {
        "keras": f"{keras.__version__} on {keras.backend.backend()}",
        "params": lists(params.values()),
        "grads": [lists(step.values()) for step in grads],
        "optimizers": {},
        "schedules": {},
        "early_stopping": [],
        "reduce_on_plateau": [],
    }
    for title, (kind, arguments) in OPTIMIZERS.items():
        variables = [
            keras.Variable(array, name=name.replace("/", "_"), dtype="float64")
            for name, array in params.items()
        ]
        more = JORDAN if kind == "Muon" else {}
        optimizer = getattr(keras.optimizers, kind)(**arguments, **more)
        optimizer.build(variables)
        answer = {"kind": kind, "arguments": arguments, "after": []}
        for step in grads:
            optimizer.apply([keras.ops.convert_to_tensor(g) for g in step.values()], variables)
            answer["after"].append(lists([keras.ops.convert_to_numpy(v) for v in variables]))
        if arguments.get("use_ema"):
            averages = optimizer._model_variables_moving_average
            answer["average"] = lists([keras.ops.convert_to_numpy(v) for v in averages])
        found["optimizers"][title] = answer
    for title, (kind, arguments) in SCHEDULES.items():
        schedule = getattr(keras.optimizers.schedules, kind)(**arguments)
        rates = [float(schedule(step)) for step in range(30)]
        found["schedules"][title] = {"arguments": arguments, "rates": rates}
    labels = rng.integers(0, 4, 7)
    raw = rng.uniform(size=(7, 4))
    probabilities = raw / raw.sum(axis=1, keepdims=True)
    weights = rng.uniform(0, 3, 7)
    loss = keras.losses.CategoricalCrossentropy(label_smoothing=0.15)
    found["loss"] = {
        "labels": labels.tolist(),
        "probabilities": probabilities.tolist(),
        "weights": weights.tolist(),
        "smoothing": 0.15,
        "loss": float(loss(np.eye(4)[labels], probabilities, sample_weight=weights)),
    }
    for name, series in SERIES.items():
        for arguments in STOPPING:
            found["early_stopping"].append(
                {"series": name, "values": series, "arguments": arguments}
                | stopping(keras, series, {"mode": "min"} | arguments)
            )
        for arguments in PLATEAU:
            found["reduce_on_plateau"].append(
                {"series": name, "values": series, "arguments": arguments}
                | plateau(keras, series, {"mode": "min"} | arguments)
            )
    target = Path(__file__).with_name("keras_training.json")
    target.write_text(json.dumps(found, separators=(",", ":")) + "\n", encoding="utf-8")


def small(keras: object) -> object:
    """Give a model for callbacks to hold on to."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(loss="mse", optimizer=keras.optimizers.SGD(0.1))
    return model


def stopping(keras: object, series: list[float], arguments: dict) -> dict:
    """Tell early stopping of a series, and say when it stops and which epoch was the best."""
    callback = keras.callbacks.EarlyStopping("x", restore_best_weights=True, **arguments)
    callback.set_model(small(keras))
    callback.model.stop_training = False
    callback.on_train_begin()
    for epoch, value in enumerate(series):
        callback.on_epoch_end(epoch, {"x": value})
        if callback.model.stop_training:
            break
    stops = epoch + 1 if callback.model.stop_training else None
    return {"stops_after": stops, "best_epoch": callback.best_epoch + 1}


def plateau(keras: object, series: list[float], arguments: dict) -> dict:
    """Tell the reduction of a series, and say the rate after each epoch."""
    callback = keras.callbacks.ReduceLROnPlateau("x", **arguments)
    callback.set_model(small(keras))
    callback.on_train_begin()
    rates = []
    for epoch, value in enumerate(series):
        callback.on_epoch_end(epoch, {"x": value})
        rates.append(float(callback.model.optimizer.learning_rate))
    return {"rates": rates}


if __name__ == "__main__":
    main()
