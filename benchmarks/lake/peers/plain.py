"""Plain Parquet: each batch a file as it came, with pyarrow's own settings; questions by DuckDB over all files."""

from __future__ import annotations

import sys
from pathlib import Path

import duckdb
import pyarrow.parquet as pq

from benchmarks.lake.peers import rows
from benchmarks.lake.peers.figures import Told, ask, bytes_below
from benchmarks.lake.run import cpu_seconds
from sinks.lake.process import keep_memory


def measure(given: Path, folder: Path) -> Told:
    """Write all batches, ask."""
    told = Told(0, 0.0)
    for number, batch in enumerate(rows.arrow_batches(given)):
        before = cpu_seconds()
        pq.write_table(batch, folder / f"{number:03d}.parquet")
        told.ingest_cpu_secs += cpu_seconds() - before
        told.rows += batch.num_rows
    told.bytes_at_first = told.bytes_settled = bytes_below(folder)
    told.note = "no order, no checksum, no fsync, no positions; decoded and admitted before"
    _ask(told, folder)
    return told


def _ask(told: Told, folder: Path) -> None:
    facility = rows.registry()
    node = facility.nodes.sort("node")["node"][1_000 % len(facility.nodes)]
    connection = duckdb.connect()
    table = f"read_parquet('{folder}/*.parquet')"

    def column(sql: str) -> list[float]:
        return [float(row[0]) for row in connection.execute(sql).fetchall()]

    ask(
        told,
        {
            "one GPU": lambda: column(
                f"SELECT power_deciwatts / 10 FROM {table} WHERE node = {node} AND gpu = 3 ORDER BY time"
            ),
            "site by minute": lambda: column(
                "SELECT sum(w) FROM (SELECT epoch_us(time) // 60000000 AS m, avg(power_deciwatts) / 10 AS w "
                f"FROM {table} GROUP BY m, node, gpu) GROUP BY m ORDER BY m"
            ),
            "top 20 racks": lambda: column(
                f"SELECT sum(w) AS s FROM (SELECT rack, avg(power_deciwatts) / 10 AS w FROM {table} "
                "GROUP BY rack, node, gpu) GROUP BY rack ORDER BY s DESC LIMIT 20"
            ),
            "energy by rack": lambda: column(
                "SELECT sum(e) FROM (SELECT rack, max(energy_whole_joules) - min(energy_whole_joules) AS e "
                f"FROM {table} GROUP BY rack, node, gpu) GROUP BY rack ORDER BY rack"
            ),
        },
        cpu_seconds,
    )


if __name__ == "__main__":
    keep_memory()
    print(measure(Path(sys.argv[1]), Path(sys.argv[2])).to_json())
