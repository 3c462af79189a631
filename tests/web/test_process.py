"""The app as a process: one that is wedged ends, so that somebody sends the canary and answers again."""

from __future__ import annotations

import urllib.request
from http.client import RemoteDisconnected
from pathlib import Path
from time import monotonic, sleep

import pytest

from broker import ports
from tests.streams.processes import Process

WEDGED = """
import sys, time
from broker import watchdog
watchdog.WEDGED_AFTER_SECS = 2.0
from starlette.responses import Response
from starlette.routing import Route
from web import process
make_app = process.make_app

async def wedge(request):
    time.sleep(60)

def make(state, **more):
    app = make_app(state, **more)
    app.router.routes.append(Route("/wedge", wedge))
    return app

process.make_app = make
process.run("127.0.0.1:9", process.WebSettings(port=int(sys.argv[1])))
"""


def test_a_wedged_app_ends_and_says_where_it_stood(tmp_path: Path) -> None:
    """Fails without a watchdog: nobody answers, nobody sends the canary, and nobody starts it anew."""
    (port,) = ports.free(1)
    process = Process(tmp_path / "web.log", "-c", WEDGED, str(port))
    deadline = monotonic() + 60
    while ports.is_free(port):
        assert monotonic() < deadline, process.output
        sleep(0.1)
    with pytest.raises(RemoteDisconnected):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/wedge", timeout=30)
    assert process.end(30) == 1
    assert "web-0 stops: nothing has turned in it for 2 s; it stood at wedge (" in process.output
