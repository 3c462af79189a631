"""What lies on disk now, read again before a commit names it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from sinks.lake.parquet import ParquetFile
from sinks.lake.tables import Table
from sinks.upkeep.row_checksum import Checksum, checksum
from sinks.upkeep.runs import conformed


def read_back(
    folder: Path,
    files: Sequence[ParquetFile],
    table: Table,
    look: Callable[[ParquetFile, pa.Table], None] = lambda file, rows: None,
) -> Checksum:
    """Return the checksum of the rows of files, each page's own checksum looked at; `look` sees every piece."""
    total = Checksum()
    for file in files:
        with pq.ParquetFile(folder / file.path, page_checksum_verification=True, pre_buffer=False) as opened:
            for number in range(opened.metadata.num_row_groups):
                rows = conformed(opened.read_row_group(number, use_threads=False), table)
                look(file, rows)
                total = total.plus(checksum(rows))
    return total
