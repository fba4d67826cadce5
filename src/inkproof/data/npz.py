"""NumPy archives in Keras' form: x_train, y_train, x_test, y_test, and class_names where they are.

Nothing is unpickled.
"""

from __future__ import annotations

import math
import struct
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

from inkproof.data.assembly import Labelled
from inkproof.data.limits import MOST_BYTES, MOST_CLASSES, extent, shape_text
from inkproof.errors import DataError
from inkproof.settings import LONGEST_CLASS_NAME

__all__ = ["read_npz"]

_KEYS: Final = ("x_train", "y_train", "x_test", "y_test")
_NAMES: Final = "class_names"
_COMPRESSIONS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_DEFLATE_RATIO: Final = 1032
# What zipfile and NumPy raise on damaged archives, beside OSError.
_DAMAGE: Final = (
    *(zipfile.BadZipFile, zlib.error, struct.error),
    *(EOFError, NotImplementedError, OverflowError, RuntimeError, ValueError),
)


def read_npz(path: Path) -> tuple[Labelled, Labelled, tuple[str, ...] | None]:
    """Read the training and the test images with their labels, and the classes' names.

    Returns
    -------
    training, test, and the names in the order of the labels; None where there are none

    Raises
    ------
    DataError : no such archive, a key is missing, or an array is not what it should be
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            if missing := [key for key in _KEYS if key not in members]:
                raise DataError(
                    f"{path}: expected the arrays {', '.join(_KEYS)}; {', '.join(missing)} "
                    f"missing, got {', '.join(sorted(members)[:8]) or 'none'}"
                )
            arrays = {key: _array(path, archive, members[key], key) for key in _KEYS}
            names = _names(path, archive, members[_NAMES]) if _NAMES in members else None
    except DataError:
        raise
    except _DAMAGE as error:
        raise DataError(f"{path}: truncated or damaged archive: {_one_line(error)}") from error
    return (
        _labelled(path, arrays["x_train"], arrays["y_train"], "train"),
        _labelled(path, arrays["x_test"], arrays["y_test"], "test"),
        names,
    )


def _names(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> tuple[str, ...]:
    most = 4 * MOST_CLASSES * LONGEST_CLASS_NAME + 4096  # four bytes a character, and a header
    if info.file_size > most:
        raise DataError(
            f"{path}: {_NAMES}: expected at most {most:,} bytes, got {info.file_size:,}"
        )
    array = _array(path, archive, info, _NAMES)
    if array.ndim != 1 or not 1 <= len(array) <= MOST_CLASSES:
        raise DataError(
            f"{path}: {_NAMES}: expected 1 to {MOST_CLASSES} names (n,), "
            f"got {shape_text(array.shape)}"
        )
    names = tuple(map(str, array.tolist()))
    for index, name in enumerate(names):
        if not 1 <= len(name) <= LONGEST_CLASS_NAME or not name.isprintable():
            raise DataError(
                f"{path}: {_NAMES}[{index}]: expected 1 to {LONGEST_CLASS_NAME} printable "
                f"characters, got {name[:40]!r}"
            )
        if name in names[:index]:
            raise DataError(f"{path}: {_NAMES}: expected different names, got {name!r} twice")
    return names


def _array(
    path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo, key: str
) -> npt.NDArray[Any]:
    if info.compress_type not in _COMPRESSIONS or info.flag_bits & 1:
        raise DataError(f"{path}: {key}: expected it stored or deflated and not encrypted")
    most = min(MOST_BYTES, info.compress_size * _DEFLATE_RATIO)
    if info.file_size > most:
        raise DataError(
            f"{path}: {key}: expected at most {most:,} bytes, its entry says {info.file_size:,}"
        )
    with archive.open(info) as file:
        try:
            shape, dtype = _header(file)
        except ValueError as error:
            raise DataError(f"{path}: {key}: not an array: {_one_line(error)}") from error
        kinds, form = _forms(key)
        if dtype.kind not in kinds or (key.startswith("x") and dtype != np.uint8):
            raise DataError(f"{path}: {key}: expected {form}, got {dtype}")
        # NumPy's reader takes bools, too, and fails on an empty array with another, huge length.
        if not all(type(length) is int and length >= 0 for length in shape):
            raise DataError(f"{path}: {key}: expected a shape of whole numbers, got {shape}")
        if extent(shape) > MOST_BYTES:
            raise DataError(
                f"{path}: {key}: its header says {shape_text(shape)}, "
                f"the limit is {MOST_BYTES:,} bytes"
            )
        expected = math.prod(shape) * dtype.itemsize
        if expected != info.file_size - file.tell():
            raise DataError(
                f"{path}: {key}: its header says {dtype} {shape_text(shape)} = {expected:,} "
                f"bytes, got {info.file_size - file.tell():,}"
            )
    with archive.open(info) as file:
        array: npt.NDArray[Any] = npy.read_array(file, allow_pickle=False)
    return array


def _forms(key: str) -> tuple[str, str]:
    """Give the kinds of dtype that an array may have, and what they are called."""
    if key == _NAMES:
        return "U", "text"
    return ("u", "uint8 pixels 0-255") if key.startswith("x") else ("iu", "whole numbers")


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = npy.read_magic(file)
    if version == (1, 0):
        shape, _, dtype = npy.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, _, dtype = npy.read_array_header_2_0(file)
    else:
        raise ValueError(f"unknown version {version}")
    return shape, dtype


def _labelled(
    path: Path, images: npt.NDArray[Any], labels: npt.NDArray[Any], role: str
) -> Labelled:
    return Labelled(
        images=images,
        labels=labels,
        images_from=f"{path}: x_{role}",
        labels_from=f"{path}: y_{role}",
    )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
