"""The real product for the tests on recorded runs: an embedded Kafka, `wattline run`, `wattline replay`, SQL."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import duckdb

from broker.embedded import EmbeddedKafka
from schemas.errors import ConfigurationError
from sinks.sql.connection import connect
from tests.sources.recorded_logs import analyser_log, event, loadgen_log, write

ROOT = Path(__file__).resolve().parents[2]
FACILITY = ROOT / "examples" / "halo-2mw.toml"
"""What is in force before anything is replayed, and stays so beside it."""

RULES = """
[[rules]]
id = "above-6-kw"
scope = "rack"
above_watts = 6_000
for_secs = 0
severity = "warning"
summary = "{rack} draws {value}"
"""
LAST_SECONDS = 200 * 86_400.0
"""A run of one's own, later than all recorded ones: once its alert is in the lake, all before it was judged."""


class Pipeline:
    """Run Kafka, streams and lake in a folder within a `with` block; every process ends with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lake = folder / "lake"
        self.kafka = EmbeddedKafka(folder / "kafka", quick_start=True)
        self.marker = folder / "zz-last" / "run_1"
        self.wild = folder / "wild" / "power"

    def __enter__(self) -> Pipeline:
        self.kafka.start()
        rules = self.folder / "rules.toml"
        rules.write_text(RULES)
        options = ["--rules", str(rules), "--lake", str(self.lake), "--clock", "event"]
        self.log = (self.folder / "run.log").open("wb")
        self.run = self._start("run", str(FACILITY), *options, stdout=self.log, stderr=subprocess.STDOUT)
        self._write_wild()
        analyser_log(self.marker / "spl.txt", [1000, 7000, 1000], first=LAST_SECONDS)
        loadgen_log(self.marker / "mlperf_log_detail.txt", LAST_SECONDS, LAST_SECONDS + 2)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.run.send_signal(signal.SIGINT)
        try:
            self.run.wait(10)
        except subprocess.TimeoutExpired:
            self.run.kill()
            self.run.wait()
        self.log.close()
        self.kafka.stop()

    def replay(self, *sets: Path) -> subprocess.CompletedProcess[str]:
        """Replay sets, the wild run and the marker run; return what was said once all is acknowledged."""
        replay = self._start(
            "replay",
            *map(str, sets),
            str(self.wild),
            str(self.marker),
            "--speed",
            "max",
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        out, err = replay.communicate(timeout=60)
        assert replay.returncode == 0, err.decode()
        return subprocess.CompletedProcess(replay.args, replay.returncode, out.decode(), err.decode())

    @staticmethod
    def job_of(folder: Path) -> str:
        """Return how the name of a run in `folder` begins."""
        return "/".join(folder.parts[-4:])

    def sql(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Ask the newest snapshot of the lake."""
        return self.connection().execute(query, parameters).fetchall()

    def connection(self) -> duckdb.DuckDBPyConnection:
        """Return a connection to the newest snapshot of the lake."""
        return connect(self.lake)

    def has_judged_all(self) -> bool:
        """Tell whether the run replayed last is in the lake: its job, its readings, its episode to the end."""
        judged = self.sql("SELECT count(resolved) FROM episodes WHERE contains(subject, 'zz-last')")
        measured = self.sql("SELECT max(readings) FROM job_meter_energy WHERE contains(job, 'zz-last')")
        return (judged, measured) == ([(1,)], [(3,)])

    def has_closed_all(self) -> bool:
        """Tell whether the run replayed last has its seconds in the lake: all before them were closed and judged.

        Its three readings span 2 s and the last is held for 3.
        """
        seconds = "SELECT max(window_start) - min(window_start) >= INTERVAL 4 SECOND FROM windows"
        return self.sql(f"{seconds} WHERE every_seconds = 1 AND contains(subject, 'zz-last')") == [(True,)]

    def wait(self, condition: Callable[[Pipeline], bool], what: str, within_secs: float = 90.0) -> None:
        """Return when the lake makes the condition true; fail with the end of the log when it does not."""
        until = time.monotonic() + within_secs
        while not self._holds(condition):
            assert self.run.poll() is None, f"wattline run ended\n{self._end_of_log()}"
            assert time.monotonic() < until, f"{what} not in the lake after {within_secs:g} s\n{self._end_of_log()}"
            time.sleep(0.5)

    def _holds(self, condition: Callable[[Pipeline], bool]) -> bool:
        try:
            return condition(self)
        except ConfigurationError:
            return False  # no lake yet

    def _write_wild(self) -> None:
        """Write a run as some are: 0 W, −42 W, a gap of 20 s, a minute of 25 kW, a stop with the start's time."""
        watts = [5000] * 5 + [0, -42] + [5000] * 5
        readings = [event("power_reading", 2 * index, value) for index, value in enumerate(watts)]
        glitch = [event("power_reading", 42 + 2 * index, 25_000) for index in range(30)]
        markers = event("power_measurement_start", 0), event("power_measurement_stop", 0)
        write(self.wild / "node_1.txt", [markers[0], *readings, *glitch, markers[1]])

    def _start(self, *arguments: str, **streams: Any) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "WATTLINE_BOOTSTRAP": self.kafka.bootstrap}
        command = [sys.executable, "-m", "wattline", *arguments]
        return subprocess.Popen(command, env=environment, cwd=self.folder, **streams)

    def _end_of_log(self) -> str:
        return "\n".join((self.folder / "run.log").read_text(errors="replace").splitlines()[-40:])
