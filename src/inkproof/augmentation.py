"""Augmentation: what may be done to each training image, anew in each epoch.

The engine does it while it gathers a batch, from the raw pixels. What happens to an image depends
on the seed, the epoch and the image's row alone.
"""

from __future__ import annotations

import operator
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final, SupportsIndex, TypeVar

import numpy as np
import numpy.typing as npt

from inkproof.errors import ConfigurationError, UnknownNameError

if TYPE_CHECKING:
    Pixels = TypeVar("Pixels", np.uint8, np.float32)

__all__ = ["Augmentation"]

# The largest value of each; the smallest is 0 but for elastic_grid and fill.
_LARGEST: Final = {
    "shift": 4096.0,
    "rotation": 180.0,
    "scale": 0.9,
    "shear": 10.0,
    "elastic": 4096.0,
    "cutout": 1.0,
    "probability": 1.0,
    "mixup": 1000.0,
}
_GRIDS: Final = (2, 32)
_MOST_FILL: Final = 1e30


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What may be done to a training image. Everything is off by default.

    Scale, shear, rotation and shift, in this order, make one affine map about the image's centre;
    it and the elastic deformation are looked up together, in one bilinear interpolation. A cutout
    comes after them. Distances are in pixels.

    Parameters
    ----------
    shift : right or left, and down or up: two draws, each uniform in ±shift pixels; up to 4,096
    rotation : uniform in ±rotation degrees, 0 to 180
    scale : size by a factor uniform in 1 ± scale, 0 to 0.9
    shear : uniform in ±shear: pixels to the right for each pixel downwards, 0 to 10
    elastic : standard deviation, in pixels, of random displacements at the knots of a coarse grid,
        spread between them by a cubic B-spline; up to 4,096
    elastic_grid : knots along each axis, from edge to edge, 2 to 32
    cutout : a square is set to ``fill``, whose side is this share of the image's shorter side,
        0 to 1; its centre may be any pixel, so part of it may lie outside
    fill : what is seen where the image was moved away and in a cutout, in raw units (0 to 255 for
        uint8 images), within ±1e30
    probability : that an image is touched at all (by anything but mixup), 0 to 1
    mixup : pairs of images and of labels are mixed with a share from Beta(mixup, mixup); 0 for
        none, up to 1,000

    Raises
    ------
    ConfigurationError : a value out of range; the message names it as ``augmentation.<name>``

    References
    ----------
    Elastic deformation: Simard, Steinkraus and Platt, ICDAR 2003; on a coarse grid: Ronneberger,
    Fischer and Brox, MICCAI 2015. Cutout: DeVries and Taylor, arXiv:1708.04552. Mixup: Zhang,
    Cisse, Dauphin and Lopez-Paz, ICLR 2018.
    """

    shift: float = 0.0
    rotation: float = 0.0
    scale: float = 0.0
    shear: float = 0.0
    elastic: float = 0.0
    elastic_grid: int = 4
    cutout: float = 0.0
    fill: float = 0.0
    probability: float = 1.0
    mixup: float = 0.0

    def __post_init__(self) -> None:
        for key, largest in _LARGEST.items():
            object.__setattr__(self, key, _number(key, getattr(self, key), 0.0, largest))
        object.__setattr__(self, "fill", _number("fill", self.fill, -_MOST_FILL, _MOST_FILL))
        object.__setattr__(self, "elastic_grid", _whole("elastic_grid", self.elastic_grid, *_GRIDS))

    @property
    def changes_images(self) -> bool:
        """Whether an image may be changed by itself, mixup aside."""
        kinds = (self.shift, self.rotation, self.scale, self.shear, self.elastic, self.cutout)
        return self.probability > 0 and any(kinds)

    def config(self) -> dict[str, Any]:
        """Give JSON values from which :meth:`from_config` makes an equal one."""
        return {item.name: getattr(self, item.name) for item in fields(self)}

    @classmethod
    def from_config(cls, values: Mapping[str, Any], *, where: str = "augmentation") -> Augmentation:
        """Make one of what :meth:`config` gave or a study says; missing keys keep their defaults.

        Parameters
        ----------
        values : a mapping such as ``{"shift": 2, "rotation": 10}``
        where : where it came from, for messages

        Raises
        ------
        ConfigurationError : not a mapping, or as for the class
        UnknownNameError : a key that does not exist
        """
        if not isinstance(values, Mapping):
            raise ConfigurationError(
                f"{where} must be a table such as {{shift = 2}}, got {reprlib.repr(values)}"
            )
        known = [item.name for item in fields(cls)]
        for key in values:
            if key not in known:
                raise UnknownNameError("key", str(key)[:40], known, where=where)
        try:
            return cls(**values)
        except ConfigurationError as error:
            error.args = (str(error).replace("augmentation", where, 1),)
            raise

    def engine_options(self) -> dict[str, float]:
        """Give the numbers that the engine takes: all but ``mixup``, which goes by itself."""
        options = {key: float(value) for key, value in self.config().items() if key != "mixup"}
        shift = options.pop("shift")
        return {"shift_x": shift, "shift_y": shift} | options

    def preview(
        self, images: npt.NDArray[Pixels], *, seed: int = 0, epoch: int = 1
    ) -> npt.NDArray[Pixels]:
        """Show images as a training with this seed sees them in an epoch, but for mixup.

        Parameters
        ----------
        images : uint8 or float32 (n, height, width, channels): rows 0 to n - 1 of the data
        seed : 0 to 2**64 - 1
        epoch : from 1

        Returns
        -------
        the same shape and dtype; training does not round to whole numbers, this does for uint8

        Raises
        ------
        ModelError : another shape or dtype
        ConfigurationError : a seed or an epoch out of range
        """
        from inkproof.engine.augment import augment

        raw = np.ascontiguousarray(images)
        seed = _whole("seed", seed, 0, (1 << 64) - 1, prefix="")
        epoch = _whole("epoch", epoch, 1, (1 << 32) - 1, prefix="")
        rows = np.arange(raw.shape[0] if raw.ndim else 0, dtype=np.uint32)
        found = augment(raw, self.engine_options(), seed=seed, epoch=epoch, rows=rows)
        if raw.dtype == np.uint8:
            return np.clip(np.rint(found), 0, 255).astype(raw.dtype)
        return found.astype(raw.dtype, copy=False)


def _number(key: str, value: Any, smallest: float, largest: float) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and smallest <= value <= largest:
        return float(value)
    raise ConfigurationError(
        f"augmentation.{key} must be a number from {smallest:g} to {largest:g}, "
        f"got {reprlib.repr(value)}"
    )


def _whole(
    key: str, value: object, smallest: int, largest: int, *, prefix: str = "augmentation."
) -> int:
    number = smallest - 1
    if isinstance(value, SupportsIndex) and not isinstance(value, bool):
        number = operator.index(value)
    if not smallest <= number <= largest:
        raise ConfigurationError(
            f"{prefix}{key} must be a whole number from {smallest} to {largest}, "
            f"got {reprlib.repr(value)}"
        )
    return number
