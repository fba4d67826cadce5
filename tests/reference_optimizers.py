"""Optimisers, losses and averages as plain float64 formulas, to hold the engine against.

Options are those of ``Optimizer.engine_options()``. Nothing here is fast, and nothing is shared
with the package.
"""

from __future__ import annotations

import numpy as np

__all__ = [
    "averaged",
    "clipped",
    "is_orthogonal",
    "orthogonalised",
    "smoothed_targets",
    "start",
    "step",
    "weighted_loss",
]

SGD, ADAM, MUON = 0, 1, 2
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


def is_orthogonal(shapes, last=None):
    """Tell for each array whether Muon's own rule moves it: a kernel, and not the last layer's.

    ``last`` is the index of the first array of the last layer with weights; without it, that of
    the last kernel.
    """
    kernels = [index for index, shape in enumerate(shapes) if len(shape) >= 2]
    last = kernels[-1] if last is None else last
    return [len(shape) >= 2 and index < last for index, shape in enumerate(shapes)]


def start(params, options):
    """Give the state before the first step: moments of zero, the average as the weights are."""
    state = {
        "first": [np.zeros(array.shape) for array in params],
        "second": [np.zeros(array.shape) for array in params],
    }
    if options["ema_momentum"]:
        state["average"] = [np.array(array, dtype=np.float64) for array in params]
    return state


def clipped(grads, options):
    """Clip gradients as Keras does: by one of three rules."""
    if options["clipnorm"]:
        norms = [np.sqrt(np.sum(g**2)) for g in grads]
        limit = options["clipnorm"]
        return [g * limit / max(norm, limit) for g, norm in zip(grads, norms, strict=True)]
    if options["global_clipnorm"]:
        norm = np.sqrt(sum(np.sum(g**2) for g in grads))
        return [
            g * options["global_clipnorm"] / max(norm, options["global_clipnorm"]) for g in grads
        ]
    if options["clipvalue"]:
        return [np.clip(g, -options["clipvalue"], options["clipvalue"]) for g in grads]
    return list(grads)


def step(params, grads, state, options, rate, t, orthogonal=None):
    """Make one step.

    Parameters
    ----------
    params, grads : lists of float64 arrays, those that are trained
    state : what :func:`start` or the step before gave
    options : ``Optimizer.engine_options()``
    rate : this step's learning rate
    t : the step's number, from 1
    orthogonal : a truth value an array, for Muon; None: see :func:`is_orthogonal`

    Returns
    -------
    the new params and the new state; what was given is left as it was
    """
    params = [np.array(array, dtype=np.float64) for array in params]
    state = {
        name: [np.array(array, dtype=np.float64) for array in arrays]
        for name, arrays in state.items()
    }
    grads = clipped([np.array(g, dtype=np.float64) for g in grads], options)
    kind = options["kind"]
    if orthogonal is None:
        orthogonal = (
            is_orthogonal([array.shape for array in params])
            if kind == MUON
            else [False] * len(params)
        )
    for index, gradient in enumerate(grads):
        moments = state["first"][index], state["second"][index]
        if kind == SGD:
            params[index] *= 1 - options["weight_decay"] * rate
            _sgd(params[index], gradient, moments[0], options, rate)
        elif kind == ADAM:
            params[index] *= 1 - options["weight_decay"] * rate
            _adam(params[index], gradient, moments, options, rate, t)
        elif orthogonal[index]:
            _muon(params[index], gradient, moments[0], options, rate)
        else:
            slow = rate * options["adam_ratio"]
            params[index] *= 1 - options["adam_weight_decay"] * slow
            _adam(params[index], gradient, moments, options, slow, t)
    if options["ema_momentum"]:
        state["average"] = averaged(state["average"], params, options["ema_momentum"])
    return params, state


def averaged(average, params, momentum):
    """Move an exponential average by one step."""
    return [momentum * a + (1 - momentum) * w for a, w in zip(average, params, strict=True)]


def _sgd(weights, gradient, moment, options, rate):
    moment[...] = options["momentum"] * moment - rate * gradient
    if options["nesterov"]:
        weights += options["momentum"] * moment - rate * gradient
    else:
        weights += moment


def _adam(weights, gradient, moments, options, rate, t):
    first, second = moments
    beta_1, beta_2 = options["beta_1"], options["beta_2"]
    first[...] = beta_1 * first + (1 - beta_1) * gradient
    second[...] = beta_2 * second + (1 - beta_2) * gradient**2
    scale = rate * np.sqrt(1 - beta_2**t) / (1 - beta_1**t)
    weights -= scale * first / (np.sqrt(second) + options["epsilon"])


def _muon(weights, gradient, buffer, options, rate):
    buffer[...] = options["momentum"] * buffer + gradient
    update = gradient + options["momentum"] * buffer if options["nesterov"] else buffer
    outputs = weights.shape[-1]
    matrix = update.reshape(-1, outputs).T  # outputs x everything else
    matrix = orthogonalised(matrix, int(options["muon_steps"]))
    if options["muon_hold_norm"]:
        weights *= np.sqrt(outputs) / np.sqrt(np.sum(weights**2))
    weights -= rate * matrix.T.reshape(weights.shape)


def orthogonalised(matrix, steps):
    """Bring a matrix' singular values near 1 by Newton-Schulz steps (Jordan 2024)."""
    a, b, c = NEWTON_SCHULZ
    is_tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if is_tall else matrix
    x = x / (np.linalg.norm(x) + 1e-7)
    for _ in range(steps):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x.T if is_tall else x


def smoothed_targets(labels, classes, smoothing):
    """Give the targets: (1 - s) for the label, and s spread over all classes."""
    return (1 - smoothing) * np.eye(classes)[labels] + smoothing / classes


def weighted_loss(probabilities, targets, weights=None):
    """Give the loss of a batch and its gradient by the sums before the softmax.

    The loss is the sum of weight times cross-entropy over the number of rows.
    """
    rows = len(targets)
    weights = np.ones(rows) if weights is None else np.asarray(weights, dtype=np.float64)
    losses = -np.sum(targets * np.log(probabilities), axis=1)
    gradient = (probabilities - targets) * weights[:, None] / rows
    return float(np.sum(weights * losses) / rows), gradient
