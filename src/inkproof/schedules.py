"""Learning-rate schedules: the rate of each step of a training.

Steps are counted from 0 over all epochs, as in Keras: step t has the rate at t. A schedule is
frozen and knows nothing of a training but how many steps it has in all.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt

from inkproof.errors import ConfigurationError
from inkproof.settings import (
    FLOAT32_MAX,
    FLOAT32_TINY,
    from_table,
    known,
    number,
    table,
    whole,
    without_defaults,
)

__all__ = [
    "SCHEDULES",
    "CosineDecay",
    "OneCycle",
    "PiecewiseConstantDecay",
    "Schedule",
    "schedule_from_config",
]

_WHERE: Final = "training.optimizer.learning_rate"


class Schedule(ABC):
    """What all schedules have in common."""

    name: ClassVar[str]
    """What a study file calls it."""

    @property
    @abstractmethod
    def depends_on_total(self) -> bool:
        """Whether the rates hang on how many steps the training has in all."""

    @abstractmethod
    def _values(self, steps: npt.NDArray[np.float64], total: int) -> npt.NDArray[np.float64]:
        """Give the rates at steps in float64."""

    def rates(self, first_step: int, count: int, total_steps: int) -> npt.NDArray[np.float32]:
        """Give the rates of some steps.

        Parameters
        ----------
        first_step : from 0
        count : how many steps from there
        total_steps : of the whole training, at least 1

        Returns
        -------
        float32 (count,), at least 0
        """
        steps = np.arange(first_step, first_step + count, dtype=np.float64)
        return self._values(steps, total_steps).astype(np.float32)

    def config(self) -> dict[str, Any]:
        """Give JSON values, from which :func:`schedule_from_config` makes an equal one."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        values = without_defaults(values, self)  # type: ignore[arg-type]
        return {"schedule": self.name} | {
            key: list(value) if isinstance(value, tuple) else value for key, value in values.items()
        }


@dataclass(frozen=True, kw_only=True)
class PiecewiseConstantDecay(Schedule):
    """A rate for each stretch of steps: ``schedule = "step"``.

    As in Keras, step t has ``values[i]`` up to and including ``boundaries[i]``, and the last
    value after the last boundary.

    Parameters
    ----------
    boundaries : steps, rising, at least one
    values : rates above 0, one more than boundaries
    """

    boundaries: tuple[int, ...]
    values: tuple[float, ...]

    name: ClassVar[str] = "step"

    def __post_init__(self) -> None:
        for key in ("boundaries", "values"):
            given = getattr(self, key)
            if not isinstance(given, list | tuple) or not given:
                raise ConfigurationError(
                    f"{_WHERE}.{key} must be a list of at least one number, got {given!r}"
                )
            object.__setattr__(self, key, tuple(given))
        for index, boundary in enumerate(self.boundaries):
            whole(f"{_WHERE}.boundaries[{index}]", boundary, 0)
        if list(self.boundaries) != sorted(set(self.boundaries)):
            raise ConfigurationError(
                f"{_WHERE}.boundaries must rise, got {list(self.boundaries)!r}"
            )
        for index, value in enumerate(self.values):
            _rate(f"values[{index}]", value)
        if len(self.values) != len(self.boundaries) + 1:
            raise ConfigurationError(
                f"{_WHERE}.values must be one more than boundaries, expected "
                f"{len(self.boundaries) + 1}, got {len(self.values)}"
            )

    @property
    def depends_on_total(self) -> bool:
        """No."""
        return False

    def _values(self, steps: npt.NDArray[np.float64], total: int) -> npt.NDArray[np.float64]:
        del total
        values = np.array(self.values, dtype=np.float64)
        return values[np.searchsorted(np.array(self.boundaries), steps, side="left")]


@dataclass(frozen=True, kw_only=True)
class CosineDecay(Schedule):
    """Half a cosine from the first rate down, after a linear warm-up: ``schedule = "cosine"``.

    Loshchilov & Hutter, "SGDR: stochastic gradient descent with warm restarts", ICLR 2017, with
    Keras' arguments.

    Parameters
    ----------
    initial_learning_rate : where it begins; above 0, or with a warm-up at least 0
    decay_steps : how many steps the fall takes; None: all that are left after the warm-up
    alpha : the share of the highest rate at which it ends and stays, 0 to 1
    warmup_target : the rate that a warm-up climbs to, and the fall begins with; None: no warm-up
    warmup_steps : how many steps the warm-up takes; only with ``warmup_target``
    """

    initial_learning_rate: float
    decay_steps: int | None = None
    alpha: float = 0.0
    warmup_target: float | None = None
    warmup_steps: int = 0

    name: ClassVar[str] = "cosine"

    def __post_init__(self) -> None:
        if self.warmup_target is None:
            _rate("initial_learning_rate", self.initial_learning_rate)
        else:
            number(
                f"{_WHERE}.initial_learning_rate",
                self.initial_learning_rate,
                lambda value: value >= 0,
                "a number of at least 0",
            )
            _rate("warmup_target", self.warmup_target)
        if self.decay_steps is not None:
            whole(f"{_WHERE}.decay_steps", self.decay_steps, 1)
        whole(f"{_WHERE}.warmup_steps", self.warmup_steps, 0)
        if self.warmup_steps and self.warmup_target is None:
            raise ConfigurationError(
                f"{_WHERE}.warmup_steps needs a warmup_target, got {self.warmup_steps} without"
            )
        _share("alpha", self.alpha)

    @property
    def depends_on_total(self) -> bool:
        """Where ``decay_steps`` is None."""
        return self.decay_steps is None

    def _values(self, steps: npt.NDArray[np.float64], total: int) -> npt.NDArray[np.float64]:
        length = self.decay_steps or max(total - self.warmup_steps, 1)
        start, peak = self.initial_learning_rate, self.initial_learning_rate
        if self.warmup_target is not None:
            peak = self.warmup_target
        climbed = steps / max(self.warmup_steps, 1)
        fallen = np.clip((steps - self.warmup_steps) / length, 0.0, 1.0)
        cosine = 0.5 * (1 + np.cos(math.pi * fallen))
        falling = peak * ((1 - self.alpha) * cosine + self.alpha)
        return np.where(steps < self.warmup_steps, start + (peak - start) * climbed, falling)


@dataclass(frozen=True, kw_only=True)
class OneCycle(Schedule):
    """Up to a high rate and down to zero, over the whole training: ``schedule = "one_cycle"``.

    Smith & Topin, "Super-convergence: very fast training of neural networks using large learning
    rates", 2018.

    Parameters
    ----------
    peak_learning_rate : the highest rate, above 0
    warmup_share : the share of all steps that climb, linearly, from 0 to below 1
    initial_share : where it begins, as a share of the highest rate, 0 to 1
    decay : how it falls, ``"linear"`` or ``"cosine"``; it would be zero a step after the last
    """

    peak_learning_rate: float
    warmup_share: float = 0.3
    initial_share: float = 0.04
    decay: str = "linear"

    name: ClassVar[str] = "one_cycle"

    def __post_init__(self) -> None:
        _rate("peak_learning_rate", self.peak_learning_rate)
        number(
            f"{_WHERE}.warmup_share",
            self.warmup_share,
            lambda value: 0 <= value < 1,
            "a share from 0 to below 1",
        )
        _share("initial_share", self.initial_share)
        known("decay", self.decay, ("linear", "cosine"), where=f"{_WHERE}.decay")

    @property
    def depends_on_total(self) -> bool:
        """Yes."""
        return True

    def _values(self, steps: npt.NDArray[np.float64], total: int) -> npt.NDArray[np.float64]:
        climb = self.warmup_share * total
        begin = self.initial_share
        climbing = begin + (1 - begin) * np.minimum(steps, climb) / (climb or 1.0)
        fallen = np.clip((steps - climb) / (total - climb), 0.0, 1.0)
        left = 1 - fallen if self.decay == "linear" else 0.5 * (1 + np.cos(math.pi * fallen))
        return self.peak_learning_rate * np.where(steps < climb, climbing, left)


SCHEDULES: Final[dict[str, type[Schedule]]] = {
    kind.name: kind for kind in (PiecewiseConstantDecay, CosineDecay, OneCycle)
}


def schedule_from_config(values: object) -> Schedule:
    """Make a schedule of what :meth:`Schedule.config` gave, or a study file holds.

    Raises
    ------
    ConfigurationError : no table, or a value out of range; the message names the key
    UnknownNameError : a schedule or a key that does not exist
    """
    given = table(_WHERE, values)
    name = given.get("schedule")
    known("schedule", name, SCHEDULES, where=f"{_WHERE}.schedule")
    return from_table(SCHEDULES[str(name)], _WHERE, given, tag="schedule")  # type: ignore[type-var]


def _rate(key: str, value: object) -> None:
    number(
        f"{_WHERE}.{key}",
        value,
        lambda rate: FLOAT32_TINY <= rate <= FLOAT32_MAX,
        "a number above 0, from 1.2e-38 to 3.4e+38",
    )


def _share(key: str, value: object) -> None:
    number(f"{_WHERE}.{key}", value, lambda share: 0 <= share <= 1, "a share from 0 to 1")
