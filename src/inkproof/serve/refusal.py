"""What the server answers where it does not do what was asked."""

from __future__ import annotations

import json
from collections.abc import Mapping

__all__ = ["Refusal", "json_bytes"]


class Refusal(Exception):
    """An answer with a status of 4xx or 503 and one clear line.

    Parameters
    ----------
    status : the HTTP status
    detail : where, what was expected, what came
    headers : further headers, such as ``Retry-After``
    """

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = " ".join(detail.split())
        self.headers = dict(headers or {})
        if status == 503:
            self.headers.setdefault("Retry-After", "1")

    def body(self) -> bytes:
        """Give the answer's body: ``{"detail": "..."}``."""
        return json_bytes({"detail": self.detail})


def json_bytes(value: object) -> bytes:
    """Write JSON without spaces."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()
