"""Which rows of a table are one and the same thing, and which of them stands: for the views, and for compaction.

The greater value stands, never what came first (schemas.md 3, 4, 6); of windows the greatest version. What is equal
by that is told apart by its place in the log, so that the same row stands whatever file it lies in.
"""

from __future__ import annotations

from typing import NamedTuple

from schemas.histogram import Metric

PLACE_ORDER = ("_partition", "_offset", "_row")
_VERSION = ("version_admission", "version_facility", "version_generation", "version_readings", "version_digest")
_SUBJECT = ("subject_kind", "subject")
_WINDOW = ("subject_kind", "subject", "every_seconds", "window_start")


class Apart(NamedTuple):
    """Tell rows of one whole from those of another by whether a column has a value."""

    column: str
    value: int


class Identity(NamedTuple):
    """Say which rows of a table stand for one thing, and which of them does.

    Of rows with one `key` that with the greatest `greatest` stands, compared from left to right, null least; of equals
    the first in the log, or the `newest`. Where there is a `whole`, first of all only the rows with the greatest
    `greatest` within it (and on the same side of `apart`) stand: the bins of one version of a histogram.
    `is_within_hour` tells that all rows of one key lie in one hour. Rows that compete have the same values of `cut`,
    the first columns of the table's sort: an hour can be taken apart there; where it is empty an hour is taken whole.
    """

    cut: tuple[str, ...]
    key: tuple[str, ...]
    greatest: tuple[str, ...] = ()
    newest: bool = False
    whole: tuple[str, ...] = ()
    apart: Apart | None = None
    is_within_hour: bool = True


_EVERY_ROW = Identity(("_offset",), PLACE_ORDER)
"""Of tables whose every row is kept; one place is in a table once, since the table owns the offsets."""

IDENTITIES: dict[str, Identity] = {
    "gpu": Identity(
        ("rack",),
        ("rack", "node", "gpu", "instance", "time", "unregistered_path"),
        ("power_deciwatts", "utilization_e4", "energy_whole_joules", "temperature_celsius"),
    ),
    "power": Identity(
        ("meter",),
        ("meter", "phase", "time", "unregistered_path"),
        ("power_watts", "energy_joules", "current_amps", "interval_seconds"),
    ),
    "jobs": _EVERY_ROW,
    "progress": Identity((), ("job", "time"), newest=True),
    "windows_1s": Identity(_SUBJECT, _WINDOW, _VERSION),
    "windows_1m": Identity(_SUBJECT, _WINDOW, _VERSION),
    "histograms": Identity(
        _SUBJECT,
        (*_WINDOW, "metric", "bin"),
        _VERSION,
        whole=_WINDOW,
        apart=Apart("metric", Metric.POWER_WATTS.value),
    ),
    "alerts": Identity((), ("id", "transition", "at")),
    # Its hour is that of the append: a restart may tell a refusal again in a later one.
    "rejected": Identity(("_offset",), ("topic", "partition", "offset", "row"), is_within_hour=False),
    "facility": _EVERY_ROW,
    "adoptions": _EVERY_ROW,
}


def stands(table: str) -> str:
    """Return the condition of SQL's QUALIFY under which a row of `table` stands."""
    identity = IDENTITIES[table]
    greatest = [f"{_quoted(column)} DESC NULLS LAST" for column in identity.greatest]
    first = (
        f"row_number() OVER (PARTITION BY {_listed(identity.key)} ORDER BY {', '.join([*greatest, *_log(identity)])})"
    )
    if not identity.whole:
        return f"{first} = 1"
    whole = [*map(_quoted, identity.whole)]
    if identity.apart:
        whole.append(f"{_quoted(identity.apart.column)} = {identity.apart.value}")
    return f"rank() OVER (PARTITION BY {', '.join(whole)} ORDER BY {', '.join(greatest)}) = 1 AND {first} = 1"


def _log(identity: Identity) -> tuple[str, ...]:
    partition, offset, row = PLACE_ORDER
    return (partition, f"{offset} DESC", f"{row} DESC") if identity.newest else PLACE_ORDER


def _listed(columns: tuple[str, ...]) -> str:
    return ", ".join(map(_quoted, columns))


def _quoted(column: str) -> str:
    return f'"{column}"'
