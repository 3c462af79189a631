"""Adoption: where a table goes on in a log that no longer reaches it, and what is given up; no Kafka, no files.

A writer halts there, since going on loses rows, or doubles them, without a word. This is the word: a person
has read the sentence and accepts it. The position moves in a commit of its own. A log that was replaced gets
a new epoch, since its offsets are those of other records; one that only lost records keeps its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal, NamedTuple

import pyarrow as pa

from schemas.message import Message
from sinks.lake.assignment import Broken
from sinks.lake.positions import NO_WITNESS, Position, Source, app_id, position_after, since_id
from sinks.lake.tables import BY_NAME

Cause = Literal["retention", "hole", "made_anew", "rewound"]
"""Retention passed the position; offsets are missing at it; the topic is another one; its end was lost."""

ADOPTIONS = BY_NAME["adoptions"]


class Adoption(NamedTuple):
    """Say from where to where one table moves in one partition; `lost_messages` is None where nobody knows."""

    table: str
    source: Source
    cause: Cause
    before: Position
    after: Position
    lost_messages: int | None
    said: str

    @property
    def marks(self) -> dict[str, int]:
        """Return the transactions beside those of the new position.

        Those of the old epoch are written again: a stale commit in that epoch is refused for it. Those of a new
        one say since when its rows were appended.
        """
        if self.after.epoch == self.before.epoch:
            return {}
        since = self.before.appended_milliseconds + 1
        return {
            app_id(self.source, self.before.epoch): self.before.next,
            since_id(self.source, self.after.epoch): since,
        }

    @property
    def sentence(self) -> str:
        """Say what does not fit, what is lost and where the table would go on."""
        return f"{self.said}.\n  → goes on at offset {self.after.next}; {self._loss}"

    @property
    def _loss(self) -> str:
        if self.lost_messages is not None:
            return f"those {self.lost_messages} messages are given up"
        unknown = "how much, nobody can know"
        if self.cause == "made_anew":
            return f"what the old topic got after that is given up: {unknown}"
        kept = f"offsets {self.after.next} to {self.before.next - 1}"
        return f"the lake keeps what Kafka lost of it, {kept}; what Kafka lost beyond is given up: {unknown}"


def adoption(broken: Broken, goes_on: int, before_it: Message | None) -> Adoption:
    """Return how a table goes on at the offset `goes_on`.

    Of a replaced log that is the first record that was appended after all that the table has, or the end;
    `before_it` is the record right before it, None where there is none.
    """
    table, source, before, log, how = broken
    if how.kind != "replaced":
        after = before._replace(next=goes_on, witness=NO_WITNESS)
        return Adoption(
            table, source, "hole" if how.kind == "hole" else "retention", before, after, how.lost, how.sentence
        )
    epoch = before.epoch + 1
    if before_it is not None:
        after = position_after(before_it, epoch)
    else:
        after = Position(goes_on, NO_WITNESS, before.appended_milliseconds, epoch)
    return Adoption(
        table, source, "made_anew" if goes_on == log.start else "rewound", before, after, None, how.sentence
    )


def rows_of(adoptions: Sequence[Adoption], first: int, now: datetime) -> pa.Table:
    """Return adoptions as rows of the table `adoptions`, counted from `first`; `now` is UTC."""
    return pa.Table.from_pylist(
        [_row(each, number, now.replace(tzinfo=None)) for number, each in enumerate(adoptions, first)], ADOPTIONS.arrow
    )


def _row(adopted: Adoption, number: int, now: datetime) -> dict[str, object]:
    before, after = adopted.before, adopted.after
    return {
        "table_name": adopted.table,
        "topic": adopted.source.topic,
        "partition": adopted.source.partition,
        "cause": adopted.cause,
        "epoch_before": before.epoch,
        "next_before": before.next,
        "last_appended": datetime.fromtimestamp(before.appended_milliseconds / 1000, UTC).replace(tzinfo=None),
        "epoch": after.epoch,
        "next": after.next,
        "lost_messages": adopted.lost_messages,
        "said": adopted.said,
        "_partition": 0,
        "_offset": number,
        "_row": 0,
        "_appended": now,
    }
