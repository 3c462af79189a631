"""Everything that is done to keep a lake small and sound, and how often."""

from __future__ import annotations

from sinks.upkeep.agenda import Duty

DUTIES: tuple[Duty, ...] = ()
"""A line each; `wattline worker upkeep` does them in turn."""
