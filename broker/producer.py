"""The one producer: acks all, idempotent, zstd, every send watched by a deadline that raises an alarm."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from functools import partial

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, KafkaTimeoutError, MessageSizeTooLargeError

from broker import admin, client_logs, compress
from schemas.errors import RejectedRecordError, UnavailableError

BATCH_BYTES = 131_072
LARGEST_REQUEST_BYTES = 16_777_216
RECORD_OVERHEAD_BYTES = 1_024
"""What a record batch, a key and zstd on incompressible bytes may add to a value."""

Place = tuple[int, int]
log = logging.getLogger(__name__)


class Producer:
    """Send messages within an `async with` block.

    A message is handed to Kafka once. Where the broker does not answer it stays queued and `alarm` is
    called with one sentence after `alarm_after_secs`, then each time that span has passed again: cancelling
    and sending again would double it (traps.md 15).
    """

    def __init__(
        self, bootstrap: str, *, alarm: Callable[[str], None] = log.error, alarm_after_secs: float = 10.0
    ) -> None:
        self.bootstrap = bootstrap
        self._alarm = alarm
        self._alarm_after_secs = alarm_after_secs
        self._largest_bytes: dict[str, int] = {}
        self._waiting: dict[asyncio.Future[None], tuple[str, float]] = {}
        self._failure: Exception | None = None

    async def __aenter__(self) -> Producer:
        # Once for all topics: a send to a second one must not fail because the broker is away by then.
        self._largest_bytes = await admin.largest_message_bytes(self.bootstrap)
        client_logs.limit_rate()
        compress.install()
        self._producer = AIOKafkaProducer(
            bootstrap_servers=self.bootstrap,
            acks="all",
            enable_idempotence=True,
            linger_ms=5,
            compression_type="zstd",
            max_batch_size=BATCH_BYTES,
            max_request_size=LARGEST_REQUEST_BYTES,
        )
        await self._producer.start()
        self._watch = asyncio.create_task(self._watch_deadlines())
        return self

    async def __aexit__(self, *exception: object) -> None:
        """Wait for what is queued, at most `alarm_after_secs`, and say how much was never acknowledged."""
        self._watch.cancel()
        try:
            await asyncio.wait_for(self._producer.stop(), self._alarm_after_secs)
        except TimeoutError:
            self._alarm(f"{len(self._waiting)} messages were never acknowledged by Kafka at {self.bootstrap}: given up")
            await self._producer._sender.close()
            await self._producer.client.close()

    @property
    def waiting(self) -> int:
        """Return the number of messages that Kafka has not acknowledged yet."""
        return len(self._waiting)

    async def send(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None = None,
        headers: Iterable[tuple[str, bytes]] = (),
    ) -> asyncio.Future[Place]:
        """Queue one message and return the future of its (partition, offset), done when all replicas have it.

        Waits while Kafka takes no more. Cancelling the future does not take the message back.
        Raises UnavailableError for an unknown topic, RejectedRecordError (`too_large`) for what its topic
        does not take; the future may raise UnavailableError.
        """
        await self._refuse(topic, len(value or b"") + len(key or b""))
        loop = asyncio.get_running_loop()
        # Two futures: the caller may cancel `place`, which must not end our watch over the message.
        place, settled = loop.create_future(), loop.create_future()
        self._waiting[settled] = (topic, time.monotonic())
        try:
            queued = await self._queue(topic, value, key, list(headers))
        except BaseException:
            self._settle(settled)
            raise
        queued.add_done_callback(partial(self._acknowledge, place, settled, topic))
        return place

    async def flush(self, within_secs: float | None = None) -> None:
        """Return when everything sent so far is acknowledged.

        Raises UnavailableError after `within_secs` (None = wait for ever), and the failure of any message so far.
        """
        if sent := list(self._waiting):
            _, late = await asyncio.wait(sent, timeout=within_secs)  # unlike wait_for it cancels nothing
            if late:
                raise UnavailableError(f"{len(late)} messages not acknowledged by {self.bootstrap} in {within_secs} s")
        if self._failure:
            raise self._failure

    async def _refuse(self, topic: str, size_bytes: int) -> None:
        """Refuse before Kafka does, and everything once a message has failed.

        Trap: a batch that the broker refuses has used its sequence number, and aiokafka then fails every later
        batch of that partition.
        """
        if self._failure:
            raise self._failure
        if topic not in self._largest_bytes:
            await admin.require_topics(self.bootstrap, [topic])
            self._largest_bytes = await admin.largest_message_bytes(self.bootstrap)
        largest = self._largest_bytes[topic] - RECORD_OVERHEAD_BYTES
        if size_bytes > largest:
            raise RejectedRecordError(
                "too_large",
                f"a message of {size_bytes:,} bytes was not sent to {topic}, which takes at most {largest:,}: "
                f"send fewer rows a message",
                value=str(size_bytes),
            )

    async def _queue(
        self, topic: str, value: bytes | None, key: bytes | None, headers: list[tuple[str, bytes]]
    ) -> asyncio.Future:
        while True:
            try:
                return await self._producer.send(topic, value, key, headers=headers)
            except KafkaTimeoutError:  # the partition's batch stayed full: nothing was queued, so wait on
                continue
            except (KafkaError, AssertionError) as error:
                raise _failed(topic, error) from error

    def _acknowledge(
        self, place: asyncio.Future[Place], settled: asyncio.Future[None], topic: str, queued: asyncio.Future
    ) -> None:
        self._settle(settled)
        if queued.cancelled():
            place.cancel()
        elif error := queued.exception():
            self._failure = _failed(topic, error)
            place.done() or place.set_exception(self._failure)
        elif not place.done():
            place.set_result((queued.result().partition, queued.result().offset))

    def _settle(self, settled: asyncio.Future[None]) -> None:
        self._waiting.pop(settled, None)
        settled.set_result(None)

    async def _watch_deadlines(self) -> None:
        quiet_until = 0.0
        while True:
            await asyncio.sleep(min(1.0, self._alarm_after_secs / 4))
            if not self._waiting:
                continue
            topic, since = next(iter(self._waiting.values()))
            now = time.monotonic()
            if now - since > self._alarm_after_secs and now > quiet_until:
                quiet_until = now + self._alarm_after_secs
                self._alarm(
                    f"Kafka at {self.bootstrap} has not acknowledged {len(self._waiting)} messages, the oldest to "
                    f"{topic} for {now - since:.0f} s: is it down, its disk full or the topic gone? "
                    f"They stay queued, nothing is lost"
                )


def _failed(topic: str, error: BaseException) -> Exception:
    if isinstance(error, MessageSizeTooLargeError):
        return RejectedRecordError("too_large", f"a message to {topic} was refused as too large: {error}")
    return UnavailableError(
        f"a message to {topic} was not taken ({type(error).__name__}: {error}): start this program again"
    )
