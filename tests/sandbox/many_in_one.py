"""In a zygote of tests: a cage that asks many statements one after the other, so that ten thousand take minutes.

An order's query is a list of statements. Each is asked on the same connection, whatever the one before it did, and a
line of the answer says how it ended.
"""

from __future__ import annotations

import contextlib

import duckdb
import msgspec
import pyarrow as pa

from sinks.sandbox import question
from sinks.sandbox.order import Ended, Order
from sinks.sandbox.question import Outlet

ENTRY = (
    "import sys; sys.path[:] = sys.argv[3:]; import tests.sandbox.many_in_one; from sinks.sandbox.zygote import main; "
    "main(int(sys.argv[1]), sys.argv[2])"
)


def _asked(order: Order, connection: duckdb.DuckDBPyConnection, outlet: Outlet) -> Ended:
    question._settle(order, connection)
    question._lock(order, connection)
    for statement in msgspec.json.decode(order.query, type=list[str]):
        outlet.write(_end(connection, statement).encode("utf-8", "replace") + b"\n")
        outlet.flush()
        with contextlib.suppress(duckdb.Error):
            connection.execute("ROLLBACK")  # one that failed within BEGIN would refuse all that come after it
    return Ended("answered")


def _end(connection: duckdb.DuckDBPyConnection, statement: str) -> str:
    try:
        relation = connection.sql(statement)
        rows = relation.to_arrow_reader(1_000).read_next_batch().to_pylist() if relation is not None else []
    except (duckdb.Error, pa.ArrowException, OSError, MemoryError, StopIteration, ValueError, OverflowError) as error:
        return f"refused {type(error).__name__} {str(error)[:200]!r}"
    except Exception as error:
        return f"odd {type(error).__name__} {str(error)[:200]!r}"
    return f"answered {str(rows)[:400]!r}"


question._asked = _asked
