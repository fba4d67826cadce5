"""Files that are either as they were or complete, never half written."""

from __future__ import annotations

import os
from pathlib import Path

from inkproof.errors import StorageError

__all__ = ["remove", "remove_half_written", "write_bytes"]

_BEGIN, _END = ".inkproof-", ".tmp"  # of the name of a file that is not complete yet


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write a file in one step: beside its place first, then renamed onto it.

    Parameters
    ----------
    path : the file; its folder must be there
    data : all of its content

    Raises
    ------
    StorageError : a full disk, a missing folder or permission; what was there is as before
    """
    target = Path(path)
    temporary = target.with_name(f"{_BEGIN}{os.urandom(8).hex()}{_END}")
    try:
        try:
            with temporary.open("xb") as handle:
                handle.write(data)
                handle.flush()
                os.fsync(handle.fileno())
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise StorageError(f"{target}: cannot be written: {error.strerror or error}") from error


def remove(path: Path) -> None:
    """Remove a file, if it is there.

    Raises
    ------
    StorageError : it cannot be removed
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"{path}: cannot be removed: {error.strerror or error}") from error


def remove_half_written(folder: Path) -> None:
    """Remove what processes that were killed have left of files in a folder.

    Nobody else may be writing there.

    Raises
    ------
    StorageError : one cannot be removed
    """
    for path in folder.glob(f"{_BEGIN}*{_END}"):
        remove(path)
