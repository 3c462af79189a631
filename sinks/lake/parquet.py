"""One Parquet file of a table: written, hashed, made durable, read back; then it may be committed."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from schemas.errors import UnavailableError
from sinks.lake.durable import make_folder, move, sync_file
from sinks.lake.encodings import DICTIONARY, FLUSH_ENCODINGS, HOUR_ENCODINGS, Encodings, encoding_of
from sinks.lake.tables import Table

TEMPORARY = "_temporary"
"""The folder in a table where files are written before they get their names; Delta ignores it."""

ROW_GROUP_ROWS = 131_072
_PAGE_BYTES = 4_194_304
_PAGE_ROWS = 1 << 18
_BATCH_ROWS = 1 << 17
"""Levels and values that the writer takes at once: with its own 1,024 each column is a hundred small calls a group."""

Step = Callable[[str], None]
"""Called with the name of each durable step as it is done; tests stop a writer there."""


class ParquetFile(NamedTuple):
    """Name a durable file that no snapshot holds yet; `path` is relative to the table's folder."""

    path: str
    hour: str
    size: int
    rows: int
    sha256: str
    statistics: str


class Hashing:
    """Write to a file and hash what is written, so that the bytes are never read back for it."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw
        self.digest = hashlib.sha256()
        self.size = 0
        self.closed = False

    def write(self, piece: bytes) -> int:
        """Write and hash a piece."""
        self.digest.update(piece)
        self.size += len(piece)
        return self._raw.write(piece)

    def flush(self) -> None:
        """Hand on what is buffered."""
        self._raw.flush()

    def close(self) -> None:
        """Take no more; the file below is closed by who opened it."""
        self.closed = True


def write_file(rows: pa.Table, hour: str, table: Table, folder: Path, step: Step) -> ParquetFile:
    """Write `rows` (already in order) as one durable file of `hour` below the table's `folder`.

    The name carries the SHA-256 of the bytes, since a commit's own words do not survive a checkpoint,
    and eight random digits, so that two writers never share a file. Raises UnavailableError where the
    footer read back does not count what was written; OSError as the disk gives it.
    """
    temporary = folder / TEMPORARY / f"{secrets.token_hex(8)}.parquet"
    make_folder(temporary.parent)
    try:
        size, sha256 = _write(rows, table, temporary)
        step("file written")
        sync_file(temporary)
        step("file synced")
        target = folder / f"hour={hour}" / f"flush-{sha256}-{secrets.token_hex(4)}.parquet"
        make_folder(target.parent)
        move(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    step("file named")
    check_footer(target, rows.num_rows)
    path = str(target.relative_to(folder))
    return ParquetFile(path, hour, size, rows.num_rows, sha256, statistics(rows, table))


def remove_files(files: list[ParquetFile], folder: Path) -> None:
    """Remove files that were never committed."""
    for file in files:
        (folder / file.path).unlink(missing_ok=True)


def statistics(rows: pa.Table, table: Table) -> str:
    """Return Delta's statistics: the number of rows, and the bounds of what readers prune by."""
    return told([bounds_of(rows, table)])


class Bounds(NamedTuple):
    """Say of some rows how many there are, and of each column that readers prune by its least, greatest and nulls."""

    rows: int
    low: dict[str, int | datetime]
    high: dict[str, int | datetime]
    nulls: dict[str, int]


def bounds_of(rows: pa.Table, table: Table) -> Bounds:
    """Return the bounds of rows; a column of nulls alone has none."""
    found = {name: pc.min_max(rows.column(name)).as_py() for name in pruned_by(table)}
    found = {name: bound for name, bound in found.items() if bound["min"] is not None}
    return Bounds(
        rows.num_rows,
        {name: bound["min"] for name, bound in found.items()},
        {name: bound["max"] for name, bound in found.items()},
        {name: rows.column(name).null_count for name in pruned_by(table)},
    )


def told(parts: Sequence[Bounds]) -> str:
    """Return the statistics of a file that is made of parts, as Delta keeps them."""
    low = {name for part in parts for name in part.low}
    return json.dumps(
        {
            "numRecords": sum(part.rows for part in parts),
            "minValues": {name: _text(min(part.low[name] for part in parts if name in part.low)) for name in low},
            "maxValues": {name: _text(max(part.high[name] for part in parts if name in part.high)) for name in low},
            "nullCount": {
                name: sum(part.nulls.get(name, 0) for part in parts)
                for name in {name for part in parts for name in part.nulls}
            },
        }
    )


def pruned_by(table: Table) -> tuple[str, ...]:
    """Return the columns whose bounds readers look at before they open a file or a row group."""
    return tuple(dict.fromkeys((table.hour_of, "_appended", *table.sort)))


def _text(value: int | datetime) -> int | str:
    return value.isoformat(timespec="microseconds") if isinstance(value, datetime) else value


def _write(rows: pa.Table, table: Table, path: Path) -> tuple[int, str]:
    with path.open("xb") as raw:
        hashing = Hashing(raw)
        with pq.ParquetWriter(pa.PythonFile(hashing, mode="w"), rows.schema, **settings(table)) as writer:
            writer.write_table(rows, row_group_size=ROW_GROUP_ROWS)
    return hashing.size, hashing.digest.hexdigest()


def check_footer(path: Path, rows: int) -> None:
    """Raise UnavailableError where the footer of a file does not count the rows that were written."""
    counted = pq.ParquetFile(path).metadata.num_rows
    if counted != rows:
        raise UnavailableError(
            f"{path}: the footer counts {counted} rows where {rows} were written; "
            "the file is not committed and Kafka still has its rows. Look at the disk."
        )


def settings(table: Table) -> dict[str, object]:
    """Return pyarrow's settings for a flush file: cheap to write, since it lives until its hour is compacted.

    Ten seconds of the campus take 0.7 of the CPU that zstd 3 with differences and dictionaries took, and 3 % more
    bytes (docs/decisions/0052).
    """
    return _settings(table, FLUSH_ENCODINGS, level=1)


def hour_settings(table: Table) -> dict[str, object]:
    """Return pyarrow's settings for a file of a settled hour, rows by device and time: small, since it is kept."""
    return _settings(table, HOUR_ENCODINGS, level=6)


def _settings(table: Table, encodings: Encodings, level: int) -> dict[str, object]:
    of = {field.name: encoding_of(field, encodings) for field in table.columns}
    return {
        "compression": "zstd",
        "compression_level": level,
        "use_dictionary": [name for name, encoding in of.items() if encoding == DICTIONARY] or False,
        "column_encoding": {name: encoding for name, encoding in of.items() if encoding != DICTIONARY} or None,
        "write_page_checksum": True,
        "data_page_size": _PAGE_BYTES,
        "max_rows_per_page": _PAGE_ROWS,
        "write_batch_size": _BATCH_ROWS,
        # Bounds of every column cost a tenth of the writing; these are the ones that queries prune by.
        "write_statistics": [*pruned_by(table)],
    }


def passing_settings(table: Table) -> dict[str, object]:
    """Return pyarrow's settings for a file that is read once and removed."""
    quick = _settings(table, FLUSH_ENCODINGS, level=1)
    return {**quick, "compression": "lz4", "compression_level": None, "write_statistics": False}


def clear_temporary(folder: Path) -> None:
    """Remove what killed writers left half-written in a table's folder; only while no writer lives."""
    for path in (folder / TEMPORARY).glob("*.parquet"):
        path.unlink()
