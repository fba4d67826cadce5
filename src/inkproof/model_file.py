"""A model's file: safetensors with one metadata key, ``inkproof``, of canonical JSON.

The same state gives the same bytes: keys are sorted, and neither time nor host is in it. A file
may come from anybody: nothing is allocated before its size has been held against the shapes that
its own description gives, and everything that is wrong with it is a FileFormatError.

The form: 8 bytes, the header's length, little-endian; the header, JSON, tensor name ->
``{"dtype", "shape", "data_offsets"}`` and ``__metadata__``; then the numbers, little-endian.
"""

from __future__ import annotations

import json
import math
import os
import reprlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, NoReturn

import numpy as np
import numpy.typing as npt

from inkproof.errors import FileFormatError, ModelError, StorageError
from inkproof.storage import write_bytes

__all__ = [
    "FORMAT",
    "MAX_HEADER_BYTES",
    "parse_object",
    "read_description",
    "read_tensors",
    "to_bytes",
    "write",
]

Tensor = npt.NDArray[np.float32] | npt.NDArray[np.float64]
FORMAT: Final = 1
MAX_HEADER_BYTES: Final = 4 << 20
_KEY: Final = "inkproof"
_PREFIX_BYTES: Final = 8
_ITEM_BYTES: Final = 4
_ARCHIVE: Final = b"PK\x03\x04"  # how a ZIP file begins


@dataclass(frozen=True, kw_only=True)
class _Header:
    raw: bytes
    tensors: Mapping[str, object]
    description: dict[str, Any]
    file_bytes: int


def to_bytes(description: Mapping[str, object], tensors: Mapping[str, Tensor]) -> bytes:
    """Give a file's content.

    Parameters
    ----------
    description : JSON values; ``format`` is added
    tensors : float32 arrays of any shape by name; float64 where so many digits are wanted

    Raises
    ------
    ModelError : the description is too long for the header
    """
    from safetensors.numpy import save

    text = json.dumps(
        {**description, "format": FORMAT}, sort_keys=True, separators=(",", ":"), allow_nan=False
    )
    arrays = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    content: bytes = save(arrays, metadata={_KEY: text})
    if int.from_bytes(content[:_PREFIX_BYTES], "little") > MAX_HEADER_BYTES:
        raise ModelError(
            f"the model's description is too long for a file: names of layers and classes must "
            f"fit into {MAX_HEADER_BYTES:,} bytes, got {len(text):,}"
        )
    return content


def write(
    path: str | Path,
    description: Mapping[str, object],
    tensors: Mapping[str, Tensor],
) -> None:
    """Write a file in one step; see :func:`to_bytes`.

    Raises
    ------
    StorageError : it cannot be written; what was there is as before
    """
    write_bytes(path, to_bytes(description, tensors))


def read_description(path: str | Path) -> dict[str, Any]:
    """Read the description alone, ``format`` left out; its content is not checked.

    Raises
    ------
    FileFormatError : damaged, cut off, of a newer format, or not a file of ours
    StorageError : it cannot be read
    """
    try:
        with Path(path).open("rb") as handle:
            description = dict(_read_header(handle, path).description)
    except OSError as error:
        raise _unreadable(path, error) from error
    del description["format"]
    return description


def read_tensors(
    path: str | Path, shapes: Mapping[str, tuple[int, ...]], *, float64: Collection[str] = ()
) -> dict[str, npt.NDArray[np.float32]]:
    """Read all arrays, which must be those that the architecture has.

    Parameters
    ----------
    path : the file
    shapes : name -> shape, of all arrays that must be there; no others may
    float64 : the names of those that are float64

    Returns
    -------
    float32 arrays by name, and float64 ones as asked for; all numbers finite

    Raises
    ------
    FileFormatError : damaged, cut off, or other arrays than expected
    StorageError : it cannot be read
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        with Path(path).open("rb") as handle:
            header = _read_header(handle, path)
            wanted = _check_sizes(header, shapes, float64, path)
            data = handle.read(wanted)
    except OSError as error:
        raise _unreadable(path, error) from error
    try:
        arrays: dict[str, npt.NDArray[np.float32]] = load(header.raw + data)
    except (SafetensorError, ValueError) as error:
        raise FileFormatError(f"{path}: damaged: {_one_line(error)}") from error
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise FileFormatError(f"{path}: {name} holds numbers that are not finite")
    return arrays


def _read_header(handle: BinaryIO, path: str | Path) -> _Header:
    size = os.fstat(handle.fileno()).st_size
    prefix = handle.read(_PREFIX_BYTES)
    if len(prefix) < _PREFIX_BYTES:
        raise FileFormatError(f"{path}: expected an Inkproof model file, got {size:,} bytes")
    if prefix.startswith(_ARCHIVE):
        raise FileFormatError(
            f"{path}: not an Inkproof model file but an archive; "
            "inkproof import makes one of a .keras file"
        )
    length = int.from_bytes(prefix, "little")
    if not 2 <= length <= MAX_HEADER_BYTES:
        raise FileFormatError(
            f"{path}: not an Inkproof model file: expected a header of at most "
            f"{MAX_HEADER_BYTES:,} bytes, got {length:,}"
        )
    raw = handle.read(length)
    if len(raw) < length:
        raise FileFormatError(
            f"{path}: cut off: expected a header of {length:,} bytes, got {len(raw):,}"
        )
    tensors = parse_object(raw, f"{path}: header")
    metadata = tensors.pop("__metadata__", None)
    if not (
        isinstance(metadata, dict) and list(metadata) == [_KEY] and isinstance(metadata[_KEY], str)
    ):
        raise FileFormatError(
            f"{path}: not an Inkproof model: expected the one metadata key {_KEY!r}, "
            f"got {reprlib.repr(metadata)}"
        )
    description = parse_object(metadata[_KEY].encode("utf-8", "surrogatepass"), f"{path}: metadata")
    version = description.get("format")
    if type(version) is not int or version != FORMAT:
        raise FileFormatError(
            f"{path}: expected file format {FORMAT}, got {reprlib.repr(version)}; "
            "a newer Inkproof may have written it"
        )
    return _Header(raw=prefix + raw, tensors=tensors, description=description, file_bytes=size)


def _check_sizes(
    header: _Header,
    shapes: Mapping[str, tuple[int, ...]],
    float64: Collection[str],
    path: str | Path,
) -> int:
    """Hold the header and the file's size against the shapes; give the data's bytes."""
    if header.tensors.keys() != shapes.keys():
        odd = sorted(header.tensors.keys() ^ shapes.keys())[0]
        problem = "is missing" if odd in shapes else "is not part of this model"
        raise FileFormatError(f"{path}: array {odd[:120]!r} {problem}")
    for name, shape in shapes.items():
        entry = header.tensors[name]
        got = (entry.get("dtype"), entry.get("shape")) if isinstance(entry, dict) else entry
        kind = "F64" if name in float64 else "F32"
        if got != (kind, list(shape)):
            raise FileFormatError(
                f"{path}: {name}: expected {kind} {list(shape)}, got {reprlib.repr(got)}"
            )
    wanted = sum(
        _ITEM_BYTES * (2 if name in float64 else 1) * math.prod(shape)
        for name, shape in shapes.items()
    )
    expected = len(header.raw) + wanted
    if header.file_bytes != expected:
        problem = "cut off" if header.file_bytes < expected else "too long"
        raise FileFormatError(
            f"{path}: {problem}: expected {expected:,} bytes, got {header.file_bytes:,}"
        )
    return wanted


def parse_object(raw: bytes, where: str) -> dict[str, Any]:
    """Read a JSON object of a file that need not be trusted; ``where`` is for messages.

    Raises
    ------
    FileFormatError : no JSON, no object, nested too deeply, or a key that stands there twice
    """
    try:
        value = json.loads(
            raw.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant
        )
    except RecursionError as error:
        raise FileFormatError(f"{where}: nested too deeply") from error
    except ValueError as error:
        raise FileFormatError(f"{where}: not JSON: {_one_line(error)}") from error
    if not isinstance(value, dict):
        raise FileFormatError(f"{where}: expected a JSON object, got {reprlib.repr(value)}")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a key twice: readers differ in which one they take."""
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key stands there twice")
    return result


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _unreadable(path: str | Path, error: OSError) -> StorageError:
    return StorageError(f"{path}: cannot be read: {error.strerror or error}")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
