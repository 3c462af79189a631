"""The rules of admission, derived from the columns of a record: each says what is good, and in words what is not."""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import polars as pl
import pyarrow as pa

from schemas.column import TIME, Column, Record
from schemas.nameplates import ABSURD_FACTOR
from schemas.rejection import INT_LIMITS, allowed
from schemas.time import time_as_text

CLOCK_AHEAD_SECS = 5
"""How far event time may lie ahead of Kafka's append time, on the clock `wall`."""

EARLIEST = 946_684_800_000_000
"""2000-01-01 UTC in µs: no reading is older."""

LATEST = 4_102_444_800_000_000
"""2100-01-01 UTC in µs: no reading is younger."""


class Rule(NamedTuple):
    """Say why a row may be refused: where `good` is false, `reason` about `field`; null counts as good."""

    reason: str
    field: str
    good: pl.Expr
    value: pl.Expr
    sentence: pl.Expr
    is_implied: bool = False
    """A later rule is broken wherever this one is; this one only names the reason better."""


@cache
def rules(record: Record, clock: str) -> list[Rule]:
    """Return the rules of a record, in the order in which they are named where several are broken."""
    found = [_present(column) for column in record.columns if column.is_required]
    found += [_plausible_time(column) for column in record.columns if column.dtype == TIME]
    if clock == "wall" and "time" in record.polars:
        found.append(_clock_not_ahead())
    for column in record.columns:
        found += _in_range(column, record.polars[column.name])
    return found


def _present(column: Column) -> Rule:
    said = pl.lit(f"{column.name} is missing; every reading needs it")
    return Rule("missing_field", column.name, pl.col(column.name).is_not_null(), pl.lit(None, pl.String), said)


def _plausible_time(column: Column) -> Rule:
    micros = pl.col(column.name).to_physical()
    shown = time_as_text(column.name)
    hint = (
        pl.when(micros.is_between(EARLIEST // 1_000_000, LATEST // 1_000_000))
        .then(pl.lit("; it looks like seconds, and µs are asked for"))
        .when(micros.is_between(EARLIEST // 1000, LATEST // 1000))
        .then(pl.lit("; it looks like milliseconds, and µs are asked for"))
        .when(micros.is_between(EARLIEST * 1000, 2**63 - 1))
        .then(pl.lit("; it looks like nanoseconds, and µs are asked for"))
        .otherwise(pl.lit(""))
    )
    said = pl.format(column.name + " is {}; allowed is 2000 to 2100{}", shown, hint)
    return Rule("bad_time", column.name, micros.is_between(EARLIEST, LATEST - 1), shown, said)


def _clock_not_ahead() -> Rule:
    ahead = pl.col("time").to_physical() - pl.col("_appended").to_physical()
    said = pl.format(
        "time is {} s ahead of Kafka's append time; at most {} s are allowed: set the source's clock",
        (ahead / 1_000_000).round(1),
        pl.lit(CLOCK_AHEAD_SECS),
    )
    shown = time_as_text("time")
    return Rule("clock_ahead", "time", ahead <= CLOCK_AHEAD_SECS * 1_000_000, shown, said)


def _in_range(column: Column, dtype: pl.DataType | type[pl.DataType]) -> list[Rule]:
    """Return the rules of one column's values; NaN passes no range, since polars holds it for the greatest number."""
    value = pl.col(column.name)
    shown = value.cast(pl.String)
    found = []
    if pa.types.is_floating(column.dtype):
        said = pl.format(column.name + " is {}; a number or null is allowed", shown)
        found.append(Rule("not_a_number", column.name, value.is_finite(), shown, said, column.high is not None))
    if column.low is not None or column.high is not None:
        low = -math.inf if column.low is None else column.low
        high = math.inf if column.high is None else column.high
        said = pl.format(column.name + " is {}; " + allowed(column), shown)
        within = value.is_between(_bound(column, dtype, low), _bound(column, dtype, high))
        found.append(Rule("out_of_range", column.name, within, shown, said))
    return found


def _bound(column: Column, dtype: pl.DataType | type[pl.DataType], bound: float) -> pl.Expr:
    """Return a bound in the column's own type, so that comparing costs no cast of the column."""
    if pa.types.is_floating(column.dtype):
        return pl.lit(bound, dtype)
    limit = INT_LIMITS[column.dtype]
    return pl.lit(int(max(-limit, min(bound, limit - 1))), dtype)


def not_absurd() -> Rule:
    """Return the rule on the column `_ceiling_watts`, which schemas.nameplates adds where a nameplate is known."""
    watts = pl.col("power_watts")
    said = pl.format(
        "power_watts is {}; at most {} W, which is "
        + str(ABSURD_FACTOR)
        + " × its nameplate, can be meant: look at the source",
        watts.cast(pl.String),
        pl.col("_ceiling_watts"),
    )
    return Rule("absurd_power", "power_watts", watts <= pl.col("_ceiling_watts"), watts.cast(pl.String), said)
