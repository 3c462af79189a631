"""Everything that is done to keep a lake small and sound, and how often."""

from __future__ import annotations

from sinks.upkeep.agenda import Duty
from sinks.upkeep.retention import retention_duty
from sinks.upkeep.vacuum import vacuum_duty

DUTIES: tuple[Duty, ...] = (
    Duty("retention", 3_600, retention_duty),
    Duty("vacuum", 3_600, vacuum_duty),
)
"""A line each; `wattline worker upkeep` does them in turn."""
