"""The lake admits by the facility in force in each second, as the streams do."""

from __future__ import annotations

import json

import polars as pl

from schemas.message import Message
from schemas.timeline import Timeline
from sinks.lake.rows import read_rows
from tests.streams.changing import METER_TOPIC, SECOND, START, Change, Plan, versions


def test_an_absurd_reading_is_held_against_the_nameplate_of_its_second() -> None:
    """The first is of a rack that is not registered yet: nobody knows its nameplate, and it keeps its id."""
    rack = ("r01", 1, 2, 20_000.0)
    published = versions(Plan({"k01": rack}), [Change(10, Plan({"k01": rack, "k02": rack}))])
    timeline = Timeline.of(published, "wall")
    path = timeline.newest.meters.filter(pl.col("path").str.contains("/k02/"))["path"][0]
    messages = []
    for offset, second in enumerate((9, 10)):
        said = {"time": START + second * SECOND, "meter": path, "power_watts": 60_000.0}
        messages.append(Message(METER_TOPIC, 0, offset, said["time"], b"", json.dumps(said).encode()))
    rows = read_rows(METER_TOPIC, messages, timeline, "wall")["power"]
    assert rows["_offset"].to_pylist() == [0]
    assert rows["unregistered_path"].to_pylist() == [None]
