"""The shell of `wattline sql` in a real terminal, and `wattline.connect` in a process of its own."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document

from sinks.sql.question import Lake
from tests.sql.test_views import AT, append, meter_row
from wattline.sql_shell import Words

ROOT = Path(__file__).resolve().parents[2]
CTRL_C, CTRL_D = "\x03", "\x04"


class Terminal:
    """Type into a program and read what it shows."""

    def __init__(self, arguments: list[str], environment: dict[str, str]) -> None:
        self.descriptor, inner = pty.openpty()
        # A session of its own with this terminal, so that Ctrl-C reaches it as from a keyboard.
        owned = "import fcntl, os, sys, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
        code = f"{owned}os.execv(sys.argv[1], sys.argv[1:])"
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, sys.executable, "-m", "wattline", *arguments],
            stdin=inner, stdout=inner, stderr=inner, cwd=ROOT, env=environment,
        )  # fmt: skip
        os.close(inner)
        self.shown = ""

    def type(self, text: str) -> None:
        os.write(self.descriptor, text.encode())

    def see(self, pattern: str) -> str:
        """Wait until what is shown from here on has a match; return all of it."""
        until = time.monotonic() + 60
        while not re.search(pattern, self.shown):
            assert time.monotonic() < until, f"{pattern} is not in {self.shown[-2000:]!r}"
            if select.select([self.descriptor], [], [], 0.1)[0]:
                piece = os.read(self.descriptor, 65536).decode(errors="replace")
                self.shown += re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", piece)
                if "\x1b[6n" in piece:  # where is the cursor?
                    self.type("\x1b[1;1R")
        seen, self.shown = self.shown, ""
        return seen

    def work(self, seconds: float) -> None:
        """Wait until the program has worked so long, by its own CPU time."""
        began = sum(psutil.Process(self.process.pid).cpu_times()[:2])
        until = time.monotonic() + 60
        while sum(psutil.Process(self.process.pid).cpu_times()[:2]) < began + seconds:
            assert time.monotonic() < until, "it does nothing"
            time.sleep(0.05)


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    append(tmp_path / "lake", "power", meter_row(1, AT, 125.5))
    return tmp_path / "lake"


@pytest.fixture
def terminal(lake: Path, tmp_path: Path) -> Iterator[Terminal]:
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state"), "PYTHONPATH": str(ROOT), "TERM": "vt100"}
    opened = Terminal(["sql", "--lake", str(lake)], environment)
    yield opened
    opened.process.kill()
    opened.process.wait()
    os.close(opened.descriptor)


def test_a_person_asks_stops_a_question_and_leaves(terminal: Terminal, lake: Path, tmp_path: Path) -> None:
    terminal.see("wattline>")
    terminal.type("SELECT sum(power_watts) AS watts\r")
    terminal.see(r"\.\.\.>")
    terminal.type("FROM power;\r")
    assert "125.5" in terminal.see(r"1 rows · [\d,]+ ms · 1 of 1 files · versions: power 0")
    append(lake, "power", meter_row(2, AT, 100.0))
    terminal.type("SELECT sum(power_watts) AS watts FROM power;\r")
    assert "225.5" in terminal.see("versions: power 1")
    terminal.type(".at power=0\r")
    terminal.type("SELECT sum(power_watts) AS watts FROM power;\r")
    assert "125.5" in terminal.see("versions: power 0")
    terminal.type("SELECT count(*) FROM range(1000000000) a, range(1000000000) b WHERE a.range % 7 = b.range % 11;\r")
    terminal.work(2.0)
    terminal.type(CTRL_C)
    terminal.see("stopped")
    terminal.type("SELECT * FROM pwer;\r")
    terminal.see("pwer does not exist")
    terminal.type(".columns power\r")
    terminal.see("voltage_volts")
    terminal.type(".explain on\r")
    terminal.type("FROM power;\r")
    terminal.see("(?s)unread_by_hour.*wattline>")  # a Ctrl-D before the prompt is the terminal's own, and gone
    terminal.type(CTRL_D)
    assert terminal.process.wait(30) == 0
    history = tmp_path / "state" / "wattline" / "sql_history"
    assert history.stat().st_mode & 0o777 == 0o600
    assert "FROM power;" in history.read_text()


def test_words_complete_to_views_and_to_columns_of_the_views_named(lake: Path) -> None:
    words = Words(Lake(lake))

    def completed(text: str) -> list[str]:
        return [each.text for each in words.get_completions(Document(text), CompleteEvent())]

    assert completed("SELECT * FROM wind") == ["windows"]
    assert completed("FROM power WHERE volt") == ["voltage_volts"]
    assert "HAVING" in completed("hav")


def test_without_a_terminal_it_asks_for_a_question(lake: Path) -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "wattline", "sql", "--lake", str(lake)],
        cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert answer.returncode == 2
    assert "the shell needs a terminal" in answer.stderr


def test_a_notebook_gets_a_connection_of_duckdb(lake: Path) -> None:
    """In a process that has imported nothing else; times with a zone are converted."""
    code = f"""if True:
        import sys, wattline
        assert "duckdb" not in sys.modules
        from datetime import datetime, timedelta, timezone
        import duckdb
        connection = wattline.connect({str(lake)!r})
        assert isinstance(connection, duckdb.DuckDBPyConnection)
        print(connection.sql("SELECT power_watts FROM power").fetchall())
        riyadh = timezone(timedelta(hours=3))
        for hour in (15, 16):
            since = datetime(2026, 3, 1, hour, tzinfo=riyadh)
            print(wattline.connect({str(lake)!r}, since=since).sql("SELECT count(*) FROM power").fetchall())
        print(wattline.connect({str(lake)!r}, at=datetime(2020, 1, 1)).sql("SELECT count(*) FROM power").fetchall())
    """
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.stdout == "[(125.5,)]\n[(1,)]\n[(0,)]\n[(0,)]\n", answer.stderr
