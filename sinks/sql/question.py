"""One question to one lake: aimed at its files, which are there, and answered; or explained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from sinks.lake.tables import TABLES
from sinks.sql.aim import MANY_FILES, Aimed, aim
from sinks.sql.at import NEWEST, At, newest_version
from sinks.sql.connection import connect
from sinks.sql.snapshot import Span
from sinks.sql.statement import one_question

WHY = ("span", "hour", "time", "place")
"""Why a file is left unread: outside of --since and --until, of another hour, by its own bounds of time, of other
racks, meters or subjects."""


UNPLANNED = "DuckDB cannot say beforehand what this question reads (PIVOT without IN, raw): it may read every file"


@dataclass
class Asked:
    """Tell of a question: its text, and the files of the tables that it reads; None where they cannot be told."""

    text: str
    files: list[Aimed] | None

    @property
    def read(self) -> list[Aimed]:
        """Return the files that are read."""
        return [file for file in self.files or () if file.left_out is None]


class Lake:
    """Ask one snapshot of a lake; `refresh` takes a newer one where there is one."""

    def __init__(self, folder: Path, span: Span | None = None, at: At = NEWEST) -> None:
        self.folder, self.span, self.at = folder, span, at
        self.connection = connect(folder, span, at)
        self.versions = self._versions()

    def refresh(self) -> None:
        """Take the newest snapshot, or that of `at`."""
        self.connection.close()
        self.connection = connect(self.folder, self.span, self.at)
        self.versions = self._versions()

    def ask(self, text: str) -> Asked:
        """Point the views at what a question needs.

        Raises NotAQuestionError, and what DuckDB raises.
        """
        question = one_question(self.connection, text)
        return Asked(question, aim(self.connection, question))

    def answer(self, asked: Asked) -> duckdb.DuckDBPyRelation:
        """Return the answer of a question that was just asked."""
        return self.connection.sql(asked.text)

    def note(self, asked: Asked) -> str | None:
        """Return what to add to a question that reads many files."""
        files = len(asked.read) if asked.files is not None else sum(1 for _ in self._all_paths())
        if files <= MANY_FILES:
            return None
        told = "reads" if asked.files is not None else "may read, since DuckDB cannot plan it beforehand,"
        return f"this question {told} {files:,} files: bound its time (window_start >= …) or its rack, or add --since"

    @property
    def is_old(self) -> bool:
        """Tell whether somebody has written since the snapshot; never of a lake asked as it was."""
        if self.at != NEWEST:
            return False
        newest = {table.name: newest_version(table.folder(self.folder)) for table in TABLES}
        return any(version is not None and self.versions.get(name) != version for name, version in newest.items())

    def _versions(self) -> dict[str, int]:
        return dict(self.connection.execute('SELECT "table", version FROM raw.versions').fetchall())

    def _all_paths(self) -> list[str]:
        found = self.connection.execute("SELECT path FROM raw.files WHERE is_within_span").fetchall()
        return [path for (path,) in found]


def explained(asked: Asked) -> pa.RecordBatchReader:
    """Return of each table that a question reads how many files there are, why some stay unread, and what is left.

    Columns: table; files; unread_by_… (WHY); read, of them `chosen_from` in hours that are not settled; rows and bytes
    of what is read, rows null where a file does not tell them.
    """
    tables = dict.fromkeys(file.table for file in asked.files or ())
    rows = [_explained(table, [file for file in asked.files or () if file.table == table]) for table in tables]
    return pa.RecordBatchReader.from_batches(_EXPLAINED, [pa.RecordBatch.from_pylist(rows, schema=_EXPLAINED)])


def planned(lake: Lake, asked: Asked) -> str:
    """Return DuckDB's own plan of a question that was just asked."""
    rows = lake.connection.execute(f"EXPLAIN {asked.text}").fetchall()
    return "\n".join(str(text) for _, text in rows)


def views(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Return the names of what can be asked."""
    listed = "SELECT view_name FROM duckdb_views() WHERE schema_name = 'main' AND NOT internal ORDER BY ALL"
    return [name for (name,) in connection.execute(listed).fetchall()]


_EXPLAINED = pa.schema(
    [("table", pa.string())]
    + [(name, pa.int64()) for name in ("files", *(f"unread_by_{why}" for why in WHY))]
    + [(name, pa.int64()) for name in ("read", "chosen_from", "rows", "bytes")]
)


def _explained(table: str, files: Sequence[Aimed]) -> dict[str, object]:
    read = [file for file in files if file.left_out is None]
    counted = [file.rows for file in read if file.rows is not None]
    return {
        "table": table,
        "files": len(files),
        **{f"unread_by_{why}": sum(file.left_out == why for file in files) for why in WHY},
        "read": len(read),
        "chosen_from": sum(not file.is_settled for file in read),
        "rows": sum(counted) if len(counted) == len(read) else None,
        "bytes": sum(file.bytes for file in read),
    }
