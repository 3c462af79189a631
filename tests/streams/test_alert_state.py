"""The columnar machine equals a plain one, reading by reading, however the readings are cut into drains."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.alert_state import A_BREACH, OK, TRANSITIONS, UNKNOWN, State, Timing, Transitions, advance, at_rest, hush
from streams.condition import BAND, BREACH, CLEAR, UNSURE, Series

Told = list[tuple[str, int, int, int | None]]


@dataclass
class PlainMachine:
    """One rule on one subject, one reading at a time: slow and obviously right."""

    hold: int
    keep: int
    silence: int
    no_data: int = UNKNOWN
    phase: str = "inactive"
    is_stale: bool = False
    start: int = 0
    fired: int | None = None
    kept: int = 0
    seen: int | None = None
    told: Told = field(default_factory=list)

    def tell(self, transition: str, at: int) -> None:
        self.told.append((transition, at, self.start, self.fired))

    def rest(self) -> None:
        self.phase, self.is_stale, self.fired = "inactive", False, None

    def hear_nothing_until(self, now: int) -> None:
        if self.seen is None or now - self.seen <= self.silence:
            return
        due = self.seen + self.silence
        if self.no_data == A_BREACH:
            self.take_silence_for_a_breach(due, now)
        elif self.phase == "inactive":
            return
        elif self.phase == "pending" or self.no_data == OK:
            self.tell("resolved", due)
            self.rest()
        elif not self.is_stale:
            self.tell("stale", due)
            self.is_stale = True

    def take_silence_for_a_breach(self, due: int, now: int) -> None:
        if self.phase == "inactive":
            self.phase, self.start = "pending", due
            if self.hold > 0:
                self.tell("pending", due)
        elif self.phase == "keeping":
            self.phase = "firing"
            self.tell("continued", due)
        if self.phase == "pending" and max(due, self.start + self.hold) <= now:
            self.phase, self.fired = "firing", max(due, self.start + self.hold)
            self.tell("firing", self.fired)

    def read(self, at: int, verdict: int) -> None:
        self.hear_nothing_until(at)
        was_stale, self.is_stale = self.is_stale, False
        if self.phase == "inactive" and verdict == BREACH:
            self.phase, self.start = "pending", at
            if self.hold > 0:
                self.tell("pending", at)
        elif self.phase == "pending" and verdict in (BAND, CLEAR):
            self.tell("resolved", at)
            self.rest()
        elif self.phase == "firing" and verdict == CLEAR:
            self.phase, self.kept = "keeping", at
            if self.keep > 0:
                self.tell("keeping", at)
        elif self.phase == "firing" and was_stale:
            self.tell("continued", at)
        elif self.phase == "keeping" and verdict == BREACH:
            self.phase = "firing"
            self.tell("continued", at)
        elif self.phase == "keeping" and was_stale and (verdict == UNSURE or at < self.kept + self.keep):
            self.tell("keeping", at)
        if self.phase == "pending" and verdict == BREACH and at - self.start >= self.hold:
            self.phase, self.fired = "firing", at
            self.tell("firing", at)
        if self.phase == "keeping" and verdict in (BAND, CLEAR) and at - self.kept >= self.keep:
            self.tell("resolved", at)
            self.rest()
        self.seen = at


SPANS = st.sampled_from([0, 1, 2, 5, 9])
RULES = st.lists(
    st.tuples(SPANS, SPANS, st.integers(1, 12), st.sampled_from([UNKNOWN, OK, A_BREACH])), min_size=1, max_size=4
)
READINGS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 8), st.sampled_from([CLEAR, BAND, UNSURE, BREACH])), max_size=80
)


def timing_of(rules: list[tuple[int, int, int, int]]) -> Timing:
    hold, keep, silence, no_data = (np.array(column, dtype=np.int64) for column in zip(*rules, strict=True))
    return Timing(hold, keep, silence, no_data.astype(np.int8))


def series_of(evaluations: list[tuple[int, int, int]]) -> Series:
    ordered = sorted(evaluations, key=lambda each: each[0])
    columns = list(zip(*ordered, strict=True)) or [(), (), ()]
    row, at, verdict = (np.array(column, dtype=np.int64) for column in columns)
    return Series(row, at, at.astype(float), verdict.astype(np.int8))


def told_by(happened: list[Transitions], row: int) -> Told:
    return [
        (TRANSITIONS[code], int(at), int(start), int(fired) if fired >= 0 else None)
        for each in happened
        for which, code, at, start, fired, _ in zip(*each, strict=True)
        if which == row
    ]


@given(RULES, READINGS, st.integers(1, 30), st.integers(0, 40))
@settings(max_examples=400, deadline=None)
def test_the_columns_tell_what_the_plain_machine_tells(
    rules: list[tuple[int, int, int, int]], steps: list[tuple[int, int, int]], drain: int, quiet: int
) -> None:
    clock = dict.fromkeys(range(len(rules)), 0)
    evaluations = []
    for row, gap, verdict in steps:
        if row in clock:
            clock[row] += gap
            evaluations.append((row, clock[row], verdict))
    timing, machines = timing_of(rules), [PlainMachine(*rule) for rule in rules]
    state, happened = at_rest(len(rules)), []
    for begin in range(0, len(evaluations), drain):
        state, transitions = advance(timing, state, series_of(evaluations[begin : begin + drain]))
        happened.append(transitions)
    end = np.array([clock[row] + quiet for row in clock], dtype=np.int64)
    state, transitions = hush(timing, state, np.arange(len(rules)), end)
    happened.append(transitions)
    for row, at, verdict in evaluations:
        machines[row].read(at, verdict)
    for row, machine in enumerate(machines):
        machine.hear_nothing_until(int(end[row]))
        assert told_by(happened, row) == machine.told


@given(RULES, READINGS)
@settings(deadline=None)
def test_a_firing_is_never_followed_by_a_firing_without_a_resolve(
    rules: list[tuple[int, int, int, int]], steps: list[tuple[int, int, int]]
) -> None:
    evaluations = [(row % len(rules), at, verdict) for at, (row, _, verdict) in enumerate(steps)]
    _, happened = advance(timing_of(rules), at_rest(len(rules)), series_of(evaluations))
    for row in range(len(rules)):
        words = [word for word, *_ in told_by([happened], row) if word in ("firing", "resolved")]
        assert all(pair != ("firing", "firing") for pair in itertools.pairwise(words))


@given(st.sampled_from([UNKNOWN, OK, A_BREACH]), READINGS)
@settings(deadline=None)
def test_noticing_silence_early_changes_nothing_that_is_told(no_data: int, steps: list[tuple[int, int, int]]) -> None:
    timing = timing_of([(2, 3, 6, no_data)])
    told = []
    for watches in (False, True):
        at, state, happened = 0, at_rest(1), []
        for _, gap, verdict in steps:
            at += gap
            if watches:
                state, transitions = hush(timing, state, np.array([0]), np.array([at - 1]))
                happened.append(transitions)
            state, transitions = advance(timing, state, series_of([(0, at, verdict)]))
            happened.append(transitions)
        told.append(told_by(happened, 0))
    assert told[0] == told[1]


def frozen(state: State) -> State:
    for column in vars(state).values():
        column.setflags(write=False)
    return state


def test_the_state_given_is_not_changed() -> None:
    timing = timing_of([(0, 0, 60, UNKNOWN)])
    state, _ = advance(timing, frozen(at_rest(1)), series_of([(0, 1, BREACH)]))
    assert list(state.active) == [0]
    later, happened = advance(timing, frozen(state), series_of([(0, 2, CLEAR)]))
    assert list(later.active) == []
    assert told_by([happened], 0) == [("resolved", 2, 1, 1)]


def test_thousands_of_readings_of_one_meter_cost_as_many_steps_as_there_are_crossings() -> None:
    seconds = np.arange(1_000_000, dtype=np.int64)
    verdict = np.where(seconds // 100_000 % 2, BREACH, CLEAR).astype(np.int8)
    series = Series(np.zeros_like(seconds), seconds, seconds.astype(float), verdict)
    _, happened = advance(timing_of([(10, 0, 60, UNKNOWN)]), at_rest(1), series)
    assert [word for word, *_ in told_by([happened], 0)] == ["pending", "firing", "resolved"] * 4 + [
        "pending",
        "firing",
    ]
    assert told_by([happened], 0)[1] == ("firing", 100_010, 100_000, 100_010)
