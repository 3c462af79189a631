"""Try from within what a cage must not let through, before anybody's query is let in."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

from sinks.sandbox.order import Ended, Order


def tried(order: Order) -> Ended:
    """Return `answered` where everything was refused, else what was not."""
    let_through = list(_let_through(order))
    return Ended("failed", "the cage lets through: " + ", ".join(let_through)) if let_through else Ended("answered")


def _let_through(order: Order) -> Iterator[str]:
    attempts: dict[str, Callable[[], object]] = {
        "listing /": lambda: list(Path("/").iterdir()),
        "reading /proc": lambda: Path("/proc/self/status").read_bytes(),
        "reading Python's own files": lambda: Path(os.__file__).read_bytes(),
        "writing into the lake": lambda: Path(order.lake, ".probe").write_bytes(b""),
        "a TCP socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM),
        "a UDP socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
        "a unix socket": lambda: socket.socket(socket.AF_UNIX, socket.SOCK_STREAM),
        "another process": _fork,
        "another program": lambda: os.execv("/bin/true", ["true"]),
        "root": _be_root,
    }
    for name, attempt in attempts.items():
        try:
            attempt()
        except OSError:
            continue
        yield name


def _fork() -> None:
    if os.fork() == 0:
        os._exit(0)


def _be_root() -> None:
    if os.geteuid() != 0:
        raise PermissionError
