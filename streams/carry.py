"""Carry over: what goes on when the facility changes, from one watch to the next. Pure.

Machines are known by rule and subject, inputs by meter, phase and the subject they feed. What is new begins
with nothing; a machine that nothing watches any more ends.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import polars as pl

from schemas.alert import Alert
from streams.alert_state import INACTIVE, State, at_rest
from streams.condition import Bools, Ints
from streams.gauge import KEYS, Gauges
from streams.members import Members
from streams.reading_state import INPUT_COLUMNS, ReadingState, nothing_read
from streams.sums import MISSING, Block
from streams.telling import ended, machine_of
from streams.watch import Watch

_ZERO_WHERE_ABSENT = frozenset({"utilization_count", "expected", "reporting", "readings", "digest"})


def carried_machines(before: Watch, state: State, after: Watch, is_judged: Bools) -> tuple[State, list[Alert]]:
    """Return the machines of `before` as those of `after`, and the ends of those that are watched no more.

    `is_judged`: the rule rows of `after` that this evaluator part judges; another part begins the others anew.
    """
    carried, alerts = at_rest(len(after.table)), []
    rows = {key: row for row, key in enumerate(after.keys) if is_judged[row]}
    keys = before.keys
    for row in state.active.tolist():
        now = rows.get(keys[row])
        if now is not None:
            for column in fields(State):
                getattr(carried, column.name)[now] = getattr(state, column.name)[row]
        elif state.phase[row] != INACTIVE:
            remembered = {column.name: int(getattr(state, column.name)[row]) for column in fields(State)}
            alerts.append(ended(machine_of(before, row), remembered))
    return carried, alerts


def carried_readings(before: Gauges, state: ReadingState, after: Gauges) -> ReadingState:
    """Return what was read for the inputs of `before` as what was read for those of `after`."""
    carried = nothing_read(after, len(state.watermark))
    carried.watermark[:], carried.is_open[:] = state.watermark, state.is_open
    to = _places(before.table, after.table, KEYS)
    heard = np.flatnonzero((state.partition >= 0) & (to >= 0))
    _put(carried, state, INPUT_COLUMNS, heard, to[heard])
    gauges = _places(before.subjects, after.subjects, KEYS[:3])
    kept = np.flatnonzero(gauges >= 0)
    _put(carried, state, ("told_at", "told_value"), kept, gauges[kept])
    # The newest of a gauge is that of the inputs that it has now.
    np.maximum.at(carried.newest, after.gauge, carried.heard)
    waiting = state.waiting.pick(to[state.waiting.input] >= 0)
    return ReadingState(**_columns(carried) | {"waiting": waiting._replace(input=to[waiting.input])})


def realigned(block: Block, before: Members, after: Members) -> Block:
    """Return a block of the subjects of `before` as one of those of `after`: who was not there said nothing."""
    to = _places(after.subjects, before.subjects, ["subject_kind", "subject"])
    there = to >= 0
    columns = {}
    for column in fields(Block):
        values = getattr(block, column.name)
        if column.name != "seconds":
            absent = 0 if column.name in _ZERO_WHERE_ABSENT else MISSING
            values = np.where(there, values[:, np.where(there, to, 0)], absent)
        columns[column.name] = values
    return Block(**columns)


def _places(of: pl.DataFrame, among: pl.DataFrame, keys: list[str]) -> Ints:
    """Return, for each row of `of`, the row of `among` with the same keys, −1 where there is none."""
    index = among.select(keys).with_row_index("_index")
    joined = of.select(keys).join(index, on=keys, how="left", maintain_order="left")
    found: Ints = joined["_index"].cast(pl.Int64).fill_null(-1).to_numpy()
    return found


def _put(carried: ReadingState, state: ReadingState, names: tuple[str, ...], rows: Ints, to: Ints) -> None:
    for name in names:
        getattr(carried, name)[to] = getattr(state, name)[rows]


def _columns(state: ReadingState) -> dict[str, Any]:
    return {column.name: getattr(state, column.name) for column in fields(ReadingState)}
