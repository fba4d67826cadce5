"""One network in training: what the engine is asked for, as the configuration has it.

Plain gradient descent in a network of dense layers, with nothing else asked for, is the call that
the engine's fused kernels take; anything else names what it wants beside.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from inkproof.checkpoint import Arrays, State
from inkproof.errors import TrainingError
from inkproof.layers import Activation, Dense, Flatten, Layer, Shape
from inkproof.randomness import Use, permutation
from inkproof.schedules import Schedule
from inkproof.settings import shortest

if TYPE_CHECKING:
    from inkproof.engine import Network, PassTotals, Prepared
    from inkproof.training_config import TrainingConfig

__all__ = ["Fit", "Labelled", "network_options"]

Labelled = tuple["Prepared", npt.NDArray[np.int64]]
"""Inputs as the engine has prepared them, and their labels."""
Rate = float | npt.NDArray[np.float32]
_DENSE_LAYERS: Final = (Activation, Dense, Flatten)


def network_options(config: TrainingConfig, image_shape: Shape) -> dict[str, Any]:
    """Give what a network in the engine is made with, beside its layers.

    Parameters
    ----------
    config : how it is trained
    image_shape : (height, width, channels) of an input, for augmentation
    """
    options: dict[str, Any] = {"threads": config.threads}
    if config.precision != "float32":
        options["precision"] = config.precision
    if not config.optimizer.is_plain:
        options["optimizer"] = config.optimizer
    if config.augmentation is not None:
        options["image_shape"] = image_shape
    return options


class Fit:
    """Trains a network, a pass over the data at a time.

    Parameters
    ----------
    network : made with :func:`network_options`
    layers : the network's
    config : how it is trained
    rows : how many training images there are
    row_weights : float32 (rows,), or None
    """

    def __init__(
        self,
        network: Network,
        layers: Sequence[Layer],
        config: TrainingConfig,
        rows: int,
        row_weights: npt.NDArray[np.float32] | None,
    ) -> None:
        self._network = network
        self._config = config
        self._rows = rows
        self.steps = -(-rows // config.batch_size)
        self.total_steps = self.steps * config.epochs
        self._extras: dict[str, Any] = {}
        if config.label_smoothing:
            self._extras["label_smoothing"] = float(config.label_smoothing)
        if row_weights is not None:
            self._extras["row_weights"] = row_weights
        if config.augmentation is not None and getattr(config.augmentation, "changes_images", True):
            self._extras["augmentation"] = config.augmentation
        if config.mixing:
            self._extras["mixup"] = config.mixing
        are_dense = all(isinstance(layer, _DENSE_LAYERS) for layer in layers)
        self._is_plain = config.optimizer.is_plain and are_dense and not self._extras

    def memory(self) -> dict[str, npt.NDArray[np.float32]]:
        """Copy what the optimiser remembers; nothing where it remembers nothing."""
        return self._network.state() if self._config.optimizer.has_state else {}

    def restore(self, state: State) -> None:
        """Put a network back to where it was after an epoch."""
        self._network.set_weights(state.weights)
        if state.memory:
            self._network.set_state(state.memory)

    def kept_weights(self) -> Arrays:
        """Copy the weights that count as an epoch's: the averaged ones, where there are such."""
        if self._config.optimizer.use_ema:
            return self._network.averaged_weights()
        return self._network.weights()

    def weights(self, number: int, rate: Rate) -> tuple[Arrays, Arrays]:
        """Copy the weights as they train, and those that count as an epoch's.

        The very last step may have spoilt them without any loss to tell.

        Raises
        ------
        TrainingError : numbers that are not finite
        """
        weights = self._network.weights()
        kept = self.kept_weights() if self._config.optimizer.use_ema else weights
        if not all(np.isfinite(array).all() for array in [*weights, *kept]):
            raise _diverged(number, None, rate, None)
        return weights, kept

    def rate(self, number: int, constant: float) -> Rate:
        """Give an epoch's learning rate, or those of its steps: float32 (steps,)."""
        optimizer = self._config.optimizer
        if isinstance(optimizer.learning_rate, Schedule):
            return optimizer.rates((number - 1) * self.steps, self.steps, self.total_steps)
        return float(np.float32(constant))

    def train(
        self, data: Labelled, number: int, rate: Rate, poll: Callable[[int], None]
    ) -> PassTotals:
        """Make an epoch's pass over the training data.

        Raises
        ------
        TrainingError : the loss is no longer finite
        """
        more: dict[str, Any] = {}
        if not self._is_plain:
            first_step = (number - 1) * self.steps
            more = {"epoch": number, "seed": self._config.seed, "first_step": first_step}
        inputs, labels = data
        totals = self._network.train(
            inputs,
            labels,
            self._order(number),
            batch_size=self._config.batch_size,
            learning_rate=rate,
            poll=poll,
            **more,
            **self._extras,
        )
        if totals.bad_step is not None or not math.isfinite(totals.loss):
            raise _diverged(number, totals.bad_step, rate, totals.last_loss)
        return totals

    def validate(
        self, data: Labelled, number: int, rate: Rate, poll: Callable[[int], None]
    ) -> PassTotals:
        """Evaluate the weights that count as this epoch's, which the engine knows.

        Raises
        ------
        TrainingError : the loss is not finite
        """
        result = self._network.evaluate(*data, poll=poll)
        if not math.isfinite(result.loss):
            raise _diverged(number, None, rate, None)
        return result

    def _order(self, number: int) -> npt.NDArray[np.int64]:
        if not self._config.shuffle:
            return np.arange(self._rows, dtype=np.int64)
        return permutation(self._rows, Use.BATCH_ORDER, seed=self._config.seed, index=number)


def _diverged(number: int, step: int | None, rate: Rate, last_loss: float | None) -> TrainingError:
    """Say where a training went wrong, at which learning rate, and what the loss was before."""
    where = f"epoch {number}" + ("" if step is None else f", step {step + 1}")
    if not isinstance(rate, float):
        rate = shortest(rate[-1 if step is None else step])
    before = "" if last_loss is None else f", where the last finite one was {last_loss:.4g}"
    return TrainingError(
        f"the loss is no longer finite in {where} at the learning rate {rate:g}{before}; "
        "try a smaller training.optimizer.learning_rate"
    )
