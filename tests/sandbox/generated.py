"""Statements made by a seed, over all functions and settings that DuckDB has: most are nonsense, some are attacks."""

from __future__ import annotations

import random
from collections.abc import Callable

import duckdb

PLACES = (
    "{outside}/evil.csv", "{outside}/secret.csv", "{outside}", "{lake}", "{lake}/evil.parquet", "{lake}/link.csv",
    "{lake}/linked/evil", "{lake}/gpu/_delta_log/00000000000000000000.json", "{lake}/gpu/*/*.parquet", "{unix}",
    "/etc/passwd", "/proc/self/environ", "/proc/self/mem", "/dev/stdout", "/dev/fd/4", "/dev/shm/evil", "/**",
    "http://127.0.0.1:{tcp}/a.csv", "s3://127.0.0.1:{tcp}/b/a.parquet", "file:///etc/passwd", "|touch {outside}/evil",
    "", ":memory:", "\\\\?\\C:\\x", "{lake}/../outside/evil", "~/.ssh/id_rsa", "/root/*", "hf://datasets/a/b/c.parquet",
)  # fmt: skip
VALUES = (
    "NULL", "0", "-1", "1", "2", "10", "255", "65_536", "1e300", "'NaN'::DOUBLE", "'x'", "''", "'%s%n'", "TRUE",
    "repeat('x', 1000)", "[1, 2, 3]", "[]", "{'a': 1}", "MAP {'a': 1}", "DATE '2026-03-01'", "now()", "INTERVAL 1 DAY",
    "'\\xDE\\xAD'::BLOB", "'[1, {\"a\": null}]'::JSON", "170141183460469231731687303715884105727", "x -> x + 1",
    "(SELECT count(*) FROM gpu)", "'1101'::BIT", "uuid()", "TIMESTAMP 'infinity'", "'a' COLLATE NOCASE", "(1, 'a')",
    "'(a+)+$'", "power_watts", "time", "1_000_000_000",
)  # fmt: skip
RELATIONS = ("gpu", "power", "windows", "sites", "racks", "alerts", "raw.gpu", "raw.places", "duckdb_settings()", "t")
_NUMBERS = ("0", "1", "-1", "7", "100")
_TEXTS = ("'x'", "''", "'%d%s'", "'2026-03-01'", "'{\"a\": [1]}'", "'a.*b'", "'$.a'")
_OF_TYPE: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("BIGINT", "INTEGER", "SMALLINT", "TINYINT", "UBIGINT", "HUGEINT", "DOUBLE", "FLOAT"), _NUMBERS),
    "VARCHAR": _TEXTS,
    "VARCHAR[]": ("['a', 'b']", "['{outside}/secret.csv', '/etc/passwd']"),
    "BOOLEAN": ("true", "false"),
    "BLOB": ("'a'::BLOB", "''::BLOB"),
    "TIMESTAMP": ("TIMESTAMP '2026-03-01 12:00:00'",),
    "DATE": ("DATE '2026-03-01'",),
    "INTERVAL": ("INTERVAL 1 DAY",),
}
_FUNCTIONS = """
SELECT DISTINCT function_type, function_name, parameter_types FROM duckdb_functions()
WHERE regexp_full_match(function_name, '[a-z_0-9]+') ORDER BY ALL
"""
KINDS = ("csv", "parquet", "json", "arrow", "xlsx", "blob")


class Statements:
    """Make statements; the same seed makes the same ones."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        with duckdb.connect() as connection:
            functions = connection.sql(_FUNCTIONS).fetchall()
            self._settings = [
                name for (name,) in connection.sql("SELECT name FROM duckdb_settings() ORDER BY 1").fetchall()
            ]
        kinds = {kind for kind, _, _ in functions}
        self._of_kind = {kind: [(name, types) for each, name, types in functions if each == kind] for kind in kinds}

    def make(self) -> str:
        """Return the next statement."""
        makers: tuple[tuple[int, Callable[[], str]], ...] = (
            (30, self._select), (20, self._from_function), (12, self._copy), (10, self._setting), (8, self._attach),
            (8, self._made), (6, self._wrapped), (6, self._other),
        )  # fmt: skip
        weights, functions = zip(*makers, strict=True)
        return self._random.choices(functions, weights)[0]()

    def _one(self, of: tuple[str, ...] | list[str]) -> str:
        return self._random.choice(of)

    def _place(self) -> str:
        return "'" + self._one(PLACES) + "'"

    def _value(self, depth: int = 0) -> str:
        drawn = self._random.random()
        if depth < 3 and drawn < 0.25:
            return self._call("scalar", depth + 1)
        return self._place() if drawn < 0.45 else self._one(VALUES)

    def _call(self, kind: str, depth: int = 0) -> str:
        """Return a call of some function: mostly with arguments of its types, else with any."""
        name, types = self._random.choice(self._of_kind[kind])
        if kind == "table":  # what it lists behind the first are mostly options by name
            first = self._place() if self._random.random() < 0.5 else self._of_type(types[0] if types else None)
            return f'"{name}"({first if types else ""})'
        if self._random.random() < 0.7:
            arguments = [self._of_type(each) for each in types]
        else:
            arguments = [self._value(depth) for _ in range(self._random.choices((0, 1, 2, 3, 4), (1, 4, 4, 2, 1))[0])]
        return f'"{name}"({", ".join(arguments)})'

    def _of_type(self, wanted: str | None) -> str:
        known = _OF_TYPE.get((wanted or "").partition("(")[0])
        if known is None:
            return self._value(2) if wanted in (None, "ANY", "T") else f"NULL::{wanted}"
        return self._place() if known is _TEXTS and self._random.random() < 0.5 else self._one(known)

    def _select(self) -> str:
        columns = ", ".join(self._value() for _ in range(self._random.randint(1, 3)))
        aggregate = f", {self._call('aggregate')}" if self._random.random() < 0.2 else ""
        return f"SELECT {columns}{aggregate} FROM {self._one(RELATIONS)} LIMIT 5"

    def _from_function(self) -> str:
        return f"SELECT * FROM {self._call('table')} LIMIT 5"

    def _copy(self) -> str:
        what = self._one(RELATIONS) if self._random.random() < 0.5 else f"({self._select()})"
        way = self._one(("TO", "TO", "TO", "FROM"))
        options = (
            f" (FORMAT {self._one(KINDS)}{self._one(('', ', OVERWRITE', ', PARTITION_BY (a)', ', PER_THREAD_OUTPUT'))})"
        )
        return f"COPY {what} {way} {self._place()}{options if self._random.random() < 0.6 else ''}"

    def _setting(self) -> str:
        name, value = self._one(self._settings), self._value()
        return self._one(
            (f"SET {name} = {value}", f"SET GLOBAL {name} = {value}", f"RESET {name}", f"PRAGMA {name} = {value}")
        )

    def _attach(self) -> str:
        options = self._one(("", " (READ_ONLY)", " (TYPE sqlite)", " (TYPE postgres)", " (STORAGE_VERSION 'latest')"))
        return self._one((
            f"ATTACH {self._place()} AS e{options}",
            f"EXPORT DATABASE {self._place()}", f"IMPORT DATABASE {self._place()}",
            f"INSTALL {self._place()}",
            f"LOAD {self._place()}", f"INSTALL httpfs FROM {self._place()}", "LOAD httpfs",
        ))  # fmt: skip

    def _made(self) -> str:
        temporary = self._one(("", "TEMP ", "OR REPLACE TEMP "))
        return self._one((
            f"CREATE {temporary}TABLE t AS {self._select()}", f"CREATE {temporary}VIEW v AS {self._from_function()}",
            f"CREATE {temporary}MACRO m(a) AS {self._value()}", f"CREATE SECRET s (TYPE http, SCOPE {self._place()})",
            f"CREATE {temporary}SEQUENCE q", "CREATE TYPE k AS ENUM ('a')", f"DROP VIEW {self._one(RELATIONS)}",
            f"DELETE FROM {self._one(RELATIONS)}", f"INSERT INTO {self._one(RELATIONS)} VALUES ({self._value()})",
        ))  # fmt: skip

    def _wrapped(self) -> str:
        inner = self._random.choice((self._select, self._copy, self._from_function, self._made))()
        return self._one((
            f"EXPLAIN ANALYZE {inner}", f"WITH x AS ({inner}) SELECT 1", f"WITH x AS MATERIALIZED ({inner}) FROM x",
            f"PREPARE p AS {inner}; EXECUTE p", f"BEGIN; {inner}; COMMIT", f"SELECT ({inner})", f"SUMMARIZE {inner}",
        ))  # fmt: skip

    def _other(self) -> str:
        return self._one((
            f"CALL {self._call('table')}", f"CALL {self._call('pragma')}", f"USE {self._one(RELATIONS)}", "VACUUM",
            "FORCE CHECKPOINT", "DETACH catalog", f"FROM {self._place()}", f"FROM query({self._place()})",
            f"COMMENT ON VIEW gpu IS {self._value()}", "SHOW ALL TABLES",
            f"PIVOT gpu ON gpu USING {self._call('aggregate')}",
        ))  # fmt: skip
