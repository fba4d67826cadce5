"""A web page and a JSON API that read digits with a trained model.

``inkproof serve`` runs it; :func:`create_app` gives the ASGI application for a server of one's own.
It needs the extra: ``pip install 'inkproof[serve]'``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from inkproof.serve.limits import Limits

if TYPE_CHECKING:
    from inkproof.serve.app import create_app
    from inkproof.serve.server import run_server

__all__ = ["Limits", "create_app", "run_server"]

_MODULES: Final = {"create_app": "app", "run_server": "server"}
_PACKAGES: Final = frozenset({"fastapi", "httptools", "python_multipart", "starlette", "uvicorn"})


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    try:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in _PACKAGES:
            raise
        from inkproof.errors import MissingExtraError

        raise MissingExtraError("inkproof serve", "serve") from error
