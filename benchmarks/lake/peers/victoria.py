"""VictoriaMetrics: a series a GPU and sensor, by the JSON lines of its import API, 43 readings of a series a line.

Of the formats that a collector can send we take this one to cost it least, since labels are read once a line; others
were not measured. What making the lines costs is not counted. CPU is the server's, start to last answer.
"""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlencode

import msgspec
import numpy as np
import psutil
import pyarrow as pa

from benchmarks.campus import START
from benchmarks.lake.peers import rows
from benchmarks.lake.peers.figures import Told, ask, bytes_below

PROGRAM = Path(".setup/bin/victoria-metrics")
SEND_BYTES = 16_000_000
_SCALES = {
    **dict.fromkeys(("power_deciwatts", "power_limit_deciwatts"), 10),
    **dict.fromkeys(("utilization_e4", "encoder_e4", "decoder_e4"), 1e4),
}


def lines(batch: pa.Table) -> Iterator[bytes]:
    """Yield the rows of a batch as JSON lines, one a GPU and sensor."""
    order = np.lexsort([batch.column(name).to_numpy() for name in ("time", "gpu", "node")])
    sorted_rows = batch.take(pa.array(order))
    ids = [sorted_rows.column(name).to_numpy() for name in ("rack", "node", "gpu")]
    starts = np.flatnonzero(np.diff(ids[1] * 1024 + ids[2], prepend=-1))
    ends = np.append(starts[1:], len(order))
    times = (sorted_rows.column("time").to_numpy().astype("i8") // 1000).tolist()
    labels = [
        b'","rack":"%d","node":"%d","gpu":"%d"},"values":' % (ids[0][at], ids[1][at], ids[2][at]) for at in starts
    ]
    stamps = [msgspec.json.encode(times[low:high]) for low, high in zip(starts, ends, strict=True)]
    for name in rows.MEASURED:
        values = sorted_rows.column(name).to_numpy()
        values = (values / _SCALES[name] if name in _SCALES else values.astype("i8")).tolist()
        head = b'{"metric":{"__name__":"' + name.encode()
        for low, high, label, stamp in zip(starts, ends, labels, stamps, strict=True):
            yield head + label + msgspec.json.encode(values[low:high]) + b',"timestamps":' + stamp + b"}\n"


class Server:
    """A VictoriaMetrics over a folder of its own."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        flags = (f"-httpListenAddr=127.0.0.1:{self._port}", f"-storageDataPath={folder}", "-retentionPeriod=100y")
        program = PROGRAM if PROGRAM.exists() else shutil.which("victoria-metrics")
        if program is None:
            raise SystemExit("victoria-metrics is missing: scripts/bench-parts.sh brings it")
        self.running = subprocess.Popen([program, *flags, "-loggerLevel=ERROR", "-search.maxUniqueTimeseries=1000000"])
        self._process = psutil.Process(self.running.pid)

    def call(self, path: str, body: bytes | None = None) -> bytes:
        """Return the answer to one request."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=600)
        connection.request("GET" if body is None else "POST", path, body)
        answer = connection.getresponse()
        said = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{path[:80]}: {answer.status} {said[:300]!r}")
        return said

    def ready(self) -> None:
        """Return when it answers."""
        while True:
            try:
                self.call("/health")
                return
            except ConnectionError:
                time.sleep(0.05)

    def cpu_seconds(self) -> float:
        """Return its CPU seconds so far, user and kernel."""
        times = self._process.cpu_times()
        return times.user + times.system

    def values(self, path: str, **asked: object) -> list[dict]:
        """Return the series that answer a query."""
        return json.loads(self.call(f"{path}?{urlencode({**asked, 'nocache': 1})}"))["data"]["result"]


def measure(given: Path, folder: Path) -> Told:
    """Send all batches, merge, ask."""
    server, told = Server(folder), Told(0, 0.0)
    try:
        server.ready()
        for batch in rows.arrow_batches(given):
            _send(server, lines(batch))
            told.rows += batch.num_rows
        server.call("/internal/force_flush")
        told.ingest_cpu_secs = server.cpu_seconds()
        told.bytes_at_first = bytes_below(folder)
        _merge(server)
        told.settle_cpu_secs = server.cpu_seconds() - told.ingest_cpu_secs
        told.bytes_settled = bytes_below(folder)
        told.note = f"{len(rows.MEASURED)} samples a row; making the lines is not counted"
        _ask(told, server)
    finally:
        server.running.terminate()
        server.running.wait(60)
    return told


def _send(server: Server, all_lines: Iterator[bytes]) -> None:
    body = bytearray()
    for line in all_lines:
        body += line
        if len(body) >= SEND_BYTES:
            server.call("/api/v1/import", bytes(body))
            body.clear()
    server.call("/api/v1/import", bytes(body))


def _merge(server: Server) -> None:
    """Merge all parts, and return when that is done: when it has used no CPU for a while."""
    server.call("/internal/force_merge")
    before = -1.0
    while (now := server.cpu_seconds()) - before > 0.1:
        before = now
        time.sleep(3)


def _ask(told: Told, server: Server) -> None:
    facility = rows.registry()
    node = facility.nodes.sort("node")["node"][1_000 % len(facility.nodes)]
    span = told.rows // len(facility.slots)
    minutes, until = -(-span // 60), START + span - 0.001
    every = {"start": START + 59.999, "end": START + 60 * minutes - 0.001, "step": 60}

    def at_end(query: str) -> list[float]:
        return [float(each["value"][1]) for each in server.values("/api/v1/query", query=query, time=until)]

    def one() -> list[float]:
        query = f'power_deciwatts{{node="{node}",gpu="3"}}[{span}s]'
        (found,) = server.values("/api/v1/query", query=query, time=until)
        return [float(value) for _, value in found["values"]]

    def by_minute() -> list[float]:
        (found,) = server.values("/api/v1/query_range", query="sum(avg_over_time(power_deciwatts[60s]))", **every)
        return [float(value) for _, value in found["values"]]

    energy = f"max_over_time(energy_whole_joules[{span}s]) - min_over_time(energy_whole_joules[{span}s])"
    questions: dict[str, Callable[[], list[float]]] = {
        "one GPU": one,
        "site by minute": by_minute,
        "top 20 racks": lambda: sorted(
            at_end(f"topk(20, sum by (rack) (avg_over_time(power_deciwatts[{span}s])))"), reverse=True
        ),
        "energy by rack": lambda: at_end(f"sort_by_label_numeric(sum by (rack) ({energy}), 'rack')"),
    }
    ask(told, questions, server.cpu_seconds)


if __name__ == "__main__":
    print(measure(Path(sys.argv[1]), Path(sys.argv[2])).to_json())
