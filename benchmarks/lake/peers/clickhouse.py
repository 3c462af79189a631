"""ClickHouse in process (chdb): MergeTree sorted as the lake is, a codec for each column, batches as Arrow."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.lake.peers import rows
from benchmarks.lake.peers.figures import Told, ask, bytes_below
from benchmarks.lake.run import cpu_seconds

TABLE = """
CREATE TABLE lake.gpu (
    time DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    rack Int32 CODEC(ZSTD(1)), node Int32 CODEC(ZSTD(1)), gpu Int32 CODEC(ZSTD(1)),
    vendor Int16 CODEC(ZSTD(1)), model Int16 CODEC(ZSTD(1)),
    power_deciwatts Int32 CODEC(T64, ZSTD(1)), power_limit_deciwatts Int32 CODEC(ZSTD(1)),
    utilization_e4 Int16 CODEC(ZSTD(1)), encoder_e4 Int16 CODEC(ZSTD(1)), decoder_e4 Int16 CODEC(ZSTD(1)),
    memory_used_bytes Int64 CODEC(T64, ZSTD(1)),
    temperature_celsius Float32 CODEC(ZSTD(1)), memory_temperature_celsius Float32 CODEC(ZSTD(1)),
    sm_clock_mhz Float32 CODEC(ZSTD(1)), throttle_reasons Int64 CODEC(ZSTD(1)),
    energy_whole_joules Int64 CODEC(Delta, ZSTD(1)),
    interval_seconds Float32 CODEC(ZSTD(1)), averaging Int8 CODEC(ZSTD(1)),
    _partition Int32 CODEC(ZSTD(1)), _offset Int64 CODEC(Delta, ZSTD(1)), _row Int32 CODEC(ZSTD(1)),
    _appended DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1))
) ENGINE = MergeTree ORDER BY (rack, node, gpu, time)
"""
LIVE = "SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND database = 'lake'"


def measure(given: Path, folder: Path) -> Told:
    """Insert all batches, merge them into one part, ask."""
    from chdb import session

    database, told = session.Session(str(folder)), Told(0, 0.0)
    database.query("CREATE DATABASE lake")
    database.query(TABLE)

    def column(sql: str) -> list[float]:
        answer = json.loads(str(database.query(sql, "JSONCompact")))
        return [float(row[0]) for row in answer["data"]]

    for batch in rows.arrow_batches(given):
        names = ", ".join(batch.column_names)
        before = cpu_seconds()
        database.query(f"INSERT INTO lake.gpu ({names}) SELECT {names} FROM Python(batch)")
        told.ingest_cpu_secs += cpu_seconds() - before
        told.rows += batch.num_rows
    told.bytes_at_first = int(column(LIVE)[0])
    before = cpu_seconds()
    database.query("OPTIMIZE TABLE lake.gpu FINAL")
    told.settle_cpu_secs = cpu_seconds() - before
    told.bytes_settled = int(column(LIVE)[0])
    told.note = f"{bytes_below(folder) / 1e6:,.0f} MB with the parts that are merged away"
    _ask(told, column)
    return told


def _ask(told: Told, column: Callable[[str], list[float]]) -> None:
    facility = rows.registry()
    node = facility.nodes.sort("node")["node"][1_000 % len(facility.nodes)]
    rack = facility.nodes.sort("node")["rack"][1_000 % len(facility.nodes)]
    ask(
        told,
        {
            "one GPU": lambda: column(
                "SELECT power_deciwatts / 10 FROM lake.gpu "
                f"WHERE rack = {rack} AND node = {node} AND gpu = 3 ORDER BY time"
            ),
            "site by minute": lambda: column(
                "SELECT sum(w) FROM (SELECT intDiv(toUnixTimestamp(time), 60) AS m, avg(power_deciwatts) / 10 AS w "
                "FROM lake.gpu GROUP BY m, node, gpu) GROUP BY m ORDER BY m"
            ),
            "top 20 racks": lambda: column(
                "SELECT sum(w) AS s FROM (SELECT rack, avg(power_deciwatts) / 10 AS w FROM lake.gpu "
                "GROUP BY rack, node, gpu) GROUP BY rack ORDER BY s DESC LIMIT 20"
            ),
            "energy by rack": lambda: column(
                "SELECT sum(e) FROM (SELECT rack, max(energy_whole_joules) - min(energy_whole_joules) AS e "
                "FROM lake.gpu GROUP BY rack, node, gpu) GROUP BY rack ORDER BY rack"
            ),
        },
        cpu_seconds,
    )


if __name__ == "__main__":
    print(measure(Path(sys.argv[1]), Path(sys.argv[2])).to_json())
