"""In a zygote of tests: a cage that runs Python of ours in place of a query, with one layer taken away or with all.

What no SQL can do today a hole in DuckDB may do tomorrow: so the layers are tried from within, below DuckDB.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

import duckdb

from sinks.sandbox import cage, landlock, question
from sinks.sandbox.order import Ended, Order
from sinks.sandbox.question import Outlet
from sinks.sandbox.seccomp import _library

REFUSED = (OSError, MemoryError)
_libc = ctypes.CDLL(None, use_errno=True)


def entry(without: str = "") -> str:
    """Return what a zygote runs whose cages have all layers but one."""
    return (
        "import sys; sys.path[:] = sys.argv[3:]; from tests.sandbox import tries; "
        f"tries.take_away({without!r}); from sinks.sandbox.zygote import main; main(int(sys.argv[1]), sys.argv[2])"
    )


def take_away(layer: str) -> None:
    """Leave one step out of those that enter a cage; `abi-3` makes Landlock that of Linux 6.2."""
    if layer == "abi-3":
        landlock.abi = lambda: 3
    cage.STEPS = tuple(step for step in cage.STEPS if step.__name__ != layer)


def _asked(order: Order, _: duckdb.DuckDBPyConnection, outlet: Outlet) -> Ended:
    name, *arguments = order.query.split("|")
    try:
        outlet.write(f"done {TRIES[name](*arguments)}".encode())
    except REFUSED as error:
        outlet.write(f"refused {type(error).__name__} {error}".encode())
    return Ended("answered")


question._asked = _asked


def _connect(family: int, kind: int, address: object) -> str:
    with socket.socket(family, kind) as speaking:
        if kind == socket.SOCK_DGRAM:
            speaking.sendto(b"x", address)
        else:
            speaking.connect(address)
    return "spoken"


def _memory(megabytes: str) -> str:
    held = bytearray(int(megabytes) << 20)
    for at in range(0, len(held), 4096):
        held[at] = 1
    time.sleep(0.2)  # so that who looks from outside sees it
    return f"{len(held)}"


def _mapped_and_shared(megabytes: str) -> str:
    mmap.mmap(-1, int(megabytes) << 20, mmap.MAP_SHARED | mmap.MAP_ANONYMOUS).write(b"x")
    return "shared"


def _fork() -> str:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    return str(os.waitpid(pid, 0))


def _call(name: str) -> str:
    """Make a call with arguments of nothing: one that the kernel still looks at answers with another error."""
    number = _library().seccomp_syscall_resolve_name(name.encode())
    _libc.syscall(number, 0, 0, 0, 0, 0, 0)
    error = ctypes.get_errno()
    if error == 38:
        raise OSError(error, "no such call")
    return f"the kernel looked at it: {os.strerror(error)}"


def _spin(seconds: str) -> str:
    ends = time.process_time() + float(seconds)
    while time.process_time() < ends:
        pass
    return "spun"


TRIES: dict[str, Callable[..., object]] = {
    "write": lambda path: Path(path).write_text("evil"),
    "read": lambda path: Path(path).read_text(),
    "list": lambda path: sorted(str(each) for each in Path(path).iterdir()),
    "delete": lambda path: Path(path).unlink(),
    "cut": lambda path: os.close(os.open(path, os.O_RDONLY | os.O_TRUNC)),
    "tcp": lambda port: _connect(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", int(port))),
    "udp": lambda port: _connect(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", int(port))),
    "unix": lambda path: _connect(socket.AF_UNIX, socket.SOCK_STREAM, path),
    "hidden": lambda name: _connect(socket.AF_UNIX, socket.SOCK_STREAM, "\0" + name),
    "socket": lambda family: socket.socket(int(family), socket.SOCK_DGRAM | socket.SOCK_CLOEXEC).close(),
    "memory": _memory,
    "shared": _mapped_and_shared,
    "fork": _fork,
    "exec": lambda: os.execv("/bin/true", ["true"]),
    "kill": lambda pid: os.kill(int(pid), 0),
    "who": lambda: f"{os.getuid()} {os.geteuid()} {os.getegid()}",
    "environment": lambda: dict(os.environ),
    "call": _call,
    "spin": _spin,
    "descriptors": lambda: [each for each in range(256) if _is_open(each)],
}


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True
