"""How a lake does, for the health record: measured now and then by a duty, told every few seconds."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from schemas.health import LakeHealth
from sinks.upkeep.damage import read_damage
from sinks.upkeep.disk import Disk, read_disk


class Measure:
    """Keep the newest measurement of a lake; `newest` is None before the first."""

    def __init__(self) -> None:
        self.newest: LakeHealth | None = None

    def __call__(self, lake: Path, now: datetime) -> Iterator[str]:
        """Measure; there is nothing to say in words."""
        damages = read_damage(lake)
        missing = sum(each.rows if each.lost is None else each.lost for each in damages)
        self.newest = lake_health(read_disk(lake, now), len(damages), missing)
        yield from ()

    def told(self) -> LakeHealth | None:
        """Return the newest measurement."""
        return self.newest


def lake_health(disk: Disk, set_aside_files: int, missing_rows: int) -> LakeHealth:
    """Return what is told of a lake."""
    return LakeHealth(
        live_bytes=disk.live_bytes,
        growth_bytes_a_day=disk.growth_bytes_a_day,
        free_bytes=disk.free_bytes,
        days_left=disk.days_left,
        holds_budget=disk.holds_budget,
        set_aside_files=set_aside_files,
        missing_rows=missing_rows,
        oldest_hash_secs=disk.oldest_hash.total_seconds(),
    )
