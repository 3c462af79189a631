"""The readers of MLPerf's logs: node power logs with their markers, job logs, loadgen's power interval."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sources.recorded import mllog
from sources.recorded.log import FileLog, Span

T0 = 1_715_874_513_845


def event(key: str, seconds: float, value: object = None, **more: object) -> str:
    stamp = {"namespace": "", "time_ms": T0 + round(seconds * 1000), "event_type": "POINT_IN_TIME"}
    return f":::MLLOG {json.dumps({**stamp, 'key': key, 'value': value, 'metadata': '', **more})}"


def start(seconds: float) -> str:
    return event("power_measurement_start", seconds)


def reading(seconds: float, watts: object) -> str:
    return event("power_reading", seconds, watts)


def stop(seconds: float) -> str:
    return event("power_measurement_stop", seconds)


def read(tmp_path: Path, *lines: str, end: str = "\n") -> FileLog:
    path = tmp_path / "node_1.txt"
    path.write_text(end.join(lines) + end, newline="")
    return mllog.read_node(path)


def spans(log: FileLog) -> list[tuple[float, float]]:
    return [((span.started / 1000 - T0) / 1000, (span.ended / 1000 - T0) / 1000) for span in log.meters[0].spans]


def test_a_node_log_gives_readings_and_the_span_between_its_markers(tmp_path: Path) -> None:
    log = read(tmp_path, start(-0.5), reading(0, 4407), reading(2, 3506), stop(2.5))
    readings = log.meters[0].readings
    assert readings.select("phase", "power_watts").rows() == [(0, 4407.0), (0, 3506.0)]
    assert str(readings["time"][0]) == "2024-05-16 15:48:33.845000"
    assert readings["apparent_va"].null_count() == 2
    assert spans(log) == [(-0.5, 2.5)]


def test_a_stop_marker_that_carries_the_time_of_the_start_ends_the_span_at_the_last_reading(tmp_path: Path) -> None:
    assert spans(read(tmp_path, start(0), reading(0, 1), reading(8, 2), stop(0))) == [(0, 8)]


def test_a_missing_stop_marker_ends_the_span_at_the_last_reading(tmp_path: Path) -> None:
    assert spans(read(tmp_path, start(0), reading(1, 1), reading(8, 2))) == [(0, 8)]


def test_a_missing_start_marker_begins_the_span_at_the_first_reading(tmp_path: Path) -> None:
    assert spans(read(tmp_path, reading(1, 1), reading(8, 2), stop(9))) == [(1, 9)]


def test_a_meter_started_twice_has_two_spans(tmp_path: Path) -> None:
    lines = [start(0), reading(1, 1), stop(2), start(10), reading(11, 1), start(20), reading(21, 1), stop(22)]
    assert spans(read(tmp_path, *lines)) == [(0, 2), (10, 11), (20, 22)]


def test_markers_without_a_reading_give_no_span(tmp_path: Path) -> None:
    log = read(tmp_path, start(0), stop(2))
    assert log.meters[0].readings.is_empty()
    assert log.meters[0].spans == ()


def test_stamps_that_go_back_end_the_span_at_the_latest(tmp_path: Path) -> None:
    log = read(tmp_path, start(0), reading(5, 1), reading(3, 2), reading(3, 3))
    assert spans(log) == [(0, 5)]
    assert log.meters[0].readings["power_watts"].to_list() == [2, 3, 1]


@pytest.mark.parametrize(
    ("value", "watts"), [(0, 0.0), (-42, -42.0), (4407.5, 4407.5), ("4407.5", 4407.5), (25_000, 25_000.0)]
)
def test_a_value_may_be_any_number_or_a_number_as_text(tmp_path: Path, value: object, watts: float) -> None:
    log = read(tmp_path, reading(0, value))
    assert log.meters[0].readings["power_watts"].to_list() == [watts]
    assert log.unread == ()


@pytest.mark.parametrize("value", [None, True, "n/a", [1], {"watts": 1}])
def test_a_value_that_is_no_number_is_named(tmp_path: Path, value: object) -> None:
    log = read(tmp_path, reading(0, 1), reading(2, value))
    assert [line.line for line in log.unread] == [2]
    assert log.meters[0].readings.height == 1


@pytest.mark.parametrize("stamp", [-1, 10**23, None, "soon", 1e300])
def test_a_stamp_that_is_no_time_is_named(tmp_path: Path, stamp: object) -> None:
    log = read(tmp_path, reading(0, 1), event("power_reading", 0, 5, time_ms=stamp))
    assert [line.line for line in log.unread] == [2]
    assert log.meters[0].readings.height == 1


def test_damaged_lines_are_named_and_cost_no_neighbour(tmp_path: Path) -> None:
    nested = ':::MLLOG {"key": "power_reading", "value": ' + "[" * 5_000
    log = read(tmp_path, start(0), reading(1, 1), "", "slurmstepd: error", reading(2, 2)[:-9], nested, reading(3, 3))
    assert log.meters[0].readings["power_watts"].to_list() == [1, 3]
    assert [line.line for line in log.unread] == [4, 5, 6]


def test_line_ends_of_windows_a_byte_order_mark_and_a_cut_last_line(tmp_path: Path) -> None:
    path = tmp_path / "node_1.txt"
    path.write_bytes(b"\xef\xbb\xbf" + f"{reading(0, 1)}\r\n{reading(2, 2)}\r\n{reading(4, 3)[:-30]}".encode())
    log = mllog.read_node(path)
    assert log.meters[0].readings["power_watts"].to_list() == [1, 2]
    assert [line.line for line in log.unread] == [3]


def test_what_is_no_reading_is_counted_beside(tmp_path: Path) -> None:
    log = read(tmp_path, event("interconnect_power_est", 0, 59_570), reading(0, 1))
    assert log.beside == {"interconnect_power_est": 1}
    assert log.meters[0].readings.height == 1


def test_a_rank_before_the_mark_is_read_and_two_ranks_are_two_meters(tmp_path: Path) -> None:
    alone = read(tmp_path, f"208: {reading(0, 1)}", f"208: {reading(2, 2)}")
    assert [(meter.name, meter.readings.height) for meter in alone.meters] == [("node_1", 2)]
    mixed = read(tmp_path, f"0: {reading(0, 1)}", f"[rank1]: {reading(0, 2)}", f"0: {reading(2, 3)}")
    assert [(meter.name, meter.readings.height) for meter in mixed.meters] == [("node_1-0", 2), ("node_1-1", 1)]


def test_an_empty_log_has_no_meter(tmp_path: Path) -> None:
    assert read(tmp_path, "").meters == ()


def test_a_job_log_tells_when_the_job_ran_and_how_it_ended(tmp_path: Path) -> None:
    path = tmp_path / "result_1.txt"
    path.write_text(
        "\n".join(
            [
                "+ echo 'Beginning trial 1 of 1'",
                f"  0: {event('submission_benchmark', -10, 'gpt3')}",
                f"  0: {event('run_start', 0)}",
                f"  0: {event('run_stop', 117, metadata={'status': 'success'})}",
                ":::MLLOG {broken run_stop",
            ]
        )
    )
    assert mllog.read_job(path) == mllog.JobLog(T0 * 1000, (T0 + 117_000) * 1000, "success", "gpt3")


def test_loadgen_tells_the_interval_in_utc(tmp_path: Path) -> None:
    path = tmp_path / "mlperf_log_detail.txt"
    lines = [event("power_begin", 0, "07-16-2024 07:44:36.038"), event("power_end", 0, "07-16-2024 07:54:36.043")]
    path.write_text("\n".join(lines))
    assert mllog.read_interval(path) == (Span(1_721_115_876_038_000, 1_721_116_476_043_000),)


def test_a_bound_that_is_missing_or_no_time_is_none(tmp_path: Path) -> None:
    path = tmp_path / "mlperf_log_detail.txt"
    path.write_text("\n".join([event("power_begin", 0, "yesterday"), event("power_end", 0, "07-16-2024 07:54:36.043")]))
    assert mllog.read_interval(path) == ((None, 1_721_116_476_043_000),)
