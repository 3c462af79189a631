"""What a cage costs a question, over a lake of benchmarks.lake.day: `python -m benchmarks.lake.caged --folder LAKE`."""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from pathlib import Path
from statistics import median

from sinks.sandbox.catalog import write_catalog
from sinks.sandbox.keeper import Keeper
from sinks.sandbox.limits import Limits
from sinks.sandbox.order import Order
from sinks.sql.snapshot import Span

TIMES = 15


def main() -> None:
    """Print a line a figure: what a snapshot costs, and how long `SELECT 1` takes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    lake = parser.parse_args().folder.resolve()
    asyncio.run(_measure(lake))


async def _measure(lake: Path) -> None:
    keeper = Keeper()
    await keeper.start()
    catalog = keeper.spill / "catalog.duckdb"
    began = time.process_time()
    write_catalog(lake, Span(), catalog)
    _tell("lake: snapshot for cages", time.process_time() - began, "CPU-s")
    waits = [await _asked(keeper, lake, catalog) for _ in range(TIMES)]
    keeper.stop()
    _tell("lake: SELECT 1 in a cage", median(waits), "s")


async def _asked(keeper: Keeper, lake: Path, catalog: Path) -> float:
    began = time.perf_counter()
    async with keeper.folder() as spill:
        answer = await keeper.ask(Order("SELECT 1", "json", str(lake), str(catalog), str(spill), Limits()))
    assert answer.reason == "answered", answer
    return time.perf_counter() - began


def _tell(name: str, value: float, unit: str) -> None:
    print(json.dumps({"name": name, "value": round(value, 4), "unit": unit}))


if __name__ == "__main__":
    main()
