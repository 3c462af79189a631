"""What a forked process does in its cage: open the catalog, ask, write the answer, end."""

from __future__ import annotations

import os
import time
from pathlib import Path

import duckdb
import msgspec
import pyarrow as pa

from sinks.sandbox import cage, landlock, probe
from sinks.sandbox.answer import write
from sinks.sandbox.order import END, MOST_IN_A_FRAME, PART, Ended, Order, frame, read
from sinks.sandbox.threads import threads
from sinks.sql.aim import aim
from sinks.sql.definition import SETTINGS
from sinks.sql.statement import NotAQuestionError, one_question

_BUFFER_BYTES = 256 * 1024
_INSTEAD = "format=csv, arrow or parquet gives the answer as a file"


class Outlet:
    """Write an answer to a descriptor in frames; counts what was written."""

    closed = False

    def __init__(self, descriptor: int) -> None:
        self.written = 0
        self._descriptor = descriptor
        self._buffer = bytearray()

    def write(self, value: bytes) -> int:
        """Take bytes of the answer."""
        self._buffer += value
        self.written += len(value)
        if len(self._buffer) >= _BUFFER_BYTES:
            self.flush()
        return len(value)

    def flush(self) -> None:
        """Send what waits."""
        for start in range(0, len(self._buffer), MOST_IN_A_FRAME):
            self._send(frame(PART, bytes(self._buffer[start : start + MOST_IN_A_FRAME])))
        self._buffer.clear()

    def end(self, ended: Ended) -> None:
        """Say how it ended, after all that waits."""
        self.flush()
        self._send(frame(END, msgspec.json.encode(ended)))

    def _send(self, value: bytes) -> None:
        left = memoryview(value)
        while left:
            left = left[os.write(self._descriptor, left) :]


def answer(order_descriptor: int, answer_descriptor: int) -> None:
    """Enter the cage and answer the order; whatever happens is told in the last frame, where it can be."""
    outlet = Outlet(answer_descriptor)
    try:
        order = read(order_descriptor)
        connection = opened(order)
        enter(order)
    except BaseException as error:  # not caged: nothing is asked
        outlet.end(Ended("failed", f"the query's process cannot be confined: {error}"))
        return
    try:
        outlet.end(probe.tried(order) if order.is_probe else _asked(order, connection, outlet))
    except BaseException as error:
        outlet.end(_ended(error))


def opened(order: Order) -> duckdb.DuckDBPyConnection:
    """Open the catalog, which is ours, before the cage: DuckDB reads /proc when it starts, and there is none inside.

    With one thread and no other: Landlock confines the thread that asks for it and those that this one starts.
    """
    connection = duckdb.connect(order.catalog, read_only=True, config=settings(order))
    if threads() != 1:
        raise RuntimeError(f"DuckDB started {threads() - 1} threads outside of the cage")
    return connection


def enter(order: Order) -> None:
    """Leave to this process what the order needs: to read the lake, to spill."""
    cage.enter(order.limits, {Path(order.lake): landlock.READ, Path(order.spill): landlock.SPILL})


def _asked(order: Order, connection: duckdb.DuckDBPyConnection, outlet: Outlet) -> Ended:
    started = time.perf_counter()
    _settle(order, connection)
    query = one_question(connection, order.query, _INSTEAD) if order.is_checked else order.query
    aim(connection, query)
    _lock(order, connection)
    relation = connection.sql(query)
    reader = relation.to_arrow_reader(1_000) if relation is not None else _nothing()

    def said() -> dict[str, object]:
        return {"elapsed_seconds": round(time.perf_counter() - started, 6), "snapshot": order.snapshot}

    cut = write(reader, order.form, outlet, order.limits, said)
    return Ended("answered", "", cut.rows, cut.truncated, time.perf_counter() - started)


def settings(order: Order) -> dict[str, str]:
    """Return what DuckDB is started with."""
    return {
        **SETTINGS,
        "threads": "1",
        "async_threads": "0",
        "memory_limit": f"{order.limits.duckdb_bytes}B",
        "temp_directory": order.spill,
        "max_temp_directory_size": f"{order.limits.spill_bytes * 9 // 10}B",
        "home_directory": order.spill,
        "allow_community_extensions": "false",
        "allow_persistent_secrets": "false",
    }


def _settle(order: Order, connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute(f"SET threads = {order.limits.threads}")
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET enable_progress_bar = false")


def _lock(order: Order, connection: duckdb.DuckDBPyConnection) -> None:
    """Tell DuckDB what it may: what stops a query is the cage, this makes refusals early and clear."""
    connection.execute(f"SET allowed_directories = ['{_quoted(order.lake)}', '{_quoted(order.spill)}']")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def _quoted(path: str) -> str:
    return path.replace("'", "''")


def _nothing() -> pa.RecordBatchReader:
    """Return the answer of a statement that has none, which only comes here unchecked."""
    return pa.RecordBatchReader.from_batches(pa.schema([]), [])


def _ended(error: BaseException) -> Ended:
    """Return an error as the end of an answer. What DuckDB refuses while rows are on their way comes as an OSError."""
    text = str(error)
    if isinstance(error, MemoryError | duckdb.OutOfMemoryException | pa.ArrowMemoryError) or "Out of Memory" in text:
        return Ended("out_of_memory", text)
    if isinstance(error, NotAQuestionError | duckdb.Error) or (isinstance(error, OSError) and error.errno is None):
        return Ended("refused", text)
    if isinstance(error, OverflowError | ValueError | pa.ArrowException):  # a date of the year 290,000, a union
        return Ended("refused", f"a value of the answer cannot be written: {text}; cast it with ::VARCHAR")
    return Ended("failed", f"{type(error).__name__}: {text}")
