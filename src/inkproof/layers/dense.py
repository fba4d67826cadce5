"""Layers for inputs of any number of axes, and Dense."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass

from inkproof.errors import ModelError
from inkproof.layers.base import (
    Layer,
    Shape,
    WeightSpec,
    check_flags,
    checked_activation,
    checked_number,
    checked_units,
)

__all__ = ["Activation", "BatchNormalization", "Dense", "Dropout", "Flatten"]


@dataclass(frozen=True)
class Dense(Layer):
    """Fully connected: ``activation(inputs @ kernel + bias)``.

    Parameters
    ----------
    units : size of the output, 1 to 1,048,576
    activation : one of ``ACTIVATIONS``; None is linear
    use_bias : whether a bias is added
    """

    units: int
    _: KW_ONLY
    activation: str | None = None
    use_bias: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "units", checked_units(self.units, "Dense.units"))
        activation = "linear" if self.activation is None else self.activation
        object.__setattr__(self, "activation", checked_activation(activation, "Dense.activation"))
        check_flags(self, "use_bias")

    def output_shape(self, input_shape: Shape) -> Shape:
        """Give ``(units,)``; the input must be flat."""
        if len(input_shape) != 1:
            raise ModelError(
                f"expected a flat input (features,), got {input_shape}; put Flatten() before it"
            )
        return (self.units,)

    def weight_specs(self, input_shape: Shape) -> tuple[WeightSpec, ...]:
        """List kernel (inputs, units), Glorot uniform, and bias (units,), zeros."""
        kernel = WeightSpec(
            name="kernel", shape=(*input_shape, self.units), initializer="glorot_uniform"
        )
        bias = WeightSpec(name="bias", shape=(self.units,), initializer="zeros")
        return (kernel, bias) if self.use_bias else (kernel,)

    def details(self) -> tuple[str, ...]:
        """Give the activation."""
        return (str(self.activation),)


@dataclass(frozen=True)
class Activation(Layer):
    """An activation function as a layer of its own.

    Parameters
    ----------
    activation : one of ``ACTIVATIONS``; softmax goes over the last axis
    """

    activation: str

    def __post_init__(self) -> None:
        super().__post_init__()
        checked_activation(self.activation, "Activation.activation")

    def output_shape(self, input_shape: Shape) -> Shape:
        """Give the shape that came."""
        return input_shape

    def details(self) -> tuple[str, ...]:
        """Give the activation."""
        return (self.activation,)


@dataclass(frozen=True)
class Flatten(Layer):
    """All axes become one, in C order."""

    def output_shape(self, input_shape: Shape) -> Shape:
        """Give ``(product of the axes,)``."""
        return (math.prod(input_shape),)


@dataclass(frozen=True)
class Dropout(Layer):
    """In training, sets inputs to zero at random and divides the others by ``1 - rate``.

    Otherwise it does nothing.

    Parameters
    ----------
    rate : how likely an input is set to zero, at least 0 and less than 1
    """

    rate: float

    def __post_init__(self) -> None:
        super().__post_init__()
        rate = checked_number(
            self.rate,
            lambda value: 0 <= value < 1,
            "a number from 0 to less than 1",
            "Dropout.rate",
        )
        object.__setattr__(self, "rate", rate)

    def output_shape(self, input_shape: Shape) -> Shape:
        """Give the shape that came."""
        return input_shape

    def details(self) -> tuple[str, ...]:
        """Give the rate."""
        return (f"rate {self.rate:g}",)


@dataclass(frozen=True)
class BatchNormalization(Layer):
    """Each channel gets mean 0 and variance 1, then ``gamma * x + beta``.

    In training, mean and variance are those of the batch (over all axes but the last; the
    variance divides by their number), and the running ones move:
    ``moving = moving * momentum + batch * (1 - momentum)``. Otherwise the running ones are used.
    Ioffe and Szegedy, "Batch normalization", ICML 2015; running statistics as in Keras.

    Parameters
    ----------
    momentum : of the running statistics, 0 to 1
    epsilon : what is added to the variance, above 0 and at most 1
    center : whether there is a ``beta``
    scale : whether there is a ``gamma``
    """

    _: KW_ONLY
    momentum: float = 0.99
    epsilon: float = 1e-3
    center: bool = True
    scale: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        momentum = checked_number(
            self.momentum,
            lambda value: 0 <= value <= 1,
            "a number from 0 to 1",
            "BatchNormalization.momentum",
        )
        epsilon = checked_number(
            self.epsilon,
            lambda value: 0 < value <= 1,
            "a number above 0 and at most 1",
            "BatchNormalization.epsilon",
        )
        object.__setattr__(self, "momentum", momentum)
        object.__setattr__(self, "epsilon", epsilon)
        check_flags(self, "center", "scale")

    def output_shape(self, input_shape: Shape) -> Shape:
        """Give the shape that came."""
        return input_shape

    def weight_specs(self, input_shape: Shape) -> tuple[WeightSpec, ...]:
        """List gamma, beta, and the running mean and variance, each (channels,).

        The running ones start as 0 and 1, and are not trainable.
        """
        shape = input_shape[-1:]
        gamma = WeightSpec(name="gamma", shape=shape, initializer="ones")
        beta = WeightSpec(name="beta", shape=shape, initializer="zeros")
        return (
            *([gamma] if self.scale else []),
            *([beta] if self.center else []),
            WeightSpec(name="moving_mean", shape=shape, initializer="zeros", trainable=False),
            WeightSpec(name="moving_variance", shape=shape, initializer="ones", trainable=False),
        )
