"""The ASGI application: which address does what."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import quote

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.types import ASGIApp, Receive, Scope, Send

from inkproof.serve import pages, schemas
from inkproof.serve.guard import Guard
from inkproof.serve.intake import Intake
from inkproof.serve.lanes import InlineLane, Lane
from inkproof.serve.library import Library
from inkproof.serve.limits import Limits
from inkproof.serve.refusal import Refusal, json_bytes
from inkproof.serve.work import SMALL_PIXELS, TINY_PIXELS, Job, TooLarge, Worker, likely_pixels

__all__ = ["create_app"]

_INLINE_BATCH: Final = 16
_BATCH: Final = 32
_JSON: Final = "application/json"
_REPORT_POLICY: Final = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; "
    "style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": "The picture: PNG, JPEG, WebP, BMP or TIFF.",
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["image"],
                    "properties": {"image": {"type": "string", "format": "binary"}},
                }
            },
            "image/*": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}
_WHY: Final = {
    400: "The body was cut off.",
    403: "Another site's request, or a name that is not this server's.",
    404: "There is no such model.",
    408: "The body came too slowly.",
    413: "The body or the picture is too large.",
    415: "Not such a picture, or not such a body.",
    422: "The picture is damaged, or there is not exactly one, or a parameter is wrong.",
    503: "Too much to do, or it took too long; `Retry-After` says when to come back.",
}

ModelId = Annotated[
    str | None,
    Query(max_length=500, description="An id from `/api/models`; without it the default model."),
]


def create_app(
    *,
    runs: Path | None = None,
    model: Path | None = None,
    limits: Limits | None = None,
    host: str = "127.0.0.1",
    names: Iterable[str] = (),
) -> FastAPI:
    """Make the application.

    Parameters
    ----------
    runs : a folder of studies whose models and reports are offered; None for none
    model : a model file to use where a request names none; None for the shipped one
    limits : what requests may take
    host : what the server is bound to
    names : further host names that it may be called

    Raises
    ------
    InkproofError : no such folder, or a model that cannot be used
    """
    limits = limits or Limits()
    library = Library(runs, model)
    return _Application(library, limits, host, names).app


def _answer_of(model: type, description: str) -> dict[int | str, dict[str, Any]]:
    return {200: {"model": model, "description": description}}


def _reasons(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": schemas.Detail, "description": _WHY[status]} for status in statuses}


class _Application:
    def __init__(self, library: Library, limits: Limits, host: str, names: Iterable[str]) -> None:
        self._library = library
        self._limits = limits
        self._intake = Intake(limits)
        worker = Worker(library, limits)
        self._tiny: InlineLane[Job, bytes] = InlineLane(worker.tiny, most=_INLINE_BATCH)
        self._small: Lane[Job, bytes] = Lane("small", worker.small, threads=1, most=_BATCH)
        self._large: Lane[Job, bytes] = Lane("large", worker.large, threads=limits.large, most=1)
        self.app = FastAPI(
            title="Inkproof",
            description="Reads handwritten digits.",
            version=_version(),
            docs_url=None,
            redoc_url=None,
            openapi_url="/openapi.json",
            lifespan=self._lifespan,
        )
        self._routes()
        self.app.add_middleware(_Shortcut, answer=self._answer)
        self.app.add_middleware(Guard, limits=limits, host=host, names=names)
        self.app.add_exception_handler(Refusal, _refuse)
        self.app.add_exception_handler(RequestValidationError, _wrong_parameter)

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        yield
        self._small.stop()
        self._large.stop()

    def _routes(self) -> None:
        app = self.app
        page, page_policy = pages.main_page()
        written: list[tuple[bytes, str]] = []  # the documentation, once it has been asked for
        health = json_bytes({"status": "ok", "version": app.version})
        answers = _reasons(400, 403, 404, 408, 413, 415, 422, 503)

        @app.post(
            "/api/predict",
            summary="Read one digit",
            response_class=Response,
            responses=_answer_of(schemas.Prediction, "What it is.") | answers,
            openapi_extra=_BODY,
        )
        async def predict(
            request: Request,
            model: ModelId = None,
            explain: Annotated[
                bool, Query(description="Also say which pixels spoke for the digit.")
            ] = False,
        ) -> Response:
            """Read a picture of one digit, of any size, ink on paper or light on dark."""
            return await self._answer(request, model, explain=explain)

        @app.post(
            "/api/read",
            summary="Read all digits on a page",
            response_class=Response,
            responses=_answer_of(schemas.PageAnswer, "The digits.") | answers,
            openapi_extra=_BODY,
        )
        async def read(request: Request, model: ModelId = None) -> Response:
            """Find all digits in a photo and read them, line by line."""
            return await self._answer(request, model, page=True)

        @app.get(
            "/api/models",
            summary="List the models",
            response_class=Response,
            responses=_answer_of(schemas.ModelList, "The models.") | _reasons(403, 503),
        )
        async def models() -> Response:
            """List the models that `model` can name: the shipped one and those of the runs."""
            entries = await asyncio.to_thread(self._library.models)
            listed = [
                {
                    "id": entry.id,
                    "name": entry.name,
                    "report": entry.report and f"/reports/{quote(entry.report)}",
                }
                for entry in entries
            ]
            return Response(
                json_bytes({"default": self._library.default, "models": listed}), media_type=_JSON
            )

        @app.get(
            "/healthz",
            summary="Say that the server is there",
            response_class=Response,
            responses=_answer_of(schemas.Health, "It is.") | _reasons(403),
        )
        async def healthz() -> Response:
            """Answer at once, however much there is to do."""
            return Response(health, media_type=_JSON)

        @app.get("/", include_in_schema=False)
        async def main_page() -> Response:
            return _html(page, page_policy)

        @app.get("/docs", include_in_schema=False)
        async def docs() -> Response:
            if not written:
                written.append(pages.docs_page(app.openapi()))
            return _html(*written[0])

        @app.get("/reports/{report:path}", include_in_schema=False)
        async def report(report: str) -> Response:
            return _html(await asyncio.to_thread(self._library.report, report), _REPORT_POLICY)

    async def _answer(
        self, request: Request, model: str | None, *, page: bool = False, explain: bool = False
    ) -> Response:
        body = await self._intake.receive(request)
        job = Job(
            body=body,
            content_type=request.headers.get("content-type", ""),
            model=model,
            page=page,
            explain=explain,
        )
        try:
            self._intake.begin()
        except Refusal:
            self._intake.release(len(body))
            raise
        # The place is given back when the work has ended, not when somebody stops waiting for it.
        task = asyncio.create_task(self._work(job))
        task.add_done_callback(lambda _: self._done(len(body)))
        try:
            async with asyncio.timeout(self._limits.request_seconds):
                answer = await asyncio.shield(task)
        except TimeoutError:
            task.add_done_callback(_forget)
            raise Refusal(
                503,
                f"the request took more than {self._limits.request_seconds:g} seconds and was "
                "given up",
            ) from None
        except asyncio.CancelledError:
            if task.cancelled():
                raise Refusal(503, "the server is being stopped") from None
            task.add_done_callback(_forget)
            raise
        return Response(answer, media_type=_JSON)

    async def _work(self, job: Job) -> bytes:
        pixels = None if job.page else likely_pixels(job.body)
        if pixels is not None and pixels <= SMALL_PIXELS:
            with contextlib.suppress(TooLarge):
                if pixels <= TINY_PIXELS and not job.explain:
                    return await self._tiny.submit(job)
            with contextlib.suppress(TooLarge):
                return await self._small.submit(job)
        return await self._large.submit(job)

    def _done(self, size: int) -> None:
        self._intake.end()
        self._intake.release(size)


class _Shortcut:
    """Takes the commonest request past FastAPI: one digit, with no parameter to check.

    It answers as the route does, which takes three times as long to find out that there are none.
    """

    def __init__(self, app: ASGIApp, *, answer: Callable[..., Awaitable[Response]]) -> None:
        self._app = app
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (
            scope["type"] == "http"
            and scope["path"] == "/api/predict"
            and scope["method"] == "POST"
            and not scope["query_string"]
        ):
            response = await self._answer(Request(scope, receive, send), None)
            await response(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _forget(task: asyncio.Task[bytes]) -> None:
    if not task.cancelled():
        task.exception()  # or asyncio would complain that nobody looked


def _html(page: bytes, policy: str) -> Response:
    return Response(
        page,
        media_type="text/html; charset=utf-8",
        headers={"Content-Security-Policy": policy},
    )


async def _refuse(_: Request, error: Exception) -> Response:
    if not isinstance(error, Refusal):
        raise error
    return Response(error.body(), status_code=error.status, headers=error.headers, media_type=_JSON)


async def _wrong_parameter(_: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    refusal = Refusal(422, f"{where}: {first['msg']}, got {str(first.get('input'))[:100]!r}")
    return await _refuse(_, refusal)


def _version() -> str:
    from inkproof import __version__

    return str(__version__)
