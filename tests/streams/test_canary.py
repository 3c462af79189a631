"""The canary: judged as any rack is, and outside all else: no sum, no window, nobody's seconds, no rule of others."""

from __future__ import annotations

import polars as pl
import pytest
from logs import POWER, RULES, START, Logs, Run, busy_hour, newest, small_campus

from schemas import canary, decode
from schemas.admission import admit
from schemas.message import Message
from schemas.meter import METER
from schemas.registry import Registry
from schemas.rule import Rule
from streams.closing import SECOND
from streams.roll_up import METER_TOPIC, RollUp
from streams.watch import Watch, watch
from tests.streams.log import START as LOG_START
from tests.streams.log import Meter, always, meter_frame, meters, play, slots

AHEAD_SECS = 600
IDLE_MICROSECONDS = 3 * SECOND


@pytest.fixture(scope="module")
def campus() -> tuple[Registry, Watch]:
    return small_campus()


def test_its_reading_goes_the_way_of_all_and_becomes_an_alert_of_its_site(campus: tuple[Registry, Watch]) -> None:
    registry, watched = campus
    run = Run.begin(watched, Logs())
    for offset, watts in enumerate((900, 1500, 1500, 0)):
        time = START + offset * SECOND
        value = b'{"time": %d, "meter": "%s", "power_watts": %d}' % (time, canary.METER.encode(), watts)
        message = Message(POWER, 1, offset, time, canary.KEY, value)
        rows = admit(METER, decode.decode(POWER, [message], registry).frame, registry, clock="wall").rows
        run.alerts += run.evaluator.read(rows, {1: offset + 1})
    assert [(alert.transition, alert.value) for alert in run.alerts] == [("firing", 1500.0), ("resolved", 0.0)]
    assert {(alert.rule, alert.site, alert.subject, alert.limit) for alert in run.alerts} == {
        ("canary", "canary", canary.RACK, 1000.0)
    }
    assert all(alert.is_canary for alert in run.alerts)


@pytest.mark.parametrize("seed", range(3))
def test_with_it_all_others_are_told_the_same_however_late_their_clocks(
    campus: tuple[Registry, Watch], seed: int
) -> None:
    """Fails where its readings move a watermark: meters with clocks ten minutes behind would seem silent."""
    registry, watched = campus
    alone = Run.begin(watched, busy_hour(registry, seed)).to_the_end()
    logs = busy_hour(registry, seed)
    for partition, messages in logs.power.items():
        for nth, message in enumerate(messages):
            row = {"time": START + (nth + AHEAD_SECS) * SECOND, "phase": 0, "meter": canary.METER_ID}
            place = {"_partition": partition, "_offset": message.offset}
            message.rows.append(row | place | {"power_watts": 1500.0 if nth % 7 == 3 else 0.0})
    beside = Run.begin(watched, logs).to_the_end()
    assert any(alert.is_canary for alert in beside.told())
    assert [alert for alert in beside.told() if not alert.is_canary] == alone.told()
    assert newest(beside.windows).equals(newest(alone.windows))


def test_a_snapshot_carries_its_alert_on(campus: tuple[Registry, Watch]) -> None:
    _, watched = campus
    logs = Logs()
    for second, watts in enumerate((1500.0, 1500.0, 0.0)):
        logs.read(0, second, {canary.METER_ID: watts})
    run = Run.begin(watched, logs)
    run.drain({0: 1, 1: 0}, 0)
    run.come_back(run.snapshot())
    run.to_the_end()
    assert [alert.transition for alert in run.told()] == ["firing", "resolved"]


def test_rules_of_others_do_not_watch_it(campus: tuple[Registry, Watch]) -> None:
    registry, _ = campus
    greedy = Rule(id="any", scope="rack", severity="info", summary="{rack}", above_watts=0.0)
    watched = watch((*RULES, greedy), registry)
    rows = watched.table.filter(pl.col("subject") == canary.RACK_ID)
    assert [watched.rules[rule].id for rule in rows["rule"]] == ["canary"]


def test_roll_up_hears_nothing_of_it_so_an_idle_partition_stays_idle() -> None:
    """Fails where a message without a row that counts wakes a partition: the campus would wait for it for 2 s."""
    log = [[Meter(0.0, 1, 1000)], [Meter(1.0, 1, 1000)]]
    roll_up = RollUp(always(slots(), meters()))
    play(log, roll_up=roll_up)
    at_end = [(METER_TOPIC, 0)]
    assert roll_up.idle(at_end, IDLE_MICROSECONDS)
    its_reading = meter_frame([(2, [Meter(2.0, canary.METER_ID, 1_500_000)])])
    later = IDLE_MICROSECONDS + SECOND
    assert roll_up.feed(METER_TOPIC, canary.outside(its_reading), {0: 3}, later) == []
    (note,) = roll_up.idle(at_end, later)
    assert (note.envelope.kind, note.envelope.to_offset) == ("idle", 3)
    assert note.envelope.watermark == (LOG_START + 1) * SECOND


def test_rows_of_others_pass_in_their_order() -> None:
    rows = pl.DataFrame({"meter": [4, canary.METER_ID, 2, canary.METER_ID]}, schema={"meter": pl.Int32})
    assert canary.outside(rows)["meter"].to_list() == [4, 2]
    others = rows.filter(pl.col("meter") > 0)
    assert canary.outside(others) is others
