"""Layers for images: convolution and pooling, as TensorFlow counts their pixels."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Final, TypeAlias, cast

from inkproof.errors import ModelError, UnknownNameError
from inkproof.layers.base import (
    Layer,
    Pair,
    Shape,
    WeightSpec,
    brief,
    check_flags,
    checked_activation,
    checked_pair,
    checked_units,
)

__all__ = [
    "MAX_KERNEL",
    "MAX_POOL",
    "PADDINGS",
    "AveragePool2D",
    "Conv2D",
    "GlobalAveragePool2D",
    "MaxPool2D",
    "Windowed",
]

MAX_KERNEL: Final = 7
MAX_POOL: Final = 64
PADDINGS: Final = ("same", "valid")
_Size: TypeAlias = int | Sequence[int]


class Windowed(Layer):
    """A layer that moves a window over an image.

    ``padding="valid"`` takes only windows inside the image. ``"same"`` lets a window begin at
    each ``stride``-th pixel and pads the image evenly, the odd pixel at the end.
    """

    padding: str

    @property
    @abstractmethod
    def window(self) -> Pair:
        """The window's (height, width)."""

    @property
    @abstractmethod
    def step(self) -> Pair:
        """How far it moves, (down, right)."""

    def pads(self, input_shape: Shape) -> tuple[Pair, Pair]:
        """Count the pixels of padding: ((top, bottom), (left, right))."""
        if self.padding == "valid":
            return (0, 0), (0, 0)
        rows, columns = (
            max((-(-size // step) - 1) * step + window - size, 0)
            for size, window, step in zip(input_shape[:2], self.window, self.step, strict=True)
        )
        return (rows // 2, rows - rows // 2), (columns // 2, columns - columns // 2)

    def positions(self, input_shape: Shape) -> Pair:
        """Count the window's positions, (down, right).

        Raises
        ------
        ModelError : the input is no image, or smaller than the window where nothing is padded
        """
        _check_image(input_shape)
        image = input_shape[:2]
        if self.padding == "valid" and (image[0] < self.window[0] or image[1] < self.window[1]):
            raise ModelError(
                f"the window {self.window} is larger than the image {image}; "
                'take a smaller one or padding="same"'
            )
        free = [0, 0] if self.padding == "same" else [size - 1 for size in self.window]
        down, right = (
            -(-(size - less) // step)
            for size, less, step in zip(image, free, self.step, strict=True)
        )
        return down, right

    def _shape_details(self) -> tuple[str, ...]:
        height, width = self.window
        down, right = self.step
        details = [f"{height}x{width}"]
        if self.step != self._usual_step():
            details.append(f"strides {down}x{right}")
        if self.padding != "valid":
            details.append(self.padding)
        return tuple(details)

    @abstractmethod
    def _usual_step(self) -> Pair:
        """Give what ``strides`` are when nobody gives them."""


@dataclass(frozen=True)
class Conv2D(Windowed):
    """Two-dimensional convolution: each filter's products with the window, summed.

    Parameters
    ----------
    filters : channels of the output, 1 to 1,048,576
    kernel_size : the window's height and width, 1 to 7, or one number for both; (height, width)
        afterwards
    strides : how far it moves down and right, 1 to 7, or one number for both; a pair afterwards
    padding : ``"valid"`` or ``"same"``
    activation : one of ``ACTIVATIONS``; None is linear; softmax goes over the channels
    use_bias : whether a bias is added
    """

    filters: int
    kernel_size: _Size
    _: KW_ONLY
    strides: _Size = 1
    padding: str = "valid"
    activation: str | None = None
    use_bias: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        set_ = object.__setattr__
        set_(self, "filters", checked_units(self.filters, "Conv2D.filters"))
        kernel_size = checked_pair(self.kernel_size, MAX_KERNEL, "Conv2D.kernel_size")
        set_(self, "kernel_size", kernel_size)
        set_(self, "strides", checked_pair(self.strides, MAX_KERNEL, "Conv2D.strides"))
        _check_padding(self.padding, "Conv2D.padding")
        activation = "linear" if self.activation is None else self.activation
        set_(self, "activation", checked_activation(activation, "Conv2D.activation"))
        check_flags(self, "use_bias")

    @property
    def window(self) -> Pair:
        """The kernel's (height, width)."""
        return cast("Pair", self.kernel_size)

    @property
    def step(self) -> Pair:
        """How far it moves, (down, right)."""
        return cast("Pair", self.strides)

    def output_shape(self, input_shape: Shape) -> Shape:
        """Give ``(height, width, filters)``."""
        return (*self.positions(input_shape), self.filters)

    def weight_specs(self, input_shape: Shape) -> tuple[WeightSpec, ...]:
        """List kernel (height, width, channels, filters), Glorot uniform, and bias (filters,)."""
        kernel = WeightSpec(
            name="kernel",
            shape=(*self.window, input_shape[-1], self.filters),
            initializer="glorot_uniform",
        )
        bias = WeightSpec(name="bias", shape=(self.filters,), initializer="zeros")
        return (kernel, bias) if self.use_bias else (kernel,)

    def details(self) -> tuple[str, ...]:
        """Give the window and the activation."""
        return (*self._shape_details(), str(self.activation))

    def _usual_step(self) -> Pair:
        return 1, 1


@dataclass(frozen=True)
class _Pool2D(Windowed):
    """What MaxPool2D and AveragePool2D have in common."""

    pool_size: _Size = 2
    _: KW_ONLY
    strides: _Size | None = None
    padding: str = "valid"

    def __post_init__(self) -> None:
        super().__post_init__()
        where = type(self).__name__
        pool_size = checked_pair(self.pool_size, MAX_POOL, f"{where}.pool_size")
        object.__setattr__(self, "pool_size", pool_size)
        strides = pool_size if self.strides is None else self.strides
        object.__setattr__(self, "strides", checked_pair(strides, MAX_POOL, f"{where}.strides"))
        _check_padding(self.padding, f"{where}.padding")

    @property
    def window(self) -> Pair:
        """The window's (height, width)."""
        return cast("Pair", self.pool_size)

    @property
    def step(self) -> Pair:
        """How far it moves, (down, right)."""
        return cast("Pair", self.strides)

    def output_shape(self, input_shape: Shape) -> Shape:
        """Give ``(height, width, channels)``."""
        return (*self.positions(input_shape), input_shape[-1])

    def details(self) -> tuple[str, ...]:
        """Give the window."""
        return self._shape_details()

    def _usual_step(self) -> Pair:
        return self.window


@dataclass(frozen=True)
class MaxPool2D(_Pool2D):
    """The largest value of each window, channel by channel; what is padded never counts.

    Parameters
    ----------
    pool_size : the window's height and width, 1 to 64, or one number for both; (height, width)
        afterwards
    strides : how far it moves down and right, 1 to 64; None is ``pool_size``; a pair afterwards
    padding : ``"valid"`` or ``"same"``
    """

    @property
    def kind(self) -> str:
        """Keras' class name, ``"MaxPooling2D"``."""
        return "MaxPooling2D"


@dataclass(frozen=True)
class AveragePool2D(_Pool2D):
    """The mean of each window's pixels inside the image, channel by channel.

    Parameters
    ----------
    pool_size : the window's height and width, 1 to 64, or one number for both; (height, width)
        afterwards
    strides : how far it moves down and right, 1 to 64; None is ``pool_size``; a pair afterwards
    padding : ``"valid"`` or ``"same"``
    """

    @property
    def kind(self) -> str:
        """Keras' class name, ``"AveragePooling2D"``."""
        return "AveragePooling2D"


@dataclass(frozen=True)
class GlobalAveragePool2D(Layer):
    """The mean of each channel."""

    @property
    def kind(self) -> str:
        """Keras' class name, ``"GlobalAveragePooling2D"``."""
        return "GlobalAveragePooling2D"

    def output_shape(self, input_shape: Shape) -> Shape:
        """Give ``(channels,)``."""
        _check_image(input_shape)
        return input_shape[-1:]


def _check_image(shape: Shape) -> None:
    if len(shape) != 3:
        raise ModelError(f"expected images (height, width, channels), got {shape}")


def _check_padding(padding: object, where: str) -> None:
    if not isinstance(padding, str) or padding not in PADDINGS:
        raise UnknownNameError("padding", brief(padding), PADDINGS, where=where)
