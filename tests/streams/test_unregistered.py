"""Who reports and is in no facility is counted and named, and the names are forgotten."""

from __future__ import annotations

import json
from typing import Any

from schemas.message import Message
from schemas.timeline import Timeline
from streams import meter_intake
from streams.gpu_intake import take_in
from streams.in_force import InForce
from streams.unregistered import FORGOTTEN_AFTER_SECS, NAMED_EVERY_SECS, Unregistered
from tests.streams.changing import GPU_TOPIC, METER_TOPIC, SECOND, START, Change, Plan, versions
from wattline.summary import unknown_line

KNOWN = {"k01": ("r01", 1, 2, 20_000.0)}
PUBLISHED = versions(Plan(KNOWN), [Change(10, Plan({**KNOWN, "k02": ("r01", 1, 2, 20_000.0)}))])
TIMELINE = Timeline.of(PUBLISHED, "wall")
IN_FORCE = InForce.of(TIMELINE)


def message(topic: str, at: int, **said: Any) -> Message:
    line = {"time": START + at * SECOND, "power_watts": 100.0} | said
    return Message(topic, 0, at, START + at * SECOND, b"key", json.dumps(line).encode())


def gpu(at: int, rack: str) -> Message:
    return message(GPU_TOPIC, at, rack=f"ruh/h1/r01/{rack}", node=f"ruh/h1/r01/{rack}/n01", gpu=0)


def hear(unregistered: Unregistered, *messages: Message) -> None:
    for topic in (GPU_TOPIC, METER_TOPIC):
        theirs = [each for each in messages if each.topic == topic]
        if theirs and topic == GPU_TOPIC:
            intake, _ = take_in(theirs, TIMELINE, IN_FORCE, "wall")
            unregistered.hear_gpus(theirs, intake.rows, IN_FORCE, TIMELINE.places)
        elif theirs:
            log, _ = meter_intake.take_in(theirs, TIMELINE, IN_FORCE, "wall")
            unregistered.hear_meters(theirs, log, IN_FORCE, TIMELINE.places)


def meter(at: int, path: str) -> Message:
    return message(METER_TOPIC, at, meter=path, level=6)


def test_a_rack_that_nobody_registered_is_named_as_it_was_sent_once_for_its_gpus_and_meters() -> None:
    unregistered = Unregistered()
    hear(
        unregistered,
        gpu(1, "k01"),
        gpu(1, "k07"),
        gpu(2, "k07"),
        meter(2, "ruh/h1/r01/k07/in-a"),
        meter(2, "ruh/grid-2"),
    )
    assert unregistered.rows == 4
    assert unregistered.names() == ("ruh/grid-2", "ruh/h1/r01/k07")


def test_a_rack_is_unknown_until_the_second_from_which_it_is_registered() -> None:
    unregistered = Unregistered()
    hear(unregistered, gpu(9, "k02"))
    assert (unregistered.rows, unregistered.names()) == (1, ("ruh/h1/r01/k02",))
    hear(unregistered, gpu(10, "k02"))
    assert unregistered.rows == 1


def test_an_id_of_nobody_is_named_by_its_number() -> None:
    unregistered = Unregistered()
    hear(unregistered, message(GPU_TOPIC, 1, rack=77, node=770, gpu=0), message(METER_TOPIC, 1, meter=99, level=6))
    assert unregistered.names() == ("meter 99", "rack 77")


def test_every_row_is_counted_names_are_looked_for_now_and_then_and_forgotten() -> None:
    now = [0.0]
    unregistered = Unregistered(lambda: now[0])
    hear(unregistered, gpu(1, "k07"))
    hear(unregistered, gpu(2, "k08"))
    assert (unregistered.rows, unregistered.names()) == (2, ("ruh/h1/r01/k07",))
    now[0] = NAMED_EVERY_SECS
    hear(unregistered, gpu(3, "k08"))
    assert unregistered.names() == ("ruh/h1/r01/k07", "ruh/h1/r01/k08")
    now[0] = FORGOTTEN_AFTER_SECS + 1
    assert unregistered.names() == ("ruh/h1/r01/k08",)


def test_the_line_names_the_first_few() -> None:
    assert unknown_line(["ruh/h1/r09/k03"]) == "1 reports and is in no facility, so in no sum: ruh/h1/r09/k03"
    assert unknown_line([f"rack {n}" for n in range(7)]).endswith("rack 0, rack 1, rack 2, rack 3, rack 4 and 2 more")
