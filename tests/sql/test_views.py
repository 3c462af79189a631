"""The views of a lake show each reading once, each window in its greatest version, and units of the records."""

from __future__ import annotations

import tempfile
from datetime import datetime, timedelta
from pathlib import Path

import deltalake
import numpy as np
import pyarrow as pa
import pytest

from schemas import canary
from schemas.errors import ConfigurationError
from schemas.histogram import Metric, power_bin
from schemas.registry import Registry, assign
from schemas.subject import SubjectKind
from sinks.lake.tables import BY_NAME
from sinks.sql.connection import connect
from sinks.sql.snapshot import Span
from tests.schemas.small_facility import facility, site

AT = datetime(2026, 3, 1, 12, 0, 0)
SECOND = timedelta(seconds=1)


def append(lake: Path, name: str, *rows: dict[str, object], hour: str | None = None) -> None:
    """Append rows to a table of the lake as one Delta commit; columns left out are null."""
    table = BY_NAME[name]
    filled = [{"_partition": 0, "_offset": n, "_row": 0, "_appended": AT, **row} for n, row in enumerate(rows)]
    frame = pa.Table.from_pylist(filled, schema=table.arrow)
    hours = [hour or str(row.get(table.hour_of, AT).isoformat())[:13] for row in filled]
    frame = frame.append_column("hour", pa.array(hours))
    deltalake.write_deltalake(str(table.folder(lake)), frame, partition_by=["hour"], mode="append")


def gpu_row(**columns: object) -> dict[str, object]:
    return {"time": AT, "rack": 1, "node": 2, "gpu": 3, "power_deciwatts": 7000, **columns}


def meter_row(meter: int, at: datetime, watts: float, **columns: object) -> dict[str, object]:
    return {"time": at, "meter": meter, "phase": 0, "power_watts": watts, **columns}


def test_views_of_an_empty_lake_have_their_columns_and_no_rows(tmp_path: Path) -> None:
    connection = connect(tmp_path)
    for view in (
        "power",
        "gpu",
        "jobs",
        "windows",
        "histograms",
        "alerts",
        "rejected",
        "episodes",
        "job_energy",
        "site_power",
        "campus",
    ):
        answer = connection.execute(f"SELECT * FROM {view}")
        assert answer.description
        assert answer.fetchall() == []


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no lake at .*missing"):
        connect(tmp_path / "missing")


def test_gpu_gives_watts_and_fractions_from_the_integers_on_disk(tmp_path: Path) -> None:
    append(tmp_path, "gpu", gpu_row(power_deciwatts=7001, utilization_e4=9876), gpu_row(gpu=4, power_deciwatts=None))
    seen = connect(tmp_path).execute("SELECT gpu, power_watts, utilization_fraction FROM gpu ORDER BY gpu").fetchall()
    assert seen == [(3, 700.1, 0.9876), (4, None, None)]


@pytest.mark.parametrize("amps", [(10.0, 12.0), (12.0, 10.0)])
def test_where_power_is_equal_the_other_values_decide_and_never_arrival(
    tmp_path: Path, amps: tuple[float, float]
) -> None:
    append(tmp_path, "power", *(meter_row(1, AT, 5.0, current_amps=each) for each in amps))
    append(tmp_path, "gpu", *(gpu_row(utilization_e4=round(each * 100)) for each in amps))
    connection = connect(tmp_path)
    assert connection.execute("SELECT current_amps FROM power").fetchall() == [(12.0,)]
    assert connection.execute("SELECT utilization_fraction FROM gpu").fetchall() == [(0.12,)]


def test_a_reading_sent_twice_counts_once_and_the_greater_value_stands(tmp_path: Path) -> None:
    """Whichever came first: the identity is (rack, node, gpu, instance, time), and a null instance equals a null."""
    append(tmp_path, "gpu", gpu_row(power_deciwatts=6990), gpu_row(power_deciwatts=7010), gpu_row(power_deciwatts=7000))
    assert connect(tmp_path).execute("SELECT power_watts FROM gpu").fetchall() == [(701.0,)]


def test_unregistered_meters_keep_the_path_they_were_sent_with(tmp_path: Path) -> None:
    append(tmp_path, "power", meter_row(-17, AT, 900.0, unregistered_path="my/own/meter"))
    assert connect(tmp_path).execute("SELECT meter, power_watts FROM power").fetchall() == [("my/own/meter", 900.0)]


def window(**columns: object) -> dict[str, object]:
    versions = {"version_admission": 1, "version_facility": 1, "version_generation": 0}
    counted = {"expected": 2, "reporting": 2, "version_readings": 2, "version_digest": 5}
    return {"window_start": AT, "every_seconds": 1, "subject_kind": 4, "subject": 1, **versions, **counted, **columns}


def publish(lake: Path, registry: Registry) -> None:
    """Put a facility into a lake."""
    documents = [{"site": path, "version": 1, "document": value.decode()} for path, value in registry.to_json().items()]
    append(lake, "facility", *documents)


def two_sites(lake: Path) -> Registry:
    """Publish a facility of two sites, each of one rack in one hall, into a lake."""
    racks = {"r01": {"type": "box", "first": 1, "last": 1}}
    registry = assign(facility(site(racks, "dmm"), site(racks, "ruh")))
    publish(lake, registry)
    return registry


def test_the_campus_is_the_sum_of_its_sites_and_it_is_kept_apart(tmp_path: Path) -> None:
    registry = two_sites(tmp_path)
    said = {"dmm": (700.0, 650.0, None), "ruh": (500.5, 400.25, 510.0)}
    rows = []
    for name, (power, it, high) in said.items():
        hall = registry.id_of(SubjectKind.HALL, f"{name}/h1")
        of_site = {"subject_kind": 1, "subject": registry.id_of(SubjectKind.SITE, name), "power_low_watts": power}
        rows += [window(power_watts=power, power_high_watts=high, **of_site)]
        rows += [window(power_watts=it, subject_kind=2, subject=hall)]
    append(tmp_path, "windows_1s", *rows)
    connection = connect(tmp_path)
    columns = "sites, power_watts, power_low_watts, power_high_watts, it_power_watts, facility_to_it_power_ratio"
    seen = connection.execute(f"SELECT {columns} FROM campus").fetchall()
    assert seen == [(2, 1200.5, 1200.5, None, 1050.25, 1200.5 / 1050.25)]
    ratios = connection.execute("SELECT site, facility_to_it_power_ratio FROM site_power ORDER BY site").fetchall()
    assert ratios == [("dmm", 700.0 / 650.0), ("ruh", 500.5 / 400.25)]


def test_of_a_campus_of_which_a_site_is_silent_nobody_knows_the_most(tmp_path: Path) -> None:
    """A site that says nothing has no window: it is one of the sites all the same, and reports nothing."""
    site_id = two_sites(tmp_path).id_of(SubjectKind.SITE, "ruh")
    of_site = {"subject_kind": 1, "subject": site_id, "power_watts": 500.0}
    append(tmp_path, "windows_1s", window(power_low_watts=500.0, power_high_watts=500.0, **of_site))
    columns = "sites, sites_reporting, power_watts, power_low_watts, power_high_watts"
    assert connect(tmp_path).execute(f"SELECT {columns} FROM campus").fetchall() == [(2, 1, 500.0, 500.0, None)]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_the_greatest_version_of_a_window_stands_whenever_it_came(tmp_path: Path, order: tuple[int, ...]) -> None:
    """Version is compared from left to right: a recomputation beats any number of readings."""
    versions = [
        window(power_watts=1.0, version_readings=1),
        window(power_watts=2.0, version_readings=9),
        window(power_watts=3.0, version_readings=2, version_generation=1),
    ]
    append(tmp_path, "windows_1s", *(versions[index] for index in order))
    append(tmp_path, "windows_1m", window(power_watts=60.0, every_seconds=60))
    seen = (
        connect(tmp_path).execute("SELECT every_seconds, subject_kind, power_watts FROM windows ORDER BY 1").fetchall()
    )
    assert seen == [(1, "rack", 3.0), (60, "rack", 60.0)]


def test_job_energy_is_the_mean_of_each_meter_times_its_own_span(tmp_path: Path) -> None:
    """Readings outside the markers, other phases and silent meters do not change it; markers are inside."""
    span = {"meter": 1, "path": "a", "started": AT, "ended": AT + 10 * SECOND}
    silent = {"meter": 2, "path": "b", "started": AT, "ended": AT + 10 * SECOND}
    append(tmp_path, "jobs", {"site": "ruh", "job": "j", "workload": "training", "measured": [span, silent]})
    readings = [meter_row(1, AT + n * SECOND, watts) for n, watts in ((-1, 9e9), (0, 100.0), (10, 300.0), (11, 9e9))]
    append(tmp_path, "power", *readings, meter_row(1, AT, 50.0, phase=1))
    seen = connect(tmp_path).execute("SELECT meters, meters_reporting, readings, energy_joules FROM job_energy")
    assert seen.fetchall() == [(2, 1, 2, 2000.0)]


def test_a_later_record_of_a_job_amends_the_earlier(tmp_path: Path) -> None:
    append(
        tmp_path, "jobs", {"site": "ruh", "job": "j", "state": "running"}, {"site": "ruh", "job": "j", "state": "done"}
    )
    assert connect(tmp_path).execute("SELECT state FROM jobs").fetchall() == [("done",)]


def test_an_alert_that_a_restart_sent_twice_is_one_transition(tmp_path: Path) -> None:
    fired = {"id": "x", "transition": "firing", "rule": "r", "start": AT, "at": AT, "value": 7.0}
    over = {**fired, "transition": "resolved", "at": AT + 5 * SECOND, "value": 5.0}
    append(tmp_path, "alerts", fired, fired, over, over)
    connection = connect(tmp_path)
    assert connection.execute("SELECT count(*) FROM alerts").fetchall() == [(2,)]
    episode = connection.execute("SELECT fired, resolved, largest_value FROM episodes").fetchall()
    assert episode == [(AT, AT + 5 * SECOND, 7.0)]


def test_the_canary_is_in_the_lake_and_shown_only_to_who_asks_for_it(tmp_path: Path) -> None:
    fired = {"id": "x", "transition": "firing", "rule": "r", "site": None, "start": AT, "at": AT, "value": 7.0}
    append(tmp_path, "alerts", fired, {**fired, "id": "c", "rule": "canary", "site": canary.SITE})
    row = meter_row(canary.METER_ID, AT, 1500.0, unregistered_path=canary.METER)
    append(tmp_path, "power", row, meter_row(1, AT, 50.0))
    connection = connect(tmp_path)
    assert connection.execute("SELECT id FROM alerts").fetchall() == [("x",)]
    assert connection.execute("SELECT id FROM episodes").fetchall() == [("x",)]
    assert connection.execute("SELECT id FROM canary_alerts").fetchall() == [("c",)]
    assert connection.execute("SELECT sum(power_watts) FROM power").fetchall() == [(50.0,)]
    assert connection.execute("SELECT unregistered_path FROM raw.power WHERE meter < 0").fetchall() == [(canary.METER,)]


def test_a_span_leaves_out_files_of_other_hours_and_keeps_mixed_ones(tmp_path: Path) -> None:
    later = AT + timedelta(hours=5)
    append(tmp_path, "power", meter_row(1, AT, 1.0))
    append(tmp_path, "power", meter_row(1, later, 2.0))
    connection = connect(tmp_path, Span(since=later))
    assert connection.execute("SELECT power_watts FROM power").fetchall() == [(2.0,)]


def test_a_span_is_half_open_and_counts_for_rows_of_a_file_too(tmp_path: Path) -> None:
    append(tmp_path, "power", *(meter_row(1, AT + n * SECOND, float(n)) for n in range(5)))
    connection = connect(tmp_path, Span(since=AT + SECOND, until=AT + 3 * SECOND))
    assert connection.execute("SELECT power_watts FROM power ORDER BY time").fetchall() == [(1.0,), (2.0,)]


def test_a_large_answer_spills_beside_other_temporary_files_and_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    lake = tmp_path / "lake"
    lake.mkdir()
    (tmp_path / "temporary").mkdir()
    connection = connect(lake)
    connection.execute("SET memory_limit = '24MB'; SET threads = 1")
    connection.execute("CREATE TABLE sorted AS SELECT hash(range) AS h FROM range(2500000) ORDER BY h")
    assert list((tmp_path / "temporary").glob("wattline-sql-*/*"))
    connection.close()
    assert not list((tmp_path / "temporary").glob("wattline-sql-*/*"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lake", "temporary"]


def test_caller_variables_are_not_tables(tmp_path: Path) -> None:
    secret = pa.table({"a": [1]})
    assert secret.num_rows == 1
    with pytest.raises(Exception, match="secret does not exist"):
        connect(tmp_path).execute("SELECT * FROM secret")


def histogram_rows(metric: Metric, bins: np.ndarray, **columns: object) -> list[dict[str, object]]:
    versions = {"version_admission": 1, "version_facility": 1, "version_generation": 0, "version_readings": 5}
    key = {"window_start": AT, "every_seconds": 60, "subject_kind": 4, "subject": 1, "metric": int(metric)}
    numbers, counts = np.unique(bins, return_counts=True)
    return [
        key | versions | {"version_digest": 5, "bin": int(number), "count": int(count)} | columns
        for number, count in zip(numbers, counts, strict=True)
    ]


@pytest.mark.parametrize("fraction", [0.0, 0.01, 0.5, 0.95, 0.99, 1.0])
def test_a_percentile_over_racks_and_minutes_is_that_of_the_raw_values_to_half_a_bin(
    tmp_path: Path, fraction: float
) -> None:
    publish(tmp_path, assign(facility(site({"r01": {"type": "box", "first": 1, "last": 2}}))))
    draw, rows, powers = np.random.default_rng(3), [], []
    for nth in range(6):
        deciwatts = draw.integers(900, 8_000, 400)
        powers.append(deciwatts)
        where = {"subject": 1 + nth % 2, "window_start": AT + nth // 2 * timedelta(minutes=1)}
        rows += histogram_rows(Metric.GPU_POWER_WATTS, power_bin(deciwatts), **where)
        rows += histogram_rows(Metric.GPU_TEMPERATURE_CELSIUS, np.array([40]), **where)
    append(tmp_path, "histograms", *rows)
    asked = "SELECT * FROM percentile(?, 'gpu_power_watts', 'rack', below := 'ruh/h1/r01')"
    ((value, low, high, count),) = connect(tmp_path).execute(asked, [fraction]).fetchall()
    exact = np.quantile(np.concatenate(powers), fraction, method="inverted_cdf") / 10
    assert low <= exact < high
    assert abs(value - exact) <= exact / 128 + 1e-9
    assert count == 2_400
    of_one = "percentile(1, 'gpu_temperature_celsius', 'rack', below := 'ruh/h1/r01/k02', since := ?)"
    told = connect(tmp_path).execute(f"SELECT count, bin_low FROM {of_one}", [AT + timedelta(minutes=1)])
    assert told.fetchall() == [(2, 40.0)]


def test_of_a_histogram_the_bins_of_the_greatest_version_stand_and_each_once(tmp_path: Path) -> None:
    """A bin that the greater version does not have is gone, though the smaller one had it."""
    older = histogram_rows(Metric.POWER_WATTS, np.array([100, 101, 101]))
    newer = histogram_rows(Metric.POWER_WATTS, np.array([101, 102]), version_readings=6)
    append(tmp_path, "histograms", *newer, *older, *newer)
    seen = connect(tmp_path).execute("SELECT bin, count, metric FROM histograms ORDER BY bin").fetchall()
    assert seen == [(101, 1, "power_watts"), (102, 1, "power_watts")]


def test_a_metric_that_lost_all_its_bins_to_a_later_version_has_none(tmp_path: Path) -> None:
    """The later reading of a second, which stands for it, may say less. Power by the second is another histogram."""
    older = histogram_rows(Metric.GPU_POWER_WATTS, np.array([100]))
    older += histogram_rows(Metric.GPU_TEMPERATURE_CELSIUS, np.array([40]))
    newer = histogram_rows(Metric.GPU_POWER_WATTS, np.array([100]), version_readings=6)
    own = histogram_rows(Metric.POWER_WATTS, np.array([300]), version_readings=1)
    append(tmp_path, "histograms", *older, *newer, *own)
    seen = connect(tmp_path).execute("SELECT metric, bin, version_readings FROM histograms ORDER BY bin").fetchall()
    assert seen == [("gpu_power_watts", 100, 6), ("power_watts", 300, 1)]


def test_gpus_have_the_path_of_their_slot(tmp_path: Path) -> None:
    registry = assign(facility(site({"r01": {"type": "box", "first": 1, "last": 1}})))
    publish(tmp_path, registry)
    gpu = registry.id_of(SubjectKind.GPU, "ruh/h1/r01/k01/n02/gpu7")
    append(tmp_path, "windows_1m", window(subject_kind=6, subject=gpu, every_seconds=60, power_watts=5.0))
    seen = connect(tmp_path).execute("SELECT subject_kind, subject, site FROM windows").fetchall()
    assert seen == [("gpu", "ruh/h1/r01/k01/n02/gpu7", "ruh")]
