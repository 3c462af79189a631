"""Which messages' rows do not stand any more: kept in the footers of hour files, since no row is left to say it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

REPEATED = "wattline.repeated"
"""The key in an hour file's footer: JSON of offsets by partition, `{"3": [[17, 20], …]}`, bounds `[from, to)`."""

_SCHEMA = {"_partition": pl.Int32, "_offset": pl.Int64}


def repeated_text(parts: Iterable[pa.Table]) -> str:
    """Return the offsets of rows (`_partition`, `_offset`) as the footer says them; `{}` where there are none."""
    found = [part for part in parts if part.num_rows]
    if not found:
        return "{}"
    rows = pa.concat_tables(found)
    partitions = rows.column("_partition").to_numpy()
    offsets = rows.column("_offset").to_numpy()
    return json.dumps({str(number): _spans(offsets[partitions == number]) for number in np.unique(partitions)})


def read_repeated(paths: Iterable[Path]) -> pl.DataFrame:
    """Return (_partition, _offset) of the messages of which a row does not stand any more, by files' footers."""
    frames = [pl.DataFrame(schema=_SCHEMA)]
    for path in paths:
        words = (pq.read_metadata(path).metadata or {}).get(REPEATED.encode(), b"{}")
        for number, spans in json.loads(words).items():
            offsets = [np.arange(low, high) for low, high in spans]
            rows = {"_offset": np.concatenate(offsets)}
            frames.append(pl.DataFrame(rows).select(_partition=pl.lit(int(number), pl.Int32), _offset="_offset"))
    return pl.concat(frames).unique()


def _spans(offsets: NDArray[np.int64]) -> list[list[int]]:
    distinct = np.unique(offsets)
    ends = np.flatnonzero(np.diff(distinct, append=distinct[-1] + 2) > 1)
    starts = np.concatenate([[0], ends[:-1] + 1])
    return [[int(distinct[a]), int(distinct[b]) + 1] for a, b in zip(starts, ends, strict=True)]
