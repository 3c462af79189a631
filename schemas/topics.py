"""Every topic of one Kafka cluster: the one table that the broker, docker-compose and the docs read."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.column import Record
from schemas.gpu import GPU
from schemas.histogram import HISTOGRAM
from schemas.meter import METER
from schemas.rejected import REJECTED
from schemas.window import WINDOW

_HOUR = 3600
_DAY = 24 * _HOUR


@dataclass(frozen=True)
class Topic:
    """Describe one topic; `record` is None where the value is JSON only."""

    name: str
    partitions: int
    key: str
    cleanup: str
    carries: str
    record: Record | None = None
    retention_secs: int | None = None
    max_message_bytes: int = 1_048_588
    max_decoded_bytes: int = 16_777_216
    segment_bytes: int | None = None
    compacted_after_secs: int | None = None

    def settings(self) -> dict[str, str]:
        """Return the topic's settings by Kafka's own names."""
        settings = {
            "cleanup.policy": self.cleanup,
            "max.message.bytes": str(self.max_message_bytes),
            "message.timestamp.type": "LogAppendTime",
        }
        if self.retention_secs is not None:
            settings["retention.ms"] = str(self.retention_secs * 1000)
        if self.segment_bytes is not None:
            settings["segment.bytes"] = str(self.segment_bytes)
        if self.compacted_after_secs is not None:
            settings["min.compaction.lag.ms"] = str(self.compacted_after_secs * 1000)
        return settings


TOPICS: tuple[Topic, ...] = (
    Topic("telemetry.gpu.v1", 16, "rack", "delete", "GPU readings; one rack a message", GPU, _DAY),
    Topic("telemetry.power.v1", 4, "meter group (row, collector)", "delete", "meter readings", METER, _DAY),
    # A record that amends another is compared with it: what it changes is told again, no more.
    Topic("telemetry.jobs.v1", 1, "job", "compact", "job records", compacted_after_secs=2 * _DAY),
    Topic("telemetry.progress.v1", 1, "job", "delete", "what jobs produced", None, 7 * _DAY),
    Topic(
        "telemetry.rejected.v1", 1, "source topic", "delete", "what admission refused", REJECTED, 7 * _DAY, 4_194_304
    ),
    # A version is kept for as long as there are readings that were made under it.
    Topic(
        "facility.v1",
        1,
        "site",
        "compact",
        "versions of the facility",
        None,
        None,
        8_388_608,
        67_108_864,
        compacted_after_secs=2 * _DAY,
    ),
    # As long as the readings: an evaluator that was away begins where it was, and what its log has lost by then nobody
    # tells or asks for. A restart alone needs three minutes. At campus size some 29 GB a day (docs/decisions/0022).
    Topic(
        "windows.rack.v1",
        1,
        "site",
        "delete",
        "partials: closings, revisions, idle notes, pieces of minutes, seconds of jobs",
        None,
        _DAY,
        4_194_304,
        67_108_864,
    ),
    Topic(
        "windows.site.v1",
        1,
        "site",
        "delete",
        "closed seconds and minutes of every subject",
        WINDOW,
        _DAY,
        4_194_304,
        67_108_864,
    ),
    Topic(
        "windows.histogram.v1",
        1,
        "site",
        "delete",
        "how the values of each closed minute are distributed",
        HISTOGRAM,
        _DAY,
        4_194_304,
        67_108_864,
    ),
    Topic(
        "recomputations.v1",
        1,
        "site",
        "delete",
        "windows to be made anew from the lake, and what came of it",
        None,
        7 * _DAY,
    ),
    Topic("alerts.v1", 1, "(rule, subject)", "delete", "transitions, cause, amendments", None, 365 * _DAY),
    Topic(
        "alerts.state.v1", 1, "evaluator slot", "compact", "the evaluator's snapshot", None, None, 8_388_608, 67_108_864
    ),
    # Small segments: a compacted log is as long as the segment that is being written, and readers read all of it.
    Topic(
        "health.v1",
        1,
        "worker's slot",
        "compact",
        "how each worker does, every few seconds",
        segment_bytes=4_194_304,
    ),
    Topic("streams.lease.v1", 1, "none", "compact", "nothing: who is given its partition runs the evaluator"),
    Topic("actions.v1", 1, "subject", "compact", "acknowledge, silence, maintenance"),
)

BY_NAME: dict[str, Topic] = {topic.name: topic for topic in TOPICS}
