"""The reader of SPEC PTDaemon logs: keys by name, phases, what is unsupported, and lines that are damaged."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from sources.recorded import ptdaemon

THREE_CHANNELS = (
    "Time,07-16-2024 07:37:{second:06.3f},Watts,2362.600000,Volts,239.136667,Amps,3.412333,PF,0.965069,"
    "Mark,2024-07-16_00-16-45_testing,"
    "Ch1,Watts,805.900000,Volts,239.340000,Amps,3.483000,PF,0.966700,"
    "Ch2,Watts,803.600000,Volts,238.690000,Amps,3.486000,PF,0.965800,"
    "Ch3,Watts,753.100000,Volts,239.380000,Amps,3.268000,PF,0.962500"
)
ONE_CHANNEL = "Time,07-16-2024 07:37:{second:06.3f},Watts,{watts},Volts,230.1,Amps,3.4,PF,{factor},Mark,notset"


def one(second: float = 25.854, watts: str = "700.000000", factor: str = "0.96") -> str:
    return ONE_CHANNEL.format(second=second, watts=watts, factor=factor)


def three(second: float = 25.854) -> str:
    return THREE_CHANNELS.format(second=second)


def read(tmp_path: Path, text: str | bytes) -> tuple[pl.DataFrame, list[tuple[int, str]]]:
    path = tmp_path / "spl.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    log = ptdaemon.read(path)
    return log.meters[0].readings, [tuple(line) for line in log.unread]


def test_a_line_of_three_channels_becomes_a_total_and_three_phases(tmp_path: Path) -> None:
    readings, unread = read(tmp_path, three() + "\n")
    assert unread == []
    assert readings["phase"].to_list() == [0, 1, 2, 3]
    assert readings["power_watts"].to_list() == [2362.6, 805.9, 803.6, 753.1]
    assert readings["voltage_volts"].to_list() == [239.136667, 239.34, 238.69, 239.38]
    assert readings["current_amps"].to_list() == [3.412333, 3.483, 3.486, 3.268]
    assert readings["apparent_va"].to_list() == [2362.6 / 0.965069, 805.9 / 0.9667, 803.6 / 0.9658, 753.1 / 0.9625]
    assert readings["quality"].to_list() == [0, 0, 0, 0]
    assert {str(time) for time in readings["time"]} == {"2024-07-16 07:37:25.854000"}


def test_a_line_of_one_channel_becomes_a_total_only(tmp_path: Path) -> None:
    readings, _ = read(tmp_path, one() + "\n")
    assert readings.select("phase", "power_watts").rows() == [(0, 700.0)]


def test_keys_are_read_by_name_in_any_order(tmp_path: Path) -> None:
    line = "Time,07-16-2024 07:37:25.854,Mark,x,PF,0.5,Amps,2.0,Volts,230.0,Watts,230.0,Ch1,PF,0.5,Watts,230.0"
    readings, unread = read(tmp_path, line + "\n")
    assert unread == []
    assert readings.select("phase", "power_watts", "apparent_va", "current_amps").rows() == [
        (0, 230.0, 460.0, 2.0),
        (1, 230.0, 460.0, None),
    ]


def test_minus_one_is_unsupported_and_zero_and_other_negatives_are_measured(tmp_path: Path) -> None:
    """Zero is a measurement; −42 W is one that admission refuses, which the reader leaves to it."""
    lines = [one(1, "-1.000000", "-1.0"), one(2, "0.000000"), one(3, "-42.000000"), one(4, "25000.000000")]
    readings, unread = read(tmp_path, "\n".join(lines) + "\n")
    assert unread == []
    assert readings["power_watts"].to_list() == [None, 0.0, -42.0, 25_000.0]
    assert readings["apparent_va"].to_list()[0] is None


def test_an_analyser_without_anything_to_say_gives_no_row(tmp_path: Path) -> None:
    readings, unread = read(tmp_path, "Time,07-16-2024 07:37:25.854,Watts,-1,Volts,-1,Amps,-1,PF,-1,Mark,x\n")
    assert (readings.height, unread) == (0, [])


@pytest.mark.parametrize(
    ("factor", "apparent", "quality"), [("0", None, 0), ("nan", None, None), ("1.25", 560.0, 1), ("-0.5", None, 0)]
)
def test_apparent_power_needs_a_positive_factor_and_one_above_1_is_suspect(
    tmp_path: Path, factor: str, apparent: float | None, quality: int | None
) -> None:
    readings, _ = read(tmp_path, one(factor=factor) + "\n")
    assert readings.select("apparent_va", "quality").rows() == [(apparent, quality)]


def test_line_ends_of_windows_and_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    readings, unread = read(tmp_path, b"\xef\xbb\xbf" + f"{three(1)}\r\n{three(2)}\r\n".encode())
    assert (readings.height, unread) == (8, [])


@pytest.mark.parametrize("kept", range(len("Time,"), len(three()), 7))
def test_a_last_line_that_is_cut_off_is_named_and_never_read_as_a_smaller_number(tmp_path: Path, kept: int) -> None:
    readings, unread = read(tmp_path, f"{three(1)}\n{three(2)}\n{three(3)[:kept]}")
    assert readings.height == 8
    assert [line for line, _ in unread] == [3]


def test_a_last_line_without_a_line_end_is_read_when_it_is_whole(tmp_path: Path) -> None:
    readings, unread = read(tmp_path, f"{three(1)}\n{three(2)}")
    assert (readings.height, unread) == (8, [])


def test_damaged_lines_are_named_with_the_reason_and_cost_no_neighbour(tmp_path: Path) -> None:
    lines = [
        three(1),
        "",
        "PTDaemon restarted",
        three(2).replace("07-16-2024", "16-07-2024"),
        three(3)[:60],
        three(4)[:40] + three(4),
        three(5).replace("Watts,2362.600000", "Watts,overload", 1),
        "\0" * 40,
        three(6),
    ]
    readings, unread = read(tmp_path, "\n".join(lines) + "\n")
    assert readings.filter(phase=0).height == 2
    assert unread == [
        (3, "does not begin with Time,"),
        (4, "the time is not MM-DD-YYYY HH:MM:SS.mmm"),
        (5, "the line is cut off"),
        (6, "two lines run into one"),
        (7, "no number after Watts"),
        (8, "does not begin with Time,"),
    ]


def test_channels_beyond_the_third_are_counted_beside(tmp_path: Path) -> None:
    path = tmp_path / "spl.txt"
    path.write_text(three() + ",Ch4,Watts,1.0,Volts,1.0,Amps,1.0,PF,1.0\n")
    log = ptdaemon.read(path)
    assert log.beside == {"readings of channels beyond the third": 1}
    assert log.meters[0].readings["phase"].max() == 3


def test_stamps_that_do_not_increase_and_gaps_are_kept_in_the_order_of_time(tmp_path: Path) -> None:
    readings, _ = read(tmp_path, "\n".join([one(5), one(3), one(3, "701.0"), one(26)]) + "\n")
    assert [time.second for time in readings["time"]] == [3, 3, 5, 26]
    assert readings["power_watts"].to_list() == [700.0, 701.0, 700.0, 700.0]
