"""One site's version of the registry as frames, and as the value it has on `facility.v1`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
import polars as pl

from schemas.errors import ConfigurationError
from schemas.paths import PATH_PATTERN, is_path
from schemas.subject import GPUS_A_NODE

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

_MAY_BE_NULL = frozenset(
    {
        "budget_watts",
        "contract_watts",
        "grid_carbon_grams_per_kwh",
        "parent_kind",
        "parent",
        "name_ar",
        "nameplate_watts",
        "rest_watts",
        "vendor",
        "model",
        "side",
        "feed",
        "twin",
        "curve",
    }
)
_LARGEST_ID = 2**31 - 1
_LARGEST_NODE = 2**31 // GPUS_A_NODE - 1
"""The id of a GPU is made of its node's and is an int32 too (schemas/subject.py)."""


class _Document(msgspec.Struct, forbid_unknown_fields=True):
    document_version: int
    site: str
    version: Annotated[int, msgspec.Meta(ge=1, le=_LARGEST_ID)]
    effective_from: datetime
    frames: dict[str, dict[str, list[Any]]]


@dataclass(frozen=True, eq=False)
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
    """Build one frame; ValueError where a column, a null, a path or a range is not what it must be."""
    if columns.keys() != FRAMES[name].keys():
        raise ValueError(f"{name}: columns {', '.join(sorted(columns))[:120]}")
    frame = pl.DataFrame(columns, schema=FRAMES[name], strict=True)
    holes = [column for column in frame.columns if column not in _MAY_BE_NULL and frame[column].has_nulls()]
    if holes:
        raise ValueError(f"{name}: {holes[0]} is null")
    if "path" in columns and not frame["path"].str.contains(f"^{PATH_PATTERN}$").all():
        raise ValueError(f"{name}: a path that is none")
    if name == "node_ranges" and not _are_ranges(frame):
        raise ValueError("node_ranges: a count outside 1 to 200 or an id that is none")
    return frame


def _are_ranges(frame: pl.DataFrame) -> bool:
    first, number = pl.col("first_node"), pl.col("first_number")
    is_range = pl.col("count").is_between(1, 200) & pl.col("gpus").is_between(0, 64)
    is_id = first.is_between(1, _LARGEST_NODE - 200) & number.is_between(1, 100_000)
    return bool(frame.select((is_range & is_id).all()).item())


def _unreadable(seen: str) -> ConfigurationError:
    return ConfigurationError(
        f"a value on facility.v1 is not a facility of this version of Wattline: {seen[:300]}; "
        "publish the facility again with `wattline facility publish FILE`"
    )
