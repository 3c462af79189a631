"""A snapshot is small, says its version, and ends what is no longer watched."""

from __future__ import annotations

import zlib

import msgspec
import pytest
from logs import RULES, STREAMS, Run, busy_hour, small_campus

from schemas.errors import DataLossError, RejectedRecordError
from schemas.registry import Registry
from streams.snapshot import VERSION, decode, restore
from streams.telling import ended
from streams.watch import Watch, watch
from streams.watches import Watches


@pytest.fixture(scope="module")
def campus() -> tuple[Registry, Watch]:
    return small_campus()


def busy(campus: tuple[Registry, Watch], seed: int = 3) -> Run:
    registry, watched = campus
    run = Run.begin(watched, busy_hour(registry, seed))
    run.drain({0: 25, 1: 25}, 80)
    return run


def test_what_is_restored_is_what_was_taken(campus: tuple[Registry, Watch]) -> None:
    run = busy(campus)
    before = decode(run.snapshot())
    run.come_back(run.snapshot())
    after = decode(run.snapshot())
    assert len(before.machines) > 3
    assert msgspec.structs.replace(after, bounds=before.bounds) == before
    assert {tuple(bound) for bound in after.bounds} == {tuple(bound) for bound in before.bounds}


def test_a_snapshot_of_another_version_stops_with_the_next_step_and_garbage_is_none(
    campus: tuple[Registry, Watch],
) -> None:
    packed = msgspec.msgpack.decode(zlib.decompress(busy(campus).snapshot()))
    assert packed["version"] == VERSION
    newer = zlib.compress(msgspec.msgpack.encode(packed | {"version": VERSION + 1}))
    torn = busy(campus).snapshot()[:-20]
    with pytest.raises(DataLossError, match=r"alerts\.state\.v1 has version 3.* run the version that wrote it"):
        decode(newer)
    for value in (torn, b"", b"\x00garbage", zlib.compress(b"[]")):
        with pytest.raises(RejectedRecordError, match="is not a snapshot"):
            decode(value)


def test_an_alert_that_no_rule_watches_any_more_is_ended(campus: tuple[Registry, Watch]) -> None:
    registry, _ = campus
    run = busy(campus)
    firing = {alert.id: alert for alert in run.alerts if alert.rule == "rack-high"}
    value = run.snapshot()
    fewer = watch([rule for rule in RULES if rule.id != "rack-high"], registry)
    restored = restore(decode(value), Watches.always(fewer), STREAMS)
    ends = [ended(machine, state) for machine, state in restored.orphans]
    assert ends and all(end.rule == "rack-high" and end.transition == "resolved" for end in ends)
    assert all((end.start, end.fired) == (firing[end.id].start, firing[end.id].fired) for end in ends)
    known = {machine.rule for machine in decode(value).machines} - {"rack-high"}
    kept = [row for part in (restored.evaluator.readings, restored.evaluator.sums) for row in part.machines.active]
    assert {fewer.rules[fewer.table["rule"][int(row)]].id for row in kept} == known
