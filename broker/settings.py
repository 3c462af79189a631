"""The settings of every Kafka we start: the embedded one and docker-compose's read this one table."""

from __future__ import annotations

KAFKA_VERSION = "4.3.1"

BROKER: dict[str, str] = {
    # Topics come from schemas/topics.py through the admin client; a mistyped name must not make one.
    "auto.create.topics.enable": "false",
    # The default waits 3 s at the first start of every consumer group.
    "group.initial.rebalance.delay.ms": "0",
    # Sessions of a few seconds: below the broker's minimum a worker lives and consumes nothing (traps.md 9).
    "group.min.session.timeout.ms": "1000",
    # Also how long acks=all stalls for any dead replica, and how soon a killed node is back (traps.md 20).
    "broker.session.timeout.ms": "2000",
    "broker.heartbeat.interval.ms": "500",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.num.partitions": "4",
    # Its default buffer is a quarter of our heap; ours holds 300,000 keys, the compacted topics hundreds.
    "log.cleaner.dedupe.buffer.size": str(8 * 1024 * 1024),
}
"""Settings by Kafka's own names, for any number of nodes."""

HEAP: tuple[str, ...] = ("-Xms256m", "-Xmx512m", "-XX:+UseSerialGC")
"""Options of the Java that runs a broker."""

QUICK_START: tuple[str, ...] = ("-XX:TieredStopAtLevel=1",)
"""Added for tests: ready sooner, slower at full load."""


def replicated(nodes: int) -> dict[str, str]:
    """Return the settings that follow from the number of nodes: RF 3 and min.insync 2 from three on."""
    replicas = min(nodes, 3)
    insync = max(1, replicas - 1)
    return {
        "default.replication.factor": str(replicas),
        "min.insync.replicas": str(insync),
        "offsets.topic.replication.factor": str(replicas),
        "transaction.state.log.replication.factor": str(replicas),
        "transaction.state.log.min.isr": str(insync),
        "share.coordinator.state.topic.replication.factor": str(replicas),
        "share.coordinator.state.topic.min.isr": str(insync),
    }
