"""Uvicorn as it is run here: bound before anything is loaded, bounded in connections, quiet."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from inkproof.errors import ConfigurationError, StorageError
from inkproof.serve.limits import Limits
from inkproof.serve.refusal import Refusal

__all__ = ["run_server"]

_HEAD_BYTES: Final = 1 << 16
_KEEP_ALIVE_SECONDS: Final = 30
_STOP_SECONDS: Final = 5
_PHRASES: Final = {
    408: "Request Timeout",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}


def run_server(
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    runs: Path | None = None,
    model: Path | None = None,
    limits: Limits | None = None,
    names: tuple[str, ...] = (),
    on_ready: Callable[[str], None] = print,
) -> None:
    """Serve until SIGINT or SIGTERM comes; then finish what has begun, and return.

    Parameters
    ----------
    host, port : where to listen; port 0 takes a free one
    runs, model, limits, names : see :func:`inkproof.serve.create_app`
    on_ready : called with the address as soon as requests are answered

    Raises
    ------
    StorageError : the address cannot be had
    InkproofError : no such folder, or a model that cannot be used
    """
    from inkproof.serve.app import create_app

    limits = limits or Limits()
    with _listening(host, port, limits.connections) as listener:
        app = create_app(runs=runs, model=model, limits=limits, host=host, names=names)
        config = uvicorn.Config(
            app,
            http=_bounded_protocol(limits),
            ws="none",
            log_config=None,
            log_level="critical",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=_STOP_SECONDS,
        )
        bound = listener.getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        server = _Server(config, lambda: on_ready(f"http://{shown}:{bound}/"))
        # What is there now stays: to look through it for garbage would stop everything for a while.
        gc.collect()
        gc.freeze()
        try:
            server.run(sockets=[listener])
        finally:
            gc.unfreeze()


class _Server(uvicorn.Server):
    """Ends in peace: to be stopped is how a server ends."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        handled = (signal.SIGINT, signal.SIGTERM)
        before = {one: signal.signal(one, self.handle_exit) for one in handled}
        try:
            yield
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)


@contextlib.contextmanager
def _listening(host: str, port: int, connections: int) -> Iterator[socket.socket]:
    if not 0 <= port <= 65535:
        raise ConfigurationError(f"--port must be 0 to 65535, got {port}")
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.create_server(
            (address[0], port), family=family, backlog=max(128, connections)
        )
    except (OSError, UnicodeError) as error:
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            raise StorageError(
                f"{host}:{port}: another program listens there; choose another --port, or 0 for "
                "any free one"
            ) from error
        reason = getattr(error, "strerror", None) or str(error)
        raise StorageError(f"{host}:{port}: cannot listen there: {reason}") from error
    with listener:
        # Connections inherit it. asyncio does not set it where the listener names no protocol, and
        # then a body waits 40 ms for the other side's delayed acknowledgement of its header.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield listener


def _bounded_protocol(limits: Limits) -> type[asyncio.Protocol]:
    """Make uvicorn's protocol with what it lacks: bounds on connections and on a slow header."""

    class BoundedProtocol(HttpToolsProtocol):
        _head_timer: asyncio.TimerHandle | None = None
        _head_bytes = 0
        _in_head = True

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if len(self.connections) > limits.connections:
                self._refuse(Refusal(503, "the server has as many connections as it can"))
                return
            self._await_head()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_timer()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            if self.transport.is_closing():
                return
            if self._in_head:
                self._head_bytes += len(data)
                if self._head_timer is None:
                    self._await_head()
            super().data_received(data)
            if self._in_head and self._head_bytes > _HEAD_BYTES:
                self._refuse(
                    Refusal(431, f"header: expected at most {_HEAD_BYTES:,} bytes, got more")
                )

        def on_headers_complete(self) -> None:
            self._in_head = False
            self._stop_timer()
            super().on_headers_complete()

        def on_message_complete(self) -> None:
            super().on_message_complete()
            self._in_head = True
            self._head_bytes = 0

        def _await_head(self) -> None:
            self._head_timer = self.loop.call_later(limits.upload_seconds, self._too_slow)

        def _stop_timer(self) -> None:
            if self._head_timer is not None:
                self._head_timer.cancel()
                self._head_timer = None

        def _too_slow(self) -> None:
            self._head_timer = None
            self._refuse(
                Refusal(
                    408,
                    f"header: expected all of it within {limits.upload_seconds:g} seconds",
                )
            )

        def _refuse(self, refusal: Refusal) -> None:
            if self.transport.is_closing():
                return
            body = refusal.body()
            head = (
                f"HTTP/1.1 {refusal.status} {_PHRASES[refusal.status]}\r\n"
                f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
                "x-content-type-options: nosniff\r\nconnection: close\r\n"
            )
            more = "".join(
                f"{name.lower()}: {value}\r\n" for name, value in refusal.headers.items()
            )
            self.transport.write(f"{head}{more}\r\n".encode() + body)
            self.transport.close()

    return BoundedProtocol
