"""IDX files, the form in which MNIST was published, packed with gzip or not.

An IDX file is two zero bytes, a type code (8: unsigned bytes), the number of dimensions, each
dimension as a big-endian uint32, and the values in C order. Only unsigned bytes are read here:
images with three or four dimensions, labels with one. (Y. LeCun, C. Cortes, C. J. C. Burges,
"The MNIST database of handwritten digits", section "File formats".)
"""

from __future__ import annotations

import gzip
import hashlib
import math
import struct
import zlib
from io import BufferedIOBase
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from inkproof.data.limits import MOST_BYTES, extent, shape_text
from inkproof.errors import DataError

__all__ = ["encode_idx", "read_idx"]

_UNSIGNED_BYTES: Final = 8
_GZIP_MAGIC: Final = b"\x1f\x8b"
_DEFLATE_RATIO: Final = 1032  # no byte of a deflate stream stands for more than this many


def read_idx(
    path: Path, *, dimensions: tuple[int, ...], sha256: str | None = None
) -> npt.NDArray[np.uint8]:
    """Read one IDX file of unsigned bytes; what it declares is checked before memory is taken.

    Parameters
    ----------
    path : the file; gzip is recognised by its first bytes, not by its name
    dimensions : the numbers of dimensions that will do: ``(1,)`` for labels
    sha256 : of the unpacked file, 64 hexadecimal digits, or None to trust it

    Returns
    -------
    uint8, of the file's shape

    Raises
    ------
    DataError : not IDX, truncated, longer than it says, too large, or another checksum
    OSError : it cannot be opened
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        packed = file.read(2) == _GZIP_MAGIC
        file.seek(0)
        if not packed:
            return _read(file, path, size, dimensions, sha256)
        try:
            with gzip.GzipFile(fileobj=file) as unpacked:
                most = size * _DEFLATE_RATIO
                return _read(unpacked, path, most, dimensions, sha256)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DataError(f"{path}: truncated or damaged gzip file: {error}") from error


def _read(
    file: BufferedIOBase, path: Path, most: int, dimensions: tuple[int, ...], sha256: str | None
) -> npt.NDArray[np.uint8]:
    head = file.read(4)
    if len(head) < 4 or head[:2] != b"\0\0":
        raise DataError(f"{path}: expected an IDX file (two zero bytes first), got {head!r}")
    if head[2] != _UNSIGNED_BYTES:
        raise DataError(f"{path}: expected IDX type 8 (unsigned bytes), got type {head[2]}")
    if head[3] not in dimensions:
        wanted = " or ".join(map(str, dimensions))
        raise DataError(f"{path}: expected {wanted} dimension(s), got {head[3]}")
    lengths = file.read(4 * head[3])
    if len(lengths) < 4 * head[3]:
        raise DataError(f"{path}: truncated: the file ends within its header")
    shape = struct.unpack(f">{head[3]}I", lengths)
    count = math.prod(shape)
    if extent(shape) > MOST_BYTES:
        raise DataError(
            f"{path}: its header says {shape_text(shape)} = {count:,} bytes, "
            f"the limit is {MOST_BYTES:,}"
        )
    header = head + lengths
    if count > most:
        raise DataError(_truncated(path, shape, f"at most {max(most - len(header), 0):,}"))
    values = np.empty(count, dtype=np.uint8)
    view = values.data
    got = 0
    while got < count:
        step = file.readinto(view[got:])
        if not step:
            raise DataError(_truncated(path, shape, f"{got:,}"))
        got += step
    if file.read(1):  # at the end gzip verifies its own checksum, too
        raise DataError(
            f"{path}: longer than its header says: expected {shape_text(shape)} = {count:,} bytes"
        )
    if sha256 is not None:
        digest = hashlib.sha256(header)
        digest.update(values.data)
        if digest.hexdigest() != sha256:
            raise DataError(
                f"{path}: damaged: expected sha256 {sha256[:16]}…, got {digest.hexdigest()[:16]}…"
            )
    return values.reshape(shape)


def _truncated(path: Path, shape: tuple[int, ...], got: str) -> str:
    return (
        f"{path}: truncated: its header says {shape_text(shape)} = {math.prod(shape):,} bytes, "
        f"got {got}"
    )


def encode_idx(values: npt.NDArray[np.uint8]) -> bytes:
    """Give the bytes of an IDX file with these values, unpacked."""
    header = bytes([0, 0, _UNSIGNED_BYTES, values.ndim])
    return header + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()
