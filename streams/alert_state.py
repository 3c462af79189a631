"""The alert's state machine: inactive → pending → firing → keeping → resolved, for all rule rows at once.

State and evaluations are columns; `advance` walks over the runs of a series (streams/condition.py),
all rules with a run of the same rank in one step, so a recorded log with thousands of readings of
one meter costs as many steps as the log has crossings. Pure: the state given is never changed.

The words of the transitions are those of schemas/alert.py. Silence is judged by event time only: a
gap of more than `silence` between two evaluations, or `hush` when the subject's log has moved on.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np

from streams.condition import BREACH, CLEAR, UNSURE, Bools, Codes, Ints, Runs, Series, cut, first_at_or_after

INACTIVE, PENDING, FIRING, KEEPING = 0, 1, 2, 3
TRANSITIONS = ("pending", "firing", "stale", "keeping", "continued", "resolved")
TO_PENDING, TO_FIRING, TO_STALE, TO_KEEPING, TO_CONTINUED, TO_RESOLVED = range(6)
NEVER = np.iinfo(np.int64).min
"""The time of what has not happened."""


UNKNOWN, OK, A_BREACH = 0, 1, 2
"""What silence means (`no_data`): nobody knows, all is well, or a breach from then on."""


class Timing(NamedTuple):
    """Hold, per rule row, `for_secs`, `keep_firing_secs`, `no_data_after_secs` in µs, and `no_data`."""

    hold: Ints
    keep: Ints
    silence: Ints
    no_data: Codes


@dataclass(frozen=True)
class State:
    """Hold one machine a rule row; times are UTC µs, NEVER where they have not come.

    `phase` · `is_stale` · `start` of the breach · `fired` · `kept` since when it is below clear ·
    `seen` the last evaluation, of a machine that is not inactive or to which silence is a breach.
    """

    phase: Codes
    is_stale: Bools
    start: Ints
    fired: Ints
    kept: Ints
    seen: Ints

    def copy(self) -> State:
        """Return a state that shares no array with this one."""
        return State(*(getattr(self, field.name).copy() for field in fields(self)))

    @property
    def active(self) -> Ints:
        """Return the rule rows whose machine has anything to remember."""
        return np.flatnonzero((self.phase != INACTIVE) | (self.seen != NEVER))


class Transitions(NamedTuple):
    """Hold what happened, in order: rule row, transition code, its time, the alert's start and firing.

    `where` is the index of the evaluation in the series, −1 where silence is the cause.
    """

    row: Ints
    code: Ints
    at: Ints
    start: Ints
    fired: Ints
    where: Ints


def at_rest(rows: int) -> State:
    """Return the state in which no machine has seen a breach."""
    never = np.full(rows, NEVER, dtype=np.int64)
    calm = np.zeros(rows, dtype=np.int8)
    return State(calm, np.zeros(rows, dtype=bool), never, never.copy(), never.copy(), never.copy())


def advance(timing: Timing, state: State, series: Series) -> tuple[State, Transitions]:
    """Take every evaluation of `series` through the machines; return the new state and what happened.

    Transitions come ordered by time, those of one rule row always in the order in which they happened.
    Evaluations of a row must not be older than the last one it has seen.
    """
    runs = _worth_a_step(timing, state, cut(series, timing.silence))
    if len(runs.row) == 0:
        return state, _Log().transitions()
    state, log = state.copy(), _Log()
    order = np.argsort(runs.rank, kind="stable")
    for step in np.split(order, np.cumsum(np.bincount(runs.rank))[:-1]):
        _step(timing, state, series.at, runs.pick(step), log)
    return state, log.transitions()


def hush(timing: Timing, state: State, rows: Ints, now: Ints) -> tuple[State, Transitions]:
    """Note the silence of `rows`, whose logs have reached the event times `now` without an evaluation.

    Where silence means nothing (`no_data` unknown) a pending breach is withdrawn and a firing alert
    becomes stale, both at the instant the silence was too long, whenever that is noticed: noticing
    earlier or later changes nothing.
    """
    is_due = _is_silent(timing, state, rows, now)
    is_told = (state.phase[rows] == FIRING) & (timing.no_data[rows] == A_BREACH)
    is_told |= (state.phase[rows] >= FIRING) & state.is_stale[rows]
    if not (is_due := is_due & ~is_told).any():
        return state, _Log().transitions()
    state, log = state.copy(), _Log()
    _silence(timing, state, rows[is_due], now[is_due], log)
    return state, log.transitions()


def drop(state: State, rows: Ints) -> State:
    """Return the state with the machines of `rows` inactive."""
    state = state.copy()
    _rest(state, rows)
    return state


def _worth_a_step(timing: Timing, state: State, runs: Runs) -> Runs:
    """Leave out the rows that are inactive and stay so: almost all of them, almost always."""
    if len(runs.row) == 0:
        return runs
    begins = np.flatnonzero(runs.rank == 0)
    wakes = np.logical_or.reduceat(runs.verdict == BREACH, begins) | (state.phase[runs.row[begins]] != INACTIVE)
    wakes |= timing.no_data[runs.row[begins]] == A_BREACH
    keep = np.repeat(wakes, np.diff(np.append(begins, len(runs.row))))
    return runs.pick(keep)


def _step(timing: Timing, state: State, at: Ints, runs: Runs, log: _Log) -> None:
    """Take one run of each of some distinct rows through the machines, in place."""
    _silence(timing, state, runs.row, at[runs.first], log)
    phase_before, was_stale = state.phase[runs.row], state.is_stale[runs.row]
    is_breach, is_clear = runs.verdict == BREACH, runs.verdict == CLEAR
    is_over = ~is_breach & (runs.verdict != UNSURE)

    _begin(timing, state, at, runs.pick(is_breach & (phase_before == INACTIVE)), log)
    _fire(timing, state, at, runs.pick(is_breach & (state.phase[runs.row] == PENDING)), log)
    _end(state, at, runs.pick(is_over & (phase_before == PENDING)), log)
    back = is_breach & (phase_before == KEEPING)
    back |= ~is_clear & (phase_before == FIRING) & was_stale
    _continue(state, at, runs.pick(back), log)
    _keep(timing, state, at, runs.pick(is_clear & (phase_before == FIRING)), log)
    _still_keep(timing, state, at, runs.pick(~is_breach & (phase_before == KEEPING)), log)
    _expire(timing, state, at, runs.pick(is_over & (state.phase[runs.row] == KEEPING)), log)
    remembers = (state.phase[runs.row] != INACTIVE) | (timing.no_data[runs.row] == A_BREACH)
    state.seen[runs.row] = np.where(remembers, at[runs.last], NEVER)


def _is_silent(timing: Timing, state: State, rows: Ints, now: Ints) -> Bools:
    silent: Bools = (state.seen[rows] != NEVER) & (now - state.seen[rows] > timing.silence[rows])
    return silent


def _silence(timing: Timing, state: State, rows: Ints, now: Ints, log: _Log) -> None:
    """Do to the silent of `rows` what their rule says of silence, as of the instant when it was too long."""
    is_silent = _is_silent(timing, state, rows, now)
    rows, now = rows[is_silent], now[is_silent]
    if len(rows) == 0:
        return
    due, phase = state.seen[rows] + timing.silence[rows], state.phase[rows]
    is_breach = timing.no_data[rows] == A_BREACH
    is_over = np.where(timing.no_data[rows] == OK, phase != INACTIVE, (phase == PENDING) & ~is_breach)
    is_stale = (phase >= FIRING) & ~is_over & ~is_breach & ~state.is_stale[rows]
    log.add(state, rows[is_over], TO_RESOLVED, due[is_over])
    log.add(state, rows[is_stale], TO_STALE, due[is_stale])
    state.is_stale[rows[is_stale]] = True
    _rest(state, rows[is_over])
    _breach_by_silence(timing, state, rows[is_breach], now[is_breach], log)


def _breach_by_silence(timing: Timing, state: State, rows: Ints, now: Ints, log: _Log) -> None:
    due = state.seen[rows] + timing.silence[rows]
    begins, goes_on = state.phase[rows] == INACTIVE, state.phase[rows] == KEEPING
    state.phase[rows[begins]], state.start[rows[begins]] = PENDING, due[begins]
    waits = begins & (timing.hold[rows] > 0)
    log.add(state, rows[waits], TO_PENDING, due[waits])
    state.phase[rows[goes_on]], state.kept[rows[goes_on]] = FIRING, NEVER
    log.add(state, rows[goes_on], TO_CONTINUED, due[goes_on])
    fires_at = np.maximum(due, state.start[rows] + timing.hold[rows])
    fires = (state.phase[rows] == PENDING) & (fires_at <= now)
    state.phase[rows[fires]], state.fired[rows[fires]] = FIRING, fires_at[fires]
    log.add(state, rows[fires], TO_FIRING, fires_at[fires])


def _begin(timing: Timing, state: State, at: Ints, runs: Runs, log: _Log) -> None:
    state.phase[runs.row] = PENDING
    state.start[runs.row] = at[runs.first]
    waits = timing.hold[runs.row] > 0
    log.add(state, runs.row[waits], TO_PENDING, at[runs.first[waits]], runs.first[waits])


def _fire(timing: Timing, state: State, at: Ints, runs: Runs, log: _Log) -> None:
    where = first_at_or_after(at, runs.first, runs.last, state.start[runs.row] + timing.hold[runs.row])
    held = where <= runs.last
    rows, where = runs.row[held], where[held]
    state.phase[rows], state.fired[rows] = FIRING, at[where]
    log.add(state, rows, TO_FIRING, at[where], where)


def _end(state: State, at: Ints, runs: Runs, log: _Log) -> None:
    log.add(state, runs.row, TO_RESOLVED, at[runs.first], runs.first)
    _rest(state, runs.row)


def _continue(state: State, at: Ints, runs: Runs, log: _Log) -> None:
    state.phase[runs.row], state.is_stale[runs.row], state.kept[runs.row] = FIRING, False, NEVER
    log.add(state, runs.row, TO_CONTINUED, at[runs.first], runs.first)


def _keep(timing: Timing, state: State, at: Ints, runs: Runs, log: _Log) -> None:
    state.phase[runs.row], state.is_stale[runs.row], state.kept[runs.row] = KEEPING, False, at[runs.first]
    waits = timing.keep[runs.row] > 0
    log.add(state, runs.row[waits], TO_KEEPING, at[runs.first[waits]], runs.first[waits])


def _still_keep(timing: Timing, state: State, at: Ints, runs: Runs, log: _Log) -> None:
    """Say so where a stale alert is heard again and goes on keeping; one that ends right now only resolves."""
    was_stale = state.is_stale[runs.row]
    state.is_stale[runs.row] = False
    ends_now = (runs.verdict != UNSURE) & (at[runs.first] >= state.kept[runs.row] + timing.keep[runs.row])
    again = was_stale & ~ends_now
    log.add(state, runs.row[again], TO_KEEPING, at[runs.first[again]], runs.first[again])


def _expire(timing: Timing, state: State, at: Ints, runs: Runs, log: _Log) -> None:
    where = first_at_or_after(at, runs.first, runs.last, state.kept[runs.row] + timing.keep[runs.row])
    over = where <= runs.last
    rows, where = runs.row[over], where[over]
    log.add(state, rows, TO_RESOLVED, at[where], where)
    _rest(state, rows)


def _rest(state: State, rows: Ints) -> None:
    state.phase[rows], state.is_stale[rows] = INACTIVE, False
    for times in (state.start, state.fired, state.kept, state.seen):
        times[rows] = NEVER


class _Log:
    """Collect transitions column by column."""

    def __init__(self) -> None:
        self.parts: list[tuple[Ints, Ints, Ints, Ints, Ints, Ints]] = []

    def add(self, state: State, rows: Ints, code: int, at: Ints, where: Ints | None = None) -> None:
        """Note that `rows` made the transition `code` at `at`; start and firing are those of the moment."""
        if len(rows):
            where = np.full(len(rows), -1) if where is None else where
            self.parts.append((rows, np.full(len(rows), code), at, state.start[rows], state.fired[rows], where))

    def transitions(self) -> Transitions:
        """Return what was noted, ordered by time; the sort is stable, so a row's own order stays."""
        if not self.parts:
            nothing = np.zeros(0, dtype=np.int64)
            return Transitions(nothing, nothing, nothing, nothing, nothing, nothing)
        noted = Transitions(*(np.concatenate(column) for column in zip(*self.parts, strict=True)))
        order = np.argsort(noted.at, kind="stable")
        return Transitions(*(column[order] for column in noted))
