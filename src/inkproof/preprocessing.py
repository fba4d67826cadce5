"""From raw inputs to what the first layer gets.

A model is given raw inputs: uint8 images or float32 vectors. Here they are checked and laid out;
the engine scales them while it gathers them.
"""

from __future__ import annotations

import math
import operator
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, SupportsIndex

import numpy as np
import numpy.typing as npt

from inkproof.errors import ConfigurationError, ModelError
from inkproof.layers import Shape

__all__ = ["Preprocessing", "checked_input_shape", "flat_inputs", "is_image_shape"]

_IMAGE_AXES: Final = 3
_MAX_INPUTS: Final = 1 << 24
_LARGEST: Final = 1e30
_SMALLEST: Final = 1e-30


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """What happens to an input before the first layer: ``scale * input + offset``, flattened.

    Parameters
    ----------
    scale : not 0; 1/255 takes uint8 pixels to [0, 1]
    offset : finite
    flatten : whether all axes but the batch's become one, in C order

    Raises
    ------
    ConfigurationError : a number that float32 cannot hold, or a scale of 0
    """

    scale: float = 1.0
    offset: float = 0.0
    flatten: bool = False

    def __post_init__(self) -> None:
        for key in ("scale", "offset"):
            value = getattr(self, key)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not abs(value) < _LARGEST:
                raise ConfigurationError(
                    f"preprocessing.{key} must be a finite number, got {reprlib.repr(value)}"
                )
            object.__setattr__(self, key, float(value))
        if abs(self.scale) < _SMALLEST:
            raise ConfigurationError(f"preprocessing.scale must not be 0, got {self.scale!r}")
        if not isinstance(self.flatten, bool):
            raise ConfigurationError(
                f"preprocessing.flatten must be true or false, got {reprlib.repr(self.flatten)}"
            )

    def output_shape(self, input_shape: Shape) -> Shape:
        """Give the shape that the first layer gets."""
        return (math.prod(input_shape),) if self.flatten else input_shape

    def describe(self, input_shape: Shape) -> str:
        """Say what comes and what happens to it, in a few words."""
        steps = ["uint8 images, 0 to 255" if is_image_shape(input_shape) else "float32 vectors"]
        if self.scale == 1 / 255:
            steps.append("divided by 255")
        elif self.scale != 1.0:
            steps.append(f"times {self.scale:g}")
        if self.offset != 0.0:
            steps.append(f"plus {self.offset:g}")
        if self.flatten and len(input_shape) > 1:
            steps.append("flattened")
        return ", ".join(steps)


def is_image_shape(input_shape: Shape) -> bool:
    """Whether inputs of this shape are uint8 images, not float32 vectors."""
    return len(input_shape) == _IMAGE_AXES


def checked_input_shape(shape: object) -> Shape:
    """Give (height, width, channels) or (features,) as a tuple of ints.

    Raises
    ------
    ConfigurationError : anything else, or more than 16,777,216 numbers
    """
    axes: tuple[int, ...] = ()
    if isinstance(shape, Sequence) and not isinstance(shape, str):
        whole = [
            operator.index(axis)
            for axis in shape
            if isinstance(axis, SupportsIndex) and not isinstance(axis, bool)
        ]
        axes = tuple(whole) if len(whole) == len(shape) else ()
    if len(axes) not in (1, _IMAGE_AXES) or min(axes) < 1:
        raise ConfigurationError(
            "model.input_shape must be (height, width, channels) or (features,), each at least 1, "
            f"got {reprlib.repr(shape)}"
        )
    if math.prod(axes) > _MAX_INPUTS:
        raise ConfigurationError(
            f"model.input_shape may hold at most {_MAX_INPUTS:,} numbers, got {reprlib.repr(shape)}"
        )
    return axes


def flat_inputs(
    inputs: npt.ArrayLike, input_shape: Shape, *, where: str
) -> npt.NDArray[np.uint8] | npt.NDArray[np.float32]:
    """Check raw inputs and lay them out as the engine takes them.

    Parameters
    ----------
    inputs : uint8 (n, height, width, channels), 0-255, or one image without the first axis; grey
        images may leave out the channels' axis; float32 (n, features) or (features,), finite,
        where ``input_shape`` is that of a vector
    input_shape : (height, width, channels) or (features,)
    where : what expects them, for messages

    Returns
    -------
    uint8 or float32 (n, height * width * channels or features), C-contiguous, a view where that
    is possible

    Raises
    ------
    ModelError : another shape or dtype
    """
    images = is_image_shape(input_shape)
    expected = f"{where} expects {_forms(input_shape)}"
    try:
        array = np.asarray(inputs)
    except ValueError as error:
        raise ModelError(f"{expected}, got rows of different lengths") from error
    got = f"{array.dtype} {array.shape}"
    if array.dtype != (np.uint8 if images else np.float32):
        raise ModelError(f"{expected}, got {got}{_hint(array, images=images)}")
    one = {input_shape}
    if images and input_shape[-1] == 1:
        one.add(input_shape[:-1])
    if array.shape not in one and array.shape[1:] not in one:
        raise ModelError(f"{expected}, got {got}")
    count = 1 if array.shape in one else len(array)
    flat = np.ascontiguousarray(array).reshape(count, math.prod(input_shape))
    if not images and not np.isfinite(flat).all():
        raise ModelError(f"{expected}, got numbers that are not finite")
    return flat


def _forms(shape: Shape) -> str:
    axes = ", ".join(map(str, shape))
    if not is_image_shape(shape):
        return f"float32 (n, {axes}) or ({axes},)"
    if shape[-1] > 1:
        return f"uint8 (n, {axes}) or ({axes})"
    height, width, _ = shape
    return f"uint8 (n, {height}, {width}[, 1]) or ({height}, {width}[, 1])"


def _hint(array: npt.NDArray[Any], *, images: bool) -> str:
    if images and array.dtype.kind == "f":
        return "; pass the raw pixels, 0-255: the model scales them itself"
    if array.dtype.kind in "iuf":
        return f"; convert with .astype('{'uint8' if images else 'float32'}')"
    return ""
