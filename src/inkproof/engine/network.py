"""One network in the engine: its weights, its training pass by pass, its predictions.

Behind it stand two native ones. A chain of dense layers with ReLU goes to the fused one, where each
weight is updated while the next product has it in the cache, if every weight moves by its own
gradient alone; everything else goes to the general one, operation by operation.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from inkproof.engine.lowering import operations
from inkproof.engine.processor import (
    MAX_THREADS,
    checked_isa,
    default_isa,
    default_threads,
    factors,
    usable_precision,
)
from inkproof.errors import ConfigurationError, ModelError, UnsupportedError
from inkproof.layers import Layer, dense_stack, walk
from inkproof.randomness import Use, uniform

if TYPE_CHECKING:
    from inkproof.layers import Shape

__all__ = ["Network", "OperationTime", "PassTotals", "Prepared"]

_MAX_WIDTH: Final = 1 << 20  # keeps every index inside the engine within 31 bits
_SLOTS: Final = ("first", "second", "average")  # what an optimiser remembers of an array

Inputs = npt.NDArray[np.uint8] | npt.NDArray[np.float32]
Weights = list[npt.NDArray[np.float32]]
Poll = Callable[[int], None]


class HasEngineOptions(Protocol):
    """What the engine asks of an optimiser or an augmentation."""

    def engine_options(self) -> Mapping[str, float]:
        """Give its settings as numbers."""


class PassTotals:
    """What one pass over the data added up to.

    Attributes
    ----------
    loss : the mean cross-entropy, nats; weighted where rows have weights
    accuracy : the share of rows whose likeliest class was the label
    steps : updates made
    bad_step : the first step, from 0, whose loss was not finite, or None
    last_loss : the mean loss of the last batch for which it was finite, or None
    """

    def __init__(self, totals: tuple[float, int, int, int, float], rows: int) -> None:
        loss, correct, self.steps, bad_step, last_loss = totals
        self.loss = loss / rows
        self.accuracy = correct / rows
        self.bad_step = None if bad_step < 0 else bad_step
        self.last_loss = None if last_loss < 0 else last_loss


@dataclass(frozen=True, kw_only=True)
class OperationTime:
    """How long one operation took in a pass of training.

    Parameters
    ----------
    name : such as ``dense``
    inputs, outputs : numbers that it takes and gives for one row
    products : multiply-adds of the way forward for one row, factors of zero counted
    forward, backward : seconds; an update counts with the product that it goes along with, and a
        pooling that a convolution does with the convolution
    """

    name: str
    inputs: int
    outputs: int
    products: int
    forward: float
    backward: float


class Prepared:
    """Inputs as a network wants them.

    Made by :meth:`Network.prepare`. It refers to the array, which must not change. The fused
    network's form of it lists what is not zero, once, for many passes.

    Attributes
    ----------
    rows : how many inputs there are
    isa : the variant of the engine that it belongs to
    """

    def __init__(self, module: Any, inputs: Inputs, scale: float, offset: float, isa: str) -> None:
        self._module = module
        self._inputs = inputs
        self._scaling = (scale, offset)
        self._native: dict[bool, Any] = {}
        self.rows, self.features = inputs.shape
        self.isa = isa

    def native(self, *, lists: bool) -> Any:
        """Give the native data, with lists of what is not zero or without."""
        if lists not in self._native:
            self._native[lists] = self._module.Data(self._inputs, *self._scaling, lists)
        return self._native[lists]


class Network:
    """A network in the engine, with weights of its own.

    One network is one piece of work: it must not be used by two Python threads at once. The
    global interpreter lock is released while it computes.

    Parameters
    ----------
    layers : from the first to the last, which ends in a softmax
    input_shape : the shape of one input after preprocessing, such as (784,)
    threads : how many threads share the work; no result depends on it
    isa : one of :func:`inkproof.engine.variants`
    optimizer : how weights are moved; None is plain gradient descent
    image_shape : (height, width, channels) that an augmentation sees where the input is flat
    precision : ``"bfloat16"`` rounds the factors of training's products to it, where the processor
        multiplies such numbers faster; weights, sums and inference stay float32. Without AMX so do
        the last layer and the first one's products with sparse inputs; with it stacks of dense
        layers round, and convolutions of 32, 64, ... channels and filters, and others do not

    Attributes
    ----------
    precision : what training uses: ``"float32"`` where this processor gains nothing by less
    factors : how, see :func:`inkproof.engine.processor.factors`

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
        optimizer: HasEngineOptions | None = None,
        image_shape: Shape | None = None,
        precision: str = "float32",
    ) -> None:
        self._layers = tuple(layers)
        self._input_shape = input_shape
        self._image_shape = image_shape or input_shape
        self._stack: list[tuple[int, int, str]] | None
        self._operations: list[tuple[str, list[int], list[float]]] = []
        try:
            self._stack = dense_stack(self._layers, input_shape)
        except UnsupportedError:
            self._stack = None
            self._operations = operations(self._layers, input_shape)
        if self._stack:
            widest = max(max(inputs, units) for inputs, units, _ in self._stack)
            if widest > _MAX_WIDTH:
                raise UnsupportedError(
                    f"the engine takes layers of at most {_MAX_WIDTH:,} inputs and units, "
                    f"got {widest:,}"
                )
        self.isa = checked_isa(isa, "isa") if isa else default_isa()
        self.threads = _checked_threads(threads)
        self.precision = usable_precision(precision, self.isa)
        self.factors = factors(self.precision, self.isa)
        self._options = {} if optimizer is None else dict(optimizer.engine_options())
        self._shapes = [
            spec.shape for at in walk(self._layers, input_shape) for spec in at.own_weights
        ]
        self._features = int(np.prod(input_shape, dtype=np.int64))
        self._classes = self._stack[-1][1] if self._stack else self._shapes[-1][-1]
        self._module = importlib.import_module(f"inkproof.engine._engine_{self.isa}")
        self._make()

    def _make(self) -> None:
        self._fused: Any = self._new_fused() if self._stack else None
        self._general: Any = None if self._stack else self._new_general()
        self._newest: Any = self._fused or self._general

    def share_among(self, threads: int | None) -> None:
        """Let another number of threads share the work from here on, as for a new network.

        Raises
        ------
        ConfigurationError : ``threads`` out of range
        """
        wanted = _checked_threads(threads)
        if wanted == self.threads:
            return
        weights, memory = self.weights(), self.state()
        self.threads = wanted
        self._make()
        self.set_weights(weights)
        self.set_state(memory)

    @property
    def arithmetic(self) -> str:
        """What decides how numbers are rounded: the variant, and less precision than usual."""
        if self.precision == "float32":
            return self.isa
        return f"{self.isa} {self.precision}" + (" AMX" if self.factors == "tiles" else "")

    @property
    def features(self) -> int:
        """The size of one input."""
        return self._features

    @property
    def classes(self) -> int:
        """The size of one output."""
        return self._classes

    @property
    def averages(self) -> bool:
        """Whether an average of the weights is kept while they are trained."""
        return self._options.get("ema_momentum", 0.0) != 0

    def set_weights(self, weights: Sequence[npt.NDArray[np.float32]]) -> None:
        """Copy weights in: float32 arrays in Keras' order and layout.

        An average of the weights begins anew at them.

        Raises
        ------
        ModelError : another number of arrays or another shape
        """
        got = [np.shape(array) for array in weights]
        if got != self._shapes:
            raise ModelError(f"the engine expected weights of the shapes {self._shapes}, got {got}")
        trainable = [is_trainable for _, _, is_trainable in self._newest.shapes()]
        for index, array in enumerate(weights):
            self._newest.set(index, "values", _as_matrix(array))
            if self.averages and trainable[index]:
                self._newest.set(index, "average", _as_matrix(array))

    def weights(self) -> Weights:
        """Copy the weights out, in the form that :meth:`set_weights` takes."""
        return [array for array in self._slot("values") if array is not None]

    def averaged_weights(self) -> Weights:
        """Copy out the average of the weights; the weights themselves where none is kept.

        What gradients do not move, such as batch normalisation's statistics, is as it is.
        """
        return [
            array if average is None else average
            for array, average in zip(self.weights(), self._slot("average"), strict=True)
        ]

    def state(self) -> dict[str, npt.NDArray[np.float32]]:
        """Copy out what the optimiser remembers; :meth:`set_state` takes it back."""
        return {
            f"{slot}/{index:04d}": array
            for slot in _SLOTS
            for index, array in enumerate(self._slot(slot))
            if array is not None
        }

    def set_state(self, state: Mapping[str, npt.NDArray[np.float32]]) -> None:
        """Copy in what :meth:`state` gave, after :meth:`set_weights`.

        Raises
        ------
        ModelError : arrays that are not this network's
        """
        trainable = [is_trainable for _, _, is_trainable in self._newest.shapes()]
        for name, array in state.items():
            slot, _, number = name.partition("/")
            index = int(number) if number.isascii() and number.isdigit() else -1
            fits = slot in _SLOTS and 0 <= index < len(self._shapes) and trainable[index]
            if not fits or np.shape(array) != self._shapes[index]:
                raise ModelError(
                    f"the optimiser's state has no array {name[:40]!r} of the shape "
                    f"{np.shape(array)}"
                )
            self._newest.set(index, slot, _as_matrix(array))

    def prepare(self, inputs: Inputs, *, scale: float = 1.0, offset: float = 0.0) -> Prepared:
        """Check inputs and make them ready for many passes.

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
        return Prepared(self._module, inputs, scale, offset, self.isa)

    def train(
        self,
        inputs: Prepared,
        labels: npt.NDArray[np.int64],
        order: npt.NDArray[np.int64],
        *,
        batch_size: int,
        learning_rate: float | npt.NDArray[np.float32],
        poll: Poll | None = None,
        epoch: int = 1,
        seed: int = 0,
        first_step: int = 0,
        label_smoothing: float = 0.0,
        row_weights: npt.NDArray[np.float32] | None = None,
        augmentation: HasEngineOptions | None = None,
        mixup: float = 0.0,
    ) -> PassTotals:
        """Make one pass of gradient descent on the mean cross-entropy of each batch.

        Parameters
        ----------
        inputs : n of them
        labels : int64 (n,), 0 .. classes - 1
        order : int64 (m,), the rows to take, in this order
        batch_size : rows an update; the last batch may be smaller
        learning_rate : of all steps, or float32 (steps,) of each
        poll : called about every 50 ms with the number of rows done; what it raises ends the pass
        epoch, seed : the key of all random draws of the pass: dropout, augmentation, mixup
        first_step : updates that were made before this pass
        label_smoothing : the share of a target that is spread evenly over the classes, 0 to 1
        row_weights : float32 (n,), of each row's loss; the sum is divided by the batch's rows, as
            in Keras
        augmentation : how images are distorted; ``input_shape`` must be that of images
        mixup : the parameter of the Beta distribution that rows are mixed by; 0 mixes none

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
        steps = -(-len(order) // size)
        rates = np.asarray(learning_rate, dtype=np.float32)
        if rates.shape not in ((), (steps,)):
            raise ModelError(f"learning_rate must be one number or ({steps},), got {rates.shape}")
        rates = np.broadcast_to(rates, (steps,))
        options = self._pass_options(
            inputs.rows,
            size,
            epoch=epoch,
            seed=seed,
            label_smoothing=label_smoothing,
            row_weights=row_weights,
        )
        options |= {"rates": np.ascontiguousarray(rates), "first_step": first_step}
        if augmentation is not None and getattr(augmentation, "changes_images", True):
            options["augmenter"] = self._augmenter(augmentation)
        if mixup:
            options["mixing"] = _mixing(mixup, steps, seed=seed, epoch=epoch)
        native = self._use(fused=self._moves_by_pieces() and _is_plain(options))
        totals = native.train(self._data_for(native, inputs), labels, order, options, poll)
        return PassTotals(totals, len(order))

    def times(self) -> list[OperationTime]:
        """Say how long each operation took in the last pass of training; none before it."""
        names = ("name", "inputs", "outputs", "products", "forward", "backward")
        return [OperationTime(**dict(zip(names, row, strict=True))) for row in self._newest.times()]

    def gradients(
        self,
        inputs: Prepared,
        labels: npt.NDArray[np.int64],
        *,
        epoch: int = 1,
        seed: int = 0,
        label_smoothing: float = 0.0,
        row_weights: npt.NDArray[np.float32] | None = None,
        general: bool = False,
    ) -> Weights:
        """Give the gradients of the mean cross-entropy, in the form of :meth:`weights`.

        All rows are one batch. What gradients do not move gets zeros.

        Parameters
        ----------
        inputs, labels, epoch, seed, label_smoothing, row_weights : as for :meth:`train`
        general : whether the general network works them out, though the fused one could
        """
        self._check(inputs, labels)
        options = self._pass_options(
            inputs.rows,
            inputs.rows,
            epoch=epoch,
            seed=seed,
            label_smoothing=label_smoothing,
            row_weights=row_weights,
        )
        native = self._use(fused=not general and _is_plain(options))
        native.gradients(self._data_for(native, inputs), labels, options)
        return [
            np.zeros(shape, dtype=np.float32) if array is None else array
            for shape, array in zip(self._shapes, self._slot("gradients"), strict=True)
        ]

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
        if not prepared.rows:
            return result
        self._infer(prepared, None, result, None)
        return result

    def evaluate(
        self,
        inputs: Prepared,
        labels: npt.NDArray[np.int64],
        *,
        poll: Poll | None = None,
    ) -> PassTotals:
        """Give mean cross-entropy and accuracy; a row's loss is at most -ln 1e-7, as in Keras.

        Where an average of the weights is kept, it is what is evaluated.
        """
        self._check(inputs, labels)
        return PassTotals(self._infer(inputs, labels, None, poll), inputs.rows)

    # --- The two native networks ---------------------------------------------------------------

    def _new_fused(self) -> Any:
        fused = self._module.Network(
            [(inputs, units, name == "relu") for inputs, units, name in self._stack or []],
            self.threads,
            self.factors,
        )
        if self._moves_by_pieces():
            fused.set_optimizer(self._options)
        return fused

    def _new_general(self) -> Any:
        found = self._operations or operations(self._layers, self._input_shape)
        general = self._module.Graph(found, self.features, self.threads, self.factors)
        general.set_optimizer(self._options)
        return general

    def _use(self, *, fused: bool) -> Any:
        """Give the fused network, if there is one, or the general one, as the newest."""
        if not fused and self._general is None:
            self._general = self._new_general()
        wanted = self._fused if fused and self._stack else self._general
        if wanted is not self._newest:
            for slot in ("values", *_SLOTS):
                for index, array in enumerate(self._slot(slot)):
                    if array is not None:
                        wanted.set(index, slot, _as_matrix(array))
            self._newest = wanted
        return wanted

    def _infer(
        self,
        inputs: Prepared,
        labels: npt.NDArray[np.int64] | None,
        probabilities: npt.NDArray[np.float32] | None,
        poll: Poll | None,
    ) -> tuple[float, int, int, int, float]:
        native, averaged = self._newest, self.averages
        if self._stack and native is self._general:  # the other one is quicker
            native, averaged = self._fused, False
            for index, array in enumerate(self.averaged_weights()):
                native.set(index, "values", _as_matrix(array))
        totals: tuple[float, int, int, int, float] = native.infer(
            self._data_for(native, inputs), labels, probabilities, averaged, poll
        )
        return totals

    def _data_for(self, native: Any, inputs: Prepared) -> Any:
        return inputs.native(lists=native is self._fused)

    def _slot(self, slot: str) -> list[npt.NDArray[np.float32] | None]:
        arrays = [self._newest.get(index, slot) for index in range(len(self._shapes))]
        return [
            None if array is None else array.reshape(shape)
            for array, shape in zip(arrays, self._shapes, strict=True)
        ]

    def _moves_by_pieces(self) -> bool:
        """Whether each number moves by its own gradient alone: what the fused network asks for."""
        if self._options.get("kind", 0.0) == _MUON:
            return False
        return not any(self._options.get(key) for key in _WHOLE_GRADIENT)

    def _pass_options(
        self,
        rows: int,
        batch_size: int,
        *,
        epoch: int,
        seed: int,
        label_smoothing: float,
        row_weights: npt.NDArray[np.float32] | None,
    ) -> dict[str, Any]:
        weights = row_weights
        if weights is not None:
            if np.shape(weights) != (rows,):
                raise ModelError(f"row_weights must be ({rows},), got {np.shape(weights)}")
            weights = np.ascontiguousarray(weights, dtype=np.float32)
        return {
            "batch_size": batch_size,
            "first_step": 0,
            "seed": seed,
            "epoch": epoch,
            "label_smoothing": label_smoothing,
            "row_weights": weights,
        }

    def _augmenter(self, augmentation: HasEngineOptions) -> Any:
        if len(self._image_shape) != 3:
            raise ModelError(
                f"augmentation needs images (height, width, channels), got {self._image_shape}"
            )
        return self._module.Augmenter(dict(augmentation.engine_options()), *self._image_shape)

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


_MUON: Final = 2.0  # the kind of optimiser
_WHOLE_GRADIENT: Final = ("clipnorm", "global_clipnorm")  # options that need all of it at once


def _is_plain(options: Mapping[str, Any]) -> bool:
    """Say whether a pass weighs all rows alike and takes inputs and labels as they are."""
    return (
        options["label_smoothing"] == 0
        and options["row_weights"] is None
        and "augmenter" not in options
        and "mixing" not in options
    )


def _checked_threads(threads: int | None) -> int:
    if threads is None:
        return default_threads()
    if not 1 <= threads <= MAX_THREADS:
        raise ConfigurationError(f"threads must be 1 to {MAX_THREADS}, got {threads}")
    return threads


def _as_matrix(array: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Lay an array out as the engine has it: the last axis across, all others down."""
    return np.ascontiguousarray(array, dtype=np.float32).reshape(-1, np.shape(array)[-1])


def _mixing(alpha: float, steps: int, *, seed: int, epoch: int) -> npt.NDArray[np.float32]:
    """Draw the larger share of each step's mixture from Beta(alpha, alpha)."""
    from scipy.special import betaincinv

    draws = uniform(steps, Use.MIXUP, seed=seed, index=epoch)
    share = betaincinv(alpha, alpha, draws)
    return np.maximum(share, 1 - share).astype(np.float32)
