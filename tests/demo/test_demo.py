"""The demo as a stranger runs it: an alert in time, SQL meanwhile, everything gone at the end."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
WATTLINE = (sys.executable, "-m", "wattline")

pytestmark = pytest.mark.kafka


class Demo:
    """A demo in a process of its own, its lines as they come, each with the seconds since its start."""

    def __init__(self, parent: Path, *arguments: str) -> None:
        self.begun = time.monotonic()
        self.process = subprocess.Popen(
            [*WATTLINE, "demo", "--scale", "2MW", *arguments],
            cwd=ROOT,
            env={**os.environ, "TMPDIR": str(parent), "XDG_DATA_HOME": str(parent / "home")},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.seen: list[str] = []
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line.rstrip())

    def until(self, pattern: str, within_secs: float) -> tuple[re.Match[str], float]:
        """Return the first line from here on that matches, and when it came; fail with all lines after the bound."""
        deadline = time.monotonic() + within_secs
        while True:
            try:
                line = self._lines.get(timeout=max(0.01, deadline - time.monotonic()))
            except queue.Empty:
                pytest.fail(f"no line like {pattern!r} within {within_secs} s; seen:\n" + "\n".join(self.seen))
            self.seen.append(line)
            if found := re.search(pattern, line):
                return found, time.monotonic() - self.begun

    def family(self) -> list[psutil.Process]:
        """Return every process below the demo's own."""
        return psutil.Process(self.process.pid).children(recursive=True)


@contextlib.contextmanager
def demo(parent: Path, *arguments: str) -> Iterator[Demo]:
    running = Demo(parent, *arguments)
    try:
        yield running
    finally:
        running.process.kill()
        running.process.wait()


def ask(lake: Path, query: str) -> list[dict[str, object]]:
    answer = subprocess.run(
        [*WATTLINE, "sql", query, "--lake", str(lake), "--format", "json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(answer.stdout)


def ask_as_printed(lines: list[str]) -> str:
    """Ask over HTTP what the demo says that one can ask, with the token that it printed."""
    (line,) = [line for line in lines if "or: curl" in line]
    printed = re.search(r"curl -s (\S+) -H 'Authorization: (.*?)' -d '(.*?)'", line)
    assert printed is not None, line
    address, token, query = printed.groups()
    request = urllib.request.Request(address, query.encode(), {"Authorization": token})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.read().decode()


def gone(family: list[psutil.Process], within_secs: float) -> list[psutil.Process]:
    """Return those of the family that still live after the bound."""
    return psutil.wait_procs(family, timeout=within_secs)[1]


def test_the_incident_is_an_alert_within_a_minute_and_clears_and_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    with demo(tmp_path) as running:
        folder = Path(running.until(r"data and logs in (\S+)", 20)[0][1])
        fired, after = running.until(r"firing\s+\S+\s+(.*)", 90)
        assert after < 60, f"the first alert came {after:.0f} s after the start"
        (truth,) = [json.loads(line) for line in (folder / "truth.jsonl").read_text().splitlines()]
        assert truth["subject"] in fired[1]
        running.until(r"resolved\s+\S+\s+.*" + re.escape(truth["subject"]), 150)
        counted = ask(folder / "lake", "SELECT count(*) AS readings, count(DISTINCT gpu) AS slots FROM gpu")
        assert int(str(counted[0]["readings"])) > 1000
        episodes = ask(folder / "lake", "SELECT rule, subject, fired FROM episodes WHERE fired IS NOT NULL")
        assert truth["subject"] in [episode["subject"] for episode in episodes]
        assert "ruh" in ask_as_printed(running.seen)

        family = running.family()
        running.process.send_signal(signal.SIGINT)
        asked = time.monotonic()
        assert running.process.wait(timeout=20) == 0, "\n".join(running.seen)
        assert time.monotonic() - asked < 10
        assert gone(family, 1) == []
        assert not folder.exists()


def test_a_second_demo_has_its_own_place_and_a_killed_one_leaves_no_process(tmp_path: Path) -> None:
    with demo(tmp_path) as first, demo(tmp_path) as second:
        folders = [Path(each.until(r"data and logs in (\S+)", 20)[0][1]) for each in (first, second)]
        assert folders[0] != folders[1]
        ports = {each.until(r"Kafka 127\.0\.0\.1:(\d+)", 60)[0][1] for each in (first, second)}
        assert len(ports) == 2
        for each in (first, second):
            each.until(r"racks report", 60)
        family = second.family()
        assert len(family) >= 5
        second.process.kill()
        assert gone(family, 10) == []
        assert first.process.poll() is None
        assert len(first.family()) >= 5
