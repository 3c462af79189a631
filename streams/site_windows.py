"""The windows of one site as they are sent: rows, and which closing or revision they are."""

from __future__ import annotations

from typing import Literal, NamedTuple

import polars as pl

from streams.closings import Stream

Kind = Literal["closing", "revision"]


class SiteWindows(NamedTuple):
    """Hold WINDOW rows of one site for `[first_second, end_second)`; a closing without rows had no source at all.

    `missing` are the streams that closed by an idle note.
    """

    site: str
    kind: Kind
    every_seconds: int
    first_second: int
    end_second: int
    missing: tuple[Stream, ...]
    rows: pl.DataFrame
