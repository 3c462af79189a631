"""Children that die with their parent, by the kernel's hand and by a watcher's."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from broker import leash

REPOSITORY = Path(__file__).parents[2]
LOOP = "import time; print('alive', flush=True); time.sleep(600)"
PARENT = """
import os, sys
from broker import leash
child = leash.popen([sys.executable, "-c", {loop!r}], watch={watch})
sys.stdin.read()
"""
ways = pytest.mark.parametrize("watch", [False, True], ids=["kernel", "watcher"])


@ways
def test_a_killed_parent_takes_its_child_along(watch):
    source = PARENT.format(loop=LOOP, watch=watch)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", source], cwd=REPOSITORY, **pipes) as parent:
        assert parent.stdout.readline() == "alive\n"
        parent.send_signal(signal.SIGKILL)
        started = time.monotonic()
        parent.stdout.read()  # ends when the child, who has the pipe too, is gone
        assert time.monotonic() - started < 3


@ways
def test_the_child_outlives_the_thread_that_asked_for_it(watch):
    children = []
    options = {"watch": watch, "stdout": subprocess.PIPE, "text": True}
    asking = threading.Thread(target=lambda: children.append(leash.popen([sys.executable, "-c", LOOP], **options)))
    asking.start()
    asking.join()
    [child] = children
    with child:
        assert child.stdout.readline() == "alive\n"
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(0.2)
        child.terminate()
        assert child.wait(5) == -signal.SIGTERM


@ways
def test_the_end_of_the_child_is_told_as_it_was(watch):
    for source, code in (("raise SystemExit(7)", 7), ("import os; os.kill(os.getpid(), 9)", -9)):
        assert leash.popen([sys.executable, "-c", source], watch=watch).wait(10) == code


def test_a_program_that_is_not_there_says_so():
    child = leash.popen(["/no/such/program"], stderr=subprocess.PIPE, text=True)
    assert (child.communicate()[1], child.returncode) == ("/no/such/program: No such file or directory\n", 1)
