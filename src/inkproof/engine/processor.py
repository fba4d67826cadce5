"""Which variant of the engine this processor runs, and how many threads there are for it."""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import sys
from pathlib import Path
from typing import Final

from inkproof.errors import ConfigurationError, UnknownNameError, UnsupportedError

__all__ = [
    "MAX_THREADS",
    "PRECISIONS",
    "checked_isa",
    "default_isa",
    "default_threads",
    "processor_name",
    "usable_precision",
    "variants",
]

MAX_THREADS: Final = 256
PRECISIONS: Final = ("float32", "bfloat16")
_LEVELS: Final = ("v4", "v3", "portable")  # the fastest first


def variants() -> tuple[str, ...]:
    """Name the variants that were built and that this processor can run, the fastest first."""
    cpu = importlib.import_module("inkproof.engine._cpu")
    runs = {"v4": cpu.has_v4(), "v3": cpu.has_v3(), "portable": True}
    found = importlib.util.find_spec
    return tuple(
        level
        for level in _LEVELS
        if runs[level] and found(f"inkproof.engine._engine_{level}") is not None
    )


def default_isa() -> str:
    """Name the variant that is used where none is asked for: ``INKPROOF_ISA`` or the fastest.

    Raises
    ------
    UnknownNameError, UnsupportedError : ``INKPROOF_ISA`` names none, or one that cannot run here
    """
    return checked_isa(os.environ.get("INKPROOF_ISA"), "INKPROOF_ISA")


def default_threads() -> int:
    """Count the threads that are used: ``INKPROOF_THREADS`` or the cores this process may use.

    Raises
    ------
    ConfigurationError : ``INKPROOF_THREADS`` is not a whole number from 1 to ``MAX_THREADS``
    """
    wanted = os.environ.get("INKPROOF_THREADS")
    if wanted:
        if wanted.isascii() and wanted.isdigit() and 1 <= int(wanted[:9]) <= MAX_THREADS:
            return int(wanted)
        raise ConfigurationError(
            f"INKPROOF_THREADS must be a whole number from 1 to {MAX_THREADS}, got {wanted[:40]!r}"
        )
    if sys.platform == "linux":
        return min(len(os.sched_getaffinity(0)), MAX_THREADS)
    return min(os.cpu_count() or 1, MAX_THREADS)


def usable_precision(name: str, isa: str | None = None) -> str:
    """Give the precision of training's products: what is asked for, or ``"float32"``.

    ``"bfloat16"`` needs AMX, or AVX512-BF16 where that is faster than float32, and a variant of the
    engine that uses it.

    Parameters
    ----------
    name : one of ``PRECISIONS``
    isa : the variant; :func:`default_isa` where none is named

    Raises
    ------
    UnknownNameError : another name
    """
    if name not in PRECISIONS:
        raise UnknownNameError("precision", str(name)[:40], PRECISIONS, where="precision")
    if name == "float32":
        return name
    cpu = importlib.import_module("inkproof.engine._cpu")
    module = importlib.import_module(f"inkproof.engine._engine_{isa or default_isa()}")
    gains = module.HAS_HALVES and (cpu.gains_by_pairs() or cpu.request_tiles())
    return name if gains else "float32"


def factors(precision: str, isa: str) -> str:
    """Name what the engine makes of the factors of training's products.

    Parameters
    ----------
    precision : as :func:`usable_precision` gives it
    isa : the variant

    Returns
    -------
    name : ``"floats"``; for ``"bfloat16"`` ``"tiles"`` where the processor has AMX and the system
        lets this process use it, otherwise ``"halves"``
    """
    if precision == "float32":
        return "floats"
    cpu = importlib.import_module("inkproof.engine._cpu")
    return "tiles" if cpu.request_tiles() else "halves"


def processor_name() -> str:
    """Name this machine's processor, as its operating system does."""
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"


def checked_isa(name: str | None, where: str) -> str:
    """Give the variant of that name, or the fastest for None.

    Raises
    ------
    UnknownNameError, UnsupportedError : there is none, or it cannot run here
    """
    here = variants()
    if not name:
        return here[0]
    if name not in _LEVELS:
        raise UnknownNameError("engine variant", name[:40], _LEVELS, where=where)
    if name not in here:
        raise UnsupportedError(
            f"{where}: the engine's variant {name!r} does not run on this processor; "
            f"use one of {', '.join(here)}"
        )
    return name
