"""A damaged file leaves its table, and is kept beside it for a person to look at."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from sinks.lake.durable import make_folder, sync_folder
from sinks.lake.ledger import Ledger
from sinks.lake.log_check import SET_ASIDE
from sinks.lake.tables import Table
from sinks.upkeep.checksum import DamagedFileError, require_sound, sha256_in
from sinks.upkeep.damage import Damage, note_damage
from sinks.upkeep.files import add_actions

log = logging.getLogger(__name__)


def damage_of(lake: Path, table: Table, path: str) -> str | None:
    """Say what is wrong with a live file, or None."""
    target = table.folder(lake) / path
    if sha256_in(target.name) is None:
        return None  # another engine's: nobody knows what its bytes should be
    for _ in range(2):  # twice: it is the disk's word that counts, not one bad read
        try:
            require_sound(target)
        except FileNotFoundError:
            return f"{path} is missing"
        except (DamagedFileError, OSError) as error:
            found = error
        else:
            return None
    return f"{path}: {str(found).removeprefix(f'{target}: ')}"


def set_aside(lake: Path, table: Table, path: str, why: str, now: datetime) -> Damage:
    """Take a live file out of its table, and keep it in `_set_aside/`; its rows are missing from now on.

    It is noted first: a kill in between leaves a note of a file that the next round finds again.
    """
    damage = _damage(lake, table, path, why, now)
    note_damage(lake, [damage])
    ledger = Ledger(table, lake)
    ledger.replace([path], [], f"scrub/{path}", {"scrub": why})
    source, aside = ledger.folder / path, ledger.folder / SET_ASIDE
    if source.exists():
        make_folder(aside)
        source.rename(aside / source.name)
        sync_folder(aside)
        sync_folder(source.parent)
    log.error("lake: %s", damage)
    return damage


def _damage(lake: Path, table: Table, path: str, why: str, now: datetime) -> Damage:
    actions = add_actions(lake, table)
    row: dict[str, Any] = actions.filter(pl.col("path") == path).row(0, named=True)
    bounds = {
        name.removeprefix("min."): (_integer(row[name]), _integer(row[f"max.{name.removeprefix('min.')}"]))
        for name in row
        if name.startswith("min.") and isinstance(row[name], int | datetime)
    }
    return Damage(
        table.name,
        path,
        row["partition.hour"],
        row["num_records"],
        row.get("min._appended"),
        row.get("max._appended"),
        bounds,
        now,
        why,
    )


def _integer(value: int | datetime) -> int:
    """Return a bound as an integer, times as µs."""
    if isinstance(value, datetime):
        return round((value - datetime(1970, 1, 1)) / timedelta(microseconds=1))
    return value
