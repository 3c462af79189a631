"""Landlock: what of the file system, of TCP and of other processes is left to a process that restricted itself.

Three system calls of a stable kernel interface (landlock(7)), called through libc. What is not handled by an older
kernel is held by seccomp all the same; what Landlock does not cover at any version (stat, readlink) neither opens
nor changes a file.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping
from pathlib import Path

LEAST_ABI = 3
"""Linux 6.2: before it a file that may not be written may still be cut to nothing."""

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, REMOVE_DIR, REMOVE_FILE = (1 << bit for bit in range(6))
MAKE_REG = 1 << 8
TRUNCATE = 1 << 14

READ = READ_FILE
"""Read files that are named; list nothing."""
SPILL = READ_FILE | READ_DIR | WRITE_FILE | REMOVE_FILE | MAKE_REG | TRUNCATE
"""Make, write, list and remove files; make no folder, link, socket or device."""

_FS_BITS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
"""How many rights of files each version of the interface knows."""
_NET_FROM, _SCOPE_FROM = 4, 6
_BIND_TCP_CONNECT_TCP = 0b11
_ABSTRACT_SOCKETS_SIGNALS = 0b11

# The same numbers on every architecture.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_FLAG = 1
_PATH_BENEATH = 1
_OF_A_FILE = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE

_libc = ctypes.CDLL(None, use_errno=True)


class _Ruleset(ctypes.Structure):
    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32))


def abi() -> int:
    """Return the version of the kernel's Landlock, 0 where it has none or it is switched off."""
    return max(0, int(_libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION_FLAG))))


def restrict(allowed: Mapping[Path, int]) -> None:
    """Leave to this process, for good, only these rights below these paths; no TCP, no signal to others.

    Needs no_new_privs. Raises OSError where the kernel refuses.
    """
    version = abi()
    ruleset = _ruleset(version)
    try:
        for path, rights in allowed.items():
            _allow(ruleset, path, rights)
        _call(_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0))
    finally:
        os.close(ruleset)


def _ruleset(version: int) -> int:
    """Make a set of rules that denies all that the version knows."""
    rules = _Ruleset((1 << _FS_BITS[min(version, max(_FS_BITS))]) - 1, 0, 0)
    size = 8
    if version >= _NET_FROM:
        rules.net, size = _BIND_TCP_CONNECT_TCP, 16
    if version >= _SCOPE_FROM:
        rules.scoped, size = _ABSTRACT_SOCKETS_SIGNALS, 24
    return _call(_CREATE_RULESET, ctypes.byref(rules), ctypes.c_size_t(size), ctypes.c_uint32(0))


def _allow(ruleset: int, path: Path, rights: int) -> None:
    folder = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        rule = _PathBeneath(rights if path.is_dir() else rights & _OF_A_FILE, folder)
        _call(_ADD_RULE, ctypes.c_int(ruleset), ctypes.c_int(_PATH_BENEATH), ctypes.byref(rule), ctypes.c_uint32(0))
    finally:
        os.close(folder)


def _call(number: int, *arguments: object) -> int:
    answer = int(_libc.syscall(number, *arguments))
    if answer < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"Landlock refuses: {os.strerror(error)}")
    return answer
