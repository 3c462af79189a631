"""Each layer of a cage holds what it is for, tried from within below DuckDB; without the layer the attempt succeeds."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sinks.sandbox import cage
from sinks.sandbox.keeper import Answer
from sinks.sandbox.limits import MEGABYTE, Limits
from tests.sandbox import tries
from tests.sandbox.caged import SECRET, Caged, Ears

LIMITS = Limits(wall_secs=10.0, memory_bytes=512 * MEGABYTE)
FILES, CALLS, ROOT, BOUNDS = "_confine_files", "_confine_calls", "_drop_root", "_limit"
is_root = pytest.mark.skipif(os.geteuid() != 0, reason="root is only given up by root")


class Place:
    """A folder with a lake, and cages of each kind over it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.ears = folder, Ears(folder)
        self._cages: dict[str, Caged] = {}

    def cage(self, without: str = "") -> Caged:
        if without not in self._cages:
            below = self.folder / (without or "whole")
            below.mkdir()
            self._cages[without] = Caged(below, tries.entry(without)).__enter__()
        return self._cages[without]

    def attempt(self, what: str, without: str = "") -> Answer:
        caged, ears = self.cage(without), self.ears
        places = {"outside": caged.outside, "lake": caged.lake, "unix": ears.path, "hidden": ears.abstract[1:]}
        return caged.ask(what.format(**places, **ears.ports, own=os.getpid()), limits=LIMITS)

    def close(self) -> None:
        for caged in self._cages.values():
            caged.__exit__(None, None, None)
        self.ears.close()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    place = Place(tmp_path_factory.mktemp("layers"))
    yield place
    place.close()


@pytest.mark.parametrize(
    ("what", "layer"),
    [
        ("write|{outside}/evil", FILES),
        ("read|{outside}/secret.csv", FILES),
        ("read|{lake}/link.csv", FILES),
        ("list|{lake}", FILES),
        ("read|/proc/self/status", FILES),
        ("tcp|{tcp}", CALLS),
        ("udp|{udp}", CALLS),
        ("unix|{unix}", CALLS),
        ("fork", CALLS),
        ("shared|10", CALLS),
        ("memory|400", BOUNDS),
    ],
)
def test_an_attempt_is_refused_and_succeeds_without_the_layer_that_holds_it(
    place: Place, what: str, layer: str
) -> None:
    held = place.attempt(what)
    assert held.reason == "answered"
    assert held.body.startswith(b"refused"), held
    assert place.ears.heard() == []
    let_go = place.attempt(what, without=layer)
    if layer == CALLS and what.startswith("tcp"):
        assert b"Permission denied" in let_go.body  # the socket is made; Landlock still refuses to connect it
    else:
        assert let_go.body.startswith(b"done"), let_go
    place.ears.heard()  # what was let through on purpose


@pytest.mark.parametrize(
    "what", ["write|{outside}/evil", "read|{outside}/secret.csv", "tcp|{tcp}", "hidden|{hidden}", "kill|{own}"]
)
def test_an_older_landlock_holds_files_and_seccomp_the_rest(place: Place, what: str) -> None:
    assert place.attempt(what, without="abi-3").body.startswith(b"refused")
    assert place.ears.heard() == []


@is_root
def test_root_is_given_up(place: Place) -> None:
    assert place.attempt("who").body.decode() == f"done {cage.NOBODY} {cage.NOBODY} {cage.NOBODY}"
    assert place.attempt("who", without=ROOT).body.startswith(b"done 0 0")


def test_nothing_of_the_environment_is_there(place: Place) -> None:
    assert place.attempt("environment").body == b"done {}"


def test_only_order_and_answer_are_open_beside_three_that_lead_nowhere(place: Place) -> None:
    """5 is the catalog, which DuckDB holds open."""
    said = place.attempt("descriptors").body.decode()
    assert set(eval(said.removeprefix("done "))) <= {0, 1, 2, 3, 4, 5, 6}


@pytest.mark.parametrize(
    "family", [int(each) for each in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX, socket.AF_NETLINK, 38, 40)]
)
def test_no_family_of_sockets_is_there(place: Place, family: int) -> None:
    assert b"Function not implemented" in place.attempt(f"socket|{family}").body


_DENIED = (
    "ptrace process_vm_readv process_vm_writev io_uring_setup bpf userfaultfd mount umount2 unshare setns clone3 fork "
    "vfork keyctl add_key request_key memfd_create execve execveat pidfd_open pidfd_getfd perf_event_open "
    "open_by_handle_at name_to_handle_at truncate chmod fchmod chown rename renameat2 link symlink mkdir mknod ioctl "
    "shmget msgget semget chroot pivot_root init_module finit_module kexec_load reboot settimeofday clock_settime "
    "setuid setresuid setgroups capset setns socket socketpair connect sendto sendmsg accept4 openat2 splice tee "
    "vmsplice landlock_create_ruleset seccomp personality quotactl swapon syslog acct fanotify_init inotify_init1 "
    "process_madvise move_pages mbind kcmp remap_file_pages modify_ldt iopl setrlimit setpriority sched_setscheduler"
)  # fmt: skip


@pytest.mark.parametrize("name", sorted(set(_DENIED.split())))
def test_a_call_that_no_query_needs_is_not_there(place: Place, name: str) -> None:
    assert place.attempt(f"call|{name}").body.startswith(b"refused"), name


@pytest.mark.parametrize("name", ["ptrace", "bpf", "keyctl", "unshare", "truncate"])
def test_such_a_call_reaches_the_kernel_without_the_filter(place: Place, name: str) -> None:
    assert b"the kernel looked at it" in place.attempt(f"call|{name}", without=CALLS).body


def test_nobody_else_can_be_signalled(place: Place) -> None:
    assert b"refused" in place.attempt("kill|{own}").body
    assert b"refused" in place.attempt("kill|{own}", without=CALLS).body  # by Landlock, or as another user


@pytest.mark.parametrize("what", ["delete", "cut", "write"])
def test_a_file_of_the_lake_cannot_be_changed(place: Place, what: str) -> None:
    file = next((place.cage().lake / "gpu").rglob("*.parquet"))
    before = file.read_bytes()
    assert place.attempt(f"{what}|{file}").body.startswith(b"refused")
    assert file.read_bytes() == before


def test_memory_past_the_limit_is_seen_from_outside_where_no_limit_holds(place: Place) -> None:
    answer = place.attempt("memory|2000", without=BOUNDS)
    assert answer.reason == "out_of_memory"


def test_time_past_the_limit_is_ended_from_outside(place: Place) -> None:
    started = time.monotonic()
    answer = place.cage().ask("spin|60", limits=Limits(wall_secs=1.0, memory_bytes=512 * MEGABYTE))
    assert answer.reason == "too_slow"
    assert "ended after 1 s" in answer.message
    assert time.monotonic() - started < 10
    assert SECRET.encode() not in answer.body
