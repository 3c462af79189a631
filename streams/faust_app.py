"""Faust as both apps use it: settings as measured, one agent a topic, and its worker started and stopped our way."""

# ruff: noqa: E402 - uvloop must be chosen before faust is imported (traps.md 18).
from __future__ import annotations

import mode.loop

mode.loop.use("uvloop")

import asyncio
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import faust
from faust.tables import TableManager
from faust.types import TP, StreamT

from broker import batches
from streams import quiet
from streams.fetch import Fetching, PlacedTransport, Placing
from streams.reading import Partition

if TYPE_CHECKING:
    from streams.engine import Engine

__all__ = ["TP", "App", "StreamT", "Worker", "make_app"]

FETCHES_WAITING = 16
"""Of one topic, before its agent; each holds what one fetch brought of a partition, a megabyte or so."""
MESSAGES_A_FETCH = 2_000
HEARTBEAT_SECS = 1.0
REBALANCE_WITHIN_SECS = 20.0
TOPICS_KNOWN_FOR_MS = 5_000
"""How old what a client knows of topics may be; Kafka's own default would hide a new partition for 5 minutes."""


class App(faust.App):
    """A Faust app whose transport is ours."""

    fetching: Fetching
    engine: Engine

    def _new_transport(self) -> PlacedTransport:
        return PlacedTransport(self.conf.broker_consumer, self)

    async def place(self, assigned: set[Partition]) -> Placing:
        """Return where to read each assigned partition."""
        return await self.engine.place(assigned)


class NoTables(TableManager):
    """Start at once: Faust waits a second for tables to be declared, at each start and take-over, and we have none."""

    async def on_start(self) -> None:
        """Start what follows rebalances."""
        await self._update_channels()
        await self.recovery.start()


class Worker(faust.Worker):
    """Start Faust's services, the drain task beside them, and stop our way."""

    async def on_first_start(self) -> None:
        """Start without autodiscover: the agents are those of the stage's topics (traps.md 18)."""
        await self.default_on_first_start()
        self._serving = asyncio.ensure_future(self.app.engine.serve())

    def _on_sigint(self) -> None:
        self._on_sigterm()

    def _on_sigterm(self) -> None:
        self._stopping = asyncio.ensure_future(self.app.engine.stop())

    def _setup_logging(self) -> None:
        quiet.configure()

    def _setproctitle(self, info: str, *, ident: str = "") -> None:
        """Leave the process its name: the supervisor finds it by it."""


SETTINGS = {
    "key_serializer": "raw",
    "value_serializer": "raw",
    "autodiscover": False,
    "TableManager": NoTables,
    "web_enabled": False,
    "topic_allow_declare": False,
    "topic_disable_leader": True,
    "table_standby_replicas": 0,
    "stream_wait_empty": False,
    "stream_buffer_maxsize": FETCHES_WAITING,
    "broker_max_poll_records": MESSAGES_A_FETCH,
    "broker_heartbeat_interval": HEARTBEAT_SECS,
    "broker_rebalance_timeout": REBALANCE_WITHIN_SECS,
    "consumer_auto_offset_reset": "earliest",
    "consumer_metadata_max_age_ms": TOPICS_KNOWN_FOR_MS,
}
"""As measured (traps.md 19), whatever the app."""


def make_app(engine: Engine) -> App:
    """Return the Faust app of an engine: its settings, and one agent a topic."""
    shape = engine.shape
    batches.install()  # a batch that cannot be read, or expands without end, must cost only itself
    app = App(
        shape.app,
        broker=[f"kafka://{server}" for server in engine.bootstrap.split(",")],
        datadir=_datadir(engine.member),
        broker_session_timeout=shape.session_secs,
        broker_client_id=engine.member,
        consumer_group_instance_id=engine.member,
        **SETTINGS,
    )
    app.fetching = Fetching(shape.fetch_wait_ms, max(shape.fetch_wait_ms, int(shape.hold_secs * 1000)))
    app.engine = engine
    for name in engine.stage.topics:
        topic = app.topic(name, key_type=bytes, value_type=bytes, acks=False)
        app.agent(topic, name=f"{shape.app} reads {name}")(engine.ingest)
    return app


def _datadir(member: str) -> Path:
    datadir = Path(tempfile.gettempdir()) / f"wattline-{os.getuid()}" / member
    datadir.mkdir(parents=True, exist_ok=True)
    return datadir
