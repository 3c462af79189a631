"""`/api/sql`: a question in, an answer in the format asked for out, or a sentence that says what to do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Mapping
from datetime import UTC, datetime
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl

import msgspec
from starlette.datastructures import QueryParams
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from schemas.errors import ConfigurationError, UnavailableError, WattlineError
from sinks.sandbox.keeper import Answer, Reason
from sinks.sandbox.order import FORMATS, Format
from sinks.sql.snapshot import Span
from web.access import RefusedError, identify, refuse_other_sites
from web.asking import Answered, Asked, Asking
from web.audit import Entry

PATH = "/api/sql"
MOST_BODY_BYTES = 256 * 1024
BODY_WITHIN_SECS = 10.0

TYPES: Mapping[Format, str] = {
    "json": "application/json",
    "csv": "text/csv; charset=utf-8",
    "arrow": "application/vnd.apache.arrow.stream",
    "parquet": "application/vnd.apache.parquet",
}
_STATUS: Mapping[Reason, int] = {
    "answered": 200,
    "refused": 400,
    "too_slow": 408,
    "out_of_memory": 413,
    "spilled_too_much": 413,
    "too_long": 413,
    "failed": 500,
}
_ALWAYS: Final = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
_LEFT = 499
_T = TypeVar("_T")


def route(asking: Asking) -> Route:
    """Return the route that answers from `asking`."""

    async def sql(request: Request) -> Response:
        started = time.perf_counter()
        name, asked, answered = "-", None, None
        try:
            refuse_other_sites(request)
            token = identify(request, asking.tokens, "sql")
            name = token.name
            asking.rate.take(name)
            asked = await _asked(request, name)
            answered = await _unless_left(request, asking.answer(asked))
            response = _response(asked, answered)
        except ClientDisconnect:
            response = Response(status_code=_LEFT)
        except WattlineError as error:
            response = _refusal(error)
        query = asked.query if asked else ""
        answer = answered.answer if answered else None
        asking.audit.note(_entry(name, query, response.status_code, answer, time.perf_counter() - started))
        return response

    return Route(PATH, sql, methods=["GET", "POST"])


async def _asked(request: Request, name: str) -> Asked:
    """Read a question from the address or the body: JSON, a form, or the query as text."""
    told: dict[str, str] = dict(_once(request.query_params))
    if request.method == "POST":
        told |= _in_body(request.headers.get("content-type", ""), await _body(request))
    if unknown := sorted(set(told) - {"query", "format", "since", "until"}):
        raise RefusedError(400, f"{unknown[0]!r} is not known; known are query, format, since, until")
    query = told.get("query", "").strip()
    if not query:
        raise RefusedError(400, f"no query: GET {PATH}?query=FROM+sites, or POST it as text or as JSON")
    span = Span(_moment("since", told.get("since")), _moment("until", told.get("until")))
    return Asked(name, query, _format(told.get("format"), request.headers.get("accept", "")), span)


def _once(parameters: QueryParams) -> list[tuple[str, str]]:
    pairs = parameters.multi_items()
    names = [name for name, _ in pairs]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise RefusedError(400, f"{twice[0]!r} is said more than once")
    return pairs


async def _body(request: Request) -> bytes:
    """Return the body, as long as it is no longer than a query and comes within a time."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_WITHIN_SECS):
            async for part in request.stream():
                body += part
                if len(body) > MOST_BODY_BYTES:
                    raise RefusedError(413, f"a query is at most {MOST_BODY_BYTES // 1024} kB long")
    except TimeoutError as error:
        raise RefusedError(408, f"the query did not come within {BODY_WITHIN_SECS:g} s; send it again") from error
    return bytes(body)


def _in_body(content_type: str, body: bytes) -> dict[str, str]:
    try:
        if content_type.partition(";")[0].strip() == "application/json":
            return msgspec.json.decode(body, type=dict[str, str])
        text = body.decode()
        if text.startswith("query="):  # a form, as `curl --data-urlencode query=...` sends it
            return dict(parse_qsl(text))
        return {"query": text} if text.strip() else {}
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RefusedError(
            400, f'the body cannot be read: {error}; send {{"query": "FROM sites"}} as application/json, or text'
        ) from error


def _moment(name: str, text: str | None) -> datetime | None:
    """Return a time as the lake has it: UTC, without a zone."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise RefusedError(400, f"{name}={text} is no time; allowed is 2026-03-01T12:00:00Z") from error
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment


def _format(told: str | None, accept: str) -> Format:
    """Return the format that was named, else the first that is accepted, else JSON."""
    if told is not None:
        for form in FORMATS:
            if form == told:
                return form
        raise RefusedError(400, f"format={told} is not known; known are {', '.join(FORMATS)}")
    accepted = [part.partition(";")[0].strip() for part in accept.split(",")]
    of_type: dict[str, Format] = {text.partition(";")[0]: form for form, text in TYPES.items()}
    return next((of_type[each] for each in accepted if each in of_type), "json")


async def _unless_left(request: Request, answering: Coroutine[Any, Any, _T]) -> _T:
    """Return the answer; when whoever asked is gone, end the query and raise ClientDisconnect."""
    task = asyncio.create_task(answering)
    leaving = asyncio.create_task(_left(request))
    try:
        await asyncio.wait((task, leaving), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientDisconnect
    finally:
        leaving.cancel()
        task.cancel()
        await asyncio.gather(task, leaving, return_exceptions=True)


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _response(asked: Asked, answered: Answered) -> Response:
    answer, note = answered
    if answer.reason != "answered":
        return _sentence(_STATUS[answer.reason], answer.message)
    headers = {
        **_ALWAYS,
        "content-type": TYPES[asked.form],
        "wattline-truncated": "true" if answer.truncated else "false",
        "wattline-rows": str(answer.rows),
        "wattline-elapsed-seconds": f"{answer.elapsed_seconds:.6f}",
    }
    if note is not None:
        headers["wattline-note"] = note
    if asked.form != "json":
        headers["content-disposition"] = f'attachment; filename="answer.{asked.form}"'
    return Response(answer.body, headers=headers)


def _refusal(error: WattlineError) -> Response:
    if isinstance(error, RefusedError):
        return _sentence(error.status, str(error), error.retry_after_secs)
    if isinstance(error, UnavailableError):
        return _sentence(503, str(error), error.retry_after_secs)
    return _sentence(503 if isinstance(error, ConfigurationError) else 500, str(error))


def _sentence(status: int, message: str, retry_after_secs: float | None = None) -> Response:
    headers = dict(_ALWAYS)
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    if retry_after_secs is not None:
        headers["retry-after"] = f"{retry_after_secs:.0f}"
    return JSONResponse({"error": message, "status": status}, status, headers=headers)


def _entry(name: str, query: str, status: int, answer: Answer | None, seconds: float) -> Entry:
    return Entry(
        at=datetime.now(UTC),
        name=name,
        did="sql",
        query=query,
        status=status,
        reason=answer.reason if answer else "not_asked",
        rows=answer.rows if answer else 0,
        bytes=len(answer.body) if answer else 0,
        elapsed_seconds=round(seconds, 6),
    )
