"""The dimensions of a lake: which id is which place, from the facility versions that the lake keeps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import duckdb
import numpy as np
import polars as pl

from schemas.histogram import LARGEST_BIN, Metric, bounds
from schemas.registry import FEEDS, LIMITS, METERS, MODELS, PLACES, SLOTS, VENDORS, Registry
from schemas.subject import MeterLevel, SubjectKind, gpu_subject
from sinks.lake.tables import BY_NAME
from sinks.sql.at import NEWEST, At
from sinks.sql.plan import literal
from sinks.sql.snapshot import Span, live_files

_NEWEST = """
SELECT document FROM read_parquet(?, hive_partitioning = false)
QUALIFY row_number() OVER (PARTITION BY site ORDER BY version DESC, _appended DESC, _offset DESC) = 1
"""


def read_registry(lake: Path, connection: duckdb.DuckDBPyConnection, at: At = NEWEST) -> Registry | None:
    """Return the newest registry of a snapshot, or None where no facility was published yet."""
    files = live_files(lake, BY_NAME["facility"], Span(), at)
    if not files:
        return None
    documents = [row[0].encode() for row in connection.execute(_NEWEST, [files]).fetchall()]
    return Registry.from_json(documents) if documents else None


def frames(registry: Registry | None) -> dict[str, pl.DataFrame]:
    """Return every dimension as a frame by the name of its relation, empty where nothing is registered."""
    empty = {name: pl.DataFrame(schema=schema) for name, schema in _SCHEMAS.items()}
    known = empty if registry is None else {name: getattr(registry, name) for name in _SCHEMAS}
    subjects = _subjects(known["places"], known["power"], known["meters"], known["slots"])
    return {
        "places": known["places"],
        "subjects": subjects,
        "racks_by_id": subjects.filter(pl.col("kind") == SubjectKind.RACK).select("id", "path", "site"),
        "nodes_by_id": subjects.filter(pl.col("kind") == SubjectKind.NODE).select(
            "id", "path", rack=pl.col("path").str.replace("/[^/]*$", "")
        ),
        "vendors": known["vendors"],
        "models": known["models"],
        "subject_limits": known["limits"],
        "feed_ratings": known["feeds"],
        "meter_list": known["meters"],
        **_names(),
    }


_WORDS = {"vendor": "vendors", "model": "models", "level": "levels", "basis": "power_bases", "method": "energy_methods",
          "metric": "metrics"}  # fmt: skip


def words(known: Mapping[str, pl.DataFrame]) -> str:
    """Return the statements that make the macros `raw.<…>_name(number)`: of small relations, cheaper than a join."""
    return ";\n".join(_macro(f"{column}_name", known[name].select(column, "name")) for column, name in _WORDS.items())


def _macro(name: str, frame: pl.DataFrame) -> str:
    numbers = ", ".join(str(number) for number in frame.to_series(0))
    texts = ", ".join(literal(text) for text in frame["name"])
    return f"CREATE MACRO raw.{name}(number) AS (MAP([{numbers}]::INT[], [{texts}]::VARCHAR[])[number::INT])"


_SCHEMAS = {
    "places": PLACES,
    "power": {"kind": pl.Int8, "id": pl.Int32, "path": pl.String, "site": pl.Int32},
    "meters": METERS,
    "slots": SLOTS,
    "feeds": FEEDS,
    "limits": LIMITS,
    "vendors": VENDORS,
    "models": MODELS,
}


def _subjects(places: pl.DataFrame, power: pl.DataFrame, meters: pl.DataFrame, slots: pl.DataFrame) -> pl.DataFrame:
    """Return (kind, id, path, site) of every place, part of the power tree, meter and GPU; `site` is a path."""
    columns = ("kind", "id", "path")
    own = meters.select(
        pl.lit(int(SubjectKind.METER), dtype=pl.Int8).alias("kind"), pl.col("meter").alias("id"), "path"
    )
    nodes = places.filter(pl.col("kind") == SubjectKind.NODE).select(node="id", above="path")
    gpus = slots.join(nodes, on="node", maintain_order="left").select(
        pl.lit(int(SubjectKind.GPU), dtype=pl.Int8).alias("kind"),
        gpu_subject(pl.col("node"), pl.col("gpu")).cast(pl.Int32).alias("id"),
        path=pl.format("{}/gpu{}", "above", "gpu"),
    )
    everything = pl.concat([places.select(columns), power.select(columns), own, gpus])
    return everything.with_columns(pl.col("path").str.split("/").list.first().alias("site"))


def _names() -> dict[str, pl.DataFrame]:
    """Return the small relations that give numbers their words."""
    return {
        "subject_kinds": pl.DataFrame(
            {"kind": [int(k) for k in SubjectKind], "name": [k.name.lower() for k in SubjectKind]}
        ),
        "levels": pl.DataFrame({"level": [int(k) for k in MeterLevel], "name": [k.name.lower() for k in MeterLevel]}),
        "power_bases": pl.DataFrame({"basis": [1, 2, 3], "name": ["measured", "derived", "estimate"]}),
        "metrics": pl.DataFrame({"metric": [int(m) for m in Metric], "name": [m.name.lower() for m in Metric]}),
        "bins": pl.concat([_bins(metric) for metric in Metric]),
        "energy_methods": pl.DataFrame({"method": [1, 2, 3], "name": ["counter", "mean_times_span", "integral"]}),
    }


def _bins(metric: Metric) -> pl.DataFrame:
    """Return (metric, bin, bin_low, bin_high) of every bin in which a value of the metric may lie."""
    number = np.arange(-LARGEST_BIN, LARGEST_BIN + 1)
    low, high = bounds(metric, number)
    return pl.DataFrame({"metric": int(metric), "bin": number, "bin_low": low, "bin_high": high}).cast(_BINS)


_BINS: dict[str, type[pl.DataType]] = {
    "metric": pl.Int8, "bin": pl.Int16, "bin_low": pl.Float64, "bin_high": pl.Float64,
}  # fmt: skip
