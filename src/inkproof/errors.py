"""What can go wrong, as a tree.

::

    Exception
    └── InkproofError              catch this one to catch them all
        ├── ConfigurationError     a setting, a study file or an argument is wrong (ValueError)
        │   └── UnknownNameError   a name that is not among the known ones
        ├── DataError              images or labels that cannot be used (ValueError)
        │   └── PictureError       a picture that cannot be read
        ├── ModelError             layers that fit neither each other nor the data (ValueError)
        ├── FileFormatError        a file of ours that is damaged or not ours (ValueError)
        ├── UnsupportedError       a thing that the engine cannot do (NotImplementedError)
        ├── StorageError           a full disk, a folder without permission (OSError)
        ├── MissingExtraError      an optional package is not installed (ImportError)
        ├── TrainingError          training cannot go on: a loss that is no longer finite
        └── Cancelled              another thread asked this work to stop

Every message says where, what was expected, and what came: ``studies/mine.toml:
training.batch_size must be a whole number of at least 1, got 0``. Messages are one line.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

__all__ = [
    "Cancelled",
    "ConfigurationError",
    "DataError",
    "FileFormatError",
    "InkproofError",
    "MissingExtraError",
    "ModelError",
    "PictureError",
    "StorageError",
    "TrainingError",
    "UnknownNameError",
    "UnsupportedError",
]


class InkproofError(Exception):
    """The root of all errors that Inkproof raises on purpose."""


class ConfigurationError(InkproofError, ValueError):
    """A setting, a study file or an argument is wrong."""


class UnknownNameError(ConfigurationError):
    """A name that is not among the known ones; the message lists them and suggests the nearest.

    Parameters
    ----------
    kind : what the name names, such as ``"layer"``
    name : the name that came
    known : the names that would do
    where : where it came from, such as ``"mine.toml: models[0].layers[1].type"``
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], *, where: str = "") -> None:
        import difflib

        names = sorted(known)
        lowered = {candidate.lower(): candidate for candidate in names}
        near = difflib.get_close_matches(str(name).lower(), lowered, n=1, cutoff=0.5)
        suggestion = f" Did you mean {lowered[near[0]]!r}?" if near else ""
        prefix = f"{where}: " if where else ""
        super().__init__(f"{prefix}unknown {kind} {name!r}; known: {', '.join(names)}.{suggestion}")
        self._rebuild = partial(type(self), kind, name, names, where=where)

    def __reduce__(self) -> tuple[Any, ...]:  # or it could be neither pickled nor copied
        return self._rebuild, ()


class DataError(InkproofError, ValueError):
    """Images or labels that cannot be used."""


class PictureError(DataError):
    """A picture that cannot be read."""


class ModelError(InkproofError, ValueError):
    """Layers that fit neither each other nor the data."""


class FileFormatError(InkproofError, ValueError):
    """A file of ours that is damaged, too new, or not ours."""


class UnsupportedError(InkproofError, NotImplementedError):
    """A thing that the engine cannot do; the message names what it can."""


class StorageError(InkproofError, OSError):
    """A file or folder that cannot be written or read: a full disk, a missing permission."""


class MissingExtraError(InkproofError, ImportError):
    """An optional package is missing; the message is the command that installs it."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs an extra: pip install 'inkproof[{extra}]'")
        self._rebuild = partial(type(self), feature, extra)

    def __reduce__(self) -> tuple[Any, ...]:
        return self._rebuild, ()


class TrainingError(InkproofError):
    """Training cannot go on: the loss is no longer finite."""


class Cancelled(InkproofError):
    """Another thread asked this work to stop."""
