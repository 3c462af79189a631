"""Times as people send them: ISO 8601 with a zone, or whole microseconds since 1970 UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import polars as pl

from schemas.errors import RejectedRecordError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FINER = re.compile(r"[.,]\d{6}\d*[1-9]")


def parse_time(field: str, value: int | str) -> int:
    """Return a time as UTC µs; RejectedRecordError (`bad_time`) where it is none or finer than a µs."""
    if isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise _bad(field, value, "does not fit 64 bits of microseconds")
        return value
    try:
        moment = datetime.fromisoformat(value[:64])
    except ValueError:
        raise _bad(field, value, "is no time") from None
    if moment.tzinfo is None:
        raise _bad(field, value, "has no zone")
    if _FINER.search(value):
        raise _bad(field, value, "is finer than the microseconds that are kept; round it at the source")
    return (moment - EPOCH) // timedelta(microseconds=1)


def time_as_text(column: str) -> pl.Expr:
    """Return the expression of a time column as ISO 8601 text, as a number of µs where no calendar has it.

    polars panics on showing a time beyond the year 262,000, and Python has none beyond 9999.
    """
    micros = pl.col(column).to_physical()
    readable = pl.when(micros.is_between(-62_135_596_800_000_000, 253_402_300_799_000_000)).then(pl.col(column))
    return readable.dt.to_string("%Y-%m-%dT%H:%M:%S%.6fZ").fill_null(pl.format("{} µs since 1970", micros))


def moment(microseconds: int) -> datetime:
    """Return UTC µs as a time with its zone, exactly."""
    return EPOCH + timedelta(microseconds=microseconds)


def _bad(field: str, value: int | str, wrong: str) -> RejectedRecordError:
    asked = "ISO 8601 with a zone, as 2026-01-31T12:00:00Z, or whole µs since 1970 UTC"
    return RejectedRecordError(
        "bad_time", f"{field} {str(value)[:64]!r} {wrong}; {asked}", field=field, value=str(value)
    )
