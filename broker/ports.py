"""Free ports of this machine, and the sentence for a taken one."""

from __future__ import annotations

import random
import socket

from schemas.errors import ConfigurationError

HOST = "127.0.0.1"
# Below where the kernel takes ports for outgoing connections (32768 on Linux), so that a stopped
# node's port is not lent to some client before the node is started again.
RANGE = range(20_000, 32_000)


def is_free(port: int) -> bool:
    """Tell whether a server could listen on the port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Java does: TIME_WAIT is not taken
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def free(count: int) -> list[int]:
    """Return `count` different ports that are free now."""
    found: list[int] = []
    for port in random.sample(RANGE, len(RANGE)):
        if is_free(port):
            found.append(port)
        if len(found) == count:
            return found
    raise ConfigurationError(f"{count} free ports were not found from {RANGE.start} to {RANGE.stop - 1}")


def refuse_taken(port: int) -> None:
    """Raise ConfigurationError where something else listens on the port."""
    if not is_free(port):
        raise ConfigurationError(
            f"port {port} on {HOST} is taken by another program (or not allowed for this user): name another port"
        )
