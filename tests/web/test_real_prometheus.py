"""Debian's Prometheus scrapes the app of a live campus, and promtool finds nothing to mend in its metrics."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from broker import ports
from broker.embedded import EmbeddedKafka
from tests.conftest import REPOSITORY
from wattline.scales import facility_file

pytestmark = pytest.mark.real

PATIENCE_SECS = 120.0
HALL = 'wattline_power_watts{kind="hall",subject="ruh/h1"}'


def require(*programs: str) -> None:
    """Skip where a program is absent, saying what to install; fail in CI."""
    if any(shutil.which(program) is None for program in programs):
        absent = "Prometheus is absent: `apt-get install --no-install-recommends prometheus` (Debian)"
        pytest.fail(absent) if os.environ.get("CI") else pytest.skip(absent)


def fetched(url: str) -> str:
    """Return what a page says; empty while nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.read().decode()
    except OSError:
        return ""


def until(ask: Callable[[], str], is_enough: Callable[[str], bool]) -> str:
    """Ask until the answer is enough; fail with the last one where it never is."""
    deadline = time.monotonic() + PATIENCE_SECS
    while not is_enough(said := ask()):
        assert time.monotonic() < deadline, said[-2000:]
        time.sleep(0.3)
    return said


@pytest.fixture
def app(fresh_kafka: EmbeddedKafka, tmp_path: Path) -> Iterator[str]:
    """Run streams and app on a simulated campus; return the app's address."""
    (port,) = ports.free(1)
    environ = {**os.environ, "XDG_DATA_HOME": str(tmp_path / "home"), "PYTHONPATH": str(REPOSITORY)}
    wattline = [sys.executable, "-m", "wattline"]
    facility, kafka = str(facility_file("2MW")), ["--bootstrap", fresh_kafka.bootstrap]
    run = [*wattline, "run", facility, *kafka, "--only", "roll-up,evaluate,web", "--web-port", str(port)]
    with ExitStack() as ending:
        for argv in (run, [*wattline, "simulate", facility, *kafka]):
            ending.enter_context(started(argv, environ, tmp_path / f"{argv[3]}.log"))
        address = f"http://127.0.0.1:{port}"
        until(lambda: fetched(f"{address}/metrics"), lambda said: HALL in said)
        yield address


@contextmanager
def started(argv: list[str], environ: dict[str, str], log: Path) -> Iterator[None]:
    """Run a program for the block."""
    with log.open("wb") as out:
        program = subprocess.Popen(argv, cwd=REPOSITORY, env=environ, stdout=out, stderr=out)
    try:
        yield
    finally:
        program.terminate()
        program.wait(20)


@pytest.fixture
def prometheus(app: str, tmp_path: Path) -> Iterator[str]:
    """Run a Prometheus that scrapes the app each second; return its address."""
    require("prometheus", "promtool")
    (port,) = ports.free(1)
    target = app.removeprefix("http://")
    config = tmp_path / "prometheus.yml"
    config.write_text(
        "global: {scrape_interval: 1s}\n"
        f"scrape_configs: [{{job_name: wattline, static_configs: [{{targets: ['{target}']}}]}}]\n"
    )
    argv = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'tsdb'}"]
    argv.append(f"--web.listen-address=127.0.0.1:{port}")
    with started(argv, dict(os.environ), tmp_path / "prometheus.log"):
        yield f"http://127.0.0.1:{port}"


def asked(prometheus: str, query: str) -> list[float]:
    """Return the values that Prometheus has for a query now."""
    said = fetched(f"{prometheus}/api/v1/query?{urllib.parse.urlencode({'query': query})}")
    return [float(each["value"][1]) for each in json.loads(said)["data"]["result"]] if said else []


def test_prometheus_has_the_power_of_a_hall_the_rate_of_rows_and_the_health(app: str, prometheus: str) -> None:
    until(lambda: str(asked(prometheus, HALL)), lambda said: said != "[]")
    (watts,) = asked(prometheus, HALL)
    (budget,) = asked(prometheus, 'wattline_limit_watts{kind="hall",subject="ruh/h1",limit="budget"}')
    assert 0.1 * budget < watts < 1.5 * budget
    rate = 'sum(rate(wattline_rows_total{app="roll-up",topic="telemetry.gpu.v1"}[30s]))'
    until(lambda: str(asked(prometheus, rate)), lambda said: said not in ("[]", "[0.0]"))
    assert asked(prometheus, "up") == [1.0]
    lag = asked(prometheus, "max by (app) (wattline_consumer_lag_seconds)")
    assert len(lag) == 2
    assert asked(prometheus, 'wattline_power_watts{kind="rack"}') == []


def test_promtool_finds_nothing_to_mend(app: str) -> None:
    require("promtool")
    text = fetched(f"{app}/metrics?racks=1")
    assert 'kind="rack"' in text
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
