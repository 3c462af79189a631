"""What the views of a lake read: their tables, what tells their time and places, and the variables that bound them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from sinks.sql.plan import OPEN, Bounds


class Places(NamedTuple):
    """Say which relation tells the ids of a view's places, by columns that are named as in the view.

    `first` and `second` are the columns of the files by which their rows are sorted; `jobs` that a job, which is in no
    relation of places, is a subject too.
    """

    relation: str
    columns: tuple[str, ...]
    first: str
    second: str | None = None
    jobs: bool = False


_SUBJECTS = Places("raw.subject_places", ("subject_kind", "subject", "site"), "subject_kind", "subject")


class Source(NamedTuple):
    """Say of a view which tables it reads, which of its columns is their time, and what tells its places."""

    tables: tuple[str, ...]
    time: str | None = None
    places: Places | None = None

    @property
    def sorted_by(self) -> tuple[str, ...]:
        """Return the columns of the tables whose bounds a question may set."""
        return (self.places.first, *filter(None, (self.places.second,))) if self.places else ()


SOURCES: Mapping[str, Source] = {
    "gpu": Source(("gpu",), "time", Places("raw.gpu_places", ("rack", "node", "site"), "rack", "node")),
    "power": Source(
        ("power",), "time", Places("raw.meter_places", ("meter", "subject_kind", "subject", "site"), "meter")
    ),
    "windows": Source(("windows_1s", "windows_1m"), "window_start", _SUBJECTS._replace(jobs=True)),
    "histograms": Source(("histograms",), "window_start", _SUBJECTS),
    "alerts": Source(("alerts",), "at"),
    "progress": Source(("progress",), "time"),
    "rejected": Source(("rejected",)),
}
"""Every view that is aimed. `jobs` is read whole."""

SAME_ROWS: Mapping[str, str] = {"canary_alerts": "alerts"}
"""Views that read what another reads."""

SIDES = ("settled", "open")
"""How files are read: as they lie, or through the choice of which rows stand (sinks.sql.files)."""


def lists_variable(view: str, side: str) -> str:
    """Return the name of the variable that lists the files which a view reads on one side."""
    return f"wattline_{view}_{side}"


def ends_variable(view: str) -> str:
    """Return the name of the variable that tells which sides have files, and between which ids rows are read."""
    return f"wattline_{view}_ends"


def ends(is_read: Mapping[str, bool], within: Mapping[str, Bounds]) -> str:
    """Return the value of that variable as SQL."""
    told = [f"'is_{side}': {is_any}" for side, is_any in is_read.items()]
    for column, (low, high) in within.items():
        # Of the column's own type: a cast of the column would keep the bound from the files.
        dtype, bits = ("TINYINT", 7) if column == "subject_kind" else ("INTEGER", 31)
        told.append(f"'{column}_low': ({-(2**bits) if low is None else low})::{dtype}")
        told.append(f"'{column}_high': ({2**bits - 1 if high is None else high})::{dtype}")
    return "{" + ", ".join(told) + "}"


SPREAD: Mapping[str, str] = {
    view: ends(dict.fromkeys(SIDES, True), dict.fromkeys(source.sorted_by, OPEN)) for view, source in SOURCES.items()
}
"""The value of that variable that bounds nothing, by view."""
