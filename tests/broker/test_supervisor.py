"""Workers that die, are restarted, and never outlive whoever started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from broker.supervisor import Supervisor, Worker, first_free_slot
from schemas.errors import ConfigurationError

REPOSITORY = Path(__file__).parents[2]
SLEEPER = "import time; print('ready'); time.sleep(600)"


def python(source: str, name: str = "sleeper-0") -> Worker:
    return Worker(name, [sys.executable, "-c", source])


def wait_until(condition: Callable[[], object], within_secs: float = 10.0) -> None:
    deadline = time.monotonic() + within_secs
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; a zombie whose parent has not looked yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_killed_worker_is_started_again_at_once_and_told_in_one_line(tmp_path):
    lines: list[str] = []
    with Supervisor([python(SLEEPER)], tmp_path, report=lines.append) as supervisor:
        [before] = supervisor.states()
        wait_until(lambda: "ready" in before.log_path.read_text())
        os.kill(before.pid, signal.SIGKILL)
        wait_until(lambda: supervisor.states()[0].restarts == 1 and supervisor.states()[0].pid != before.pid)
        after = supervisor.states()[0].pid
        assert is_alive(after)
    assert not is_alive(after)
    assert len(lines) == 1
    assert "sleeper-0 ended" in lines[0]
    assert "with signal SIGKILL: ready; it is started again at once" in lines[0]


def test_one_that_somebody_stopped_is_killed_and_started_again(tmp_path):
    """Fails where only ends are noticed: it holds its slot's lock, and the one that stands by waits for ever."""
    lines: list[str] = []
    with Supervisor([python(SLEEPER)], tmp_path, report=lines.append, stopped_for_secs=2.0) as supervisor:
        [before] = supervisor.states()
        os.kill(before.pid, signal.SIGSTOP)
        wait_until(lambda: supervisor.states()[0].restarts == 1)
    assert "sleeper-0 is killed: somebody stopped it (SIGSTOP) 2 s ago" in lines[0]
    assert "with signal SIGKILL" in lines[1]


def test_one_that_is_stopped_for_a_moment_goes_on(tmp_path):
    lines: list[str] = []
    with Supervisor([python(SLEEPER)], tmp_path, report=lines.append, stopped_for_secs=5.0) as supervisor:
        [before] = supervisor.states()
        for _ in range(3):
            os.kill(before.pid, signal.SIGSTOP)
            time.sleep(2.5)
            os.kill(before.pid, signal.SIGCONT)
            time.sleep(1.5)
        assert (supervisor.states()[0].pid, lines) == (before.pid, [])


def test_one_that_keeps_dying_waits_longer_each_time_and_says_why(tmp_path):
    lines: list[str] = []
    dying = python("raise SystemExit('no disk left')", "lake-0")
    with Supervisor([dying], tmp_path, report=lines.append, longest_pause_secs=0.5):
        wait_until(lambda: len(lines) >= 5)
    assert all("lake-0 ended after" in line and "exit code 1: no disk left" in line for line in lines)
    pauses = [line.split("started again ")[1].split(" (log")[0] for line in lines[:5]]
    assert pauses == [
        "at once",
        *(f"in {secs} s, death {n} in a row" for n, secs in ((2, 0.25), (3, 0.5), (4, 0.5), (5, 0.5))),
    ]


def test_a_worker_that_was_told_nonsense_stops_all_with_its_own_words(tmp_path):
    wrong = python("import sys; print('wattline: site.toml: line 3'); sys.exit(78)", "roll-up-0")
    with Supervisor([wrong, python(SLEEPER)], tmp_path) as supervisor:
        sleeper = supervisor.states()[1].pid
        with pytest.raises(ConfigurationError, match=r"roll-up-0 ended .* exit code 78: wattline: site.toml: line 3"):
            supervisor.wait(10)
        wait_until(lambda: not is_alive(sleeper))


def test_a_slot_is_never_run_twice(tmp_path):
    locks = tmp_path / "locks"
    taken = f"sleeper-0 is run already, by the process {os.getpid()}"
    with Supervisor([python(SLEEPER)], tmp_path / "one", locks=locks), pytest.raises(ConfigurationError, match=taken):
        Supervisor([python(SLEEPER)], tmp_path / "two", locks=locks).start()
    with Supervisor([python(SLEEPER)], tmp_path / "two", locks=locks):
        assert first_free_slot(locks, "sleeper") == 1
    assert first_free_slot(locks, "sleeper") == 0


def test_one_that_ignores_sigterm_is_killed_in_time(tmp_path):
    deaf = python("import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf'); time.sleep(600)")
    supervisor = Supervisor([deaf], tmp_path)
    supervisor.start()
    [state] = supervisor.states()
    wait_until(lambda: "deaf" in state.log_path.read_text())
    started = time.monotonic()
    supervisor.stop(within_secs=0.3)
    assert time.monotonic() - started < 2
    assert not is_alive(state.pid)


PARENT = f"""
import sys, pathlib
from broker.supervisor import Supervisor, Worker
supervisor = Supervisor([Worker("a-0", [sys.executable, "-c", {SLEEPER!r}])], pathlib.Path(sys.argv[1]))
supervisor.start()
print(supervisor.states()[0].pid, flush=True)
supervisor.wait_for_signal()
print("stopped in order", flush=True)
"""


@pytest.mark.parametrize(
    ("number", "last_words"),
    [(signal.SIGKILL, ""), (signal.SIGTERM, "stopped in order\n"), (signal.SIGINT, "stopped in order\n")],
)
def test_no_worker_outlives_its_supervisor(tmp_path, number, last_words):
    argv = [sys.executable, "-c", PARENT, tmp_path]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as parent:
        worker = int(parent.stdout.readline())
        wait_until(lambda: "ready" in (tmp_path / "a-0.log").read_text())
        parent.send_signal(number)
        assert parent.stdout.read() == last_words
    wait_until(lambda: not is_alive(worker), within_secs=3)
