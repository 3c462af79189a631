"""A question reads the files that it needs and no others, and its answer is that of all files; settled hours or not."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from schemas.registry import Registry, assign
from schemas.subject import SubjectKind
from sinks.lake.ledger import Ledger
from sinks.lake.tables import BY_NAME
from sinks.sql.aim import aim, unaim
from sinks.sql.connection import connect
from sinks.sql.plan import Bounds, bounds, scans
from sinks.upkeep.compaction import compact_hour
from tests.schemas.small_facility import facility, site
from tests.sql.test_views import AT, append, gpu_row, publish, window

HOUR = timedelta(hours=1)
RACKS = 6


def campus(lake: Path) -> Registry:
    """Publish a site of six racks."""
    registry = assign(facility(site({"r01": {"type": "box", "first": 1, "last": RACKS}})))
    publish(lake, registry)
    return registry


def rack_id(registry: Registry, number: int) -> int:
    return registry.id_of(SubjectKind.RACK, f"ruh/h1/r01/k{number:02}")


def random_lake(lake: Path, seed: int) -> tuple[Registry, list[tuple]]:
    """Write hours of readings and windows, many of them told twice or late, and compact some; return the rows."""
    draw, registry, rows = random.Random(seed), campus(lake), []
    for batch in range(5):
        gpus, windows = [], []
        for _ in range(30):
            at = AT + draw.randrange(4) * HOUR + timedelta(seconds=draw.randrange(3) * 20)
            rack = rack_id(registry, 1 + draw.randrange(RACKS))
            power = draw.choice([None, 7000, 7100, 7200])
            gpus.append(gpu_row(time=at, rack=rack, node=-1, gpu=draw.randrange(2), power_deciwatts=power))
            version = {"version_readings": draw.randrange(3), "power_watts": float(draw.randrange(9))}
            windows.append(window(window_start=at, subject=rack, **version))
        gpus.append(gpu_row(time=AT, rack=-7, unregistered_path="ruh/h1/r09/k01", power_deciwatts=batch))
        gpus.sort(key=lambda row: (row["rack"], row["node"], row["gpu"]))
        windows.sort(key=lambda row: row["subject"])
        append(lake, "gpu", *({"_offset": batch * 100 + n, **row} for n, row in enumerate(gpus)))
        windows = [{"_offset": batch * 100 + n, **row} for n, row in enumerate(windows)]
        append(lake, "windows_1s", *windows)
        append(lake, "windows_1m", *({**row, "every_seconds": 60} for row in windows))
        rows += gpus
        for hour in draw.sample(range(4), 2 if batch < 4 else 1):
            for name in ("gpu", "windows_1s", "windows_1m"):
                compact_hour(Ledger(BY_NAME[name], lake), (AT + hour * HOUR).strftime("%Y-%m-%dT%H"))
    return registry, rows


def standing(rows: list[dict]) -> set[tuple]:
    """Return (rack, gpu, time, power) of the readings that stand, by a rule written down a second time."""
    best: dict[tuple, int] = {}
    for row in rows:
        key = (row["rack"], row["gpu"], row["time"])
        power = -1 if row["power_deciwatts"] is None else row["power_deciwatts"]
        best[key] = max(best.get(key, -1), power)
    return {(*key, None if power < 0 else power / 10) for key, power in best.items()}


QUESTIONS = [
    "SELECT * FROM {view} WHERE {time} >= '2026-03-01 13:00' AND {time} < '2026-03-01 15:00'",
    "SELECT * FROM {view} WHERE {place} = 'ruh/h1/r01/k03'",
    "SELECT * FROM {view} WHERE {place} IN ('ruh/h1/r01/k02', 'ruh/h1/r01/k05', 'no/such')",
    "SELECT * FROM {view} WHERE {place} LIKE 'ruh/h1/r01/k0%' AND date_trunc('hour', {time}) = '2026-03-01 14:00'",
    "SELECT * FROM {view} WHERE {place} = 'ruh/h1/r09/k01' OR {time}::TIME < '12:30'",
    "SELECT * FROM {view} WHERE {time} > '2026-03-02' AND {time} < '2026-03-01'",
    "SELECT a.* FROM {view} a JOIN racks r ON r.rack = a.{place} WHERE r.rack = 'ruh/h1/r01/k01' AND "
    "a.{time} >= '2026-03-01 12:00:20'",
    "WITH x AS (SELECT * FROM {view} WHERE site = 'ruh') SELECT * FROM x WHERE {time} BETWEEN "
    "'2026-03-01 12:00' AND '2026-03-01 13:00'",
    "SELECT * FROM {view} WHERE {place} = 'ruh/h1/r01/k01' UNION ALL SELECT * FROM {view} WHERE {time} "
    ">= '2026-03-01 15:00'",
    "SELECT {place}, count(*) AS n FROM {view} WHERE {time} > (SELECT max({time}) FROM {view}) - "
    "INTERVAL 1 HOUR GROUP BY ALL",
    "SELECT * FROM {view} WHERE NOT ({time} < '2026-03-01 14:00' OR {place} > 'ruh/h1/r01/k04')",
    "SELECT * FROM (SELECT *, min({time}) OVER (PARTITION BY {place}) AS first FROM {view}) WHERE {time} = first",
    "SELECT count(*) FROM {view} a ANTI JOIN racks r ON r.rack = a.{place} AND a.{time} < '2026-03-01 13:00'",
    "PIVOT (SELECT {place}, 1 AS n FROM {view}) ON {place} USING sum(n)",
    "SELECT * FROM raw.{view}_once WHERE {time} >= '2026-03-01 13:00'",
]  # fmt: skip
VIEWS = {
    "gpu": {"view": "gpu", "time": "time", "place": "rack"},
    "windows": {"view": "windows", "time": "window_start", "place": "subject"},
}


def rows_of(connection: duckdb.DuckDBPyConnection, question: str) -> list[tuple]:
    return sorted(connection.execute(question).fetchall(), key=repr)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("view", VIEWS)
def test_the_answer_of_the_files_that_a_question_needs_is_that_of_all_files(
    tmp_path: Path, view: str, seed: int
) -> None:
    random_lake(tmp_path, seed)
    connection = connect(tmp_path)
    questions = [question.format(**VIEWS[view]) for question in QUESTIONS]
    if view == "windows":
        questions += [f"SELECT * FROM windows WHERE every_seconds {sign} 60" for sign in ("=", "<", ">=", "<>")]
        questions += ["SELECT * FROM windows WHERE subject_kind IN ('rack', 'job') AND every_seconds = 1"]
    for question in questions:
        unaim(connection)
        expected = rows_of(connection, question)
        aim(connection, question)
        assert rows_of(connection, question) == expected, question


@pytest.mark.parametrize("seed", range(2))
def test_each_identity_is_shown_once_in_settled_hours_and_in_others(tmp_path: Path, seed: int) -> None:
    """What stands is computed here from the rows as they were told, before any compaction."""
    _, rows = random_lake(tmp_path, seed)
    connection = connect(tmp_path)
    sides = connection.execute("""SELECT DISTINCT is_settled FROM raw.files WHERE "table" = 'gpu'""").fetchall()
    assert sorted(sides) == [(False,), (True,)]
    shown = connection.execute("SELECT rack_id, gpu, time, power_watts FROM gpu").fetchall()
    assert len(shown) == len(set(shown))
    assert set(shown) == standing(rows)


def test_a_late_row_in_a_mixed_file_opens_its_hour_again(tmp_path: Path) -> None:
    registry = campus(tmp_path)
    rack = rack_id(registry, 1)
    for n in range(2):
        append(tmp_path, "gpu", *(gpu_row(time=AT + hour * HOUR, rack=rack, _offset=n) for hour in range(3)))
    for hour in range(3):
        compact_hour(Ledger(BY_NAME["gpu"], tmp_path), (AT + hour * HOUR).strftime("%Y-%m-%dT%H"))
    assert settled(connect(tmp_path)) == {"2026-03-01T12": True, "2026-03-01T13": True, "2026-03-01T14": True}
    late = [gpu_row(time=AT + hour * HOUR, rack=rack, power_deciwatts=9000, _offset=9) for hour in (1, 2)]
    append(tmp_path, "gpu", *late, hour="mixed")
    connection = connect(tmp_path)
    assert settled(connection) == {
        "2026-03-01T12": True,
        "2026-03-01T13": False,
        "2026-03-01T14": False,
        "mixed": False,
    }
    assert connection.execute("SELECT power_watts FROM gpu ORDER BY time").fetchall() == [(700.0,), (900.0,), (900.0,)]


def settled(connection: duckdb.DuckDBPyConnection) -> dict[str, bool]:
    asked = """SELECT hour, bool_and(is_settled) FROM raw.files WHERE "table" = 'gpu' GROUP BY ALL"""
    return dict(connection.execute(asked).fetchall())


def test_of_many_files_those_of_the_hour_and_of_the_rack_are_read(tmp_path: Path) -> None:
    registry = campus(tmp_path)
    for number in range(1, RACKS + 1):
        rows = [gpu_row(time=AT + hour * HOUR, rack=rack_id(registry, number)) for hour in range(4)]
        append(tmp_path, "gpu", *rows)
    connection = connect(tmp_path)
    asked = (
        "SELECT * FROM gpu WHERE rack = 'ruh/h1/r01/k03' AND time >= '2026-03-01 13:00' AND time < '2026-03-01 14:30'"
    )
    files = aim(connection, asked)
    assert files is not None
    assert len(files) == 4 * RACKS
    left_out = [file.left_out for file in files]
    assert (left_out.count(None), left_out.count("hour"), left_out.count("place")) == (2, 2 * RACKS, 2 * (RACKS - 1))
    assert len(connection.execute(asked).fetchall()) == 2


def test_bounds_are_told_through_views_joins_and_arithmetic_on_time(tmp_path: Path) -> None:
    connection = connect(tmp_path)
    found = scans(connection, "EXPLAIN SELECT * FROM site_power WHERE date_trunc('day', window_start) = '2026-03-01'")
    assert found is not None
    low = int((datetime(2026, 3, 1) - datetime(1970, 1, 1)).total_seconds()) * 1_000_000
    assert [bounds(scan.conditions["window_start"]).low for scan in found] == [low, low]
    (scan,) = scans(connection, "SELECT * FROM power WHERE time > now() - INTERVAL 1 HOUR") or []
    assert bounds(scan.conditions["time"]).low is not None
    (scan,) = scans(connection, "SELECT * FROM gpu WHERE time > '2026-03-01' OR rack = 'a'") or []
    assert bounds(scan.conditions.get("time")) == Bounds(None, None)


def test_an_apostrophe_in_a_question_is_part_of_a_name(tmp_path: Path) -> None:
    campus(tmp_path)
    append(tmp_path, "gpu", gpu_row())
    connection = connect(tmp_path)
    asked = "SELECT * FROM gpu WHERE rack = 'x'' OR true --' AND node = '''; DROP VIEW gpu; --'"
    assert aim(connection, asked) is not None
    assert connection.execute(asked).fetchall() == []
