"""One site's version of the registry as frames, and as the value it has on `facility.v1`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
import polars as pl

from schemas.errors import ConfigurationError
from schemas.paths import is_path

Schema = dict[str, "pl.DataType | type[pl.DataType]"]

_ID = pl.Int32
_KIND = pl.Int8

SITE: Schema = {
    "site": _ID,
    "path": pl.String,
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
POWER: Schema = {
    "kind": _KIND,
    "id": _ID,
    "path": pl.String,
    "parent_kind": _KIND,
    "parent": _ID,
    "site": _ID,
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

FRAMES: dict[str, Schema] = {
    "site": SITE,
    "structure": PLACES,
    "racks": RACKS,
    "node_ranges": NODE_RANGES,
    "power": POWER,
    "meters": METERS,
    "feeds": FEEDS,
    "feed_racks": FEED_RACKS,
    "limits": LIMITS,
    "vendors": VENDORS,
    "models": MODELS,
    "retired": RETIRED,
}
"""The frames that a value on `facility.v1` carries, column by column; nodes and GPUs travel as ranges."""

DOCUMENT_VERSION = 1


class _Document(msgspec.Struct, forbid_unknown_fields=True):
    document_version: int
    site: str
    version: int
    effective_from: datetime
    frames: dict[str, dict[str, list[Any]]]


@dataclass(frozen=True)
class SiteFrames:
    """Hold one site's version: FRAMES by name; `effective_from` is a whole second, UTC, without zone."""

    site: str
    version: int
    effective_from: datetime
    frames: Mapping[str, pl.DataFrame]

    def is_same_facility(self, other: SiteFrames) -> bool:
        """Tell whether both describe the same facility with the same ids, whatever their versions."""
        return all(self.frames[name].equals(other.frames[name]) for name in FRAMES)

    def to_json(self) -> bytes:
        """Return the value of this version on `facility.v1`."""
        document = _Document(
            document_version=DOCUMENT_VERSION,
            site=self.site,
            version=self.version,
            effective_from=self.effective_from.replace(tzinfo=UTC),
            frames={name: self.frames[name].to_dict(as_series=False) for name in FRAMES},
        )
        return msgspec.json.encode(document)

    @classmethod
    def from_json(cls, value: bytes) -> SiteFrames:
        """Read a value of `facility.v1`; raise ConfigurationError where it is not one."""
        try:
            document = msgspec.json.decode(value, type=_Document)
            frames = {name: _frame(name, document.frames[name]) for name in FRAMES}
        except (msgspec.MsgspecError, pl.exceptions.PolarsError, LookupError, TypeError, ValueError) as error:
            raise _unreadable(str(error)) from error
        except (OverflowError, RecursionError) as error:
            raise _unreadable(f"{type(error).__name__}: {error}") from error
        if document.document_version != DOCUMENT_VERSION or not is_path(document.site):
            raise _unreadable(f"document_version {document.document_version}, site {document.site[:80]!r}")
        moment = document.effective_from
        moment = moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment
        return cls(document.site, document.version, moment, frames)


def _frame(name: str, columns: dict[str, list[Any]]) -> pl.DataFrame:
    frame = pl.DataFrame(columns, schema=FRAMES[name], strict=True)
    if name == "node_ranges" and not frame.filter(~pl.col("count").is_between(1, 200)).is_empty():
        raise ValueError("node_ranges: a count outside 1 to 200")
    return frame


def _unreadable(seen: str) -> ConfigurationError:
    return ConfigurationError(
        f"a value on facility.v1 is not a facility of this version of Wattline: {seen[:300]}; "
        "publish the facility again with `wattline facility publish FILE`"
    )
