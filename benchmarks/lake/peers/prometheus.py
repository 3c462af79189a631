"""Prometheus, once and on a share of the racks: blocks made from OpenMetrics by promtool, its fastest way in."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.lake.peers import rows
from benchmarks.lake.peers.figures import Told, bytes_below

RACKS = 8
"""Of the 35 MW campus; what a sample costs does not grow with the series as long as memory holds them."""


def write_text(given: Path, text: Path) -> int:
    """Write the readings of RACKS racks as OpenMetrics and return how many rows they are."""
    racks = pa.array(sorted(rows.rack_paths(rows.registry()))[:RACKS], pa.int32())
    parts = [batch.filter(pc.is_in(batch.column("rack"), racks)) for batch in rows.arrow_batches(given)]
    taken = pa.concat_tables(parts).sort_by([(name, "ascending") for name in ("node", "gpu", "time")])
    with text.open("wb") as out:
        for name in rows.MEASURED:
            out.write(b"# TYPE %s gauge\n" % name.encode())
            out.writelines(_lines(name, taken))
        out.write(b"# EOF\n")
    return taken.num_rows


def _lines(name: str, taken: pa.Table) -> Iterator[bytes]:
    columns = [taken.column(each).to_numpy() for each in ("rack", "node", "gpu", name, "time")]
    seconds = (columns.pop().astype("i8") // 1000 / 1000).tolist()
    whole = [np.asarray(each).astype("i8").tolist() for each in columns]
    for rack, node, gpu, value, at in zip(*whole, seconds, strict=True):
        yield f'{name}{{rack="{rack}",node="{node}",gpu="{gpu}"}} {value} {at:.3f}\n'.encode()


def measure(given: Path, folder: Path) -> Told:
    """Make the blocks."""
    text, blocks = folder / "text", folder / "blocks"
    count = write_text(given, text)
    made = subprocess.Popen(
        ["promtool", "tsdb", "create-blocks-from", "openmetrics", text, blocks], stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(made.pid, 0)
    if status:
        raise RuntimeError("promtool failed")
    text.unlink()
    told = Told(count, usage.ru_utime + usage.ru_stime)
    told.bytes_at_first = told.bytes_settled = bytes_below(blocks)
    told.note = f"{RACKS} racks only, from text; no questions asked"
    return told


if __name__ == "__main__":
    print(measure(Path(sys.argv[1]), Path(sys.argv[2])).to_json())
