"""`wattline scrape` as a process: real exporters' text over HTTP into a real Kafka, and a clean stop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

import polars as pl
from aiohttp import web
from click.testing import CliRunner

from broker.consumer import read_to_end
from broker.embedded import EmbeddedKafka
from broker.facility import publish, read_registry
from schemas.decode import decode
from schemas.facility import load
from schemas.registry import Registry
from wattline.commands.scrape import command

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = Path(__file__).parent / "golden"


@contextlib.asynccontextmanager
async def exporter(text: str):
    """Serve one exporter on a free port; give its address."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=text)

    app = web.Application()
    app.router.add_get("/metrics", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    server = web.TCPSite(runner, "127.0.0.1", 0)
    await server.start()
    try:
        yield f"127.0.0.1:{server._server.sockets[0].getsockname()[1]}"
    finally:
        await runner.cleanup()


async def scrape_until(kafka: EmbeddedKafka, registry: Registry, arguments: list[str], rows: int):
    """Run the verb until that many rows have arrived, stop it; return (rows, exit code, what it said)."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "WATTLINE_BOOTSTRAP": kafka.bootstrap}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "wattline", "scrape", *arguments, env=environment, stderr=asyncio.subprocess.PIPE
    )
    frame = pl.DataFrame()
    while frame.height < rows:
        assert process.returncode is None, (await process.stderr.read()).decode()
        messages = await read_to_end(kafka.bootstrap, "telemetry.gpu.v1")
        frame = decode("telemetry.gpu.v1", messages, registry).frame
    process.send_signal(signal.SIGTERM)
    said = (await process.stderr.read()).decode()
    return frame, await process.wait(), said


def test_two_exporters_and_a_dead_one_become_rows_of_their_nodes(fresh_kafka: EmbeddedKafka, tmp_path: Path) -> None:
    async def run():
        registry = await publish(fresh_kafka.bootstrap, load(ROOT / "examples" / "halo-2mw.toml"))
        nodes = registry.nodes.filter(pl.col("gpus") > 0)["path"].to_list()[:3]
        async with (
            exporter((GOLDEN / "dcgm-two-boards.prom").read_text()) as first,
            exporter((GOLDEN / "amd-partitions.prom").read_text()) as second,
        ):
            targets = tmp_path / "targets.toml"
            targets.write_text(f'[[targets]]\naddress = "{second}"\nnode = "{nodes[1]}"\n')
            arguments = ["--target", f"{first}={nodes[0]}", "--targets", str(targets), "--target"]
            return nodes, await scrape_until(
                fresh_kafka, registry, [*arguments, f"127.0.0.1:1={nodes[2]}", "--every-secs", "0.5"], 21
            )

    nodes, (rows, exit_code, said) = asyncio.run(asyncio.wait_for(run(), 60))
    registry = asyncio.run(read_registry(fresh_kafka.bootstrap))
    known = registry.nodes.filter(pl.col("path").is_in(nodes)).select("node", "path", "rack")
    assert exit_code == 0, said
    by_node = rows.join(known, on=["node", "rack"]).group_by("path").agg(pl.col("gpu").n_unique()).sort("path")
    assert by_node.rows() == sorted([(nodes[0], 2), (nodes[1], 4)])
    assert "3 targets every 0.5 s; stop with Ctrl-C" in said
    assert said.count(f"{nodes[2]} at 127.0.0.1:1 is silent: ") == 1
    assert "rows acknowledged" in said.splitlines()[-1]


def test_without_targets_the_verb_says_how_to_name_them() -> None:
    answer = CliRunner().invoke(command, [])
    assert answer.exit_code == 2
    assert "--target HOST:PORT=NODE" in answer.output
