"""Who forks queries: alone in its process, with nothing to lose, gone with the app, and made anew when it dies."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep

import psutil
import pytest

from schemas.errors import UnavailableError
from sinks.sandbox import landlock, seccomp
from sinks.sandbox.cage import missing
from tests.sandbox.caged import Caged

ROOT = Path(__file__).resolve().parents[2]


def zygote_of(pid: int) -> psutil.Process:
    (found,) = [each for each in psutil.Process(pid).children() if "sinks.sandbox.zygote" in " ".join(each.cmdline())]
    return found


def until(is_so: Callable[[], bool], within_secs: float = 20.0) -> None:
    deadline = monotonic() + within_secs
    while not is_so():
        assert monotonic() < deadline
        sleep(0.02)


def test_the_zygote_has_one_thread_no_environment_and_no_descriptor_but_its_own(tmp_path: Path) -> None:
    os.environ["WATTLINE_SECRET_OF_A_TEST"] = "x"
    leak = os.open(tmp_path, os.O_RDONLY)
    os.set_inheritable(leak, True)
    with Caged(tmp_path) as caged:
        assert caged.ask("SELECT 1").reason == "answered"
        zygote = zygote_of(os.getpid())
        assert zygote.num_threads() == 1
        names = {str(each.readlink()) for each in Path(f"/proc/{zygote.pid}/fd").iterdir()}
        assert {name.partition(":")[0] for name in names} == {"/dev/null", "socket"}
        assert not set(zygote.environ()) - {
            "OPENBLAS_NUM_THREADS", "JE_ARROW_MALLOC_CONF", "OMP_NUM_THREADS", "TZ", "LC_ALL",
        }  # fmt: skip
    os.close(leak)
    del os.environ["WATTLINE_SECRET_OF_A_TEST"]


def test_what_is_imported_before_the_fork_knows_no_library_that_a_fork_breaks() -> None:
    """deltalake panics in a forked child (traps.md 38), polars starts threads."""
    code = "import sys, sinks.sandbox.question; print(sorted({'deltalake', 'polars', 'aiokafka'} & set(sys.modules)))"
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def test_a_zygote_that_is_killed_ends_its_queries_and_the_next_question_has_a_new_one(tmp_path: Path) -> None:
    with Caged(tmp_path) as caged:

        async def killed() -> None:
            task = asyncio.create_task(caged.asked("SELECT count(*) FROM range(100_000_000_000) a, range(1000) b"))
            await caged.keeper.start()
            while not zygote_of(os.getpid()).children():
                await asyncio.sleep(0.02)
            zygote_of(os.getpid()).kill()
            with pytest.raises(UnavailableError, match="ended; try again"):
                await task

        caged.run(killed())
        assert caged.ask("SELECT 1").reason == "answered"


def test_a_question_that_nobody_waits_for_is_ended(tmp_path: Path) -> None:
    with Caged(tmp_path) as caged:

        async def left() -> None:
            task = asyncio.create_task(caged.asked("SELECT count(*) FROM range(100_000_000_000) a, range(1000) b"))
            await caged.keeper.start()
            while not zygote_of(os.getpid()).children():
                await asyncio.sleep(0.02)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        caged.run(left())
        assert zygote_of(os.getpid()).children() == []
        assert list(caged.keeper.spill.iterdir()) == []


_APP = """
import sys, pathlib
from tests.sandbox.caged import Caged, Limits
with Caged(pathlib.Path(sys.argv[1])) as caged:
    print(caged.keeper.spill, flush=True)
    caged.ask("SELECT count(*) FROM range(100_000_000_000) a, range(1000) b", limits=Limits(wall_secs=600))
"""


def test_an_app_that_is_killed_takes_its_queries_with_it_and_leaves_nothing_spilled(tmp_path: Path) -> None:
    app = subprocess.Popen(
        [sys.executable, "-c", _APP, str(tmp_path)], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert app.stdout is not None
    spill = Path(app.stdout.readline().strip())
    until(lambda: bool(psutil.Process(app.pid).children(recursive=True)[1:]))
    family = psutil.Process(app.pid).children(recursive=True)
    app.send_signal(signal.SIGKILL)
    app.wait()
    until(lambda: not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in family))
    until(lambda: not spill.exists())


def test_what_a_machine_lacks_is_said_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    assert missing() == []
    monkeypatch.setattr(landlock, "abi", lambda: 2)
    monkeypatch.setattr(seccomp, "is_there", lambda: False)
    kernel, library = missing()
    assert "has Landlock 2; version 3 is needed (Linux 6.2 or later" in kernel
    assert "apt-get install libseccomp2" in library
