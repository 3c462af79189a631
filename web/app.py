"""The one ASGI app. Now it has no page: it says how the streams do, to Prometheus and to people."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from web import sql
from web.asking import Asking
from web.metrics import StateCollector
from web.state import State, longest_lag

HOSTS = ("127.0.0.1", "localhost")
"""The names by which the app may be asked for: a page of someone else's cannot reach it by a name of its own."""

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)


def make_app(state: State, clock: Clock = utc_now, asking: Asking | None = None) -> Starlette:
    """Return the app that shows `state`, and answers SQL where there is somebody to ask."""

    async def index(_: Request) -> Response:
        return PlainTextResponse(
            "Wattline: /health says whether the streams do well and what is wrong, "
            "/metrics says it to Prometheus (?racks=1 with every rack), /api/sql asks the lake.\n"
        )

    async def health(_: Request) -> Response:
        said = as_json(state, clock())
        return JSONResponse(said, 200 if said["ok"] else 503, headers={"cache-control": "no-store"})

    async def metrics(request: Request) -> Response:
        registry = CollectorRegistry(auto_describe=False)
        registry.register(StateCollector(state, clock, asking, racks=request.query_params.get("racks") == "1"))
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), media_type=None, headers={"content-type": content_type})

    routes = [Route("/", index), Route("/health", health), Route("/metrics", metrics)]
    routes += [] if asking is None else [sql.route(asking)]
    only_here = Middleware(TrustedHostMiddleware, allowed_hosts=list(HOSTS))
    # Not `asking.running` itself: Starlette hands over the app.
    lifespan = None if asking is None else lambda _: asking.running()
    return Starlette(routes=routes, middleware=[only_here], lifespan=lifespan)


def as_json(state: State, now: datetime) -> dict[str, Any]:
    """Return how all does, for programs: `problems` are sentences, missing is null."""
    problems = state.problems(now)
    age, delay = state.canary_age(now), state.canary_delay()
    return {
        "ok": not problems,
        "problems": problems,
        "at": now.isoformat().replace("+00:00", "Z"),
        "workers": [
            {
                "app": worker.health.app,
                "slot": worker.health.slot,
                "host": worker.health.host,
                "version": worker.health.version,
                "last_heard_seconds": (now - worker.heard).total_seconds(),
                "longest_lag_seconds": longest_lag(worker),
                "open_windows": worker.health.open_windows,
            }
            for worker in state.workers.at(now)
        ],
        "canary": {
            "age_seconds": None if age is None else age.total_seconds(),
            "delay_seconds": None if delay is None else delay.total_seconds(),
        },
    }
