"""seccomp: the system calls that are left to a query; every other one is answered as by a kernel that has none.

A list of what is allowed, not of what is denied: what a later kernel brings is denied until somebody has looked at it.
Sockets of every family, exec, fork, ptrace, mounts, namespaces, keys, io_uring, bpf, ioctl are in no line of it.
The filter is made by libseccomp, which knows the numbers of every architecture.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from functools import cache

# fmt: off
_PLAIN = (
    "read", "readv", "pread64", "preadv", "write", "writev", "pwrite64", "pwritev", "lseek", "close", "dup",
    "open", "openat", "stat", "lstat", "fstat", "newfstatat", "statx", "statfs", "fstatfs",
    "access", "faccessat", "faccessat2", "readlink", "readlinkat", "getcwd", "getdents64",
    "ftruncate", "fallocate", "fadvise64", "fsync", "fdatasync", "unlink", "unlinkat",
    "munmap", "mremap", "madvise", "brk", "membarrier",
    "futex", "sched_yield", "sched_getaffinity", "set_robust_list", "rseq", "set_tid_address", "gettid", "getpid",
    "exit", "exit_group", "restart_syscall", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack",
    "clock_gettime", "clock_getres", "clock_nanosleep", "nanosleep", "gettimeofday", "time", "getrusage", "times",
    "getrandom", "sysinfo", "uname", "getuid", "geteuid", "getgid", "getegid",
    "epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait", "eventfd2", "poll", "ppoll",
)
# fmt: on
"""Allowed with any argument: files are Landlock's to judge, memory and time the limits'."""

_LOCKS = (5, 6, 7, 36, 37, 38)
_DESCRIPTOR_FLAGS = (1, 2, 3)
_PROT_EXEC = 4
_MAP_SHARED = 1
_PR_SET_NAME = 15
_CLONE_VM, _CLONE_THREAD = 0x100, 0x10000
_CLONE_NEW = 0x7E020080
"""Every namespace: cgroup, uts, ipc, user, pid, net, mount, time."""

_ALLOW = 0x7FFF0000
_ERRNO = 0x00050000
_EQUAL, _MASKED_EQUAL = 4, 7


class _Compare(ctypes.Structure):
    _fields_ = (("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64))


Rule = tuple[str, tuple[_Compare, ...]]


def is_there() -> bool:
    """Tell whether libseccomp can be loaded."""
    try:
        return bool(_library())
    except OSError:
        return False


def restrict() -> None:
    """Leave to this process, for good, only the calls of this module. Needs no_new_privs.

    Raises OSError where libseccomp is missing or the kernel refuses.
    """
    library = _library()
    context = library.seccomp_init(ctypes.c_uint32(_ERRNO | errno.ENOSYS))
    if not context:
        raise OSError(errno.ENOMEM, "libseccomp gave no filter")
    try:
        for name, compared in _rules(os.getpid()):
            _allow(library, context, name, compared)
        _check(library.seccomp_load(ctypes.c_void_p(context)), "seccomp_load")
    finally:
        library.seccomp_release(ctypes.c_void_p(context))


def _rules(pid: int) -> Iterator[Rule]:
    for name in _PLAIN:
        yield name, ()
    # A thread of this process, in no other namespace; a process of its own never. clone3 hides its flags in memory.
    thread = _CLONE_VM | _CLONE_THREAD
    yield "clone", (_masked(0, thread | _CLONE_NEW, thread),)
    # No memory becomes code, so nothing is loaded and nothing written is run; none is shared, so all counts as its own.
    yield "mmap", (_masked(2, _PROT_EXEC, 0), _masked(3, _MAP_SHARED, 0))
    yield "mprotect", (_masked(2, _PROT_EXEC, 0),)
    yield "prctl", (_equal(0, _PR_SET_NAME),)
    yield "prlimit64", (_equal(0, 0), _equal(2, 0))
    # DuckDB asks whether the owner of a spilled file lives: itself. abort() signals itself, too.
    yield "kill", (_equal(0, pid),)
    yield "tgkill", (_equal(0, pid),)
    for command in (*_DESCRIPTOR_FLAGS, *_LOCKS):
        yield "fcntl", (_equal(1, command),)


def _equal(argument: int, value: int) -> _Compare:
    return _Compare(argument, _EQUAL, value, 0)


def _masked(argument: int, mask: int, value: int) -> _Compare:
    return _Compare(argument, _MASKED_EQUAL, mask, value)


def _allow(library: ctypes.CDLL, context: int, name: str, compared: tuple[_Compare, ...]) -> None:
    number = library.seccomp_syscall_resolve_name(name.encode())
    if number < 0:  # an architecture without this one, as arm64 without open
        return
    array = (_Compare * len(compared))(*compared)
    added = library.seccomp_rule_add_array(
        ctypes.c_void_p(context), ctypes.c_uint32(_ALLOW), ctypes.c_int(number), ctypes.c_uint(len(compared)), array
    )
    _check(added, f"a rule for {name}")


def _check(answer: int, what: str) -> None:
    if answer < 0:
        raise OSError(-answer, f"libseccomp refuses {what}: {os.strerror(-answer)}")


@cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    library.seccomp_init.restype = ctypes.c_void_p
    return library
