"""Native messages by the block: columns of many messages as arrays, none of them decoded by itself.

Messages of our own writers differ in values only: what a record batch says of its own layout is the same, byte
for byte, wherever the number of rows and the nulls are. So a layout is read once and kept by its bytes, and the
columns of every further message lie where those of the first did. What is anything else is left to schemas.arrow.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas import arrow
from schemas.arrow_layout import ALL, NONE, Layout, read_layout
from schemas.arrow_stream import END
from schemas.column import Record
from schemas.message import Message

JOINED_ROWS = 512
"""Messages of fewer rows are joined first: looking at a column of each would cost more."""
KEPT_LAYOUTS = 4_096
BYTES_IN_CACHE = 1_200_000
"""So much at once stays in a core's own cache; of more each pass over a column costs several times as much."""

Ints = NDArray[np.int64]
_PREFIX = struct.Struct("<ii")
_kept: dict[tuple[str, bytes], Layout | None] = {}


class _Body(NamedTuple):
    """One message that is laid out plainly: its index, and its body's bytes."""

    at: int
    layout: Layout
    body: memoryview


class _Seen(NamedTuple):
    """Keep what comes before the body of a plain message: its schema, and what its batch says of its layout."""

    head: bytes
    layout: Layout


class Block:
    """Columns of messages, one message after the other. A column has nulls in none, some or all of its rows."""

    def __init__(self, bodies: Sequence[_Body]) -> None:
        groups: dict[int, list[_Body]] = defaultdict(list)
        for each in bodies:
            groups[id(each.layout) if each.layout.rows < JOINED_ROWS else -each.at].append(each)
        self._parts = [(group[0].layout, _matrix(group)) for group in groups.values()]
        ordered = [each for group in groups.values() for each in group]
        self.messages = [each.at for each in ordered]
        """Index of each message."""
        self.counts: Ints = np.array([each.layout.rows for each in ordered])
        """Rows of each message; none has 0."""
        self._columns: dict[str, NDArray[Any]] = {}

    @cached_property
    def starts(self) -> Ints:
        """Return the first row of each message."""
        return np.cumsum(self.counts) - self.counts

    def nulls(self, name: str) -> int:
        """Return how many values of a column are null: NONE, SOME or ALL (schemas.arrow_layout)."""
        return self._parts[0][0].places[name].kind

    def says_its_nulls(self, name: str) -> bool:
        """Tell whether as many values of a column are null as its messages say."""
        said = sum(len(bodies) * layout.places[name].nulls for layout, bodies in self._parts)
        return said == 0 or said + np.count_nonzero(self.is_there(name)) == int(self.counts.sum())

    def column(self, name: str) -> NDArray[Any]:
        """Return the values of a column, times in µs; anything stands where one is null."""
        if name not in self._columns:
            pieces = []
            for layout, bodies in self._parts:
                at, dtype = layout.places[name].values, layout.places[name].dtype
                pieces.append(bodies[:, at : at + layout.rows * dtype.itemsize].view(dtype).reshape(-1))
            self._columns[name] = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
        return self._columns[name]

    def is_there(self, name: str) -> NDArray[np.bool_]:
        """Return which values of a column are not null."""
        if self.nulls(name) == NONE:
            return np.ones(int(self.counts.sum()), np.bool_)
        pieces = []
        for layout, bodies in self._parts:
            at = layout.places[name].validity
            bits = np.unpackbits(bodies[:, at : at + (layout.rows + 7) // 8], axis=1, bitorder="little")
            pieces.append(bits[:, : layout.rows].reshape(-1))
        return np.concatenate(pieces).view(np.bool_)

    def filled(self, name: str, null: int) -> NDArray[Any]:
        """Return the values of a column with `null` where there is none."""
        values = self.column(name)
        if self.nulls(name) == NONE:
            return values
        if self.nulls(name) == ALL:
            return np.full_like(values, null)
        return np.where(self.is_there(name), values, values.dtype.type(null))


def blocks_of(record: Record, messages: Sequence[Message], max_decoded_bytes: int) -> tuple[list[Block], list[int]]:
    """Return plain messages in blocks, and the indexes of all others; nothing raises. Pure.

    Messages of which the same columns have nulls make one block: give so many at once that it stays in a cache.
    """
    others: list[int] = []
    alike: dict[tuple[int, ...], list[_Body]] = defaultdict(list)
    usual = tuple(arrow.headers(record))
    heads = arrow.known_headers(record)
    seen: dict[int, _Seen] = {}
    for index, message in enumerate(messages):
        body, value = None, message.value
        if value is not None and (message.headers == usual or _is_native(record, message)):
            body = _as_seen(seen.get(len(value)), value, index)
            if body is None:
                body = _plain(record, heads, value, index, max_decoded_bytes)
                if body is not None:
                    seen[len(value)] = _Seen(value[: len(value) - len(body.body) - len(END)], body.layout)
        if body is None:
            others.append(index)
        else:
            alike[body.layout.kinds].append(body)
    return [Block(bodies) for bodies in alike.values()], others


def in_blocks(messages: Iterable[Message], bytes_a_block: int) -> Iterator[list[Message]]:
    """Cut messages into runs of about so many bytes: where a drain ends leaves no trace, so neither does this."""
    block, size = [], 0
    for message in messages:
        block.append(message)
        size += len(message.value or b"")
        if size >= bytes_a_block:
            yield block
            block, size = [], 0
    if block:
        yield block


def _is_native(record: Record, message: Message) -> bool:
    expected = (None, record.schema_header.encode())
    return message.header("content-type") == arrow.CONTENT_TYPE and message.header("schema") in expected


def _as_seen(seen: _Seen | None, value: bytes, index: int) -> _Body | None:
    """Return a message that has, to the byte, all but the body of one of the same length that was plain."""
    if seen is None or not (value.startswith(seen.head) and value.endswith(END)):
        return None
    return _Body(index, seen.layout, memoryview(value)[len(seen.head) : -len(END)])


def _plain(record: Record, heads: Sequence[bytes], value: bytes, index: int, most: int) -> _Body | None:
    """Return a message that is a known schema, one plain batch and the end, to the byte."""
    if len(value) > most or not value.endswith(END):
        return None
    start = next((len(head) for head in heads if value.startswith(head)), 0)
    if not start or len(value) < start + 8 + len(END):
        return None
    mark, length = _PREFIX.unpack_from(value, start)
    if mark != -1 or not 16 <= length <= len(value):
        return None
    end = start + 8 + length
    layout = _layout(record, value[start:end])
    if layout is None or end + layout.body + len(END) != len(value):
        return None
    return _Body(index, layout, memoryview(value)[end : end + layout.body])


def _layout(record: Record, head: bytes) -> Layout | None:
    key = (record.name, head)
    if key not in _kept:
        if len(_kept) >= KEPT_LAYOUTS:
            _kept.clear()
        _kept[key] = read_layout(record, head)
    return _kept[key]


def _matrix(group: Sequence[_Body]) -> NDArray[np.uint8]:
    """Return the bodies of messages of one layout, one a row."""
    body = group[0].body if len(group) == 1 else b"".join([each.body for each in group])
    return np.frombuffer(body, np.uint8).reshape(len(group), -1)
