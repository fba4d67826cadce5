"""A network of dense layers behind the engine's interface, in NumPy.

It stands in for ``inkproof.engine.Network`` where a test is about training and not about the
engine: steps are those of :mod:`reference_optimizers` in float64, and weights and memory are
rounded to float32 after each, so that they survive a checkpoint. ``CALLS`` keeps what networks
were made with and asked for.
"""

from __future__ import annotations

import numpy as np

import reference_optimizers as reference
from inkproof.layers import dense_stack

__all__ = ["CALLS", "Network", "PassTotals"]

CALLS: list[tuple[str, dict]] = []
ISA = "numpy"


class PassTotals:
    def __init__(self, loss, accuracy, steps, bad_step=None):
        self.loss, self.accuracy, self.steps, self.bad_step = loss, accuracy, steps, bad_step
        self.last_loss = None


class Network:
    def __init__(self, layers, input_shape, **asked):
        CALLS.append(("network", asked))
        self._make(layers, input_shape, **asked)

    def _make(
        self, layers, input_shape, *, threads=None, isa=None, optimizer=None, image_shape=None
    ):
        self.isa, self.threads = isa or ISA, threads or 1
        self.precision, self.arithmetic = "float32", self.isa
        self._stack = dense_stack(tuple(layers), input_shape)
        self._options = None if optimizer is None else optimizer.engine_options()
        self._weights = [
            np.zeros(shape, dtype=np.float32)
            for inputs, units, _ in self._stack
            for shape in ((inputs, units), (units,))
        ]
        self._forget()

    def _forget(self):
        self._has_trained = False
        self._state = reference.start(self._weights, self._options or {"ema_momentum": 0})

    def set_weights(self, weights):
        assert [np.shape(w) for w in weights] == [w.shape for w in self._weights]
        self._weights = [np.array(array, dtype=np.float32) for array in weights]
        self._forget()  # the hardest that the contract allows

    def weights(self):
        return [array.copy() for array in self._weights]

    def averaged_weights(self):
        return [array.astype(np.float32) for array in self._state["average"]]

    def state(self):
        if not self._has_trained:  # nothing is remembered yet
            return {}
        return {
            f"{name}/{index}": array.astype(np.float32)
            for name, arrays in self._state.items()
            for index, array in enumerate(arrays)
        }

    def set_state(self, state):
        self._has_trained = True
        assert state.keys() == self.state().keys()
        for name, arrays in self._state.items():
            self._state[name] = [state[f"{name}/{index}"] for index in range(len(arrays))]

    def prepare(self, inputs, *, scale=1.0, offset=0.0):
        return inputs.astype(np.float64) * scale + offset

    def train(self, inputs, labels, order, **asked):
        CALLS.append(("train", asked))
        return self._train(inputs, labels, order, **asked)

    def _train(
        self,
        inputs,
        labels,
        order,
        *,
        batch_size,
        learning_rate,
        poll=None,
        epoch=1,
        seed=0,
        first_step=0,
        label_smoothing=0.0,
        row_weights=None,
        augmentation=None,
        mixup=0.0,
    ):
        del epoch, seed, augmentation, mixup  # what draws at random is left out
        steps = -(-len(order) // batch_size)
        rates = np.broadcast_to(np.asarray(learning_rate, dtype=np.float32), (steps,))
        options = self._options or {"kind": 0, **dict.fromkeys(_OFF, 0.0)}
        loss, hits = 0.0, 0
        self._has_trained = True
        for number in range(steps):
            if poll is not None:
                poll(number * batch_size)
            rows = order[number * batch_size :][:batch_size]
            outputs, probabilities = self._forward(inputs[rows])
            targets = reference.smoothed_targets(
                labels[rows], probabilities.shape[1], label_smoothing
            )
            weights = None if row_weights is None else row_weights[rows]
            batch_loss, error = reference.weighted_loss(probabilities, targets, weights)
            if not np.isfinite(batch_loss):
                return PassTotals(np.nan, 0.0, number, number)
            loss += batch_loss * len(rows)
            hits += np.count_nonzero(probabilities.argmax(axis=1) == labels[rows])
            grads = self._gradients(outputs, error)
            params, state = reference.step(
                self._weights,
                grads,
                self._state,
                options,
                float(rates[number]),
                first_step + number + 1,
            )
            self._weights = [array.astype(np.float32) for array in params]
            self._state = {
                name: [array.astype(np.float32) for array in arrays]
                for name, arrays in state.items()
            }
        return PassTotals(loss / len(order), hits / len(order), steps)

    def evaluate(self, inputs, labels, *, poll=None):
        weights = self.averaged_weights() if "average" in self._state else self.weights()
        CALLS.append(("evaluate", {"weights": weights}))
        if poll is not None:
            poll(0)
        kept, self._weights = self._weights, weights
        _, probabilities = self._forward(inputs)
        self._weights = kept
        losses = -np.log(probabilities[np.arange(len(labels)), labels])
        hits = np.count_nonzero(probabilities.argmax(axis=1) == labels)
        return PassTotals(float(losses.mean()), hits / len(labels), 0)

    def _forward(self, inputs):
        outputs = [inputs]
        for index in range(len(self._stack) - 1):
            outputs.append(np.maximum(self._sums(outputs[-1], index), 0))
        sums = self._sums(outputs[-1], len(self._stack) - 1)
        powers = np.exp(sums - sums.max(axis=1, keepdims=True))
        return outputs, powers / powers.sum(axis=1, keepdims=True)

    def _sums(self, inputs, index):
        kernel, bias = self._weights[2 * index : 2 * index + 2]
        return inputs @ kernel.astype(np.float64) + bias

    def _gradients(self, outputs, error):
        grads = []
        for index in range(len(self._stack) - 1, -1, -1):
            grads[:0] = [outputs[index].T @ error, error.sum(axis=0)]
            error = (error @ self._weights[2 * index].T.astype(np.float64)) * (outputs[index] > 0)
        return grads


_OFF = (
    "momentum",
    "nesterov",
    "weight_decay",
    "clipvalue",
    "clipnorm",
    "global_clipnorm",
    "ema_momentum",
)
