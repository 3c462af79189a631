"""The slot: one live process for each static member of a consumer group (traps.md 10).

Two live processes with one static id are not fenced by Kafka: 894 duplicates in 15 s. The lock is the
kernel's, so a killed worker frees its slot at once and the restarted one finds it free. It is not the
supervisor's lock, which the worker inherits: that one says who starts workers, this one who is a member.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from broker import lock
from broker.supervisor import lock_folder

LOOK_AGAIN_SECS = 0.1
SAY_AGAIN_SECS = 30.0


def hold(member: str, bootstrap: str, say: Callable[[str], None]) -> int:
    """Wait until no other process is this member of its group; return the descriptor that holds the place.

    A second process stands by: it says so once in a while and goes on when the first one ends.
    """
    path = lock_folder(bootstrap) / f"{member}.member.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    said = -SAY_AGAIN_SECS
    while (descriptor := lock.hold(path)) is None:
        if time.monotonic() - said >= SAY_AGAIN_SECS:
            said = time.monotonic()
            say(f"another process is {member} of {bootstrap}; standing by until it ends ({path})")
        time.sleep(LOOK_AGAIN_SECS)
    return descriptor
