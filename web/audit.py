"""Who did what: a line of JSON each, by name and never with a token."""

from __future__ import annotations

import logging
import logging.handlers
from datetime import datetime
from pathlib import Path

import msgspec

MOST_BYTES, FILES = 16 << 20, 8
MOST_OF_A_QUERY = 4_000


class Entry(msgspec.Struct, frozen=True):
    """Describe one thing that somebody did, and how it ended."""

    at: datetime
    name: str
    did: str
    query: str
    status: int
    reason: str
    rows: int
    bytes: int
    elapsed_seconds: float


class Audit:
    """Append entries to a file; eight of 16 MB are kept."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._out = logging.handlers.RotatingFileHandler(path, maxBytes=MOST_BYTES, backupCount=FILES - 1, delay=True)
        self._log = logging.Logger("audit")
        self._log.addHandler(self._out)

    def note(self, entry: Entry) -> None:
        """Write one entry; of a very long query its beginning."""
        self._log.info(
            msgspec.json.encode(msgspec.structs.replace(entry, query=entry.query[:MOST_OF_A_QUERY])).decode()
        )

    def close(self) -> None:
        """Close the file."""
        self._out.close()
