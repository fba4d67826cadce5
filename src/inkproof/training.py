"""Train a model: one call, epoch after epoch, that can be stopped and taken up again.

Same model, data and configuration, same result, to the bit: whatever the number of threads, and
through any interruption, for one variant of the engine. Seed s fixes the order of the batches.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from inkproof.checkpoint import Checkpoint, State, describe
from inkproof.data import Dataset
from inkproof.engine import Network
from inkproof.errors import Cancelled, ConfigurationError, DataError, ModelError
from inkproof.fitting import Fit, Labelled, network_options
from inkproof.history import History
from inkproof.optimizers import SGD
from inkproof.row_weights import row_weights
from inkproof.settings import shortest
from inkproof.stopping import StoppedBy, Watch
from inkproof.training_config import LOSSES, TrainingConfig

if TYPE_CHECKING:
    from inkproof.data import Split
    from inkproof.model import Model

__all__ = ["LOSSES", "SGD", "Epoch", "Progress", "Run", "StoppedBy", "TrainingConfig", "train"]


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
    threads, isa, precision : how many threads (of the last epoch) and which variant of the engine
        did the work, and what its products were rounded to
    resumed_from : how many epochs were taken from the checkpoint
    stopped_by : what ended it before all epochs were done, or None
    best_epoch : the epoch, from 1, whose weights early stopping has given back; None where the
        model has those of the last epoch because nobody asked for the best
    """

    model: Model
    history: History
    config: TrainingConfig
    threads: int
    isa: str
    precision: str
    resumed_from: int = 0
    stopped_by: StoppedBy | None = None
    best_epoch: int | None = None


def train(
    model: Model,
    train: Split,
    validation: Split | None = None,
    config: TrainingConfig | None = None,
    *,
    sample_weight: npt.ArrayLike | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
    callbacks: Sequence[Callable[[Epoch], bool | None]] = (),
    on_progress: Callable[[Progress], None] | None = None,
    checkpoint: str | Path | None = None,
    cancel: threading.Event | None = None,
    threads: Callable[[], int] | None = None,
) -> Run:
    """Train a model in place.

    An interruption, also one by Ctrl-C, leaves the model with the weights of its last finished
    epoch. With an average of the weights (``use_ema``) an epoch's weights are the averaged ones.

    Parameters
    ----------
    model : starts from the weights that it has
    train, validation : splits of those roles; without validation the history has no ``val_``
    config : None for the defaults, those of the exercise
    sample_weight : real numbers (n,), at least 0: how much each training image counts in the
        loss; times its class' weight
    on_epoch, on_progress : called in this thread; what they raise ends the training
    callbacks : called after each epoch, and after ``on_epoch``, in this thread; one that gives
        True ends the training after this epoch, which counts as finished. What they raise ends
        it, too, as an interruption.
    checkpoint : a file that holds the state after each epoch. Where it is there already and was
        written by the same training (model, initial weights, data, configuration but for the
        number of epochs and the time budget, and the engine's variant and precision), training
        goes on from it; a file of another training is replaced. Where a callback had ended it, it
        stays ended while there are callbacks. With a learning rate that hangs on the number of
        epochs, a training of another number is another.
    cancel : another thread may set it to end the training within a tenth of a second
    threads : asked before each epoch how many threads share the work from there on; no result
        depends on it

    Raises
    ------
    ConfigurationError : early stopping without validation data
    DataError : a test split, or an empty one; weights of images that cannot be
    ModelError : images or classes that do not fit the model
    TrainingError : the loss is no longer finite
    StorageError : the checkpoint cannot be written
    Cancelled : ``cancel`` was set
    """
    config = config or TrainingConfig()
    inputs, labels = _arrays(model, train, "train")
    held_out = None if validation is None else _arrays(model, validation, "validation")
    _check_validation(config, has_validation=validation is not None)
    weighing = row_weights(train, config, sample_weight)
    options = network_options(config, model.input_shape)
    network = Network(model.layers, model.layer_input_shape, **options)
    fit = Fit(network, model.layers, config, len(labels), weighing)
    state = State(weights=model.weights())
    network.set_weights(state.weights)
    store = None
    if checkpoint is not None:
        store = Checkpoint(
            Path(checkpoint),
            describe(
                model,
                state.weights,
                (train, validation),
                sample_weight,
                config,
                isa=network.arithmetic,
                total_steps=fit.total_steps,
            ),
        )
        state = store.resume(state, config, has_validation=validation is not None)
        if state.epochs:
            fit.restore(state)
    resumed_from = state.epochs
    state.stopped = state.stopped and bool(callbacks)
    told = _Told(config, len(labels), on_epoch, callbacks, on_progress, cancel)
    training = _prepared(model, network, inputs, labels)
    unseen = None if held_out is None else _prepared(model, network, *held_out)
    loop = _Loop(fit, config, state, store, told)
    try:
        while state.epochs < config.epochs and loop.stopped_by is None:
            if threads is not None:
                network.share_among(threads())
            loop.do_epoch(training, unseen)
        loop.give_back_the_best()
    finally:
        if state.epochs:
            model.set_weights(loop.kept)
    params = {"epochs": config.epochs, "steps": fit.steps, "batch_size": config.batch_size}
    return Run(
        model=model,
        history=History(
            **{name: tuple(values) for name, values in state.rows.items()}, params=params
        ),
        config=config,
        threads=network.threads,
        isa=network.isa,
        precision=network.precision,
        resumed_from=resumed_from,
        stopped_by=loop.stopped_by if state.epochs < config.epochs else None,
        best_epoch=loop.watch.best_epoch or None,
    )


@dataclass(frozen=True)
class _Told:
    """Who is told what, and who may cancel."""

    config: TrainingConfig
    images: int
    on_epoch: Callable[[Epoch], None] | None
    callbacks: Sequence[Callable[[Epoch], bool | None]]
    on_progress: Callable[[Progress], None] | None
    cancel: threading.Event | None

    def progress(self, number: int, done: int) -> None:
        self.poll(done)
        if self.on_progress is not None:
            epochs = self.config.epochs
            self.on_progress(
                Progress(epoch=number, epochs=epochs, images_done=done, images=self.images)
            )

    def poll(self, done: int) -> None:
        del done
        if self.cancel is not None and self.cancel.is_set():
            raise Cancelled("training was cancelled")

    def epoch(self, epoch: Epoch) -> bool:
        """Tell of an epoch, and ask whether it was the last."""
        if self.on_epoch is not None:
            self.on_epoch(epoch)
        answers = [callback(epoch) for callback in self.callbacks]  # all of them are told
        return any(answers)


class _Loop:
    """Goes through the epochs; ``kept`` are the weights that count as the last one's."""

    def __init__(
        self,
        fit: Fit,
        config: TrainingConfig,
        state: State,
        store: Checkpoint | None,
        told: _Told,
    ) -> None:
        self._fit = fit
        self._config = config
        self._state = state
        self._store = store
        self._told = told
        self.watch = Watch(config, state.rows)
        self.kept = fit.kept_weights() if state.epochs else state.weights
        self._best = self.kept if state.best is None else state.best

    @property
    def stopped_by(self) -> StoppedBy | None:
        return "callback" if self._state.stopped else self.watch.stopped_by()

    def give_back_the_best(self) -> None:
        if self.watch.best_epoch:
            self.kept = self._best

    def do_epoch(self, training: Labelled, unseen: Labelled | None) -> None:
        fit, state, told = self._fit, self._state, self._told
        number = state.epochs + 1
        told.progress(number, 0)
        rate = fit.rate(number, self.watch.rate)
        begin = time.perf_counter()
        totals = fit.train(training, number, rate, partial(told.progress, number))
        trained = time.perf_counter()
        values = {"loss": totals.loss, "accuracy": totals.accuracy}
        if unseen is not None:
            result = fit.validate(unseen, number, rate, told.poll)
            values |= {"val_loss": result.loss, "val_accuracy": result.accuracy}
        values |= {
            "learning_rate": self.watch.rate if isinstance(rate, float) else shortest(rate[-1]),
            "seconds": time.perf_counter() - begin,
        }
        weights, kept = fit.weights(number, rate)
        state.add(values, weights)
        self.kept = kept
        self.watch.see(values)
        if self.watch.best_epoch == number:
            self._best = kept
        self._write(number)
        state.stopped = told.epoch(
            Epoch(
                number=number,
                epochs=self._config.epochs,
                loss=totals.loss,
                accuracy=totals.accuracy,
                val_loss=values.get("val_loss"),
                val_accuracy=values.get("val_accuracy"),
                learning_rate=values["learning_rate"],
                seconds=values["seconds"],
                images_per_second=told.images / max(trained - begin, 1e-9),
            )
        )
        if state.stopped:
            self._write(number)

    def _write(self, number: int) -> None:
        if self._store is not None:
            self._state.memory = self._fit.memory()
            is_last = self.watch.best_epoch in (None, number)
            self._state.best = None if is_last else self._best
            self._store.write(self._state)


def _arrays(
    model: Model, split: Split, argument: Literal["train", "validation"]
) -> tuple[npt.NDArray[np.uint8] | npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    if isinstance(split, Dataset):
        use = "dataset.train" if argument == "train" else "a part of it, as hold_out gives"
        raise DataError(
            f"train: {argument} must be a split, got the data set {split.name!r}; give {use}"
        )
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


def _prepared(
    model: Model,
    network: Network,
    inputs: npt.NDArray[np.uint8] | npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64],
) -> Labelled:
    scaling = model.preprocessing
    return network.prepare(inputs, scale=scaling.scale, offset=scaling.offset), labels


def _check_validation(config: TrainingConfig, *, has_validation: bool) -> None:
    if has_validation:
        return
    plateau = config.reduce_on_plateau
    for key, needs in (
        ("early_stopping", config.early_stopping is not None),
        ("reduce_on_plateau", plateau is not None and plateau.needs_validation),
    ):
        if needs:
            raise ConfigurationError(
                f"training.{key} needs validation data; give train() a validation split, "
                "such as split.hold_out(0.1) makes"
            )
