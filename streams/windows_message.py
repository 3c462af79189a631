"""Windows of one site as a message of `windows.site.v1`. Pure."""

from __future__ import annotations

import msgspec

from schemas import arrow
from schemas.window import WINDOW
from streams.sum_rules import SiteWindows

TOPIC = "windows.site.v1"


def message_of(windows: SiteWindows) -> tuple[bytes, bytes, list[tuple[str, bytes]]]:
    """Return value, key and headers; the header `closing` is JSON with times in UTC µs."""
    headers = [*arrow.headers(WINDOW), ("closing", closing_header(windows))]
    return arrow.encode(WINDOW, windows.rows), windows.site.encode(), headers


def closing_header(windows: SiteWindows) -> bytes:
    """Return the header `closing`: which seconds of which site, and how they were closed."""
    said = windows._asdict() | {"missing": [f"{topic}/{number}" for topic, number in windows.missing]}
    del said["rows"]
    return msgspec.json.encode(said)
