"""Make a small lake with a row of every kind, as this version writes it, and the answers to questions about it.

    python scripts/make-golden-lake.py tests/golden/lake-v2

Once a version has been released its golden lake stays as it is for ever: later code must read it
(tests/lake/test_golden_lakes.py).
"""

from __future__ import annotations

import json
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from schemas.arrow import encode, headers  # noqa: E402
from schemas.histogram import HISTOGRAM  # noqa: E402
from schemas.message import Message  # noqa: E402
from schemas.site_frames import FRAMES, SiteFrames  # noqa: E402
from schemas.window import WINDOW  # noqa: E402
from sinks.lake.flush import Tables  # noqa: E402
from sinks.lake.positions import Source  # noqa: E402
from sinks.sql.connection import connect  # noqa: E402
from sinks.upkeep.settings import UpkeepSettings  # noqa: E402
from sinks.upkeep.small import Compaction  # noqa: E402
from sinks.upkeep.vacuum import vacuum  # noqa: E402
from tests.lake.readings import GPU_TOPIC, POWER_TOPIC, START, frame, gpu_message, json_message, power_message  # noqa: E402

QUESTIONS = (
    "SELECT count(*), count(DISTINCT (node_id, gpu)), sum(power_watts), max(time) FROM gpu",
    "SELECT count(*), sum(power_watts), min(time), max(_offset) FROM power",
    "SELECT every_seconds, count(*), sum(expected), max(version_readings) FROM windows GROUP BY 1 ORDER BY 1",
    "SELECT metric, sum(count) FROM raw.histograms GROUP BY 1 ORDER BY 1",
    "SELECT job, site, len(allocations), measured[1].ended FROM jobs ORDER BY job",
    "SELECT job, tokens FROM progress ORDER BY job",
    "SELECT rule, subject, value, evidence[1].value, cause[1].job FROM alerts ORDER BY id",
    'SELECT topic, "offset", reason FROM rejected ORDER BY ALL',
    "SELECT site, version FROM raw.facility ORDER BY ALL",
)
JOB = {
    "job": "llama-1",
    "site": "ruh",
    "started": "2026-03-01T12:00:00Z",
    "allocations": [{"node": "ruh/h1/r04/k17/n03", "gpu_first": 0, "gpu_last": 3}],
    "measured": [{"meter": "ruh/m1", "started": "2026-03-01T12:00:00Z", "ended": "2026-03-01T13:00:00+01:00"}],
}
ALERT = {
    "id": "x",
    "transition": "firing",
    "rule": "r",
    "rule_version": "1",
    "site": "ruh",
    "subject_kind": "rack",
    "subject": "ruh/h1/r04/k17",
    "severity": "critical",
    "start": "2026-03-01T12:00:00Z",
    "at": "2026-03-01T12:00:30Z",
    "value": 140.5,
    "evidence": [{"time": "2026-03-01T12:00:29Z", "value": 141.0}],
    "cause": [{"job": "llama-1", "watts": 90.0}],
}


def pending(first: int) -> dict[Source, list[Message]]:
    """Return four messages of readings and one of each other kind, from offsets `first` on."""
    turn = first // 4
    empty = {name: pl.DataFrame(schema=schema) for name, schema in FRAMES.items()}
    facility = json.loads(SiteFrames("ruh", turn + 1, datetime(2026, 3, 1), empty).to_json())
    documents: dict[str, tuple[object, bytes]] = {
        "telemetry.jobs.v1": (JOB | {"job": f"llama-{turn}"}, b"llama-%d" % turn),
        "telemetry.progress.v1": ({"time": "2026-03-01T12:30:00Z", "job": f"llama-{turn}", "tokens": 10**12}, b"x"),
        "alerts.v1": (ALERT | {"id": f"x{turn}"}, b"r ruh"),
    } | ({} if turn else {"facility.v1": (facility, b"ruh")})
    numbers = range(first, first + 4)
    return {
        Source(GPU_TOPIC, 0): [gpu_message(number, time=START + number * 1_200_000_000) for number in numbers],
        Source(POWER_TOPIC, 0): [power_message(number, [1000.25, 0.0], time=START + number) for number in numbers],
        Source("windows.site.v1", 0): [windows(turn), json_message("windows.site.v1", turn + 2, b"garbage")][
            : turn + 1
        ],
        Source("windows.histogram.v1", 0): [histogram(0)][turn:],
    } | {
        Source(topic, 0): [json_message(topic, turn, json.dumps(value).encode(), key)]
        for topic, (value, key) in documents.items()
    }


def windows(offset: int) -> Message:
    """Return a second and a minute of one rack."""
    rows = frame(
        WINDOW,
        window_start=[START] * 2,
        every_seconds=[1, 60],
        subject_kind=[4, 4],
        subject=[1, 1],
        power_watts=[120_000.0, 119_500.0],
        **{name: [0, 0] for name in WINDOW.polars if name.startswith("version_") and name != "version_readings"},
        version_readings=[offset, offset],
        expected=[72, 72],
        reporting=[72, 71],
    )
    return Message("windows.site.v1", 0, offset, START, b"ruh", encode(WINDOW, rows), tuple(headers(WINDOW)))


def histogram(offset: int) -> Message:
    """Return three bins of one rack."""
    zeros = {name: [0] * 3 for name in HISTOGRAM.polars if name.startswith("version_")}
    rows = frame(
        HISTOGRAM,
        window_start=[START] * 3,
        every_seconds=[60] * 3,
        subject_kind=[4] * 3,
        subject=[1] * 3,
        metric=[1] * 3,
        bin=[0, 1, 2],
        count=[10, 20, 30],
        **zeros,
    )
    return Message("windows.histogram.v1", 0, offset, START, b"ruh", encode(HISTOGRAM, rows), tuple(headers(HISTOGRAM)))


def answers(lake: Path) -> dict[str, list[str]]:
    """Return the rows that answer each question, as text."""
    with connect(lake) as connection:
        return {question: [repr(row) for row in connection.execute(question).fetchall()] for question in QUESTIONS}


def main(lake: Path) -> None:
    """Make the lake anew: two flushes, compacted hours, a checkpoint, a third flush."""
    shutil.rmtree(lake, ignore_errors=True)
    tables = Tables(lake, "event")
    for first in (0, 4):
        tables.flush(pending(first), None)
    list(Compaction()(lake, datetime(2026, 3, 9, tzinfo=UTC)))
    tables.reopen()
    tables._ledgers["gpu"].checkpoint()
    tables.flush({Source(GPU_TOPIC, 0): [gpu_message(8), gpu_message(9, time=START)]}, None)
    for days in (0, 2):
        vacuum(lake, datetime(2026, 3, 9 + days, tzinfo=UTC), UpkeepSettings())
    for folder in (*lake.glob("*/_temporary"), *lake.glob("*/_compacting"), lake / ".upkeep"):
        shutil.rmtree(folder)
    (lake / "answers.json").write_text(json.dumps(answers(lake), indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
