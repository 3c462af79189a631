"""Many who ask at once: a bomb of one holds up nobody else, who hangs up ends the query, a slow one is ended."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import urllib.parse
import urllib.request
from pathlib import Path
from time import monotonic, perf_counter, sleep

import pytest

from broker import ports
from schemas.errors import UnavailableError
from sinks.sandbox.limits import MEGABYTE, Limits
from sinks.sql.snapshot import Span
from tests.sql.test_views import append, gpu_row
from tests.streams.processes import Process
from web import tokens
from web.asking import Asked, Asking
from web.audit import Audit
from web.tokens import TokenFile

BOMB = "SELECT count(*) FILTER (md5(i::VARCHAR) = '') AS n FROM range(1_000_000_000_000) t(i)"
LIMITS = Limits(wall_secs=3.0, memory_bytes=512 * MEGABYTE)


def test_who_drops_bombs_holds_up_nobody_else(tmp_path: Path) -> None:
    append(tmp_path / "lake", "gpu", gpu_row())

    async def omar(asking: Asking) -> float:
        started = perf_counter()
        answer, _ = await asking.answer(Asked("omar", "SELECT count(*) FROM gpu", "json", Span()))
        assert answer.reason == "answered", answer
        return perf_counter() - started

    async def scene() -> None:
        asking = Asking(tmp_path / "lake", TokenFile(tmp_path / "none"), Audit(tmp_path / "audit.jsonl"), LIMITS)
        async with asking.running():
            undisturbed = max([await omar(asking) for _ in range(4)][1:])
            bombs = [asyncio.create_task(asking.answer(Asked("anna", BOMB, "json", Span()))) for _ in range(5)]
            await asyncio.sleep(0.5)
            with pytest.raises(UnavailableError, match="4 of yours"):
                await asking.answer(Asked("anna", BOMB, "json", Span()))
            waits = [await omar(asking) for _ in range(5)]
            assert max(waits) < max(1.0, 4 * undisturbed), (waits, undisturbed)
            assert (await bombs[0]).answer.reason == "too_slow"
            for bomb in bombs:
                bomb.cancel()
            await asyncio.gather(*bombs, return_exceptions=True)
            assert (asking.turns.running.total(), asking.turns.queued) == (0, 0)

    asyncio.run(scene())


class App:
    """The app as a process, with a lake and a token, and no Kafka."""

    def __init__(self, folder: Path) -> None:
        append(folder / "lake", "gpu", gpu_row())
        self.token = tokens.add(folder / "tokens", "anna", "sql")
        (self.port,) = ports.free(1)
        options = ["--lake", str(folder / "lake"), "--tokens", str(folder / "tokens"), "--port", str(self.port)]
        self.process = Process(
            folder / "web.log", "-m", "wattline", "worker", "web", "--bootstrap", "127.0.0.1:9", *options
        )
        deadline = monotonic() + 60
        while ports.is_free(self.port):
            assert monotonic() < deadline, self.process.output
            sleep(0.1)

    def get(self, path: str) -> http.client.HTTPResponse:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", headers={"Authorization": f"Bearer {self.token}"}
        )
        return urllib.request.urlopen(request, timeout=30)

    def running(self) -> float:
        lines = self.get("/metrics").read().decode().splitlines()
        return float(next(line for line in lines if line.startswith("wattline_sql_running")).split()[1])

    def until_running(self, count: int) -> None:
        deadline = monotonic() + 20
        while self.running() != count:
            assert monotonic() < deadline, self.process.output
            sleep(0.05)


def test_the_app_as_a_process_answers_and_ends_the_query_of_who_hangs_up(tmp_path: Path) -> None:
    app = App(tmp_path)
    try:
        said = json.loads(app.get("/api/sql?query=SELECT+count(*)+AS+n+FROM+gpu").read())
        assert said["rows"] == [[1]]
        with socket.create_connection(("127.0.0.1", app.port)) as hanging:
            path = "/api/sql?query=" + urllib.parse.quote(BOMB)
            head = f"Host: 127.0.0.1:{app.port}\r\nAuthorization: Bearer {app.token}\r\n"
            hanging.sendall(f"GET {path} HTTP/1.1\r\n{head}\r\n".encode())
            app.until_running(1)
        app.until_running(0)  # long before the 30 s that it may run
    finally:
        app.process.terminate()
    assert app.token not in app.process.output
