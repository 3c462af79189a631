"""Many sorted files become one order, within a bound of memory.

What is in memory is a row group of each file. All rows before the least of their ends are complete; they are put in
order and handed on, and the files that were used up read on. Where there are too many files for that, some of them
become one first.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sinks.lake.durable import make_folder
from sinks.lake.identity import IDENTITIES, PLACE_ORDER
from sinks.lake.order import integers, packed_key
from sinks.lake.parquet import Step, passing_settings
from sinks.lake.tables import Table
from sinks.upkeep.runs import Key, Run, row_bytes

MEMORY_BYTES = 167_772_160
"""Of row groups in memory at one time; while they are put in order they take it twice."""
_LEAST_GROUP_ROWS = 8_192
_FILE_GROUPS = 16
"""Row groups in one passing file: of those that are open all footers are in memory, some kilobytes a column chunk."""
_MOST_GROUP_ROWS = 262_144

Seen = Callable[[pa.Table], None]
Source = tuple[Path, ...]
"""Files whose rows follow each other in order."""


class Sorted(NamedTuple):
    """Hold rows in order; `is_tied` tells which of them are equal to a neighbour by the table's sort and time."""

    rows: pa.Table
    is_tied: NDArray[np.bool_]


def merged(paths: Sequence[Path], table: Table, folder: Path, seen: Seen, step: Step) -> Iterator[Sorted]:
    """Yield the rows of sorted files in order: by `table.sort`, time, and the log; rows of one `cut` come together.

    `seen` gets every row of the files once, as it was read. Files that hold what does not fit into memory are made
    in `folder` and removed.
    """
    reduced, seen = _reduced([(path,) for path in paths], table, folder, seen, step)
    with ExitStack() as held:
        runs = [_opened(source, table, seen, held) for source in reduced]
        yield from _merged(runs, table)


def in_order(parts: list[pa.Table], table: Table) -> Sorted:
    """Return rows by `table.sort`, time, and their place in the log; takes `parts` away, to hold them once."""
    rows = pa.concat_tables(parts)
    parts.clear()
    by = dict.fromkeys((*table.sort, table.hour_of))
    key = packed_key([integers(rows.column(name)) for name in by])
    order = np.argsort(key, kind="stable")
    key = key[order]
    same = key[1:] == key[:-1]
    is_tied = np.zeros(len(key), dtype=np.bool_)
    if same.any():
        is_tied[1:] |= same
        is_tied[:-1] |= same
        _settle_ties(rows, order, key, np.flatnonzero(is_tied))
    columns = rows.columns
    del rows, key
    return Sorted(_taken(columns, order, table), is_tied)


def _settle_ties(rows: pa.Table, order: NDArray[np.int64], key: NDArray[np.int64], at: NDArray[np.int64]) -> None:
    """Put the rows at these places of `order`, which are equal by `key`, into the order of the log."""
    tied = order[at]
    partition, offset, row = (
        integers(rows.column(name).take(pa.array(tied)))
        if len(tied) < len(order)
        else integers(rows.column(name))[tied]
        for name in PLACE_ORDER
    )
    order[at] = tied[np.lexsort((row, offset, partition, key[at]))]


def _taken(columns: list[pa.ChunkedArray], order: NDArray[np.int64], table: Table) -> pa.Table:
    """Return rows by number, column by column, each given back at once; one of nulls alone costs nothing."""
    indices, taken = pa.array(order), []
    for number, field in enumerate(table.arrow):
        column, columns[number] = columns[number], pa.chunked_array([], field.type)
        is_nothing = column.null_count == len(order)
        taken.append(pa.nulls(len(order), field.type) if is_nothing else column.combine_chunks().take(indices))
    return pa.table(taken, schema=table.arrow)


def _merged(runs: Sequence[Run], table: Table) -> Iterator[Sorted]:
    while True:
        for run in runs:
            while not run.rows.num_rows and not run.is_at_end:
                run.read()
        edge = _edge(runs)
        parts = [part for run in runs if (part := run.take(edge)).num_rows]
        if parts:
            yield in_order(parts, table)
        elif edge is None:
            return
        else:  # all that is there may go on in the next row groups of those that end with it
            for run in runs:
                if not run.is_at_end and run.last == edge:
                    run.read()


def _edge(runs: Sequence[Run]) -> Key | None:
    """Return the least key that files which go on may still have rows of; None where none goes on."""
    return min((run.last for run in runs if not run.is_at_end), default=None)


def _opened(source: Source, table: Table, seen: Seen, held: ExitStack) -> Run:
    run = Run(source, table, IDENTITIES[table.name].cut, seen)
    held.callback(run.close)
    return run


def _reduced(sources: list[Source], table: Table, folder: Path, seen: Seen, step: Step) -> tuple[list[Source], Seen]:
    """Return what fits into memory together, and who is to see its rows: nobody who has seen them before."""
    groups = _together(sources, table)
    if len(groups) <= 1:
        return sources, seen
    made: list[Source] = []
    group_rows = MEMORY_BYTES // (row_bytes(table) * len(groups))
    group_rows = min(_MOST_GROUP_ROWS, max(_LEAST_GROUP_ROWS, group_rows))
    for group in groups:
        made.append(tuple(_made_one(group, table, folder, seen, group_rows)))
        step("run merged")
    return _reduced(made, table, folder, lambda _: None, step)


def _together(sources: Sequence[Source], table: Table) -> list[list[Source]]:
    """Deal sources, in their order, into as few groups as fit into memory one at a time."""
    groups: list[list[Source]] = [[]]
    used = 0
    for source in sources:
        with ExitStack() as held:
            size = _opened(source, table, lambda _: None, held).group_bytes
        if used + size > MEMORY_BYTES and len(groups[-1]) > 1:
            groups.append([])
            used = 0
        groups[-1].append(source)
        used += size
    return groups


def _made_one(sources: Sequence[Source], table: Table, folder: Path, seen: Seen, group_rows: int) -> Iterator[Path]:
    """Write the rows of some sources in order into files of a few row groups each, and yield these."""
    make_folder(folder)
    with ExitStack() as held:
        for piece in _merged([_opened(source, table, seen, held) for source in sources], table):
            for at in range(0, piece.rows.num_rows, group_rows * _FILE_GROUPS):
                target = folder / f"run-{secrets.token_hex(8)}.parquet"
                with pq.ParquetWriter(target, table.arrow, **passing_settings(table)) as writer:
                    writer.write_table(piece.rows.slice(at, group_rows * _FILE_GROUPS), row_group_size=group_rows)
                yield target
            del piece  # the next one is made while this name would still hold it
