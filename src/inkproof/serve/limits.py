"""How much anybody may ask of the server."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

from inkproof.errors import ConfigurationError

__all__ = ["Limits"]

_LARGEST: Final = 1 << 40


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one request, and all of them together, may take.

    Parameters
    ----------
    body_bytes : of one request's body; more is a 413, told while it arrives
    pixels : of one picture, width times height, checked before it is decoded; more is a 413
    concurrency : requests that are worked on or wait for it; more are a 503
    large : pictures of more than a quarter megapixel that are worked on at once
    waiting_bytes : of all bodies that have arrived in part or wait; more is a 503
    connections : open connections; more are a 503 and are closed
    upload_seconds : until a request's header, and after that its body, must have arrived; slower
        is a 408
    request_seconds : from the whole body to the answer; longer is a 503

    Raises
    ------
    ConfigurationError : a limit that is not above 0
    """

    body_bytes: int = 10_000_000
    pixels: int = 40_000_000
    concurrency: int = 64
    large: int = 2
    waiting_bytes: int = 100_000_000
    connections: int = 500
    upload_seconds: float = 20.0
    request_seconds: float = 20.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            whole = isinstance(value, int) and not isinstance(value, bool)
            if not (whole or (field.type == "float" and isinstance(value, float))):
                raise ConfigurationError(f"limits.{field.name} must be a number, got {value!r}")
            if not 0 < value <= _LARGEST:
                raise ConfigurationError(
                    f"limits.{field.name} must be above 0 and at most {_LARGEST:,}, got {value!r}"
                )
