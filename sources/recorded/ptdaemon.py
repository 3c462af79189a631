"""SPEC PTDaemon power logs (spl.txt): one line a sample of a power analyser, keys and values by turns.

    Time,07-16-2024 07:37:25.854,Watts,2362.6,Volts,239.1,Amps,3.4,PF,0.965,Mark,text,Ch1,Watts,805.9,…

Keys are read by name, in any order. What stands before the first channel is the total (phase 0),
channels 1 to 3 are phases 1 to 3. The clock is UTC, as in loadgen's log beside it. −1 is the
daemon's word for what the analyser does not support. The total's amperes are the daemon's own
figure, the mean over the channels.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import polars as pl

from schemas.subject import MeterLevel
from sources.recorded.log import READINGS, FileLog, MeterLog, Unread, numbered_lines, read_text

SIGNATURE = re.compile(rb"(?:^|\n|\xef\xbb\xbf)Time,\d{1,2}-\d{1,2}-\d{4} ")
TIME_FORMAT = "%m-%d-%Y %H:%M:%S%.f"

_UNSUPPORTED = -1.0
_VALUES = {"power_watts": "Watts", "voltage_volts": "Volts", "current_amps": "Amps", "power_factor": "PF"}


def read(path: Path) -> FileLog:
    """Read the log of one analyser; lines that cannot be read are named, never stop the rest."""
    lines = _judged(read_text(path))
    readings = pl.concat([_phase(lines, phase) for phase in range(4)]).sort("time", "phase", maintain_order=True)
    unread = lines.filter(pl.col("reason").is_not_null()).select("line", "reason").iter_rows()
    meter = MeterLog(path.stem, MeterLevel.RACK_INPUT, readings)
    return FileLog(path, (meter,), tuple(Unread(*row) for row in unread), _beside(lines))


def _judged(text: str) -> pl.DataFrame:
    """Split the text into lines and say of each unreadable one why.

    **Frame** out: `line` u32, `text` str, `time` datetime µs, `reason` str (null = readable).
    """
    stamp = pl.col("text").str.extract(r"^Time,([^,]*)").str.strptime(pl.Datetime("us"), TIME_FORMAT, strict=False)
    lines = numbered_lines(text).with_columns(
        time=stamp, total=pl.col("text").str.replace(r",Ch\d+,.*$", ""), shape=_shape()
    )
    usual = lines["shape"].mode(maintain_order=True).first() or ""
    return lines.with_columns(reason=_reason(usual, _last_line_cut(text, lines)))


def _reason(usual: str, last_line_cut: bool) -> pl.Expr:
    cut = (pl.col("shape") != usual) & pl.lit(usual).str.starts_with(pl.col("shape"))
    at_end = pl.int_range(pl.len()) == pl.len() - 1
    return (
        pl.when(~pl.col("text").str.starts_with("Time,"))
        .then(pl.lit("does not begin with Time,"))
        .when(pl.col("text").str.count_matches(r"Time,\d") > 1)
        .then(pl.lit("two lines run into one"))
        .when(pl.col("time").is_null())
        .then(pl.lit("the time is not MM-DD-YYYY HH:MM:SS.mmm"))
        .when(cut | (at_end & last_line_cut))
        .then(pl.lit("the line is cut off"))
        .when(_number("total", "Watts").is_null())
        .then(pl.lit("no number after Watts"))
    )


def _shape() -> pl.Expr:
    """Return the keys of a line with # for every value."""
    return pl.col("text").str.replace_all(r"\b(Time|Mark),[^,]*", "${1},#").str.replace_all(r",[-+]?[\d.]+[^,]*", ",#")


def _last_line_cut(text: str, lines: pl.DataFrame) -> bool:
    """Tell whether the last line has no line end and its last number fewer decimals than the one before.

    A daemon that dies leaves half a number, which is a number too.
    """
    if text.endswith("\n") or lines.height < 2:
        return False
    before, last = (len(line.rpartition(".")[2]) for line in lines["text"].tail(2))
    return last < before


def _number(segment: str, key: str) -> pl.Expr:
    text = pl.col(segment).str.extract(rf"(?:^|,){key},([^,]*)")
    return text.str.strip_chars().cast(pl.Float64, strict=False)


def _phase(lines: pl.DataFrame, phase: int) -> pl.DataFrame:
    """Return the readings of one phase, those left out that say nothing at all."""
    segment = pl.col("total") if phase == 0 else pl.col("text").str.extract(rf",Ch{phase},(.*?)(?:,Ch\d+,|$)")
    values = lines.filter(pl.col("reason").is_null()).select("time", segment.alias("segment"))
    values = values.with_columns(
        _number("segment", key).replace(_UNSUPPORTED, None).alias(name) for name, key in _VALUES.items()
    )
    factor = pl.col("power_factor")
    values = values.with_columns(
        phase=pl.lit(phase, pl.Int8),
        # NaN > 0 is true in polars.
        apparent_va=pl.when(factor.is_finite() & (factor > 0)).then(pl.col("power_watts") / factor),
        quality=pl.when(factor.is_finite()).then((factor > 1).cast(pl.Int8)),
    )
    return values.filter(_says_something()).select(pl.col(name).cast(dtype) for name, dtype in READINGS.items())


def _says_something() -> pl.Expr:
    return pl.any_horizontal(pl.col("power_watts", "voltage_volts", "current_amps").is_not_null())


def _beside(lines: pl.DataFrame) -> Counter[str]:
    further = lines.select(pl.col("text").str.extract_all(r",Ch(?:[4-9]|\d\d+),").list.len().sum()).item()
    return Counter({"readings of channels beyond the third": int(further)}) if further else Counter()
