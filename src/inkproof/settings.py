"""Checks of settings: each raises one line that says where, what was expected, and what came."""

from __future__ import annotations

import math
import re
import reprlib
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np

from inkproof.errors import ConfigurationError, UnknownNameError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = [
    "FLOAT32_MAX",
    "FLOAT32_TINY",
    "FOLDER_NAME",
    "LONGEST_CLASS_NAME",
    "flag",
    "from_table",
    "is_class_name",
    "is_number",
    "known",
    "number",
    "only",
    "shortest",
    "table",
    "whole",
    "without_defaults",
]

FLOAT32_MAX: Final = float(np.finfo(np.float32).max)
FLOAT32_TINY: Final = float(np.finfo(np.float32).tiny)
FOLDER_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}")
"""What a study or one of its models may be called: their folders are called so."""
LONGEST_CLASS_NAME: Final = 100
"""Characters of a class's name."""


T = TypeVar("T", bound="DataclassInstance")


def is_number(value: object) -> bool:
    """Tell whether it is an int or a float, and no bool."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def number(where: str, value: Any, fits: Callable[[float], bool], what: str) -> None:
    """Refuse what is no finite float32 number, or one that does not fit.

    Raises
    ------
    ConfigurationError : ``<where> must be <what>, got ...``
    """
    if not is_number(value) or not -FLOAT32_MAX <= value <= FLOAT32_MAX or not fits(value):
        raise ConfigurationError(f"{where} must be {what}, got {reprlib.repr(value)}")


def whole(where: str, value: Any, least: int, most: int | None = None) -> None:
    """Refuse what is no whole number from ``least`` to ``most``.

    Raises
    ------
    ConfigurationError : the message names the bound that does not hold
    """
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value:
        raise ConfigurationError(
            f"{where} must be a whole number of at least {least}, got {value!r}"
        )
    if most is not None and value > most:
        raise ConfigurationError(f"{where} must be at most {most}, got {value!r}")


def flag(where: str, value: object) -> None:
    """Refuse what is neither true nor false.

    Raises
    ------
    ConfigurationError : anything else
    """
    if not isinstance(value, bool):
        raise ConfigurationError(f"{where} must be true or false, got {value!r}")


def known(kind: str, value: object, names: Iterable[str], *, where: str) -> None:
    """Refuse a name that is not among the known ones.

    Raises
    ------
    UnknownNameError : the message lists them
    """
    names = tuple(names)
    if value not in names:
        raise UnknownNameError(kind, str(value)[:40], names, where=where)


def table(where: str, values: object) -> dict[str, Any]:
    """Copy a table.

    Raises
    ------
    ConfigurationError : it is none
    """
    if not isinstance(values, Mapping):
        raise ConfigurationError(f"{where} must be a table, got {reprlib.repr(values)}")
    return dict(values)


def only(where: str, values: Mapping[str, Any], names: Iterable[str]) -> None:
    """Refuse keys that are not among the known ones.

    Raises
    ------
    UnknownNameError : the message lists them
    """
    names = tuple(names)
    for key in values:
        known("key", key, names, where=where)


def from_table(kind: type[T], where: str, values: Mapping[str, Any], *, tag: str = "") -> T:
    """Make a dataclass of a table's values.

    Parameters
    ----------
    kind : the dataclass; it checks the values itself
    where : where the table stands, for messages
    values : its keys are the names of fields
    tag : the key that chose the class, which is known, too

    Raises
    ------
    UnknownNameError : a key that is no field
    ConfigurationError : a field without default is missing
    others : as for the class
    """
    of_kind = fields(kind)
    only(where, values, [*(f.name for f in of_kind), *([tag] if tag else [])])
    given = {key: value for key, value in values.items() if key != tag}
    for f in of_kind:
        if f.name not in given and f.default is MISSING and f.default_factory is MISSING:
            raise ConfigurationError(f"{where} needs {f.name!r}")
    return kind(**given)


def without_defaults(values: Mapping[str, Any], instance: DataclassInstance) -> dict[str, Any]:
    """Leave out what is off, as it is by default: None, False, zero.

    So a record made before an option existed is that of a training without it.
    """
    defaults = {f.name: f.default for f in fields(instance)}
    return {
        key: value
        for key, value in values.items()
        if not (value == defaults.get(key, MISSING) and not value)
    }


def shortest(value: np.float32 | float) -> float:
    """Give the shortest decimal that float32 takes for this number: 0.1, not 0.10000000149."""
    single = np.float32(value)
    return float(str(single)) if math.isfinite(single) else float(single)


def is_class_name(name: object) -> bool:
    """Tell whether a class may have this name: text, no control characters, and all UTF-8."""
    return (
        isinstance(name, str)
        and 1 <= len(name) <= LONGEST_CLASS_NAME
        and not any(unicodedata.category(character) in ("Cc", "Cs") for character in name)
    )
