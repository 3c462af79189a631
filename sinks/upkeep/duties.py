"""Everything that is done to keep a lake small and sound, and how often."""

from __future__ import annotations

from sinks.upkeep.agenda import Duty
from sinks.upkeep.checkpoints import checkpoint_duty
from sinks.upkeep.retention import retention_duty
from sinks.upkeep.small import Compaction
from sinks.upkeep.vacuum import vacuum_duty

DUTIES: tuple[Duty, ...] = (
    Duty("compact", 60, Compaction()),
    Duty("checkpoint", 3_600, checkpoint_duty),
    Duty("retention", 3_600, retention_duty),
    Duty("vacuum", 3_600, vacuum_duty),
)
"""A line each; `wattline worker upkeep` does them in turn."""
