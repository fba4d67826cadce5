"""What watches a training's epochs: when it ends early, and when its rate is lowered.

Settings are frozen; a :class:`Watch` counts along, told of one epoch after the other. What it says
follows from the history alone, so that a training taken up again need only tell it the history.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np

from inkproof.schedules import Schedule
from inkproof.settings import flag, from_table, known, number, shortest, table, whole

if TYPE_CHECKING:
    from inkproof.training_config import TrainingConfig

__all__ = ["EarlyStopping", "ReduceLROnPlateau", "StoppedBy", "Watch"]

StoppedBy: TypeAlias = Literal["callback", "early_stopping", "time_budget"]

_STOPPING: Final = "training.early_stopping"
_PLATEAU: Final = "training.reduce_on_plateau"
_VALIDATION: Final = ("val_accuracy", "val_loss")
_MEASURES: Final = ("accuracy", "loss", *_VALIDATION)


@dataclass(frozen=True, kw_only=True)
class EarlyStopping:
    """Ends a training that no longer gets better on its validation data, as in Keras.

    Parameters
    ----------
    monitor : ``"val_loss"``, which should fall, or ``"val_accuracy"``, which should rise; nothing
        else may choose when training ends
    min_delta : an epoch is better if it is so by more than this, at least 0
    patience : so many epochs in a row that are no better end the training, at least 0
    restore_best_weights : whether the model is left with the weights of its best epoch, also
        where the training goes through all its epochs
    """

    monitor: str = "val_loss"
    min_delta: float = 0.0
    patience: int = 5
    restore_best_weights: bool = True

    def __post_init__(self) -> None:
        known("measure", self.monitor, _VALIDATION, where=f"{_STOPPING}.monitor")
        _not_negative(f"{_STOPPING}.min_delta", self.min_delta)
        whole(f"{_STOPPING}.patience", self.patience, 0)
        flag(f"{_STOPPING}.restore_best_weights", self.restore_best_weights)

    def config(self) -> dict[str, Any]:
        """Give JSON values."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @classmethod
    def from_config(cls, values: object) -> EarlyStopping:
        """Make one of what :meth:`config` gave; missing keys keep their defaults.

        Raises
        ------
        ConfigurationError, UnknownNameError : the message names the key
        """
        return from_table(cls, _STOPPING, table(_STOPPING, values))


class _Stopper:
    """Counts the epochs that are no better; ``best_epoch`` is 0 before the first."""

    def __init__(self, settings: EarlyStopping) -> None:
        self._settings = settings
        self._best: float | None = None
        self._wait = 0
        self._epochs = 0
        self.best_epoch = 0
        self.stops = False

    def see(self, values: Mapping[str, float]) -> None:
        self._epochs += 1
        value = values[self._settings.monitor]
        if _is_better(value, self._best, self._settings.monitor, self._settings.min_delta):
            self._best, self.best_epoch, self._wait = value, self._epochs, 0
            return
        self._wait += 1
        self.stops = self._wait >= self._settings.patience


@dataclass(frozen=True, kw_only=True)
class ReduceLROnPlateau:
    """Lowers the learning rate where training no longer gets better, as in Keras.

    Parameters
    ----------
    monitor : ``"loss"`` or ``"val_loss"``, which should fall, ``"accuracy"`` or
        ``"val_accuracy"``, which should rise
    factor : the rate becomes this times itself, above 0 and below 1
    patience : after so many epochs that are no better, at least 0
    min_delta : an epoch is better if it is so by more than this, at least 0
    cooldown : so many epochs after a reduction do not count, at least 0
    min_lr : the rate does not fall below it, at least 0
    """

    monitor: str = "val_loss"
    factor: float = 0.1
    patience: int = 10
    min_delta: float = 1e-4
    cooldown: int = 0
    min_lr: float = 0.0

    def __post_init__(self) -> None:
        known("measure", self.monitor, _MEASURES, where=f"{_PLATEAU}.monitor")
        number(
            f"{_PLATEAU}.factor",
            self.factor,
            lambda value: 0 < value < 1,
            "a number between 0 and 1",
        )
        whole(f"{_PLATEAU}.patience", self.patience, 0)
        _not_negative(f"{_PLATEAU}.min_delta", self.min_delta)
        whole(f"{_PLATEAU}.cooldown", self.cooldown, 0)
        _not_negative(f"{_PLATEAU}.min_lr", self.min_lr)

    @property
    def needs_validation(self) -> bool:
        """Whether what it watches is measured on validation data."""
        return self.monitor in _VALIDATION

    def config(self) -> dict[str, Any]:
        """Give JSON values."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @classmethod
    def from_config(cls, values: object) -> ReduceLROnPlateau:
        """Make one of what :meth:`config` gave; missing keys keep their defaults.

        Raises
        ------
        ConfigurationError, UnknownNameError : the message names the key
        """
        return from_table(cls, _PLATEAU, table(_PLATEAU, values))


class _Reducer:
    """Counts the epochs that are no better; ``rate`` is the next epoch's."""

    def __init__(self, settings: ReduceLROnPlateau, rate: float) -> None:
        self._settings = settings
        self._best: float | None = None
        self._wait = 0
        self._cooldown = 0
        self.rate = rate

    def see(self, values: Mapping[str, float]) -> None:
        settings = self._settings
        value = values[settings.monitor]
        if self._cooldown > 0:
            self._cooldown -= 1
            self._wait = 0
        if _is_better(value, self._best, settings.monitor, settings.min_delta):
            self._best, self._wait = value, 0
            return
        if self._cooldown > 0:
            return
        self._wait += 1
        rate = float(np.float32(self.rate))  # Keras' rate is one, too
        if self._wait >= settings.patience and rate > float(np.float32(settings.min_lr)):
            self.rate = shortest(max(rate * settings.factor, settings.min_lr))
            self._cooldown, self._wait = settings.cooldown, 0


class Watch:
    """Counts along with a training, epoch by epoch.

    Parameters
    ----------
    config : what is asked for
    rows : the history's columns so far; the watch has seen these epochs

    Attributes
    ----------
    best_epoch : the epoch, from 1, whose weights are to be given back, 0 before the first; None
        where the last epoch's are
    """

    def __init__(self, config: TrainingConfig, rows: Mapping[str, list[float]]) -> None:
        rate = config.optimizer.learning_rate
        stopping, plateau = config.early_stopping, config.reduce_on_plateau
        self._config = config
        self._stopper = None if stopping is None else _Stopper(stopping)
        self._first_rate = math.nan if isinstance(rate, Schedule) else rate
        self._reducer = None if plateau is None else _Reducer(plateau, self._first_rate)
        self._seconds: list[float] = []
        self._longest = 0.0
        for row in range(len(rows["loss"])):
            self.see({name: column[row] for name, column in rows.items() if column})

    def see(self, values: Mapping[str, float]) -> None:
        """Take in an epoch's row of the history."""
        if self._stopper is not None:
            self._stopper.see(values)
        if self._reducer is not None:
            self._reducer.see(values)
        self._seconds.append(values["seconds"])
        self._longest = max(self._longest, values["seconds"])

    @property
    def rate(self) -> float:
        """The next epoch's learning rate; not a number where a schedule gives it."""
        return self._first_rate if self._reducer is None else self._reducer.rate

    @property
    def best_epoch(self) -> int | None:
        """The epoch whose weights are to be given back."""
        settings = self._config.early_stopping
        if self._stopper is None or settings is None or not settings.restore_best_weights:
            return None
        return self._stopper.best_epoch

    def stopped_by(self) -> StoppedBy | None:
        """Say what ends the training before the next epoch, or None."""
        if self._stopper is not None and self._stopper.stops:
            return "early_stopping"
        budget = self._config.time_budget_seconds
        if budget is not None and self._seconds:
            return "time_budget" if math.fsum(self._seconds) + self._longest > budget else None
        return None


def _is_better(value: float, best: float | None, monitor: str, min_delta: float) -> bool:
    if best is None:
        return True
    if monitor.endswith("loss"):
        return value + min_delta < best
    return value - min_delta > best


def _not_negative(where: str, value: object) -> None:
    number(where, value, lambda v: v >= 0, "a number of at least 0")
