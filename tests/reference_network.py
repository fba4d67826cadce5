"""Every layer and the loss in float64 NumPy, as the textbooks have them: slow, plain, independent.

Images are (n, height, width, channels). Each layer gives its output and a function that turns the
gradient of the output into those of its weights and of its input.
"""

from __future__ import annotations

import numpy as np
from scipy.special import erf

from inkproof.layers import (
    Activation,
    AveragePool2D,
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePool2D,
    MaxPool2D,
    Residual,
)

__all__ = ["Reference", "cross_entropy", "kept_by_dropout", "philox"]

LEAK = 0.2
WORST_LOSS = -np.log(1e-7)


# --- Random words ---------------------------------------------------------------------------------


def philox(key, counters):
    """Philox4x32-10: key an int of 64 bits, counters (..., 4) -> words (..., 4)."""
    c = [np.asarray(counters)[..., i].astype(np.uint64) for i in range(4)]
    low = np.uint64(0xFFFFFFFF)
    k = [np.uint64(key & 0xFFFFFFFF), np.uint64(key >> 32)]
    for _ in range(10):
        a, b = np.uint64(0xD2511F53) * c[0], np.uint64(0xCD9E8D57) * c[2]
        c = [
            (b >> np.uint64(32)) ^ c[1] ^ k[0],
            b & low,
            (a >> np.uint64(32)) ^ c[3] ^ k[1],
            a & low,
        ]
        k = [(k[0] + np.uint64(0x9E3779B9)) & low, (k[1] + np.uint64(0xBB67AE85)) & low]
    return np.stack(c, axis=-1).astype(np.uint32)


def kept_by_dropout(rows, features, rate, *, number, seed, epoch, step=0):
    """Say which inputs the engine's dropout keeps: bool (rows, features)."""
    blocks = -(-rows // 32)
    kept = np.empty((blocks * 32, features), dtype=bool)
    for block in range(blocks):
        first = philox(seed, np.array([block, number, epoch, 1], dtype=np.uint64))
        key = int(first[0]) | int(first[1]) << 32
        counters = np.zeros((features * 8, 4), dtype=np.uint64)
        counters[:, 0] = np.arange(features * 8)
        counters[:, 1] = step
        words = philox(key, counters).reshape(features, 32)
        threshold = int(float(np.float32(rate)) * 2**32)
        kept[block * 32 : block * 32 + 32] = (words >= threshold).T
    return kept[:rows]


# --- Layers ---------------------------------------------------------------------------------------


def activate(name, x):
    """Give an activation and its derivative at x."""
    if name in (None, "linear"):
        return x, np.ones_like(x)
    if name == "relu":
        return np.maximum(x, 0), (x > 0) * 1.0
    if name == "leaky_relu":
        return np.where(x > 0, x, LEAK * x), np.where(x > 0, 1, LEAK)
    if name == "gelu":
        normal = 0.5 * (1 + erf(x / np.sqrt(2)))
        return x * normal, normal + x * np.exp(-x * x / 2) / np.sqrt(2 * np.pi)
    if name == "tanh":
        return np.tanh(x), 1 - np.tanh(x) ** 2
    if name == "sigmoid":
        y = 1 / (1 + np.exp(-x))
        return y, y * (1 - y)
    raise ValueError(name)


def padding(size, window, stride, how):
    """Give (outputs, zeros before, zeros after) along one axis, as TensorFlow has it."""
    if how == "valid":
        return (size - window) // stride + 1, 0, 0
    outputs = -(-size // stride)
    zeros = max((outputs - 1) * stride + window - size, 0)
    return outputs, zeros // 2, zeros - zeros // 2


class Windows:
    """The windows of a convolution or a pooling over images (n, h, w, c)."""

    def __init__(self, shape, size, strides, how):
        self.size, self.strides, self.shape = size, strides, shape
        self.rows, top, bottom = padding(shape[1], size[0], strides[0], how)
        self.columns, left, right = padding(shape[2], size[1], strides[1], how)
        self.pad = ((0, 0), (top, bottom), (left, right), (0, 0))

    def places(self):
        """Give each place in the window, and where its pixels are in the padded image."""
        for i in range(self.size[0]):
            for j in range(self.size[1]):
                yield (
                    (i, j),
                    (
                        slice(None),
                        slice(i, i + self.rows * self.strides[0], self.strides[0]),
                        slice(j, j + self.columns * self.strides[1], self.strides[1]),
                    ),
                )

    def padded(self, x, value=0.0):
        # Strides may pass beyond what "valid" covers: slices above need not reach that far.
        extra = ((0, 0), (0, self.strides[0]), (0, self.strides[1]), (0, 0))
        return np.pad(np.pad(x, self.pad, constant_values=value), extra, constant_values=value)

    def cut(self, padded):
        top, left = self.pad[1][0], self.pad[2][0]
        return padded[:, top : top + self.shape[1], left : left + self.shape[2]]


class Reference:
    """A network of inkproof's layers in float64.

    Parameters
    ----------
    layers : the last of them ends in softmax
    weights : in Keras' order, copied
    """

    def __init__(self, layers, weights):
        self.layers = tuple(layers)
        self.weights = [np.array(w, dtype=np.float64) for w in weights]
        self.nearest_kink = np.inf
        self.moving = True

    def forward(self, x, *, training=False, seed=0, epoch=1, step=0):
        """Give the outputs before softmax and the way back."""
        self.at, self.dropouts = 0, 0
        self.draws = {"seed": seed, "epoch": epoch, "step": step}
        self.training = training
        return self._chain(self.layers, np.asarray(x, dtype=np.float64))

    def probabilities(self, x):
        z, _ = self.forward(x)
        return softmax(z)

    def gradients(self, x, labels, *, smoothing=0.0, weights=None, **draws):
        """Give the gradients in the weights' order, the loss and the accuracy."""
        z, back = self.forward(x, training=True, **draws)
        loss, error = cross_entropy(z, labels, smoothing=smoothing, weights=weights)
        self.found = [np.zeros_like(w) for w in self.weights]
        back(error)
        return self.found, loss, float((z.argmax(axis=1) == labels).mean())

    def _kink(self, distances):
        if distances.size:
            self.nearest_kink = min(self.nearest_kink, float(distances.min()))

    def _chain(self, layers, x):
        backs = []
        for layer in layers:
            x, back = self._layer(layer, x)
            backs.append(back)

        def chain_back(error):
            for back in reversed(backs):
                error = back(error)
            return error

        return x, chain_back

    def _take(self, count):
        first = self.at
        self.at += count
        return first, self.weights[first : first + count]

    def _layer(self, layer, x):
        match layer:
            case Dense():
                return self._with_activation(layer, *self._dense(layer, x))
            case Conv2D():
                return self._with_activation(layer, *self._convolution(layer, x))
            case Activation():
                return self._with_activation(layer, x, lambda error: error)
            case Flatten():
                return x.reshape(len(x), -1), lambda error: error.reshape(x.shape)
            case MaxPool2D():
                return self._max_pool(layer, x)
            case AveragePool2D():
                return self._average_pool(layer, x)
            case GlobalAveragePool2D():
                return (
                    x.mean(axis=(1, 2)),
                    lambda error: (
                        np.broadcast_to(error[:, None, None], x.shape) / (x.shape[1] * x.shape[2])
                    ),
                )
            case BatchNormalization():
                return self._batch_normalization(layer, x)
            case Dropout():
                return self._dropout(layer, x)
            case Residual():
                y, back = self._chain(layer.layers, x)
                return x + y, lambda error: error + back(error)
        raise ValueError(layer)

    def _with_activation(self, layer, z, back):
        name = layer.activation
        if name == "softmax":
            return z, back
        if name in ("relu", "leaky_relu"):
            # Zeros are zeros of an activation before, and no sums that rounding could move.
            self._kink(np.abs(z[z != 0]))
        y, slope = activate(name, z)
        return y, lambda error: back(error * slope)

    def _dense(self, layer, x):
        first, weights = self._take(1 + layer.use_bias)
        z = x @ weights[0] + (weights[1] if layer.use_bias else 0)

        def back(error):
            self.found[first] = x.T @ error
            if layer.use_bias:
                self.found[first + 1] = error.sum(axis=0)
            return error @ weights[0].T

        return z, back

    def _convolution(self, layer, x):
        first, weights = self._take(1 + layer.use_bias)
        kernel = weights[0]
        windows = Windows(x.shape, layer.kernel_size, layer.strides, layer.padding)
        padded = windows.padded(x)
        z = sum(padded[where] @ kernel[i, j] for (i, j), where in windows.places())
        if layer.use_bias:
            z = z + weights[1]

        def back(error):
            into = np.zeros_like(padded)
            for (i, j), where in windows.places():
                self.found[first][i, j] = np.einsum("nyxc,nyxf->cf", padded[where], error)
                into[where] += error @ kernel[i, j].T
            if layer.use_bias:
                self.found[first + 1] = error.sum(axis=(0, 1, 2))
            return windows.cut(into)

        return z, back

    def _max_pool(self, layer, x):
        windows = Windows(x.shape, layer.pool_size, layer.strides or layer.pool_size, layer.padding)
        padded = windows.padded(x, -np.inf)
        seen = np.stack([padded[where] for _, where in windows.places()])
        which = seen.argmax(axis=0)
        if len(seen) > 1:
            two = np.sort(seen, axis=0)[-2:]
            gap = two[1] - two[0]
            # Equal numbers, such as ReLU's zeros, are no kink of their own: any choice will do.
            self._kink(gap[(gap > 0) & np.isfinite(gap)])

        def back(error):
            into = np.zeros_like(padded)
            for place, (_, where) in enumerate(windows.places()):
                into[where] += error * (which == place)
            return windows.cut(into)

        return seen.max(axis=0), back

    def _average_pool(self, layer, x):
        windows = Windows(x.shape, layer.pool_size, layer.strides or layer.pool_size, layer.padding)
        padded, ones = windows.padded(x), windows.padded(np.ones_like(x))
        count = sum(ones[where] for _, where in windows.places())

        def back(error):
            into = np.zeros_like(padded)
            for _, where in windows.places():
                into[where] += error / count * ones[where]
            return windows.cut(into)

        return sum(padded[where] for _, where in windows.places()) / count, back

    def _batch_normalization(self, layer, x):
        first, weights = self._take(layer.scale + layer.center + 2)
        named = dict(zip(["gamma"] * layer.scale + ["beta"] * layer.center, weights, strict=False))
        gamma = named.get("gamma", 1.0)
        axes = tuple(range(x.ndim - 1))
        moving = weights[-2:]
        mean, variance = (x.mean(axis=axes), x.var(axis=axes)) if self.training else moving
        if self.training and self.moving:
            m = layer.momentum
            moving[0][:] = moving[0] * m + mean * (1 - m)
            moving[1][:] = moving[1] * m + variance * (1 - m)
        deviation = np.sqrt(variance + layer.epsilon)
        normal = (x - mean) / deviation
        y = normal * gamma + named.get("beta", 0.0)

        def back(error):
            if layer.scale:
                self.found[first] = (error * normal).sum(axis=axes)
            if layer.center:
                self.found[first + layer.scale] = error.sum(axis=axes)
            e = error * gamma
            return (e - e.mean(axis=axes) - normal * (e * normal).mean(axis=axes)) / deviation

        return y, back

    def _dropout(self, layer, x):
        number = self.dropouts
        self.dropouts += 1
        if not self.training or layer.rate == 0:
            return x, lambda error: error
        flat = (len(x), int(np.prod(x.shape[1:])))
        kept = kept_by_dropout(*flat, layer.rate, number=number, **self.draws).reshape(x.shape)
        factor = kept / (1 - layer.rate)
        return x * factor, lambda error: error * factor


def softmax(z):
    power = np.exp(z - z.max(axis=1, keepdims=True))
    return power / power.sum(axis=1, keepdims=True)


def cross_entropy(z, labels, *, smoothing=0.0, weights=None):
    """Give the mean loss and its gradient with respect to z."""
    rows, classes = z.shape
    q = np.full((rows, classes), smoothing / classes)
    q[np.arange(rows), labels] += 1 - smoothing
    p = softmax(z)
    cost = np.minimum(-np.log(np.maximum(p, 1e-300)), WORST_LOSS)
    share = (np.ones(rows) if weights is None else np.asarray(weights, float)) / rows
    return float((share * (q * cost).sum(axis=1)).sum()), share[:, None] * (p - q)
