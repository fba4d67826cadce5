"""Optimisers: frozen descriptions of how a gradient moves the weights.

Names, arguments and defaults are Keras 3's; the engine does the work. A new one is a frozen
dataclass below :class:`Optimizer`, entered in ``OPTIMIZERS``, and a rule in the engine.
"""

from __future__ import annotations

import math
import reprlib
from abc import ABC
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt

from inkproof.errors import ConfigurationError
from inkproof.schedules import Schedule, schedule_from_config
from inkproof.settings import (
    FLOAT32_MAX,
    FLOAT32_TINY,
    flag,
    from_table,
    is_number,
    known,
    number,
    table,
    whole,
    without_defaults,
)

__all__ = [
    "OPTIMIZERS",
    "SGD",
    "Adam",
    "AdamW",
    "Muon",
    "Optimizer",
    "optimizer_from_config",
]

_WHERE: Final = "training.optimizer"
_CLIPS: Final = ("clipnorm", "clipvalue", "global_clipnorm")
_OFF: Final[dict[str, float]] = {
    "momentum": 0.0,
    "nesterov": 0.0,
    "beta_1": 0.9,
    "beta_2": 0.999,
    "epsilon": 1e-7,
    "weight_decay": 0.0,
    "clipvalue": 0.0,
    "clipnorm": 0.0,
    "global_clipnorm": 0.0,
    "ema_momentum": 0.0,
    "muon_steps": 5.0,
    "muon_hold_norm": 0.0,
    "adam_ratio": 1.0,
    "adam_weight_decay": 0.0,
}


@dataclass(frozen=True, kw_only=True)
class Optimizer(ABC):
    """What all optimisers have in common.

    Parameters
    ----------
    learning_rate : above 0, within what float32 holds: 1.2e-38 to 3.4e38; or a
        :class:`~inkproof.schedules.Schedule`
    clipnorm : each array's gradient has at most this Euclidean norm
    clipvalue : each number of a gradient lies within minus this and this
    global_clipnorm : all gradients together have at most this norm; at most one of the three
    use_ema : whether a moving average of the weights is kept: after each step it becomes
        ``ema_momentum`` times itself plus ``1 - ema_momentum`` times the weights, and it begins
        as the initial weights; the averaged weights are then validated, kept and saved
    ema_momentum : between 0 and 1
    """

    learning_rate: float | Schedule = 0.01
    clipnorm: float | None = None
    clipvalue: float | None = None
    global_clipnorm: float | None = None
    use_ema: bool = False
    ema_momentum: float = 0.99

    name: ClassVar[str]
    """Keras' name for it, which a study file uses."""
    kind: ClassVar[int]
    """The engine's number of its rule."""

    def __post_init__(self) -> None:
        if not isinstance(self.learning_rate, Schedule):
            _check_rate(self.learning_rate)
        for key in _CLIPS:
            if getattr(self, key) is not None:
                number(f"{_WHERE}.{key}", getattr(self, key), lambda v: v > 0, "a number above 0")
        given = [key for key in _CLIPS if getattr(self, key) is not None]
        if len(given) > 1:
            raise ConfigurationError(
                f"{_WHERE} takes one of {', '.join(_CLIPS)}, got {' and '.join(given)}"
            )
        flag(f"{_WHERE}.use_ema", self.use_ema)
        number(
            f"{_WHERE}.ema_momentum",
            self.ema_momentum,
            lambda value: 0 < value < 1,
            "a number between 0 and 1",
        )

    @property
    def is_plain(self) -> bool:
        """Whether a step is no more than w - learning_rate * gradient, with a fixed rate."""
        return False

    @property
    def has_state(self) -> bool:
        """Whether it remembers anything from step to step: moments, or an average."""
        return True

    def rates(self, first_step: int, count: int, total_steps: int) -> npt.NDArray[np.float32]:
        """Give the rates of some steps, constant or scheduled; see :meth:`Schedule.rates`."""
        if isinstance(self.learning_rate, Schedule):
            return self.learning_rate.rates(first_step, count, total_steps)
        return np.full(count, self.learning_rate, dtype=np.float32)

    def config(self) -> dict[str, Any]:
        """Give JSON values; ``name`` is Keras' for it. What is off by default is left out."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        if isinstance(self.learning_rate, Schedule):
            values["learning_rate"] = self.learning_rate.config()
        if not self.use_ema:
            del values["ema_momentum"]
        return {"name": self.name} | without_defaults(values, self)

    def engine_options(self) -> dict[str, float]:
        """Give what the engine takes: numbers, 0 for what is off, and the rule as ``kind``."""
        own = {
            _ENGINE_NAMES.get(f.name, f.name): float(getattr(self, f.name) or 0)
            for f in fields(self)
            if f.name not in ("learning_rate", "use_ema")
        }
        own["ema_momentum"] = float(self.ema_momentum) if self.use_ema else 0.0
        return {"kind": float(self.kind)} | _OFF | own


_ENGINE_NAMES: Final = {
    "adam_beta_1": "beta_1",
    "adam_beta_2": "beta_2",
    "adam_lr_ratio": "adam_ratio",
    "hold_norm": "muon_hold_norm",
    "ns_steps": "muon_steps",
}


@dataclass(frozen=True, kw_only=True)
class SGD(Optimizer):
    """Stochastic gradient descent, with momentum where it is asked for.

    Without momentum w becomes w - learning_rate * gradient. With it, m becomes
    momentum * m - learning_rate * gradient, and m is added to w; Nesterov's form adds
    momentum * m - learning_rate * gradient.

    Parameters
    ----------
    learning_rate, clipnorm, clipvalue, global_clipnorm, use_ema, ema_momentum : see
        :class:`Optimizer`
    momentum : 0 to below 1
    nesterov : whether momentum looks ahead
    weight_decay : w loses this times the learning rate times itself before each step; None: none
    """

    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float | None = None

    name: ClassVar[str] = "sgd"
    kind: ClassVar[int] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        _fraction("momentum", self.momentum)
        flag(f"{_WHERE}.nesterov", self.nesterov)
        if self.weight_decay is not None:
            _not_negative("weight_decay", self.weight_decay)

    @property
    def is_plain(self) -> bool:
        """Whether a step is no more than w - learning_rate * gradient, with a fixed rate."""
        options = self.engine_options()
        off = ("momentum", "weight_decay", *_CLIPS, "ema_momentum")
        return not isinstance(self.learning_rate, Schedule) and not any(options[k] for k in off)

    @property
    def has_state(self) -> bool:
        """With momentum or an average."""
        return bool(self.momentum) or self.use_ema


@dataclass(frozen=True, kw_only=True)
class Adam(Optimizer):
    """Steps by the gradient's running mean over the root of its running square.

    Kingma & Ba, "Adam: a method for stochastic optimization", ICLR 2015, in Keras' form:
    epsilon is added to the root before its bias is corrected.

    Parameters
    ----------
    learning_rate, clipnorm, clipvalue, global_clipnorm, use_ema, ema_momentum : see
        :class:`Optimizer`
    beta_1, beta_2 : how much of the running mean and square is kept, 0 to below 1
    epsilon : above 0
    weight_decay : w loses this times the learning rate times itself before each step; None: none
    """

    learning_rate: float | Schedule = 0.001
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7
    weight_decay: float | None = None

    name: ClassVar[str] = "adam"
    kind: ClassVar[int] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        _fraction("beta_1", self.beta_1)
        _fraction("beta_2", self.beta_2)
        _epsilon(self.epsilon)
        if self.weight_decay is not None:
            _not_negative("weight_decay", self.weight_decay)


@dataclass(frozen=True, kw_only=True)
class AdamW(Adam):
    """Adam with weight decay beside the gradient, not inside it.

    Loshchilov & Hutter, "Decoupled weight decay regularization", ICLR 2019.

    Parameters
    ----------
    weight_decay : at least 0
    others : see :class:`Adam`
    """

    weight_decay: float | None = 0.004

    name: ClassVar[str] = "adamw"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.weight_decay is None:
            _not_negative("weight_decay", self.weight_decay)


@dataclass(frozen=True, kw_only=True)
class Muon(Optimizer):
    """Momentum, made orthogonal, for the kernels of hidden layers; AdamW for all else.

    Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024. The momentum
    of a kernel, as a matrix of outputs by everything else, goes through some Newton-Schulz steps
    that bring its singular values near 1. The last layer's arrays, biases and normalisation move
    by AdamW at a rate of their own. Unlike Keras' class of this name it does not scale a step by
    the kernel's size, so its rates are those of Jordan.

    Parameters
    ----------
    learning_rate, clipnorm, clipvalue, global_clipnorm, use_ema, ema_momentum : see
        :class:`Optimizer`
    momentum : 0 to below 1; the buffer becomes momentum * buffer + gradient
    nesterov : whether the gradient plus momentum times the buffer is made orthogonal, not the
        buffer
    ns_steps : Newton-Schulz steps, 1 to 100
    hold_norm : whether each kernel is scaled, before each step, to the Frobenius norm
        sqrt(outputs)
    adam_lr_ratio : AdamW's learning rate over that of the kernels, above 0
    adam_beta_1, adam_beta_2, epsilon, adam_weight_decay : AdamW's
    """

    learning_rate: float | Schedule = 0.02
    momentum: float = 0.95
    nesterov: bool = True
    ns_steps: int = 5
    hold_norm: bool = False
    adam_lr_ratio: float = 0.1
    adam_beta_1: float = 0.9
    adam_beta_2: float = 0.999
    epsilon: float = 1e-7
    adam_weight_decay: float = 0.004

    name: ClassVar[str] = "muon"
    kind: ClassVar[int] = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        _fraction("momentum", self.momentum)
        flag(f"{_WHERE}.nesterov", self.nesterov)
        whole(f"{_WHERE}.ns_steps", self.ns_steps, 1, 100)
        flag(f"{_WHERE}.hold_norm", self.hold_norm)
        number(f"{_WHERE}.adam_lr_ratio", self.adam_lr_ratio, lambda v: v > 0, "a number above 0")
        _fraction("adam_beta_1", self.adam_beta_1)
        _fraction("adam_beta_2", self.adam_beta_2)
        _epsilon(self.epsilon)
        _not_negative("adam_weight_decay", self.adam_weight_decay)


OPTIMIZERS: Final[dict[str, type[Optimizer]]] = {
    kind.name: kind for kind in (SGD, Adam, AdamW, Muon)
}


def optimizer_from_config(values: object) -> Optimizer:
    """Make an optimiser of what :meth:`Optimizer.config` gave, or a study file holds.

    Parameters
    ----------
    values : a table; without ``name`` it is an SGD; ``learning_rate`` may be the table of a
        schedule

    Raises
    ------
    ConfigurationError : no table, or a value out of range; the message names the key
    UnknownNameError : an optimiser, a schedule or a key that does not exist
    """
    given = table(_WHERE, values)
    name = given.get("name", "sgd")
    known("optimizer", name, OPTIMIZERS, where=f"{_WHERE}.name")
    if isinstance(given.get("learning_rate"), dict):
        given["learning_rate"] = schedule_from_config(given["learning_rate"])
    return from_table(OPTIMIZERS[name], _WHERE, given, tag="name")


def _check_rate(rate: Any) -> None:
    where = f"{_WHERE}.learning_rate"
    if not is_number(rate) or not 0 < rate < math.inf:
        raise ConfigurationError(f"{where} must be a number above 0, got {rate!r}")
    if not FLOAT32_TINY <= rate <= FLOAT32_MAX:
        raise ConfigurationError(
            f"{where} must be from 1.2e-38 to 3.4e+38, as float32 holds it, "
            f"got {reprlib.repr(rate)}"
        )


def _fraction(key: str, value: object) -> None:
    number(f"{_WHERE}.{key}", value, lambda v: 0 <= v < 1, "a number from 0 to below 1")
    # The engine takes float32, in which an average with such a factor would never move.
    what = "a number that float32 keeps below 1"
    number(f"{_WHERE}.{key}", value, lambda v: bool(np.float32(v) < 1), what)


def _epsilon(value: object) -> None:
    number(f"{_WHERE}.epsilon", value, lambda v: v >= FLOAT32_TINY, "a number above 0")


def _not_negative(key: str, value: object) -> None:
    number(f"{_WHERE}.{key}", value, lambda v: v >= 0, "a number of at least 0")
