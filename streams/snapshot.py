"""The evaluator's snapshot: one message on `alerts.state.v1`, key = slot, from which a restart goes on.

It holds positions and state as they were together, after what they led to was acknowledged: an older
snapshot only means that more is read again, and what is told again has the same ids and transitions.
Machines, inputs and gauges are known by rule, subject and meter, so a snapshot outlives a change of
rules or facility. Arrays travel as their little-endian bytes inside msgpack inside zlib.
"""

from __future__ import annotations

import zlib
from dataclasses import replace
from typing import Any, NamedTuple

import msgspec
import numpy as np

from schemas.errors import DataLossError, RejectedRecordError
from streams.alert_state import INACTIVE, State
from streams.closings import Bound, Closings, Stream
from streams.condition import Ints
from streams.evaluate import Evaluator
from streams.gauge import KEYS, Gauges
from streams.job_book import JobBook
from streams.reading_rules import IdleNote
from streams.reading_state import GAUGE_COLUMNS, INPUT_COLUMNS, ReadingState, Waiting, nothing_read
from streams.telling import Machine, machine_of
from streams.watch import Watch
from streams.watches import Watches

VERSION = 2
TOPIC = "alerts.state.v1"
MOST_DECODED_BYTES = 256_000_000

_MACHINE_COLUMNS = ("phase", "is_stale", "start", "fired", "kept", "seen")


class Columns(msgspec.Struct, frozen=True, array_like=True):
    """Carry rows as columns: their keys, and each column as (dtype, bytes)."""

    keys: list[list[int]]
    columns: dict[str, tuple[str, bytes]]


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Carry positions and state; times are UTC µs.

    `positions` are the next offsets to read, `topics` the ids of the topics in which they are offsets. `since` is
    the second from which the watch of the reading rules counts; where partitions wait for each other at the next
    one, `positions` lie before what is held. `machines` are those of reading rules. `jobs_heard` is
    the offset up to which records of jobs count in the windows that were told.
    """

    version: int = VERSION
    topics: dict[str, str] = {}
    positions: dict[str, dict[int, int]]
    kept_from: int
    told_through: int
    since: int
    jobs_heard: int = 0
    bounds: list[tuple[str, int, int, int, bool]]
    notes: list[tuple[int, int, int | None]]
    watermark: list[int]
    is_open: list[bool]
    inputs: Columns
    gauges: Columns
    waiting: Columns
    machines: list[Machine]
    machine_state: Columns
    sum_machines: list[Machine]
    sum_machine_state: Columns

    def encode(self) -> bytes:
        """Return the value of the message."""
        return zlib.compress(msgspec.msgpack.encode(self), 1)


class Restored(NamedTuple):
    """Hold an evaluator as it was, where its inputs go on, and the machines that nothing watches any more."""

    evaluator: Evaluator
    positions: dict[Stream, int]
    orphans: list[tuple[Machine, dict[str, int]]]


def decode(value: bytes) -> Snapshot:
    """Return a snapshot.

    Raises RejectedRecordError for what is no snapshot (an older one will do), DataLossError for one of a version
    that is not ours: reading on from an older one would undo what the other program has told.
    """
    try:
        packed = zlib.decompressobj().decompress(value, MOST_DECODED_BYTES)
        version = msgspec.msgpack.decode(packed, type=dict[str, Any])["version"]
        if version == VERSION:
            return msgspec.msgpack.decode(packed, type=Snapshot)
    except (zlib.error, msgspec.MsgspecError, KeyError) as error:
        raise RejectedRecordError("wrong_schema", f"is not a snapshot of an evaluator ({error})") from error
    raise DataLossError(f"the snapshot on {TOPIC} has version {version!r}, this program reads {VERSION}; {_NEXT_STEP}")


_NEXT_STEP = (
    f"run the version that wrote it, or take it away with `echo SLOT: | kcat -P -Z -K: -b HOST:PORT -t {TOPIC}`, SLOT "
    "being who stops here, as evaluate-0: the inputs are then read again from the start of their logs"
)


def take(evaluator: Evaluator, positions: dict[str, dict[int, int]]) -> Snapshot:
    """Return the snapshot of an evaluator that has told all it has to tell.

    `positions` are the next offsets of the topics that the evaluator does not keep positions of itself.
    """
    rules, sums = evaluator.readings, evaluator.sums
    watch, readings, resume = rules.watch, rules.readings, sums.closings.resume()
    heard = np.flatnonzero(readings.partition >= 0)
    spoke = np.unique(watch.gauges.gauge[heard])
    keys = watch.gauges.table.select(KEYS).to_numpy()
    whose = watch.gauges.subjects.select(KEYS[:3]).to_numpy()
    fed = readings.waiting.input
    return Snapshot(
        positions=positions | {"telemetry.power.v1": dict(rules.next_offsets), "windows.rack.v1": {0: resume.offset}},
        kept_from=resume.kept_from,
        told_through=sums.told_through,
        jobs_heard=sums.jobs.heard,
        since=rules.since,
        bounds=[(*stream, *bound) for stream, bound in resume.bounds.items()],
        notes=[(partition, *note) for partition, note in rules.notes.items()],
        watermark=readings.watermark.tolist(),
        is_open=readings.is_open.tolist(),
        inputs=_packed(keys[heard], {name: getattr(readings, name)[heard] for name in INPUT_COLUMNS}),
        gauges=_packed(whose[spoke], {name: getattr(readings, name)[spoke] for name in GAUGE_COLUMNS}),
        waiting=_packed(keys[fed], {name: getattr(readings.waiting, name) for name in Waiting._fields[1:]}),
        machines=[machine_of(watch, row) for row in rules.machines.active.tolist()],
        machine_state=_packed_machines(rules.machines),
        sum_machines=[machine_of(sums.watch, row) for row in sums.machines.active.tolist()],
        sum_machine_state=_packed_machines(sums.machines),
    )


def restore(snapshot: Snapshot, watches: Watches, streams: list[Stream], book: JobBook | None = None) -> Restored:
    """Return the evaluator that `snapshot` was taken of, as far as `watches` still watch the same.

    `book` are the jobs as they are known now: what records changed since the snapshot is told again.
    """
    evaluator = Evaluator(
        watches, streams, since=snapshot.since, told_through=snapshot.told_through, book=book, heard=snapshot.jobs_heard
    )
    rules, sums = evaluator.readings, evaluator.sums
    # Of a partition that was added since: what was told was told without it, what comes waits for it.
    bounds = dict.fromkeys(streams, Bound(told=snapshot.told_through))
    bounds |= {each[:2]: Bound(*each[2:]) for each in snapshot.bounds}
    at = snapshot.positions["windows.rack.v1"][0]
    sums.closings = Closings(streams, bounds=bounds, evaluated=snapshot.kept_from, next_offset=at)
    rules.notes = {partition: IdleNote(offset, reached) for partition, offset, reached in snapshot.notes}
    rules.go_on_at(snapshot.positions.get("telemetry.power.v1", {}))
    rules.readings = _readings(snapshot, rules.watch.gauges, rules.readings)
    orphans = _put_machines(snapshot.machines, snapshot.machine_state, rules.machines, rules.watch, rules.watch.gauge)
    orphans += _put_machines(
        snapshot.sum_machines, snapshot.sum_machine_state, sums.machines, sums.watch, sums.watch.subject
    )
    positions = {(topic, number): offset for topic, at in snapshot.positions.items() for number, offset in at.items()}
    return Restored(evaluator, positions, orphans)


def _packed_machines(state: State) -> Columns:
    active = state.active
    return _packed(np.zeros((0, 0)), {name: getattr(state, name)[active] for name in _MACHINE_COLUMNS})


def _put_machines(
    machines: list[Machine], packed: Columns, state: State, watch: Watch, judged: Ints
) -> list[tuple[Machine, dict[str, int]]]:
    """Put each machine at its rule row, of those that are judged (≥ 0); return the active ones that have none."""
    rows = {key: row for row, key in enumerate(watch.keys) if judged[row] >= 0}
    columns = _unpacked(packed)
    orphans = []
    for nth, machine in enumerate(machines):
        row = rows.get((machine.rule, machine.subject_kind, machine.subject))
        if row is not None:
            for name, column in columns.items():
                getattr(state, name)[row] = column[nth]
        elif columns["phase"][nth] != INACTIVE:
            orphans.append((machine, {name: int(column[nth]) for name, column in columns.items()}))
    return orphans


def _readings(snapshot: Snapshot, gauges: Gauges, fresh: ReadingState) -> ReadingState:
    state = nothing_read(gauges, max(len(snapshot.watermark), len(fresh.watermark)))
    state.watermark[: len(snapshot.watermark)] = snapshot.watermark
    state.is_open[: len(snapshot.is_open)] = snapshot.is_open
    state.is_open[len(fresh.is_open) :] = True  # of a log that was made anew with fewer: the others bound nothing
    inputs = {key: index for index, key in enumerate(gauges.table.select(KEYS).rows())}
    subjects = {key: index for index, key in enumerate(gauges.subjects.select(KEYS[:3]).rows())}
    _put(state, snapshot.inputs, inputs)
    _put(state, snapshot.gauges, subjects)
    known, where = _known(snapshot.waiting, inputs)
    columns = {name: column[known] for name, column in _unpacked(snapshot.waiting).items()}
    return replace(state, waiting=Waiting(input=where, **columns))


def _put(state: ReadingState, columns: Columns, index: dict[tuple[int, ...], int]) -> None:
    known, where = _known(columns, index)
    for name, column in _unpacked(columns).items():
        getattr(state, name)[where] = column[known]


def _known(columns: Columns, index: dict[tuple[int, ...], int]) -> tuple[Ints, Ints]:
    """Return which rows of the snapshot are still known, and where."""
    found = [(nth, index[tuple(key)]) for nth, key in enumerate(columns.keys) if tuple(key) in index]
    pairs = np.array(found, dtype=np.int64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def _packed(keys: np.ndarray[Any, Any], columns: dict[str, np.ndarray[Any, Any]]) -> Columns:
    packed = {}
    for name, column in columns.items():
        little = np.ascontiguousarray(column).astype(column.dtype.newbyteorder("<"), copy=False)
        packed[name] = (little.dtype.str, little.tobytes())
    return Columns(keys.astype(np.int64).tolist(), packed)


def _unpacked(columns: Columns) -> dict[str, np.ndarray[Any, Any]]:
    return {name: np.frombuffer(raw, dtype=np.dtype(dtype)) for name, (dtype, raw) in columns.columns.items()}
