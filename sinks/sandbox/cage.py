"""Enter the cage: what a forked process gives up, in an order in which each step still can be taken."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

from schemas.errors import ConfigurationError
from sinks.sandbox import landlock, limits, seccomp
from sinks.sandbox.limits import Limits

NOBODY = 65534
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_KEEPCAPS, _PR_SET_NO_NEW_PRIVS = 1, 4, 8, 38
_CAPABILITIES_VERSION = 0x20080522
_READ_ALL = 1 << 2
"""CAP_DAC_READ_SEARCH: a lake may be closed to nobody; Landlock says what of all this is the lake."""

_libc = ctypes.CDLL(None, use_errno=True)


def missing() -> list[str]:
    """Return a sentence for everything that a cage needs and this machine lacks."""
    if os.uname().sysname != "Linux":
        return [f"queries over HTTP need Linux: this is {os.uname().sysname}"]
    found = []
    if (abi := landlock.abi()) < landlock.LEAST_ABI:
        has = f"Landlock {abi}" if abi else "no Landlock"
        found.append(
            f"the kernel ({os.uname().release}) has {has}; version {landlock.LEAST_ABI} is needed (Linux 6.2 or later, "
            f"`landlock` among the names in /sys/kernel/security/lsm, and a container that lets it through)"
        )
    if not seccomp.is_there():
        found.append("libseccomp is missing: apt-get install libseccomp2, or dnf install libseccomp")
    return found


def enter(bounds: Limits, allowed: Mapping[Path, int]) -> None:
    """Give up, for good, all but the rights below the paths of `allowed`, within `bounds`.

    For a process that was just forked, has one thread and only descriptors that it may keep. Raises OSError where a
    step is refused: then nothing of others' may be run.
    """
    for step in STEPS:
        step(bounds, allowed)


def _leave_the_group(_: Limits, __: Mapping[Path, int]) -> None:
    os.setsid()


def _limit(bounds: Limits, _: Mapping[Path, int]) -> None:
    limits.restrict(bounds, is_nobody=os.geteuid() == 0)


def _drop_root(_: Limits, __: Mapping[Path, int]) -> None:
    """Become nobody where root; of root's rights only reading stays, and nothing can be gained again."""
    if os.geteuid() == 0:
        _prctl(_PR_SET_KEEPCAPS, 1)
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    _keep_capabilities(_READ_ALL)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _prctl(_PR_SET_DUMPABLE, 0)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # not before: a change of user takes it away


def _confine_files(_: Limits, allowed: Mapping[Path, int]) -> None:
    landlock.restrict(allowed)


def _confine_calls(_: Limits, __: Mapping[Path, int]) -> None:
    seccomp.restrict()


Step = Callable[[Limits, Mapping[Path, int]], None]
STEPS: tuple[Step, ...] = (_leave_the_group, _limit, _drop_root, _confine_files, _confine_calls)
"""The last takes away the calls that the others need."""


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Capabilities(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def _keep_capabilities(kept: int) -> None:
    """Keep of the capabilities that there are only these."""
    header, pair = _Header(_CAPABILITIES_VERSION, 0), (_Capabilities * 2)()
    _check(_libc.capget(ctypes.byref(header), pair), "capget")
    kept &= pair[0].permitted
    pair[0], pair[1] = _Capabilities(kept, kept, 0), _Capabilities(0, 0, 0)
    _check(_libc.capset(ctypes.byref(header), pair), "capset")


def _prctl(option: int, value: int) -> None:
    _check(_libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0), f"prctl {option}")


def _check(answer: int, what: str) -> None:
    if answer != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")


def refuse_without() -> None:
    """Raise ConfigurationError with all that is missing."""
    if found := missing():
        raise ConfigurationError("SQL over HTTP is off: " + "; ".join(found))
