"""Train a model: one call, epoch after epoch, that can be stopped and taken up again.

Same model, data and configuration, same result, to the bit: whatever the number of threads, and
through any interruption, for one variant of the engine. Seed s fixes the order of the batches.
"""

from __future__ import annotations

import hashlib
import json
import math
import reprlib
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import numpy.typing as npt

from inkproof import model_file
from inkproof.engine import MAX_THREADS, Network
from inkproof.errors import (
    Cancelled,
    ConfigurationError,
    DataError,
    FileFormatError,
    ModelError,
    StorageError,
    TrainingError,
    UnknownNameError,
)
from inkproof.history import COLUMNS, History
from inkproof.randomness import Use, permutation

if TYPE_CHECKING:
    from inkproof.data import Split
    from inkproof.model import Model

__all__ = ["LOSSES", "SGD", "Epoch", "Progress", "Run", "TrainingConfig", "train"]

LOSSES: Final = ("categorical_crossentropy", "sparse_categorical_crossentropy")
_MAX_EPOCHS: Final = 1_000_000
_RATES: Final = (float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max))


@dataclass(frozen=True, kw_only=True)
class SGD:
    """Plain stochastic gradient descent: w becomes w - learning_rate * gradient.

    Parameters
    ----------
    learning_rate : above 0, within what float32 holds: 1.2e-38 to 3.4e38
    """

    learning_rate: float = 0.01

    def __post_init__(self) -> None:
        rate = self.learning_rate
        where = "training.optimizer.learning_rate"
        if not _is_number(rate) or not 0 < rate < math.inf:
            raise ConfigurationError(f"{where} must be a number above 0, got {rate!r}")
        if not _RATES[0] <= rate <= _RATES[1]:
            raise ConfigurationError(
                f"{where} must be from 1.2e-38 to 3.4e+38, as float32 holds it, "
                f"got {reprlib.repr(rate)}"
            )

    def config(self) -> dict[str, Any]:
        """Give JSON values; ``name`` is Keras' for it."""
        return {"name": "sgd", "learning_rate": self.learning_rate}


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How a model is trained: what Keras spreads over ``compile`` and ``fit``.

    Parameters
    ----------
    epochs : passes over the training data, at least 1
    batch_size : images an update, at least 1; the last batch of an epoch may be smaller
    optimizer : an :class:`SGD`
    loss : ``"sparse_categorical_crossentropy"`` or ``"categorical_crossentropy"``: the same
        function, named in Keras after the labels' form; a Split has both forms
    metrics : ``("accuracy",)``
    seed : fixes the order of the batches, 0 to 2**64 - 1
    shuffle : whether each epoch has an order of its own
    precision : ``"float32"``
    threads : None for all cores that the process may use, or ``INKPROOF_THREADS``; no result
        depends on it

    Raises
    ------
    ConfigurationError : a value out of range; the message names it as ``training.<name>``
    UnknownNameError : a loss, metric or precision that does not exist
    """

    epochs: int = 30
    batch_size: int = 32
    optimizer: SGD = field(default_factory=SGD)
    loss: str = "sparse_categorical_crossentropy"
    metrics: tuple[str, ...] = ("accuracy",)
    seed: int = 0
    shuffle: bool = True
    precision: str = "float32"
    threads: int | None = None

    def __post_init__(self) -> None:
        _whole("epochs", self.epochs, 1, _MAX_EPOCHS)
        _whole("batch_size", self.batch_size, 1, (1 << 30) - 1)
        _whole("seed", self.seed, 0, (1 << 64) - 1)
        if self.threads is not None:
            _whole("threads", self.threads, 1, MAX_THREADS)
        if not isinstance(self.optimizer, SGD):
            raise ConfigurationError(
                f"training.optimizer must be an inkproof.SGD, got {self.optimizer!r}"
            )
        if not isinstance(self.shuffle, bool):
            raise ConfigurationError(
                f"training.shuffle must be true or false, got {self.shuffle!r}"
            )
        _known("loss", self.loss, LOSSES)
        _known("precision", self.precision, ("float32",))
        if not isinstance(self.metrics, list | tuple):
            raise ConfigurationError(
                f"training.metrics must be a list of names, got {self.metrics!r}"
            )
        object.__setattr__(self, "metrics", tuple(self.metrics))
        for metric in self.metrics:
            _known("metric", metric, ("accuracy",), where="training.metrics")

    def config(self) -> dict[str, Any]:
        """Give JSON values of all that results depend on: all but ``threads``."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "threads"}
        return values | {"optimizer": self.optimizer.config(), "metrics": list(self.metrics)}

    @classmethod
    def from_config(cls, values: Mapping[str, Any]) -> TrainingConfig:
        """Make one of what :meth:`config` gave; missing keys keep their defaults.

        Raises
        ------
        ConfigurationError, UnknownNameError : as for the class; also a key that does not exist
        """
        known = [f.name for f in fields(cls)]
        for key in values:
            if key not in known:
                raise UnknownNameError("key", str(key)[:40], known, where="training")
        given = dict(values)
        if "optimizer" in given and not isinstance(given["optimizer"], SGD):
            given["optimizer"] = _optimizer(given["optimizer"])
        return cls(**given)


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """One finished epoch; see :class:`inkproof.History` for the numbers."""

    number: int
    """From 1."""
    epochs: int
    loss: float
    accuracy: float
    val_loss: float | None
    val_accuracy: float | None
    learning_rate: float
    seconds: float
    """Wall-clock, training and validation."""
    images_per_second: float
    """Training images over the seconds spent in training."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far the epoch is that is under way; told about twenty times a second."""

    epoch: int
    """From 1."""
    epochs: int
    images_done: int
    images: int


@dataclass(frozen=True, kw_only=True)
class Run:
    """A finished training.

    Parameters
    ----------
    model : the model that was given, with its trained weights
    history : all epochs, those before an interruption included
    config : what was asked for
    threads, isa : how many threads and which variant of the engine did the work
    resumed_from : how many epochs were taken from the checkpoint
    """

    model: Model
    history: History
    config: TrainingConfig
    threads: int
    isa: str
    resumed_from: int = 0


def train(
    model: Model,
    train: Split,
    validation: Split | None = None,
    config: TrainingConfig | None = None,
    *,
    on_epoch: Callable[[Epoch], None] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    checkpoint: str | Path | None = None,
    cancel: threading.Event | None = None,
) -> Run:
    """Train a model in place.

    An interruption, also one by Ctrl-C, leaves the model with the weights of its last finished
    epoch.

    Parameters
    ----------
    model : starts from the weights that it has
    train, validation : splits of those roles; without validation the history has no ``val_``
    config : None for the defaults, those of the exercise
    on_epoch, on_progress : called in this thread; what they raise ends the training
    checkpoint : a file that holds the state after each epoch. Where it is there already and was
        written by the same training (model, initial weights, data, configuration but for the
        number of epochs, and variant of the engine), training goes on from it; a file of another
        training is replaced.
    cancel : another thread may set it to end the training within a tenth of a second

    Raises
    ------
    DataError : a test split, or an empty one
    ModelError : images or classes that do not fit the model
    TrainingError : the loss is no longer finite
    StorageError : the checkpoint cannot be written
    Cancelled : ``cancel`` was set
    """
    config = config or TrainingConfig()
    inputs, labels = _arrays(model, train, "train")
    held_out = None if validation is None else _arrays(model, validation, "validation")
    network = Network(model.layers, model.layer_input_shape, threads=config.threads)
    weights = model.weights()
    rows: dict[str, list[float]] = {name: [] for name in COLUMNS}
    description: dict[str, Any] = {}
    if checkpoint is not None:
        description = _description(model, weights, train, validation, config, network.isa)
        weights, rows = _resume(
            Path(checkpoint),
            description,
            weights,
            rows,
            epochs=config.epochs,
            has_validation=held_out is not None,
        )
    network.set_weights(weights)
    resumed_from = len(rows["loss"])
    scaling = model.preprocessing
    images = network.prepare(inputs, scale=scaling.scale, offset=scaling.offset)
    if held_out is not None:
        unseen = network.prepare(held_out[0], scale=scaling.scale, offset=scaling.offset)
    rate = float(np.float32(config.optimizer.learning_rate))

    def poll(number: int, done: int, *, training: bool = True) -> None:
        if cancel is not None and cancel.is_set():
            raise Cancelled("training was cancelled")
        if on_progress is not None and training:
            on_progress(
                Progress(epoch=number, epochs=config.epochs, images_done=done, images=len(labels))
            )

    try:
        for number in range(resumed_from + 1, config.epochs + 1):
            poll(number, 0)
            order = _order(len(labels), config, number)
            begin = time.perf_counter()
            totals = network.train(
                images,
                labels,
                order,
                batch_size=config.batch_size,
                learning_rate=rate,
                poll=lambda done, number=number: poll(number, done),  # type: ignore[misc]
            )
            trained = time.perf_counter()
            if totals.bad_step is not None or not math.isfinite(totals.loss):
                raise TrainingError(_diverged(number, totals.bad_step, rate))
            values = {"loss": totals.loss, "accuracy": totals.accuracy}
            if held_out is not None:
                result = network.evaluate(
                    unseen,
                    held_out[1],
                    poll=lambda done, number=number: poll(  # type: ignore[misc]
                        number, done, training=False
                    ),
                )
                if not math.isfinite(result.loss):
                    raise TrainingError(_diverged(number, None, rate))
                values |= {"val_loss": result.loss, "val_accuracy": result.accuracy}
            values |= {
                "learning_rate": config.optimizer.learning_rate,
                "seconds": time.perf_counter() - begin,
            }
            weights = _finite_weights(network, number, rate)
            for name, value in values.items():
                rows[name].append(value)
            if checkpoint is not None:
                _write(Path(checkpoint), description, weights, rows)
            if on_epoch is not None:
                on_epoch(
                    Epoch(
                        number=number,
                        epochs=config.epochs,
                        loss=totals.loss,
                        accuracy=totals.accuracy,
                        val_loss=values.get("val_loss"),
                        val_accuracy=values.get("val_accuracy"),
                        learning_rate=values["learning_rate"],
                        seconds=values["seconds"],
                        images_per_second=len(labels) / max(trained - begin, 1e-9),
                    )
                )
    finally:
        if len(rows["loss"]):
            model.set_weights(weights)
    steps = -(-len(labels) // config.batch_size)
    history = History(
        **{name: tuple(values) for name, values in rows.items()},
        params={"epochs": config.epochs, "steps": steps, "batch_size": config.batch_size},
    )
    return Run(
        model=model,
        history=history,
        config=config,
        threads=network.threads,
        isa=network.isa,
        resumed_from=resumed_from,
    )


def _order(count: int, config: TrainingConfig, number: int) -> npt.NDArray[np.int64]:
    if not config.shuffle:
        return np.arange(count, dtype=np.int64)
    return permutation(count, Use.BATCH_ORDER, seed=config.seed, index=number)


def _arrays(
    model: Model, split: Split, argument: Literal["train", "validation"]
) -> tuple[npt.NDArray[np.uint8] | npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    if split.role != argument:
        raise DataError(
            f"train: {argument} must be a split whose role is {argument!r}, got {split.role!r}; "
            "use split.hold_out(0.1) to make validation data of training data"
        )
    if len(split) == 0:
        raise DataError(f"train: {argument} must hold at least one image, got 0")
    if split.num_classes != model.num_classes:
        raise ModelError(
            f"model {model.name!r}: the last layer must have as many units as there are classes: "
            f"expected {split.num_classes}, got {model.num_classes}"
        )
    return model.flat_inputs(split.images), np.ascontiguousarray(split.labels, dtype=np.int64)


def _finite_weights(network: Network, number: int, rate: float) -> list[npt.NDArray[np.float32]]:
    """Copy the weights; the very last step may have spoilt them without any loss to tell."""
    weights = network.weights()
    if not all(np.isfinite(array).all() for array in weights):
        raise TrainingError(_diverged(number, None, rate))
    return weights


def _diverged(number: int, step: int | None, rate: float) -> str:
    where = f"epoch {number}" + ("" if step is None else f", step {step + 1}")
    return (
        f"the loss is no longer finite in {where} at the learning rate {rate:g}; "
        "try a smaller training.optimizer.learning_rate"
    )


# --- Checkpoints ----------------------------------------------------------------------------------


def _description(
    model: Model,
    weights: list[npt.NDArray[np.float32]],
    train: Split,
    validation: Split | None,
    config: TrainingConfig,
    isa: str,
) -> dict[str, Any]:
    """Describe all that the numbers depend on, but for how many epochs there will be."""
    digest = hashlib.sha256()
    arrays: list[npt.NDArray[Any]] = [*weights]
    for split in (train, validation):
        arrays += [] if split is None else [split.images, split.labels]
    for array in arrays:
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    settings = config.config()
    del settings["epochs"]
    return {
        "kind": "checkpoint",
        "model": model.config(),
        "training": settings,
        "isa": isa,
        "start": digest.hexdigest(),
    }


def _write(
    path: Path,
    description: Mapping[str, Any],
    weights: list[npt.NDArray[np.float32]],
    rows: Mapping[str, list[float]],
) -> None:
    tensors = {f"weights/{index:04d}": array for index, array in enumerate(weights)}
    model_file.write(path, {**description, "history": dict(rows)}, tensors)


def _resume(
    path: Path,
    description: Mapping[str, Any],
    weights: list[npt.NDArray[np.float32]],
    rows: dict[str, list[float]],
    *,
    epochs: int,
    has_validation: bool,
) -> tuple[list[npt.NDArray[np.float32]], dict[str, list[float]]]:
    """Take up a checkpoint of this very training; without one, begin at the beginning."""
    if not path.exists():
        return weights, rows
    try:
        found = model_file.read_description(path)
        history = found.pop("history", None)
        if json.dumps(found, sort_keys=True) != json.dumps(dict(description), sort_keys=True):
            return weights, rows
        shapes = {f"weights/{index:04d}": array.shape for index, array in enumerate(weights)}
        tensors = model_file.read_tensors(path, shapes)
        done = _checked_history(history, path, has_validation=has_validation)
    except (FileFormatError, StorageError):
        return weights, rows
    if len(done["loss"]) > epochs:
        return weights, rows
    return [tensors[name] for name in sorted(tensors)], done


def _checked_history(
    history: object, path: Path, *, has_validation: bool
) -> dict[str, list[float]]:
    if not isinstance(history, dict) or set(history) != set(COLUMNS):
        raise FileFormatError(f"{path}: expected a history of {', '.join(COLUMNS)}")
    for values in history.values():
        if not isinstance(values, list) or not all(
            _is_number(value) and -math.inf < value < math.inf for value in values
        ):
            raise FileFormatError(f"{path}: expected lists of numbers as history")
    for name, values in history.items():
        is_there = has_validation or not name.startswith("val_")
        if len(values) != (len(history["loss"]) if is_there else 0):
            raise FileFormatError(f"{path}: expected columns of one length as history")
    return history


# --- Checks ---------------------------------------------------------------------------------------


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _whole(name: str, value: object, least: int, most: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value:
        raise ConfigurationError(
            f"training.{name} must be a whole number of at least {least}, got {value!r}"
        )
    if value > most:
        raise ConfigurationError(f"training.{name} must be at most {most}, got {value!r}")


def _known(kind: str, value: object, known: tuple[str, ...], *, where: str = "") -> None:
    if value not in known:
        raise UnknownNameError(kind, str(value)[:40], known, where=where or f"training.{kind}")


def _optimizer(values: object) -> SGD:
    where = "training.optimizer"
    if not isinstance(values, Mapping):
        raise ConfigurationError(f"{where} must be a table, got {values!r}")
    given = dict(values)
    name = given.pop("name", "sgd")
    if name != "sgd":
        raise UnknownNameError("optimizer", str(name)[:40], ("sgd",), where=f"{where}.name")
    known = ("learning_rate", "name")
    for key in given:
        if key not in known:
            raise UnknownNameError("key", str(key)[:40], known, where=where)
    return SGD(**given)
