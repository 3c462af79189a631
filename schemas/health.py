"""The health record: what one worker says of itself every few seconds, as JSON on `health.v1`.

The topic is compacted and the key is the slot, so the newest record of every worker is always there, and
a worker that ends in order takes its own away with an empty message. Counters count since `started`.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from schemas.errors import RejectedRecordError
from schemas.message import Message

TOPIC = "health.v1"
HEADERS = (("content-type", b"application/json"), ("schema", b"health/1"))


class Totals(msgspec.Struct, omit_defaults=True):
    """Count what came of one topic: messages and their bytes, rows read, rows refused by reason."""

    messages: int = 0
    bytes: int = 0
    rows: int = 0
    refused: dict[str, int] = {}


class PartitionHealth(msgspec.Struct, frozen=True, omit_defaults=True):
    """Say where a worker stands in one partition; null = not known just now.

    `position` is the next offset to be taken in. `lag_seconds` is 0 at the log's end, else the age of the
    oldest message that was not taken in, by Kafka's append time.
    """

    topic: str
    partition: int
    position: int | None = None
    log_end: int | None = None
    lag_seconds: float | None = None


class LakeHealth(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Say how a lake does, as upkeep last measured it.

    `days_left` until the disk is full; null = not within ten years. `missing_rows` were in files that were damaged and
    are not refilled. `oldest_hash_secs` is for how long some file was not held against its hash.
    """

    live_bytes: dict[str, int]
    growth_bytes_a_day: dict[str, float]
    free_bytes: int
    days_left: int | None = None
    holds_budget: bool = True
    set_aside_files: int = 0
    missing_rows: int = 0
    oldest_hash_secs: float = 0.0


class Health(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Carry the health of one worker.

    `every_secs` is how often it says so. `loop_delay_seconds` is the longest time since its last record for
    which its event loop was held up. `open_windows` are seconds that began and did not close; null where it
    makes no windows. `too_late` counts rows that came too late for any window, `unregistered_rows` those of
    devices that no facility had in their second; `unregistered` names the racks and meters of the last minute.
    `lake` is of the worker that keeps it, null before it was measured.
    """

    app: str
    slot: int
    host: str
    pid: int
    version: str
    started: datetime
    time: datetime
    every_secs: float
    totals: dict[str, Totals]
    too_late: int = 0
    loop_delay_seconds: float = 0.0
    resident_bytes: int = 0
    cpu_seconds: float = 0.0
    open_windows: int | None = None
    unregistered_rows: int = 0
    unregistered: tuple[str, ...] = ()
    partitions: tuple[PartitionHealth, ...] = ()
    lake: LakeHealth | None = None

    @property
    def key(self) -> bytes:
        """Return the Kafka key: the slot, which one live worker holds at a time wherever it runs."""
        return slot_key(self.app, self.slot)


def slot_key(app: str, slot: int) -> bytes:
    """Return the key of a worker's records."""
    return f"{app}-{slot}".encode()


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Health)


def encode_health(health: Health) -> bytes:
    """Return the JSON of one record; times are ISO 8601 in UTC."""
    return _ENCODER.encode(health)


def decode_health(message: Message) -> Health:
    """Return the record in a message of `health.v1`; raise RejectedRecordError where it is none."""
    try:
        return _DECODER.decode(message.value or b"")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RejectedRecordError("wrong_type", f"{message.place}: not a health record: {error}") from error
