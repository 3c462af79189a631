"""`wattline top` against a real Kafka."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from datetime import UTC, datetime

import polars as pl
import pytest
from click.testing import CliRunner

from broker.embedded import EmbeddedKafka
from broker.facility import publish
from broker.producer import Producer
from schemas import arrow
from schemas.facility import load
from schemas.registry import Registry
from schemas.subject import SubjectKind
from schemas.window import WINDOW
from wattline.commands.top import command
from wattline.scales import facility_file
from web.live import WINDOWS, LiveState, kept_up

RACK = "ruh/h1/r01/k03"


def window(registry: Registry, watts: float) -> bytes:
    row = dict.fromkeys(WINDOW.polars) | {
        "window_start": datetime.now(UTC).replace(tzinfo=None, microsecond=0),
        "every_seconds": 1,
        "subject_kind": int(SubjectKind.RACK),
        "subject": registry.id_of(SubjectKind.RACK, RACK),
        "power_watts": watts,
        "expected": 2,
        "reporting": 2,
        **{column.name: 1 for column in WINDOW.columns if column.name.startswith("version_")},
    }
    return arrow.encode(WINDOW, pl.DataFrame([row], schema=WINDOW.polars))


async def send(bootstrap: str, registry: Registry, watts: float) -> None:
    async with Producer(bootstrap) as producer:
        await producer.send(WINDOWS, window(registry, watts), b"ruh", arrow.headers(WINDOW))
        await producer.flush(within_secs=10)


async def heard(bootstrap: str, registry: Registry, watts: float) -> bool:
    """Follow the topic, send one window, and wait for it to change the state."""
    state = LiveState(registry)
    async with asyncio.timeout(30), kept_up(state, bootstrap, datetime.now(UTC)):
        await send(bootstrap, registry, watts)
        while watts not in state.subjects(datetime.now(UTC))["power_watts"]:
            await asyncio.sleep(0.02)
    return True


def test_one_picture_says_what_is_in_kafka_and_a_follower_what_comes(fresh_kafka: EmbeddedKafka) -> None:
    once = ["--once", "--bootstrap", fresh_kafka.bootstrap]
    registry = asyncio.run(publish(fresh_kafka.bootstrap, load(facility_file("2MW"))))
    nothing = CliRunner().invoke(command, once)
    assert nothing.exit_code == 1
    assert "no window in the last hour" in nothing.stderr

    asyncio.run(send(fresh_kafka.bootstrap, registry, 123_456.0))
    table = CliRunner().invoke(command, once, env={"COLUMNS": "140"})
    assert table.exit_code == 0, table.output
    assert "123.5 kW" in table.stdout
    told = json.loads(CliRunner().invoke(command, [*once, "--format", "json"]).stdout)
    assert {each["path"]: each["power_watts"] for each in told["subjects"] if each["kind"] == "rack"}[RACK] == 123_456.0

    assert asyncio.run(heard(fresh_kafka.bootstrap, registry, 99_999.0))


@pytest.mark.parametrize("options", [["--format", "json"], []])
def test_what_cannot_be_drawn_live_asks_for_once(options: list[str]) -> None:
    """JSON is one picture, and so is what goes to a file or a pipe."""
    refused = CliRunner().invoke(command, options)
    assert refused.exit_code == 2
    assert "--once" in refused.stderr


def test_on_a_terminal_keys_choose_what_is_drawn_and_q_ends_it(fresh_kafka: EmbeddedKafka) -> None:
    registry = asyncio.run(publish(fresh_kafka.bootstrap, load(facility_file("2MW"))))
    asyncio.run(send(fresh_kafka.bootstrap, registry, 123_456.0))
    argv = [sys.executable, "-m", "wattline", "top", "--bootstrap", fresh_kafka.bootstrap]
    terminal, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 140, 0, 0))
    before = termios.tcgetattr(theirs)
    # The size is the terminal's: pytest loads readline, which puts one into C's environment, and xdist sets another.
    environment = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES"}}
    streams = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
    with subprocess.Popen(argv, env=environment, start_new_session=True, **streams) as watching:
        try:
            assert "123.5 kW" in drawn(terminal, "123.5 kW")
            os.write(terminal, b"f" * 7)  # the seventh kind: racks, all 18 of them
            assert "ruh/h2/r01/k04" in drawn(terminal, "ruh/h2/r01/k04")
            os.write(terminal, b"q")
            drawn(terminal, "\x1b[?1049l")
            assert watching.wait(timeout=60) == 0
            assert termios.tcgetattr(theirs) == before
        finally:
            watching.kill()
            os.close(theirs)
            os.close(terminal)


def drawn(terminal: int, until: str, within_secs: float = 30.0) -> str:
    """Return what was drawn up to and with the text `until`."""
    seen, deadline = "", time.monotonic() + within_secs
    while until not in seen:
        left = deadline - time.monotonic()
        assert left > 0, f"never drawn: {until!r}, but {seen[-2000:]!r}"
        if select.select([terminal], [], [], left)[0]:
            seen += os.read(terminal, 65_536).decode(errors="ignore")
    return seen
