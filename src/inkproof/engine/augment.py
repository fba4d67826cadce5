"""The engine's augmentation, applied to images without a network.

Training augments inside the engine; this is the same code on its own, to look at and to test.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from inkproof.engine import default_isa, variants
from inkproof.errors import ConfigurationError, ModelError, UnknownNameError

__all__ = ["augment"]

_AXES = 4
_MAX_SIDE = 4096  # keeps every index inside the engine within 31 bits
_MAX_CHANNELS = 64


def augment(
    images: npt.NDArray[np.uint8] | npt.NDArray[np.float32],
    options: Mapping[str, float],
    *,
    seed: int,
    epoch: int,
    rows: npt.NDArray[np.uint32],
    isa: str | None = None,
) -> npt.NDArray[np.float32]:
    """Change images as training changes them.

    Parameters
    ----------
    images : uint8 or float32 (n, height, width, channels), C-contiguous
    options : what ``Augmentation.engine_options`` gives
    seed : 0 to 2**64 - 1
    epoch : 0 to 2**32 - 1; training counts from 1
    rows : uint32 (n,), the images' rows in the data; the draws are keyed by seed, epoch and row
    isa : one of :func:`inkproof.engine.variants`; None for the default

    Returns
    -------
    float32 (n, height, width, channels), in the units of ``images``

    Raises
    ------
    ModelError : another shape or dtype
    ConfigurationError : a seed or an epoch out of range
    UnknownNameError : a variant that does not exist or cannot run here
    """
    if images.ndim != _AXES or images.dtype not in (np.uint8, np.float32) or not _fits(images):
        raise ModelError(
            "augmentation expects uint8 or float32 (n, height, width, channels) in C order, "
            f"sides 1 to {_MAX_SIDE:,}, 1 to {_MAX_CHANNELS} channels, "
            f"got {images.dtype} {images.shape}"
        )
    if rows.dtype != np.uint32 or rows.shape != images.shape[:1]:
        raise ModelError(
            f"augmentation expects uint32 rows ({len(images)},), got {rows.dtype} {rows.shape}"
        )
    for name, value, bits in (("seed", seed, 64), ("epoch", epoch, 32)):
        if not 0 <= value < 1 << bits:
            raise ConfigurationError(
                f"{name} must be a whole number from 0 to 2**{bits} - 1, got {value}"
            )
    name = isa or default_isa()
    if name not in variants():
        raise UnknownNameError("engine variant", name[:40], variants(), where="isa")
    result = np.empty(images.shape, dtype=np.float32)
    if len(images):
        module = importlib.import_module(f"inkproof.engine._engine_{name}")
        rows = np.ascontiguousarray(rows)
        module.augment(images, result, dict(options), seed, epoch, rows)
    return result


def _fits(images: npt.NDArray[np.uint8] | npt.NDArray[np.float32]) -> bool:
    _, height, width, channels = images.shape
    return (
        images.flags.c_contiguous
        and 1 <= min(height, width) <= max(height, width) <= _MAX_SIDE
        and 1 <= channels <= _MAX_CHANNELS
    )
