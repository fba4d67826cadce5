"""What every request passes before anything else looks at it, and every answer on its way out."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Final

from inkproof.serve.limits import Limits
from inkproof.serve.names import is_local
from inkproof.serve.refusal import Refusal

__all__ = ["SECURITY_HEADERS", "Guard"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_GRACE_SECONDS: Final = 30.0  # to take an answer
_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?")
_PORTS: Final = {"http": "80", "https": "443"}
SECURITY_HEADERS: Final = {
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"permissions-policy": b"geolocation=(), microphone=(), payment=(), usb=()",
    b"referrer-policy": b"no-referrer",
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"cache-control": b"no-store",
}
_log = logging.getLogger(__name__)


class Guard:
    """An ASGI application around another.

    A web page from elsewhere can make a browser send requests here. Its name, made to point at this
    machine ("DNS rebinding"), is in the Host header; its origin is in the Origin header. Both are
    held against the names that this server has.

    Parameters
    ----------
    app : the application
    limits : the time that a request may take in all
    host : what the server is bound to
    names : further host names that it may be called
    """

    def __init__(self, app: App, *, limits: Limits, host: str, names: Iterable[str] = ()) -> None:
        self._app = app
        self._seconds = limits.upload_seconds + limits.request_seconds + _GRACE_SECONDS
        self._names = {"localhost", host.strip("[]").lower(), *(name.lower() for name in names)}
        self._any_address = not is_local(host)
        self._known: set[bytes] = set()  # Host headers that have been found good

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def guarded(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = message["headers"] = list(message.get("headers", ()))
                present = {name for name, _ in headers}
                headers.extend(
                    (name, value) for name, value in SECURITY_HEADERS.items() if name not in present
                )
            await send(message)

        try:
            async with asyncio.timeout(self._seconds):
                self._check(scope)
                await self._app(scope, receive, guarded)
        except Refusal as refusal:
            if not started:
                await _answer(guarded, refusal)
        except TimeoutError:
            if not started:
                await _answer(guarded, Refusal(503, "the request took too long"))
        except Exception:
            _log.exception("%s failed", scope["path"])
            if not started:
                await _answer(guarded, Refusal(500, "a fault of the server; its log says more"))

    def _check(self, scope: Scope) -> None:
        hosts = []
        origin = site = None
        for name, value in scope["headers"]:
            if name == b"host":
                hosts.append(value)
            elif name == b"origin":
                origin = value
            elif name == b"sec-fetch-site":
                site = value
        if len(hosts) != 1 or not self._is_ours(hosts[0]):
            shown = hosts[0].decode("latin-1")[:100] if hosts else "none"
            raise Refusal(
                403, f"Host: expected a name of this server (--allow-host adds one), got {shown!r}"
            )
        if scope["method"] in _SAFE_METHODS:
            return
        if origin is not None and not _same_origin(origin, hosts[0]):
            raise Refusal(
                403,
                f"Origin: expected this server's own pages, got {origin.decode('latin-1')[:100]!r}",
            )
        if site is not None and site not in (b"same-origin", b"none"):
            raise Refusal(403, "Sec-Fetch-Site: expected same-origin, got another site's request")

    def _is_ours(self, header: bytes) -> bool:
        if header in self._known:
            return True
        match = _HOST.fullmatch(header.decode("latin-1"))
        if match is None:
            return False
        name = match[1].strip("[]").rstrip(".").lower()
        ours = name in self._names or is_local(name)
        if not ours and self._any_address:
            # No name is looked up for a bare address, so none can be made to point here.
            try:
                ipaddress.ip_address(name)
                ours = True
            except ValueError:
                ours = False
        if ours and len(self._known) < 100:
            self._known.add(header)
        return ours


def _same_origin(origin: bytes, host: bytes) -> bool:
    scheme, separator, place = origin.decode("latin-1").lower().partition("://")
    if not separator or scheme not in _PORTS:
        return False
    own = host.decode("latin-1").lower()
    return place.removesuffix(f":{_PORTS[scheme]}") == own.removesuffix(f":{_PORTS[scheme]}")


async def _answer(send: Send, refusal: Refusal) -> None:
    body = refusal.body()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        *((name.lower().encode(), value.encode()) for name, value in refusal.headers.items()),
    ]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
