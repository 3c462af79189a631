"""Everything that is done to keep a lake small and sound, and how often."""

from __future__ import annotations

from functools import partial

from sinks.upkeep.agenda import Duty
from sinks.upkeep.checkpoints import checkpoint_duty
from sinks.upkeep.measure import Measure
from sinks.upkeep.refill import Kafka
from sinks.upkeep.retention import retention_duty
from sinks.upkeep.scrub import scrub_duty
from sinks.upkeep.small import Compaction
from sinks.upkeep.vacuum import vacuum_duty

DUTIES: tuple[Duty, ...] = (
    Duty("compact", 60, Compaction()),
    Duty("checkpoint", 3_600, checkpoint_duty),
    Duty("retention", 3_600, retention_duty),
    Duty("vacuum", 3_600, vacuum_duty),
)
"""A line each; `wattline worker upkeep` does them in turn."""

SCRUB_SECS = 300.0
MEASURE_SECS = 300.0


def duties(kafka: Kafka, measure: Measure) -> tuple[Duty, ...]:
    """Return all duties: those that ask Kafka too, and the one that measures for the health record."""
    return (
        *DUTIES,
        Duty("scrub", SCRUB_SECS, partial(scrub_duty, kafka=kafka, round_secs=SCRUB_SECS)),
        Duty("measure", MEASURE_SECS, measure),
    )
