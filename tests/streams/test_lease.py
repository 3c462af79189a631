"""Who runs where only one may: on one machine the lock decides, across machines the lease. On a real Kafka.

Two machines are two folders of locks: that is all that the workers see of them.
"""

from __future__ import annotations

import asyncio
import time
import uuid

import pytest

from broker.admin import create_topics
from schemas.topics import BY_NAME
from streams import lease
from streams.lease import HolderKeeps, Lease
from tests.streams.processes import Process

STANDS_BY = "another machine has the lease of"


@pytest.fixture
def run(kafka, new_topic, tmp_path):
    """Return a function that starts a worker on a machine of a name."""
    asyncio.run(create_topics(kafka.bootstrap, topics=[BY_NAME[lease.TOPIC]]))
    app, topic, started = f"leased-{uuid.uuid4().hex[:8]}", new_topic(), []

    def start(machine, kind="leased"):
        arguments = ("-m", "tests.streams.stages", kind, kafka.bootstrap, app, "0", topic)
        log = tmp_path / f"{len(started)}.log"
        started.append(Process(log, *arguments, XDG_DATA_HOME=str(tmp_path / machine)))
        return started[-1]

    yield start
    for process in started:
        process.kill()


def test_another_machine_stands_by_and_takes_over_when_the_session_of_a_dead_holder_is_over(run):
    first = run("a")
    first.wait_for("assigned")
    second = run("b")
    second.wait_for(STANDS_BY)
    assert first.popen.poll() is None
    first.kill()
    second.wait_for("assigned", within_secs=30)


def taken_over(run, *paused):
    """Pause a holder until another machine has its lease, and let it end; return both."""
    first = run("a", *paused)
    first.wait_for("assigned")
    second = run("b")
    second.wait_for(STANDS_BY)
    first.pause()
    second.wait_for("assigned", within_secs=30)
    first.go_on()
    assert first.end(30) == 1
    return first, second


def test_a_holder_that_was_paused_past_its_session_ends_when_it_goes_on(run):
    first, second = taken_over(run)
    assert "starting again as its standby" in first.output
    # What the first one disturbed for a moment is as it was: the second one runs, and alone.
    third = run("a")
    third.wait_for(STANDS_BY)
    assert second.popen.poll() is None


def test_a_holder_whose_machine_stood_still_without_a_clock_that_shows_it_hears_it_from_the_group(run):
    """A machine that its host pauses: no clock of its own has gone on."""
    first, second = taken_over(run, "paused-machine")
    assert "another machine has the lease of" in first.output
    assert second.popen.poll() is None


def test_on_one_machine_the_dead_holders_lease_is_taken_over_at_once(run):
    first = run("a")
    first.wait_for("assigned")
    second = run("a")
    second.wait_for("standing by until it ends")
    first.kill()
    began = time.monotonic()
    output = second.wait_for("assigned", within_secs=lease.SESSION_SECS)
    assert STANDS_BY not in output
    assert time.monotonic() - began < lease.SESSION_SECS


class Member:
    def __init__(self, since):
        self.user_data = since.to_bytes(8, "big", signed=True)


class Machines:
    """Members of the group, each with a clock of its own, and what the broker makes of them."""

    def __init__(self, **clocks):
        self.members = {name: type(name, (HolderKeeps,), {"clock": staticmethod(lambda now=now: now)})
                        for name, now in clocks.items()}  # fmt: skip

    def meet(self, *names):
        """Deal the lease among those that are there, by the first one; return who has it."""
        there = {name: self.members[name].metadata([lease.TOPIC]) for name in names}
        dealt = self.members[names[0]].assign(None, there)
        for name in names:
            self.members[name].on_assignment(dealt[name])
        return next(name for name in names if dealt[name].assignment)


def test_a_holder_that_was_away_is_followed_by_its_successor_though_its_clock_is_an_hour_ahead():
    """Fails where clocks alone say who got it last."""
    machines = Machines(ahead=3_600, right=0)
    assert machines.meet("ahead") == "ahead"
    assert machines.meet("ahead", "right") == "ahead"
    assert machines.meet("right") == "right"
    assert machines.meet("ahead", "right") == "right"
    assert machines.meet("right", "ahead") == "right"


def test_of_two_that_begin_together_the_one_without_it_knows_what_it_must_surpass():
    machines = Machines(ahead=3_600, right=1)
    assert machines.meet("ahead", "right") == "ahead"
    assert machines.meet("right") == "right"
    assert machines.meet("right", "ahead") == "right"


def test_one_that_was_paused_past_its_session_ends_before_it_writes():
    """Fails where only the thread that looks twice a second notices: what was fetched before goes out meanwhile."""
    now, lost = [100.0], []
    held = Lease("host:1", "app", "member", lost.append, clock=lambda: now[0])
    now[0] += 60
    held.require()
    assert lost == []  # it never had it
    held.given(True)
    now[0] += lease.SESSION_SECS / 2
    held.require()
    assert lost == []
    now[0] += lease.SESSION_SECS
    held.require()
    assert "this process was paused for 9 s, longer than its session of 6 s" in str(lost[0])


@pytest.mark.parametrize(
    ("members", "holder"),
    [
        ({"a": Member(0), "b": Member(5)}, "b"),
        ({"a": Member(7), "b": Member(5)}, "a"),
        ({"b": Member(0), "a": Member(0)}, "a"),
    ],
)
def test_the_one_that_got_it_last_keeps_it(members, holder):
    """Two say that they hold it where one was paused: its successor got it later."""
    dealt = HolderKeeps.assign(None, members)
    assert {member for member, assignment in dealt.items() if assignment.assignment} == {holder}


def test_a_lease_that_was_never_held_loses_nothing():
    lost = []
    waiting = Lease("host:1", "app", "member", lost.append)
    waiting.given(False)
    assert lost == []
    waiting.given(True)
    waiting.given(True)
    assert lost == []
    waiting.given(False)
    assert "another machine has the lease of app now" in str(lost[0])
