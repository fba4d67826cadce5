"""What this machine's cores can do at best: the rates that the engine is held against."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from inkproof.engine.processor import MAX_THREADS, default_isa, factors, usable_precision
from inkproof.errors import ConfigurationError

__all__ = ["memory_rate", "multiply_add_rate"]

_MOST_BYTES = 1 << 32
_MOST_SECONDS = 60


def multiply_add_rate(threads: int, seconds: float = 0.3, *, precision: str = "float32") -> float:
    """Measure fused multiply-adds on registers alone, on several threads at once.

    Parameters
    ----------
    threads : 1 to ``MAX_THREADS``
    seconds : for which it is measured, above 0 to 60
    precision : of what is multiplied, by the instructions that training in that precision uses here

    Returns
    -------
    floating-point operations a second of all threads together; a multiply-add is two

    Raises
    ------
    ConfigurationError : out of range
    UnknownNameError : no such precision
    """
    isa = default_isa()
    module = importlib.import_module(f"inkproof.engine._engine_{isa}")
    kind = factors(usable_precision(precision, isa), isa)
    return _together(threads, seconds, lambda: module.multiply_add_rate(seconds, kind))


def memory_rate(size: int, threads: int, seconds: float = 0.3, *, writes: bool = False) -> float:
    """Measure how fast memory is gone through, each thread a block of its own again and again.

    Parameters
    ----------
    size : bytes of a block, 1024 to 4 GiB; what fits in a cache is measured there
    threads, seconds : as for :func:`multiply_add_rate`
    writes : whether what is read is changed and written back, where both count

    Returns
    -------
    bytes a second of all threads together

    Raises
    ------
    ConfigurationError : out of range
    """
    if not 1024 <= size <= _MOST_BYTES:
        raise ConfigurationError(f"size must be 1024 to {_MOST_BYTES} bytes, got {size}")
    module = importlib.import_module(f"inkproof.engine._engine_{default_isa()}")
    return _together(threads, seconds, lambda: module.memory_rate(size, seconds, writes))


def _together(threads: int, seconds: float, measure: Callable[[], float]) -> float:
    if not 1 <= threads <= MAX_THREADS:
        raise ConfigurationError(f"threads must be 1 to {MAX_THREADS}, got {threads}")
    if not 0 < seconds <= _MOST_SECONDS:
        raise ConfigurationError(f"seconds must be above 0 to {_MOST_SECONDS}, got {seconds}")
    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(lambda _: measure(), range(threads)))
