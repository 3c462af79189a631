"""Windows and histograms of one site as messages of `windows.site.v1` and `windows.histogram.v1`. Pure."""

from __future__ import annotations

import msgspec
import numpy as np

from schemas import arrow
from schemas.column import Record
from schemas.histogram import HISTOGRAM
from schemas.window import WINDOW
from streams.devices import SiteMinute
from streams.histograms import EVERY_SECONDS
from streams.minutes import MINUTE
from streams.site_windows import SiteWindows

TOPIC = "windows.site.v1"
HISTOGRAMS_TOPIC = "windows.histogram.v1"

Sent = tuple[bytes, bytes, list[tuple[str, bytes]]]


def message_of(windows: SiteWindows) -> Sent:
    """Return value, key and headers; the header `closing` is JSON with times in UTC µs."""
    return _sent(WINDOW, windows)


def message_of_minute(minute: SiteMinute) -> Sent:
    """Return value, key and headers of rows of one minute, with the same header."""
    table, site, kind, start, missing, rows = minute
    record = WINDOW if table == "windows" else HISTOGRAM
    return _sent(record, SiteWindows(site, kind, EVERY_SECONDS, start, start + MINUTE, missing, rows))


def closing_header(windows: SiteWindows) -> bytes:
    """Return the header `closing`: which seconds of which site, how they were closed, and of which kinds the rows are.

    By `subject_kinds` a reader may pass a message by without decoding it.
    """
    said = windows._asdict() | {"missing": [f"{topic}/{number}" for topic, number in windows.missing]}
    said["subject_kinds"] = np.unique(said.pop("rows")["subject_kind"].to_numpy()).tolist()
    return msgspec.json.encode(said)


def _sent(record: Record, windows: SiteWindows) -> Sent:
    headers = [*arrow.headers(record), ("closing", closing_header(windows))]
    return arrow.encode(record, windows.rows), windows.site.encode(), headers
