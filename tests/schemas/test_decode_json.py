"""JSON: what is read, what paths become, and that one line never costs another."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.decode import decode
from schemas.message import Message
from schemas.place import unregistered_id
from schemas.rejection import Decoded
from schemas.subject import SubjectKind

NOW = 1_767_225_600_000_000
RACK, NODE, METER = "ruh/h1/r04/k17", "ruh/h1/r04/k17/n03", "ruh/h1/r04/k17/a"
IDS = {(SubjectKind.RACK, RACK): 11, (SubjectKind.NODE, NODE): 22, (SubjectKind.METER, METER): 33}
REGISTRY = SimpleNamespace(
    id_of=lambda kind, path: IDS.get((kind, path)),
    path_of=lambda kind, place: {(k, known): path for (k, path), known in IDS.items()}.get((kind, place)),
    meters=pl.DataFrame({"meter": [33], "level": [6]}, schema={"meter": pl.Int32, "level": pl.Int8}),
)


def gpu(value: bytes | dict[str, Any], **more: Any) -> Decoded:
    return _decode("telemetry.gpu.v1", value, **more)


def power(value: bytes | dict[str, Any], **more: Any) -> Decoded:
    return _decode("telemetry.power.v1", value, **more)


def _decode(topic: str, value: bytes | dict[str, Any], registry: Any = REGISTRY, headers: Any = ()) -> Decoded:
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return decode(topic, [Message(topic, 0, 5, NOW, None, text, headers)], registry)


def test_registered_paths_become_their_ids() -> None:
    frame = gpu({"time": NOW, "rack": RACK, "node": NODE, "gpu": 3, "power_watts": 700}).frame
    assert frame.select("rack", "node", "gpu", "power_watts", "_name").rows() == [(11, 22, 3, 700.0, None)]


def test_an_unregistered_path_keeps_its_name_under_a_stable_negative_id() -> None:
    frame = power({"time": NOW, "meter": "dmm/h9/x"}).frame
    assert frame.select("meter", "_name").rows() == [(unregistered_id("dmm/h9/x"), "dmm/h9/x")]
    assert -(2**31) <= frame["meter"][0] < 0


def test_of_rack_and_node_unregistered_the_node_stands_as_the_name() -> None:
    frame = gpu({"time": NOW, "rack": RACK, "node": NODE, "gpu": 0}, registry=None).frame
    assert frame["_name"].to_list() == [NODE]


def test_a_meter_without_phase_is_its_total_and_its_level_is_the_registrys() -> None:
    assert power({"time": NOW, "meter": METER}).frame.select("phase", "level").rows() == [(0, 6)]
    assert power({"time": NOW, "meter": METER, "level": 5, "phase": 2}).frame.select("phase", "level").rows() == [
        (2, 5)
    ]
    assert power({"time": NOW, "meter": 99}).frame["level"].to_list() == [None]


@pytest.mark.parametrize(
    "time",
    [NOW, "2026-01-01T00:00:00Z", "2026-01-01T03:00:00+03:00", "2026-01-01T00:00:00.000000000Z", "20260101T000000Z"],
)
def test_times_are_microseconds_or_iso_with_a_zone(time: int | str) -> None:
    assert power({"time": time, "meter": 1}).frame["time"].to_physical().to_list() == [NOW]


def test_a_time_finer_than_a_microsecond_is_refused_and_not_cut() -> None:
    refused = power({"time": "2026-01-01T00:00:00.123456789Z", "meter": 1}).refused
    assert refused.select("reason", "field").rows() == [("bad_time", "time")]


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b"\n\n"])
def test_lines_are_numbered_as_they_stand_in_the_message(ending: bytes) -> None:
    line = json.dumps({"time": NOW, "meter": 1}).encode()
    decoded = power(ending.join([line, b"oops", line]) + ending)
    step = ending.count(b"\n")
    assert decoded.frame["_row"].to_list() == [0, 2 * step]
    assert decoded.refused["row"].to_list() == [step]


def test_one_object_may_be_printed_over_several_lines() -> None:
    decoded = power(json.dumps({"time": NOW, "meter": 1, "power_watts": 5.0}, indent=2).encode())
    assert decoded.frame.select("power_watts", "_row").rows() == [(5.0, 0)]


@pytest.mark.parametrize(
    "content_type", [b"application/json", b"Application/JSON; charset=utf-8", b"application/x-ndjson"]
)
def test_json_may_be_named_by_its_content_type(content_type: bytes) -> None:
    assert power({"time": NOW, "meter": 1}, headers=(("content-type", content_type),)).frame.height == 1


def test_a_node_whose_rack_is_named_by_id_is_held_against_it() -> None:
    assert gpu({"time": NOW, "rack": 11, "node": NODE, "gpu": 0}).refused.is_empty()
    elsewhere = gpu({"time": NOW, "rack": 11, "node": "ruh/h1/r04/k18/n03", "gpu": 0})
    assert elsewhere.refused.select("reason", "field").rows() == [("bad_path", "node")]


def test_escaped_text_is_read_and_not_taken_for_a_double_field() -> None:
    assert power(b'{"time":%d,"meter":"ruh\\/h1"}' % NOW).frame["_name"].to_list() == ["ruh/h1"]
    assert power(b'{"time":%d,"m\\u0065ter":1}' % NOW).frame.height == 1
    twice = power(b'{"time":%d,"meter":1,"m\\u0065ter":2}' % NOW)
    assert twice.refused["reason"].to_list() == ["not_json"]


def test_the_full_range_of_every_integer_passes_decoding() -> None:
    low, high = -(2**63), 2**63 - 1
    line = {"time": NOW, "rack": 1, "node": 1, "gpu": 0, "throttle_reasons": low, "memory_used_bytes": high}
    assert gpu(line).frame.select("throttle_reasons", "memory_used_bytes").rows() == [(low, high)]


def test_a_number_beyond_its_column_is_out_of_range_and_not_infinite() -> None:
    refused = gpu({"time": NOW, "rack": 1, "node": 1, "gpu": 0, "power_watts": 1e39}).refused
    assert refused.select("reason", "field", "value").rows() == [("out_of_range", "power_watts", "1e+39")]


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
known = st.sampled_from(["time", "meter", "phase", "level", "power_watts", "energy_joules", "quality"])


@settings(max_examples=80, deadline=None)
@given(st.dictionaries(known | st.text(max_size=10), anything, max_size=6))
def test_any_json_between_good_lines_raises_nothing_and_costs_no_line(bad: dict[str, Any]) -> None:
    good = json.dumps({"time": NOW, "meter": 1}).encode()
    decoded = power(b"\n".join([good, json.dumps(bad).encode(), good]))
    rows, refused = decoded.frame["_row"].to_list(), decoded.refused["row"].to_list()
    assert sorted(rows + refused) == [0, 1, 2]
    assert {0, 2} <= set(rows)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60).filter(lambda noise: not noise.startswith(b"\xff\xff\xff\xff")))
def test_any_bytes_between_good_lines_raise_nothing_and_cost_no_line(noise: bytes) -> None:
    good = json.dumps({"time": NOW, "meter": 1}).encode()
    decoded = power(b"\n".join([good, noise, good]))
    assert {0, 2 + noise.count(b"\n")} <= set(decoded.frame["_row"])
