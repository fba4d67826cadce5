"""The native engine: one network, trained one pass over the data at a time.

The same C++ source is built for several levels of processor; the newest that this one runs is
chosen when the first network is made. ``INKPROOF_ISA`` names another one (for tests),
``INKPROOF_THREADS`` the number of threads.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from inkproof.errors import ConfigurationError, ModelError, UnknownNameError, UnsupportedError
from inkproof.layers import Layer, dense_stack

if TYPE_CHECKING:
    from inkproof.layers import Shape

__all__ = [
    "MAX_THREADS",
    "Network",
    "PassTotals",
    "Prepared",
    "default_isa",
    "default_threads",
    "variants",
]

MAX_THREADS: Final = 256
_LEVELS: Final = ("v4", "v3", "portable")  # the fastest first
_MAX_WIDTH: Final = 1 << 20  # keeps every index inside the engine within 31 bits

Inputs = npt.NDArray[np.uint8] | npt.NDArray[np.float32]


class PassTotals:
    """What one pass over the data added up to.

    Attributes
    ----------
    loss : the mean cross-entropy, nats
    accuracy : the share of rows whose likeliest class was the label
    steps : updates made
    bad_step : the first step, from 0, whose loss was not finite, or None
    """

    def __init__(self, totals: tuple[float, int, int, int], rows: int) -> None:
        loss, correct, self.steps, bad_step = totals
        self.loss = loss / rows
        self.accuracy = correct / rows
        self.bad_step = None if bad_step < 0 else bad_step


class Prepared:
    """Inputs as a network wants them: what is not zero is listed once, for many passes.

    Made by :meth:`Network.prepare`. It refers to the array, which must not change.

    Attributes
    ----------
    rows : how many inputs there are
    isa : the variant of the engine that it belongs to
    """

    def __init__(self, native: Any, rows: int, features: int, isa: str) -> None:
        self.native = native
        self.rows = rows
        self.features = features
        self.isa = isa


def variants() -> tuple[str, ...]:
    """Name the variants that were built and that this processor can run, the fastest first."""
    cpu = importlib.import_module("inkproof.engine._cpu")
    runs = {"v4": cpu.has_v4(), "v3": cpu.has_v3(), "portable": True}
    found = importlib.util.find_spec
    return tuple(
        level
        for level in _LEVELS
        if runs[level] and found(f"inkproof.engine._engine_{level}") is not None
    )


def default_isa() -> str:
    """Name the variant that is used where none is asked for: ``INKPROOF_ISA`` or the fastest.

    Raises
    ------
    UnknownNameError, UnsupportedError : ``INKPROOF_ISA`` names none, or one that cannot run here
    """
    return _checked_isa(os.environ.get("INKPROOF_ISA"), "INKPROOF_ISA")


def default_threads() -> int:
    """Count the threads that are used: ``INKPROOF_THREADS`` or the cores this process may use.

    Raises
    ------
    ConfigurationError : ``INKPROOF_THREADS`` is not a whole number from 1 to ``MAX_THREADS``
    """
    wanted = os.environ.get("INKPROOF_THREADS")
    if wanted:
        if wanted.isascii() and wanted.isdigit() and 1 <= int(wanted[:9]) <= MAX_THREADS:
            return int(wanted)
        raise ConfigurationError(
            f"INKPROOF_THREADS must be a whole number from 1 to {MAX_THREADS}, got {wanted[:40]!r}"
        )
    if sys.platform == "linux":
        return min(len(os.sched_getaffinity(0)), MAX_THREADS)
    return min(os.cpu_count() or 1, MAX_THREADS)


class Network:
    """A network in the engine, with weights of its own.

    One network is one piece of work: it must not be used by two Python threads at once. The
    global interpreter lock is released while it computes.

    Parameters
    ----------
    layers : what the network is made of; it must come down to Dense layers with ReLU between
        them and a softmax at the end
    input_shape : the shape of one input after preprocessing, such as (784,)
    threads : how many threads share the work; no result depends on it
    isa : one of :func:`variants`

    Raises
    ------
    UnsupportedError : layers that the engine does not have, or a variant that cannot run here
    ConfigurationError : ``threads`` out of range
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        input_shape: Shape,
        *,
        threads: int | None = None,
        isa: str | None = None,
    ) -> None:
        stack = dense_stack(tuple(layers), input_shape)
        widest = max(max(inputs, units) for inputs, units, _ in stack)
        if widest > _MAX_WIDTH:
            raise UnsupportedError(
                f"the engine takes layers of at most {_MAX_WIDTH:,} inputs and units, "
                f"got {widest:,}"
            )
        self.isa = _checked_isa(isa, "isa") if isa else default_isa()
        self.threads = default_threads() if threads is None else threads
        if not 1 <= self.threads <= MAX_THREADS:
            raise ConfigurationError(f"threads must be 1 to {MAX_THREADS}, got {threads}")
        self._sizes = [(inputs, units) for inputs, units, _ in stack]
        self._module = importlib.import_module(f"inkproof.engine._engine_{self.isa}")
        self._native: Any = self._module.Network(
            [(inputs, units, activation == "relu") for inputs, units, activation in stack],
            self.threads,
        )

    @property
    def features(self) -> int:
        """The size of one input."""
        return self._sizes[0][0]

    @property
    def classes(self) -> int:
        """The size of one output."""
        return self._sizes[-1][1]

    def set_weights(self, weights: Sequence[npt.NDArray[np.float32]]) -> None:
        """Copy weights in: float32 kernel (inputs, units) and bias (units,) of each layer.

        Raises
        ------
        ModelError : another number of arrays or another shape
        """
        shapes = [shape for size in self._sizes for shape in (size, size[1:])]
        got = [np.shape(array) for array in weights]
        if got != shapes:
            raise ModelError(f"the engine expected weights of the shapes {shapes}, got {got}")
        for index in range(len(self._sizes)):
            kernel, bias = weights[2 * index : 2 * index + 2]
            self._native.set_weights(
                index,
                np.ascontiguousarray(kernel, dtype=np.float32),
                np.ascontiguousarray(bias, dtype=np.float32),
            )

    def weights(self) -> list[npt.NDArray[np.float32]]:
        """Copy the weights out, in the form that :meth:`set_weights` takes."""
        return list(self._native.weights())

    def prepare(self, inputs: Inputs, *, scale: float = 1.0, offset: float = 0.0) -> Prepared:
        """Check inputs and list what is not zero in them, where that is little.

        Parameters
        ----------
        inputs : uint8 or float32 (n, features), C-contiguous; it must not change afterwards
        scale, offset : the network sees ``scale * input + offset``

        Raises
        ------
        ModelError : another shape or dtype
        """
        if (
            inputs.ndim != 2
            or inputs.shape[1] != self.features
            or inputs.dtype not in (np.uint8, np.float32)
            or not inputs.flags.c_contiguous
        ):
            raise ModelError(
                f"the engine expected uint8 or float32 (n, {self.features}) in C order, "
                f"got {inputs.dtype} {inputs.shape}"
            )
        native = self._module.Data(inputs, scale, offset)
        return Prepared(native, len(inputs), self.features, self.isa)

    def train(
        self,
        inputs: Prepared,
        labels: npt.NDArray[np.int64],
        order: npt.NDArray[np.int64],
        *,
        batch_size: int,
        learning_rate: float,
        poll: Callable[[int], None] | None = None,
    ) -> PassTotals:
        """Make one pass of stochastic gradient descent on the mean cross-entropy of each batch.

        Parameters
        ----------
        inputs : n of them
        labels : int64 (n,), 0 .. classes - 1
        order : int64 (m,), the rows to take, in this order
        batch_size : rows an update; the last batch may be smaller
        learning_rate : w becomes w - learning_rate * gradient
        poll : called about every 50 ms with the number of rows done; what it raises ends the pass

        Returns
        -------
        running means over the pass, while the weights move; a loss that is not finite ends it

        Raises
        ------
        ModelError : shapes, dtypes or ranges that do not fit
        """
        self._check(inputs, labels)
        order = np.ascontiguousarray(order, dtype=np.int64)
        if order.ndim != 1 or order.size == 0 or order.min() < 0 or order.max() >= inputs.rows:
            raise ModelError(f"order must name rows 0 to {inputs.rows - 1}, at least one")
        if not 1 <= batch_size < 1 << 30:
            raise ConfigurationError(f"batch_size must be at least 1, got {batch_size}")
        size = min(batch_size, len(order))
        totals = self._native.train(inputs.native, labels, order, size, learning_rate, poll)
        return PassTotals(totals, len(order))

    def gradients(
        self, inputs: Prepared, labels: npt.NDArray[np.int64]
    ) -> list[npt.NDArray[np.float32]]:
        """Give the gradients of the mean cross-entropy, in the form of :meth:`weights`."""
        self._check(inputs, labels)
        return list(self._native.gradients(inputs.native, labels))

    def predict(
        self, inputs: Inputs, *, scale: float = 1.0, offset: float = 0.0
    ) -> npt.NDArray[np.float32]:
        """Give the softmax probabilities of each row.

        Parameters
        ----------
        inputs, scale, offset : as for :meth:`prepare`

        Returns
        -------
        float32 (n, classes)
        """
        prepared = self.prepare(inputs, scale=scale, offset=offset)
        result = np.empty((prepared.rows, self.classes), dtype=np.float32)
        if prepared.rows:
            self._native.predict(prepared.native, result)
        return result

    def evaluate(
        self,
        inputs: Prepared,
        labels: npt.NDArray[np.int64],
        *,
        poll: Callable[[int], None] | None = None,
    ) -> PassTotals:
        """Give mean cross-entropy and accuracy; a row's loss is at most -ln 1e-7, as in Keras."""
        self._check(inputs, labels)
        return PassTotals(self._native.evaluate(inputs.native, labels, poll), inputs.rows)

    def _check(self, inputs: Prepared, labels: npt.NDArray[np.int64]) -> None:
        if inputs.features != self.features or inputs.isa != self.isa:
            raise ModelError(
                f"the inputs were prepared for {inputs.features} features and {inputs.isa}, "
                f"this network has {self.features} and {self.isa}"
            )
        rows = inputs.rows
        if labels.dtype != np.int64 or labels.shape != (rows,) or rows == 0:
            raise ModelError(
                f"the engine expected int64 labels ({max(rows, 1)},), "
                f"got {labels.dtype} {labels.shape}"
            )
        if labels.min() < 0 or labels.max() >= self.classes:
            raise ModelError(
                f"labels must be 0 to {self.classes - 1}, "
                f"got {int(labels.min())} to {int(labels.max())}"
            )


def _checked_isa(name: str | None, where: str) -> str:
    here = variants()
    if not name:
        return here[0]
    if name not in _LEVELS:
        raise UnknownNameError("engine variant", name[:40], _LEVELS, where=where)
    if name not in here:
        raise UnsupportedError(
            f"{where}: the engine's variant {name!r} does not run on this processor; "
            f"use one of {', '.join(here)}"
        )
    return name
