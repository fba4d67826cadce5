"""Bodies on their way in: how large, how many at once, how slowly."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from starlette.requests import ClientDisconnect

from inkproof.serve.limits import Limits
from inkproof.serve.refusal import Refusal

if TYPE_CHECKING:
    from starlette.requests import Request

__all__ = ["Intake"]

_CLOSE: Final = {"Connection": "close"}
_DRAIN_SECONDS: Final = 2.0


class Intake:
    """Takes bodies in and counts what waits.

    Parameters
    ----------
    limits : of one body, and of all together
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.held = 0
        self.working = 0

    async def receive(self, request: Request) -> bytes:
        """Give a request's body; what it holds must be given back by :meth:`release`.

        Raises
        ------
        Refusal : 413 too large, 408 too slow, 503 too much waits already
        """
        most = self._limits.body_bytes
        announced = int(request.headers.get("content-length", "0"))
        if announced > most:
            if request.headers.get("expect", "").lower() != "100-continue":
                await self._drain(request)
            raise _too_large(most, f"{announced:,}")
        pieces: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._limits.upload_seconds):
                async for piece in request.stream():
                    if size + len(piece) > most:
                        break
                    if self.held + len(piece) > self._limits.waiting_bytes:
                        raise Refusal(
                            503, "the server holds as many bodies as it can; try again", _CLOSE
                        )
                    size += len(piece)
                    self.held += len(piece)
                    pieces.append(piece)
                else:
                    return b"".join(pieces)
        except TimeoutError:
            self.release(size)
            raise Refusal(
                408,
                f"body: expected all of it within {self._limits.upload_seconds:g} seconds, "
                f"got {size:,} bytes",
                _CLOSE,
            ) from None
        except ClientDisconnect:
            self.release(size)
            raise Refusal(400, "body: the connection was closed before all of it came") from None
        except BaseException:
            self.release(size)
            raise
        self.release(size)
        pieces.clear()
        await self._drain(request)
        raise _too_large(most, "more")

    def release(self, size: int) -> None:
        """Give back what a body held."""
        self.held -= size

    def begin(self) -> None:
        """Take a place among those that are worked on or wait for it.

        Raises
        ------
        Refusal : 503, none is free
        """
        if self.working >= self._limits.concurrency:
            raise Refusal(
                503, f"the server works on {self.working} requests already; try again in a second"
            )
        self.working += 1

    def end(self) -> None:
        """Give a place back."""
        self.working -= 1

    async def _drain(self, request: Request) -> None:
        """Let what comes fall for a while: who still sends would not read the answer."""
        left = 4 * self._limits.body_bytes
        try:
            async with asyncio.timeout(_DRAIN_SECONDS):
                while left > 0:
                    message = await request.receive()
                    if message["type"] != "http.request" or not message.get("more_body", False):
                        return
                    left -= len(message.get("body", b""))
        except TimeoutError:
            return


def _too_large(most: int, got: str) -> Refusal:
    return Refusal(413, f"body: expected at most {most:,} bytes, got {got}", _CLOSE)
