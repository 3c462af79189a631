"""The registry: every place, device and meter with the integer id it keeps for ever, as frames.

Ids are int32 from 1, one space a kind of subject, given out once, never reused, and not changed when a
rack is put between two others. A path that leaves keeps its id in `retired` and gets it back on return.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING

import polars as pl

from schemas.subject import SubjectKind

if TYPE_CHECKING:
    from schemas.facility import Facility

Schema = dict[str, pl.DataType | type[pl.DataType]]

_ID = pl.Int32
_KIND = pl.Int8

SITES: Schema = {
    "site": _ID,
    "path": pl.String,
    "version": pl.Int32,
    "effective_from": pl.Datetime("us"),
    "time_zone": pl.String,
    "budget_watts": pl.Float64,
    "contract_watts": pl.Float64,
    "contract_interval_secs": pl.Int32,
    "grid_carbon_grams_per_kwh": pl.Float64,
}
PLACES: Schema = {
    "kind": _KIND,
    "id": _ID,
    "path": pl.String,
    "parent_kind": _KIND,
    "parent": _ID,
    "site": _ID,
    "name_en": pl.String,
    "name_ar": pl.String,
}
POWER: Schema = {
    "kind": _KIND,
    "id": _ID,
    "path": pl.String,
    "parent_kind": _KIND,
    "parent": _ID,
    "site": _ID,
}
RACKS: Schema = {
    "rack": _ID,
    "path": pl.String,
    "row": _ID,
    "hall": _ID,
    "site": _ID,
    "type": pl.String,
    "nodes": pl.Int32,
    "gpus": pl.Int32,
    "nameplate_watts": pl.Float64,
    "budget_watts": pl.Float64,
    "rest_watts": pl.Float64,
}
NODE_RANGES: Schema = {
    "rack": _ID,
    "first_node": _ID,
    "first_number": pl.Int32,
    "count": pl.Int32,
    "gpus": pl.Int32,
    "nameplate_watts": pl.Float64,
    "vendor": pl.Int16,
    "model": pl.Int16,
}
SLOTS: Schema = {
    "rack": _ID,
    "node": _ID,
    "gpu": pl.Int32,
    "nameplate_watts": pl.Float64,
    "vendor": pl.Int16,
    "model": pl.Int16,
}
METERS: Schema = {
    "meter": _ID,
    "path": pl.String,
    "level": pl.Int8,
    "subject_kind": _KIND,
    "subject": _ID,
    "interval_seconds": pl.Float64,
    "side": pl.String,
    "feed": _ID,
}
FEEDS: Schema = {
    "feed": _ID,
    "path": pl.String,
    "twin": _ID,
    "side": pl.String,
    "rated_amps": pl.Float64,
    "voltage_volts": pl.Float64,
    "phases": pl.Int8,
    "power_factor": pl.Float64,
    "usable_fraction": pl.Float64,
    "curve": pl.String,
}
FEED_RACKS: Schema = {"feed": _ID, "rack": _ID, "side": pl.String}
LIMITS: Schema = {"kind": _KIND, "id": _ID, "limit": pl.String, "watts": pl.Float64}
VENDORS: Schema = {"vendor": pl.Int16, "name": pl.String}
MODELS: Schema = {"model": pl.Int16, "vendor": pl.Int16, "name": pl.String}
RETIRED: Schema = {"kind": _KIND, "id": _ID, "path": pl.String}
SUMS: Schema = {"subject_kind": _KIND, "subject": _ID, "meter": _ID, "basis": pl.Int8}


@dataclass(frozen=True)
class Registry:
    """Hold one version of the facility of all sites; frames are never changed, only replaced.

    `version` and `effective_from` are the newest of any site (each site's own stand in `sites`);
    `effective_from` is a whole second, UTC, without zone.
    """

    version: int
    effective_from: datetime
    sites: pl.DataFrame
    """SITES: one row a site; a null is a limit or a factor that nobody set."""
    structure: pl.DataFrame
    """PLACES of sites, halls, rows and racks, without nodes."""
    node_ranges: pl.DataFrame
    """NODE_RANGES: runs of nodes of one rack with consecutive ids and numbers."""
    racks: pl.DataFrame
    """RACKS: one row a rack; `budget_watts` null = no budget of its own, `rest_watts` null = not modelled."""
    power: pl.DataFrame
    """POWER: feed → panel → ups_group → utility; a utility has no parent (null)."""
    meters: pl.DataFrame
    """METERS: what each measures; `feed` and `side` say where a rack_input hangs, else null."""
    feeds: pl.DataFrame
    """FEEDS: `twin` null = no twin."""
    feed_racks: pl.DataFrame
    """FEED_RACKS: which rack hangs on which feed, by side."""
    limits: pl.DataFrame
    """LIMITS: `limit` is budget, nameplate, contract, rated or usable; no row = no such limit."""
    vendors: pl.DataFrame
    """VENDORS."""
    models: pl.DataFrame
    """MODELS."""
    retired: pl.DataFrame
    """RETIRED: paths no longer in force, with the id that nothing else will get."""

    @cached_property
    def places(self) -> pl.DataFrame:
        """Return PLACES: site, hall, row, rack and node; the parent of a site is null."""
        raise NotImplementedError

    @cached_property
    def slots(self) -> pl.DataFrame:
        """Return SLOTS: one row a GPU, ordered by (rack, node, gpu)."""
        raise NotImplementedError

    @cached_property
    def sums(self) -> pl.DataFrame:
        """Return SUMS: the meters whose sum is a subject's power (rack, node, feed, panel, ups_group, site).

        `basis` 1 = its own meters, 2 = derived from the rack inputs on a feed. The levels never mix: a rack
        has its rack inputs, else its shelves, else the meters of its nodes if every node has one.
        A subject without rows is not metered: a rack is then the sum of its GPUs.
        """
        raise NotImplementedError

    def id_of(self, kind: SubjectKind, path: str) -> int | None:
        """Return the id of a path in force, or None."""
        raise NotImplementedError

    def path_of(self, kind: SubjectKind, subject: int) -> str | None:
        """Return the path of a subject, retired ones too, or None."""
        raise NotImplementedError

    def ids(self, kind: SubjectKind) -> Mapping[str, int]:
        """Return path → id of everything of a kind in force (METER too)."""
        raise NotImplementedError

    def paths(self, kind: SubjectKind) -> pl.DataFrame:
        """Return frame (id i32, path str) of a kind in force, ordered by id, for vectorised joins."""
        raise NotImplementedError

    def to_json(self) -> dict[str, bytes]:
        """Return the value on `facility.v1` of each site, by the site's path, which is the message's key."""
        raise NotImplementedError

    @classmethod
    def from_json(cls, values: Iterable[bytes]) -> Registry:
        """Read the newest value of each site together.

        Raises ConfigurationError where a value is not a facility or two sites claim one id.
        """
        raise NotImplementedError


def assign(facility: Facility, previous: Registry | None = None, *, effective_from: datetime | None = None) -> Registry:
    """Give every path of `facility` its id: the one it had in `previous`, else the next one free.

    Sites of `previous` that `facility` does not name stay as they are. Pure but for `effective_from`, which
    is the epoch where it is not given.
    """
    raise NotImplementedError
