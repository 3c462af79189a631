"""Children that die with their parent, even when the parent is killed with -9.

On Linux the kernel does it: PR_SET_PDEATHSIG. Trap: that signal comes when the *thread* that started
the child ends, so one thread of ours that never ends starts them all. Elsewhere a small watcher stands
between parent and child and kills the child when the parent's end of a pipe closes.

Run as a script this file is that first program of the child; it needs the standard library only.
"""

from __future__ import annotations

import ctypes
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import Future

PR_SET_PDEATHSIG = 1

_starters: dict[int, queue.SimpleQueue] = {}
_lock = threading.Lock()


def popen(argv: Sequence[str | os.PathLike], *, watch: bool = sys.platform != "linux", **options) -> subprocess.Popen:
    """Start `argv` like subprocess.Popen, in a session of its own, so that it dies with this Python.

    A Ctrl-C at the terminal reaches only the parent, which then stops its children in order.
    With `watch` (the way without Linux) the Popen is the watcher's: it passes on SIGTERM and exits as the child did.
    """
    alive, parents_end = os.pipe() if watch else (None, None)
    how = f"watch:{alive}" if watch else f"parent:{os.getpid()}"
    command = [sys.executable, "-I", "-S", __file__, how, *argv]
    kept = (*options.pop("pass_fds", ()), *((alive,) if watch else ()))
    try:
        child = _start(command, start_new_session=True, pass_fds=kept, **options)
    finally:
        if watch:
            os.close(alive)
    if watch:
        child.parents_end = parents_end  # open for as long as this process lives; the kernel closes it
    return child


def _start(command: list, **options) -> subprocess.Popen:
    """Start the command from the one thread that lives as long as this process."""
    with _lock:
        starter = _starters.get(os.getpid())
        if starter is None:  # by pid: a forked child has no threads of its parent's
            starter = _starters[os.getpid()] = queue.SimpleQueue()
            threading.Thread(target=_serve, args=(starter,), daemon=True, name="starts-children").start()
    started: Future = Future()
    starter.put((started, command, options))
    return started.result()


def _serve(starter: queue.SimpleQueue) -> None:
    while True:
        started, command, options = starter.get()
        try:
            started.set_result(subprocess.Popen(command, **options))
        except BaseException as error:
            started.set_exception(error)


def _die_with(parent: int | None) -> None:
    """Ask the kernel to kill this program when its parent ends, and end at once if it has already."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if parent is not None and os.getppid() != parent:
        os._exit(1)


def _watch(alive: int, argv: list[str]) -> int:
    """Run `argv` until it ends, or until the parent's end of the pipe closes; return its exit code."""
    child = subprocess.Popen(argv, close_fds=False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, frame: child.send_signal(received))
    threading.Thread(target=_kill_at_end_of, args=(alive, child), daemon=True).start()
    code = child.wait()
    if code < 0:  # end by the same signal, so that the parent sees what happened
        signal.signal(-code, signal.SIG_DFL) if -code not in (signal.SIGKILL, signal.SIGSTOP) else None
        os.kill(os.getpid(), -code)
    return code


def _kill_at_end_of(alive: int, child: subprocess.Popen) -> None:
    os.read(alive, 1)
    child.kill()


def _main(how: str, argv: list[str]) -> None:
    kind, number = how.split(":")
    if kind == "watch":
        os.set_inheritable(int(number), False)
        sys.exit(_watch(int(number), argv))
    _die_with(int(number))
    try:
        os.execvp(argv[0], argv)
    except OSError as error:
        sys.exit(f"{argv[0]}: {error.strerror}")


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2:])
