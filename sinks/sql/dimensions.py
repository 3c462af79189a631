"""The dimensions of a lake: which id is which place, from the facility versions that the lake keeps."""

from __future__ import annotations

from pathlib import Path

import duckdb
import polars as pl

from schemas.registry import FEEDS, LIMITS, METERS, MODELS, PLACES, VENDORS, Registry
from schemas.subject import MeterLevel, SubjectKind
from sinks.lake.tables import BY_NAME
from sinks.sql.snapshot import Span, live_files

_NEWEST = """
SELECT document FROM read_parquet(?, hive_partitioning = false)
QUALIFY row_number() OVER (PARTITION BY site ORDER BY version DESC, _offset DESC) = 1
"""


def read_registry(lake: Path, connection: duckdb.DuckDBPyConnection) -> Registry | None:
    """Return the newest registry that the lake holds, or None where no facility was published yet."""
    files = live_files(lake, BY_NAME["facility"], Span())
    if not files:
        return None
    documents = [row[0].encode() for row in connection.execute(_NEWEST, [files]).fetchall()]
    return Registry.from_json(documents) if documents else None


def frames(registry: Registry | None) -> dict[str, pl.DataFrame]:
    """Return every dimension as a frame by the name of its relation, empty where nothing is registered."""
    empty = {name: pl.DataFrame(schema=schema) for name, schema in _SCHEMAS.items()}
    known = empty if registry is None else {name: getattr(registry, name) for name in _SCHEMAS}
    subjects = _subjects(known["places"], known["power"], known["meters"])
    return {
        "places": known["places"],
        "subjects": subjects,
        "racks_by_id": subjects.filter(pl.col("kind") == SubjectKind.RACK).select("id", "path", "site"),
        "nodes_by_id": subjects.filter(pl.col("kind") == SubjectKind.NODE).select("id", "path"),
        "vendors": known["vendors"],
        "models": known["models"],
        "subject_limits": known["limits"],
        "feed_ratings": known["feeds"],
        "meter_list": known["meters"],
        **_names(),
    }


_SCHEMAS = {
    "places": PLACES,
    "power": {"kind": pl.Int8, "id": pl.Int32, "path": pl.String, "site": pl.Int32},
    "meters": METERS,
    "feeds": FEEDS,
    "limits": LIMITS,
    "vendors": VENDORS,
    "models": MODELS,
}


def _subjects(places: pl.DataFrame, power: pl.DataFrame, meters: pl.DataFrame) -> pl.DataFrame:
    """Return (kind, id, path, site) of every place, part of the power tree and meter; `site` is a path."""
    columns = ("kind", "id", "path")
    own = meters.select(
        pl.lit(int(SubjectKind.METER), dtype=pl.Int8).alias("kind"), pl.col("meter").alias("id"), "path"
    )
    everything = pl.concat([places.select(columns), power.select(columns), own])
    return everything.with_columns(pl.col("path").str.split("/").list.first().alias("site"))


def _names() -> dict[str, pl.DataFrame]:
    """Return the small relations that give numbers their words."""
    return {
        "subject_kinds": pl.DataFrame(
            {"kind": [int(k) for k in SubjectKind], "name": [k.name.lower() for k in SubjectKind]}
        ),
        "levels": pl.DataFrame({"level": [int(k) for k in MeterLevel], "name": [k.name.lower() for k in MeterLevel]}),
        "power_bases": pl.DataFrame({"basis": [1, 2, 3], "name": ["measured", "derived", "estimate"]}),
        "energy_methods": pl.DataFrame({"method": [1, 2, 3], "name": ["counter", "mean_times_span", "integral"]}),
    }
