"""The workers that were heard on `health.v1`: the newest record of each, and which partitions nobody reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from schemas.alert import moment
from schemas.errors import RejectedRecordError
from schemas.health import Health, decode_health
from schemas.message import Message
from schemas.topics import BY_NAME

FORGOTTEN_AFTER = timedelta(hours=24)
"""A slot that was not heard for so long is none that anybody waits for."""

REPLACED_AFTER = timedelta(minutes=10)
"""The same where others of its app have every partition that it had: it was one too many, or is not to come back."""

LATELY = timedelta(seconds=60)
UNHEARD_AFTER_REPORTS = 3

READERS: Mapping[str, tuple[str, ...]] = {
    "roll-up": ("telemetry.gpu.v1", "telemetry.power.v1"),
    "evaluate": ("telemetry.power.v1", "windows.rack.v1", "telemetry.progress.v1"),
}
"""The apps without which there are no alerts, and the topics of which each must have every partition."""


class Worker(NamedTuple):
    """Hold a worker's last record and when Kafka took it."""

    health: Health
    heard: datetime

    @property
    def name(self) -> str:
        """Return app, slot and host."""
        return f"{self.health.app}-{self.health.slot} on {self.health.host}"

    def is_heard(self, now: datetime) -> bool:
        """Tell whether it said lately how it does: what a worker said that is gone is not so now."""
        return now - self.heard <= UNHEARD_AFTER_REPORTS * timedelta(seconds=self.health.every_secs)

    @property
    def reads(self) -> set[tuple[str, str, int]]:
        """Return app, topic and number of the partitions that it had."""
        return {(self.health.app, each.topic, each.partition) for each in self.health.partitions}


class Workers:
    """Hold the newest record of every worker. Pure: fed by `take`, asked with a time that carries a zone."""

    def __init__(self) -> None:
        self.unreadable = 0
        self._workers: dict[bytes | None, Worker] = {}
        self._unread_since: dict[tuple[str, str, int], datetime] = {}

    def take(self, messages: Iterable[Message]) -> None:
        """Take messages of `health.v1` in the order of its log; one without a value takes its worker away."""
        for message in messages:
            heard = moment(message.appended)
            try:
                if message.value:
                    self._workers[message.key] = Worker(decode_health(message), heard)
                else:
                    self._workers.pop(message.key, None)
            except RejectedRecordError:
                self.unreadable += 1
            self._note_unread(heard)

    def unregistered(self, now: datetime) -> list[str]:
        """Return the racks and meters that report and are in no facility, in order."""
        lately = (worker for worker in self.at(now) if now - worker.heard < LATELY)
        return sorted({name for worker in lately for name in worker.health.unregistered})

    def at(self, now: datetime) -> list[Worker]:
        """Return the workers that are waited for, by app and slot."""
        known = [worker for worker in self._workers.values() if now - worker.heard < FORGOTTEN_AFTER]
        lately = {at for worker in known if now - worker.heard < LATELY for at in worker.reads}
        known = [each for each in known if now - each.heard < REPLACED_AFTER or not each.reads or each.reads - lately]
        return sorted(known, key=lambda worker: (worker.health.app, worker.health.slot))

    def unread(self, now: datetime) -> dict[tuple[str, str], tuple[list[int], timedelta]]:
        """Return the partitions that are nobody's by (app, topic), and for how long the first of them is."""
        unread: dict[tuple[str, str], tuple[list[int], timedelta]] = {}
        for (app, topic, partition), since in self._unread_since.items():
            others, longest = unread.get((app, topic), ([], timedelta(0)))
            unread[app, topic] = [*others, partition], max(longest, now - since)
        return unread

    def _note_unread(self, now: datetime) -> None:
        read = {at for worker in self.at(now) for at in worker.reads}
        missing = [each for each in _to_be_read() if each not in read]
        self._unread_since = {each: self._unread_since.get(each, now) for each in missing}


def _to_be_read() -> Iterator[tuple[str, str, int]]:
    for app, topics in READERS.items():
        for topic in topics:
            yield from ((app, topic, number) for number in range(BY_NAME[topic].partitions))
