"""The lake: messages become committed flush files, these one settled hour; questions go to its views."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.lake.peers import rows
from benchmarks.lake.peers.figures import Told, ask, bytes_below
from benchmarks.lake.run import cpu_seconds, pending_of
from schemas.message import Message
from schemas.registry import Registry
from sinks.lake.flush import Tables
from sinks.lake.ledger import Ledger
from sinks.lake.positions import Source
from sinks.lake.process import keep_memory
from sinks.lake.tables import BY_NAME
from sinks.sql.question import Lake
from sinks.upkeep.compaction import compact_hour

HOUR = "2026-03-01T12"


def measure(given: Path, lake: Path) -> Told:
    """Take all batches, compact, ask."""
    tables, facility, told = Tables(lake, "event"), rows.registry(), Told(0, 0.0)
    tables.flush(_facility(facility), facility)
    for messages in rows.message_batches(given):
        pending, before = pending_of(messages), cpu_seconds()
        told.rows += tables.flush(pending, None).rows
        told.ingest_cpu_secs += cpu_seconds() - before
    ledger = Ledger(BY_NAME["gpu"], lake)
    told.bytes_at_first = sum(file.size for file in ledger.live().values())
    before = cpu_seconds()
    compact_hour(ledger, HOUR)
    told.settle_cpu_secs = cpu_seconds() - before
    told.bytes_settled = sum(file.size for file in ledger.live().values())
    told.note = f"on disk until vacuum {bytes_below(lake / 'gpu') / 1e6:,.0f} MB"
    _ask(told, lake, facility)
    return told


def _facility(facility: Registry) -> dict[Source, list[Message]]:
    topic = "facility.v1"
    documents = enumerate(facility.to_json().items())
    return {Source(topic, 0): [Message(topic, 0, at, 0, site.encode(), value) for at, (site, value) in documents]}


def _ask(told: Told, lake: Path, facility: Registry) -> None:
    node = facility.nodes.sort("node")["path"][1_000 % len(facility.nodes)]
    asked = Lake(lake)

    def column(sql: str) -> list[float]:
        question = asked.ask(sql)
        return [float(row[0]) for row in asked.connection.execute(question.text).fetchall()]

    ask(
        told,
        {
            "one GPU": lambda: column(f"SELECT power_watts FROM gpu WHERE node = '{node}' AND gpu = 3 ORDER BY time"),
            "site by minute": lambda: column(
                "SELECT sum(w) FROM (SELECT epoch_us(time) // 60000000 AS m, avg(power_watts) AS w FROM gpu "
                "GROUP BY m, node_id, gpu) GROUP BY m ORDER BY m"
            ),
            "top 20 racks": lambda: column(
                "SELECT sum(w) AS s FROM (SELECT rack_id, avg(power_watts) AS w FROM gpu "
                "GROUP BY rack_id, node_id, gpu) GROUP BY rack_id ORDER BY s DESC LIMIT 20"
            ),
            "energy by rack": lambda: column(
                "SELECT sum(e) FROM (SELECT rack_id, max(energy_joules) - min(energy_joules) AS e FROM gpu "
                "GROUP BY rack_id, node_id, gpu) GROUP BY rack_id ORDER BY rack_id"
            ),
        },
        cpu_seconds,
    )


if __name__ == "__main__":
    keep_memory()
    print(measure(Path(sys.argv[1]), Path(sys.argv[2])).to_json())
