"""How a model is trained: all that results depend on, and the number of threads."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final, Protocol, runtime_checkable

from inkproof.augmentation import Augmentation
from inkproof.engine import MAX_THREADS, PRECISIONS
from inkproof.errors import ConfigurationError
from inkproof.optimizers import OPTIMIZERS, SGD, Optimizer, optimizer_from_config
from inkproof.schedules import Schedule
from inkproof.settings import flag, known, number, only, whole, without_defaults
from inkproof.stopping import EarlyStopping, ReduceLROnPlateau

__all__ = ["LOSSES", "AugmentationSettings", "TrainingConfig"]

LOSSES: Final = ("categorical_crossentropy", "sparse_categorical_crossentropy")
_MAX_EPOCHS: Final = 1_000_000
_BALANCED: Final = "balanced"


@runtime_checkable
class AugmentationSettings(Protocol):
    """What changes training images at random: ``inkproof.Augmentation`` is one."""

    def config(self) -> dict[str, Any]:
        """Give JSON values."""

    def engine_options(self) -> dict[str, float]:
        """Give what the engine takes."""


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How a model is trained: what Keras spreads over ``compile`` and ``fit``.

    Parameters
    ----------
    epochs : passes over the training data, at least 1
    batch_size : images an update, at least 1; the last batch of an epoch may be smaller
    optimizer : an :class:`SGD`, :class:`Adam`, :class:`AdamW` or :class:`Muon`
    loss : ``"sparse_categorical_crossentropy"`` or ``"categorical_crossentropy"``: the same
        function, named in Keras after the labels' form; a Split has both forms
    metrics : ``("accuracy",)``
    seed : fixes the order of the batches, and every other draw, 0 to 2**64 - 1
    shuffle : whether each epoch has an order of its own
    precision : ``"float32"``, or ``"bfloat16"`` to round what training multiplies, where that is
        faster on this processor; weights and sums stay float32. The run says which it used.
    threads : None for all cores that the process may use, or ``INKPROOF_THREADS``; no result
        depends on it
    label_smoothing : this share of each target is spread evenly over all classes, 0 to below 1;
        in training only, so that ``val_loss`` stays the cross-entropy
    class_weight : class -> weight of its images in the training loss, at least 0; a class is a
        name or a number from 0, names first; others weigh 1. ``"balanced"`` gives each class
        images / (classes * its images).
    augmentation : changes the training images at random, such as an ``inkproof.Augmentation``
    mixup : alpha of the Beta distribution by which pairs of training images are mixed (Zhang et
        al., "mixup: beyond empirical risk minimization", ICLR 2018); 0: that of ``augmentation``
    early_stopping : ends training by validation, or None
    reduce_on_plateau : lowers a constant learning rate, or None
    time_budget_seconds : no epoch begins that, as long as the longest so far, would end after so
        many seconds of training and validation; the first always does. A schedule still counts
        on all epochs. None: no limit

    Raises
    ------
    ConfigurationError : a value out of range; the message names it as ``training.<name>``
    UnknownNameError : a loss, metric or precision that does not exist
    """

    epochs: int = 30
    batch_size: int = 32
    optimizer: Optimizer = field(default_factory=SGD)
    loss: str = "sparse_categorical_crossentropy"
    metrics: tuple[str, ...] = ("accuracy",)
    seed: int = 0
    shuffle: bool = True
    precision: str = "float32"
    threads: int | None = None
    label_smoothing: float = 0.0
    class_weight: str | Mapping[str | int, float] | None = field(default=None, hash=False)
    augmentation: AugmentationSettings | None = None
    mixup: float = 0.0
    early_stopping: EarlyStopping | None = None
    reduce_on_plateau: ReduceLROnPlateau | None = None
    time_budget_seconds: float | None = None

    def __post_init__(self) -> None:
        whole("training.epochs", self.epochs, 1, _MAX_EPOCHS)
        whole("training.batch_size", self.batch_size, 1, (1 << 30) - 1)
        whole("training.seed", self.seed, 0, (1 << 64) - 1)
        if self.threads is not None:
            whole("training.threads", self.threads, 1, MAX_THREADS)
        if not isinstance(self.optimizer, Optimizer):
            kinds = ", ".join(kind.__name__ for kind in OPTIMIZERS.values())
            raise ConfigurationError(
                f"training.optimizer must be one of inkproof's {kinds}, got {self.optimizer!r}"
            )
        flag("training.shuffle", self.shuffle)
        known("loss", self.loss, LOSSES, where="training.loss")
        known("precision", self.precision, PRECISIONS, where="training.precision")
        if not isinstance(self.metrics, list | tuple):
            raise ConfigurationError(
                f"training.metrics must be a list of names, got {self.metrics!r}"
            )
        object.__setattr__(self, "metrics", tuple(self.metrics))
        for metric in self.metrics:
            known("metric", metric, ("accuracy",), where="training.metrics")
        number(
            "training.label_smoothing",
            self.label_smoothing,
            lambda value: 0 <= value < 1,
            "a share from 0 to below 1",
        )
        object.__setattr__(self, "class_weight", _class_weight(self.class_weight))
        number("training.mixup", self.mixup, lambda value: value >= 0, "a number of at least 0")
        self._check_parts()
        if self.time_budget_seconds is not None:
            number(
                "training.time_budget_seconds",
                self.time_budget_seconds,
                lambda value: value > 0,
                "a number above 0",
            )

    def _check_parts(self) -> None:
        if self.augmentation is not None and not isinstance(
            self.augmentation, AugmentationSettings
        ):
            raise ConfigurationError(
                f"training.augmentation must be an inkproof.Augmentation, got {self.augmentation!r}"
            )
        if self.mixup and getattr(self.augmentation, "mixup", 0):
            raise ConfigurationError(
                "training.mixup and training.augmentation.mixup are one setting, got both"
            )
        for key, kind in (
            ("early_stopping", EarlyStopping),
            ("reduce_on_plateau", ReduceLROnPlateau),
        ):
            value = getattr(self, key)
            if value is not None and not isinstance(value, kind):
                raise ConfigurationError(
                    f"training.{key} must be an inkproof.{kind.__name__}, got {value!r}"
                )
        if self.reduce_on_plateau is not None and isinstance(
            self.optimizer.learning_rate, Schedule
        ):
            raise ConfigurationError(
                "training.reduce_on_plateau needs a constant training.optimizer.learning_rate, "
                f"got the schedule {self.optimizer.learning_rate.name!r}"
            )

    @property
    def mixing(self) -> float:
        """``mixup``, or that of ``augmentation``."""
        return float(self.mixup or getattr(self.augmentation, "mixup", 0.0))

    def config(self) -> dict[str, Any]:
        """Give JSON values of all that results depend on: all but ``threads``.

        What is off by default is left out from ``label_smoothing`` on.
        """
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "threads"}
        parts = ("augmentation", "early_stopping", "optimizer", "reduce_on_plateau")
        values |= {key: values[key].config() for key in parts if values[key] is not None}
        if isinstance(values["class_weight"], Mapping):
            values["class_weight"] = dict(values["class_weight"])
        values["metrics"] = list(self.metrics)
        return {"seed": self.seed} | without_defaults(values, self)

    @classmethod
    def from_config(cls, values: Mapping[str, Any]) -> TrainingConfig:
        """Make one of what :meth:`config` gave; missing keys keep their defaults.

        Raises
        ------
        ConfigurationError, UnknownNameError : as for the class; also a key that does not exist
        """
        only("training", values, [f.name for f in fields(cls)])
        given = dict(values)
        if "optimizer" in given and not isinstance(given["optimizer"], Optimizer):
            given["optimizer"] = optimizer_from_config(given["optimizer"])
        for key, kind in (
            ("early_stopping", EarlyStopping),
            ("reduce_on_plateau", ReduceLROnPlateau),
        ):
            if given.get(key) is not None and not isinstance(given[key], kind):
                given[key] = kind.from_config(given[key])
        augmentation = given.get("augmentation")
        if augmentation is not None and not isinstance(augmentation, AugmentationSettings):
            given["augmentation"] = Augmentation.from_config(
                augmentation, where="training.augmentation"
            )
        return cls(**given)


def _class_weight(values: object) -> str | dict[str, float] | None:
    """Give the table with text as keys, sorted, as JSON has it."""
    where = "training.class_weight"
    if values is None or values == _BALANCED:
        return None if values is None else _BALANCED
    if not isinstance(values, Mapping) or not values:
        raise ConfigurationError(
            f'{where} must be "balanced" or a table of weights, got {reprlib.repr(values)}'
        )
    for key, weight in values.items():
        if not isinstance(key, str | int) or isinstance(key, bool):
            raise ConfigurationError(
                f"{where}: a class must be a name or a number from 0, got {key!r}"
            )
        number(f"{where}.{key}", weight, lambda value: value >= 0, "a number of at least 0")
    weights = dict(sorted((str(key), float(weight)) for key, weight in values.items()))
    if len(weights) != len(values):
        raise ConfigurationError(f"{where} must name each class once, got {reprlib.repr(values)}")
    return weights
