"""Minutes of GPUs and histograms, told live and kept in the lake, are what SQL makes of the raw readings there."""

from __future__ import annotations

import random
from pathlib import Path

import deltalake
import pyarrow as pa

from schemas.message import Message
from schemas.partial import PARTIAL, Envelope, Partial
from sinks.lake.rows import read_rows
from sinks.lake.tables import BY_NAME
from sinks.sql.connection import connect
from streams.devices import SiteMinute
from streams.roll_up import GPU_TOPIC
from streams.windows_message import HISTOGRAMS_TOPIC, TOPIC, message_of_minute
from tests.sql.test_views import publish
from tests.streams.log import SECOND, START, Gpu, microseconds
from tests.streams.test_device_minutes import CAMPUS, Life, nobody, random_log, rolled_up
from tests.streams.test_gpu_pieces import admissible


def lake_of(lake: Path, readings: list[Gpu], told: list[SiteMinute]) -> None:
    """Put the facility, the raw readings and what was told of minutes into a lake, as its writer does."""
    publish(lake, CAMPUS)
    rows = [
        {"_partition": 0, "_offset": nth, "_row": 0, "_appended": 0, "time": microseconds(each.at), "rack": each.rack,
         "node": each.node, "gpu": each.gpu, "power_deciwatts": each.power}
        for nth, each in enumerate(readings)
    ]  # fmt: skip
    put(lake, "gpu", pa.Table.from_pylist(rows, schema=BY_NAME["gpu"].arrow))
    for topic, table, kind in ((TOPIC, "windows_1m", "windows"), (HISTOGRAMS_TOPIC, "histograms", "histograms")):
        sent = [message_of_minute(each) for each in told if each.table == kind]
        messages = [Message(topic, 0, offset, 0, key, value, tuple(headers))
                    for offset, (value, key, headers) in enumerate(sent)]  # fmt: skip
        rows = read_rows(topic, messages, None, "event")
        assert rows["rejected"].num_rows == 0
        put(lake, table, rows[table])


def put(lake: Path, name: str, rows: pa.Table) -> None:
    """Append rows to a table of the lake as one Delta commit."""
    frame = rows.append_column("hour", pa.array(["mixed"] * rows.num_rows))
    folder = str(BY_NAME[name].folder(lake))
    deltalake.write_deltalake(folder, frame, partition_by=["hour"], mode="append")


def test_gpu_minutes_and_percentiles_are_what_sql_makes_of_the_raw_readings(tmp_path: Path) -> None:
    """Late readings, repeats and silences among them; what came too late is left to a recomputation."""
    log = [[each._replace(energy=None) for each in message] for message in random_log(random.Random(5), [0, 1, 4], 230)]
    idle = Partial(Envelope(GPU_TOPIC, 1, 0, 0, "idle", 0, (START + 10_000) * SECOND, 0), PARTIAL.empty())
    life = Life([nobody(10_000), idle, *rolled_up(log, 0)])
    told: list[SiteMinute] = []
    while life.at < len(life.partials) or life.evaluator.is_behind:
        for offset in range(life.at, min(life.at + 7, len(life.partials))):
            life.evaluator.take(offset, *life.partials[offset])
        life.at += 7
        told += life.evaluator.close().minutes
    lake_of(tmp_path, [each for _, each in admissible(log)[0]], told)
    connection = connect(tmp_path)
    connection.execute("""
        CREATE TEMP VIEW stands AS
        SELECT node || '/gpu' || gpu AS subject, date_trunc('minute', time) AS minute,
               round(power_watts * 10)::BIGINT AS deciwatts
        FROM gpu QUALIFY row_number() OVER (PARTITION BY node, gpu, date_trunc('second', time)
                                            ORDER BY power_watts IS NOT NULL DESC, time DESC, power_watts DESC) = 1
    """)
    wrong = connection.execute("""
        SELECT w.subject, w.window_start, w.power_watts, raw.power_watts FROM windows w LEFT JOIN (
            SELECT subject, minute, round_even(sum(deciwatts) * 100 / count(deciwatts), 0) / 1000 AS power_watts
            FROM stands GROUP BY ALL
        ) raw ON raw.subject = w.subject AND raw.minute = w.window_start
        WHERE w.subject_kind = 'gpu' AND w.power_watts IS DISTINCT FROM raw.power_watts
    """).fetchall()
    assert wrong == []
    ((minutes,),) = connection.execute("SELECT count(*) FROM windows WHERE subject_kind = 'gpu'").fetchall()
    assert minutes == 4 * 8
    for fraction in (0.05, 0.5, 0.95):
        ((low, high, count),) = connection.execute(
            "SELECT bin_low, bin_high, count FROM percentile(?, 'gpu_power_watts', 'rack')", [fraction]
        ).fetchall()
        ((exact, of),) = connection.execute(
            "SELECT quantile_disc(deciwatts, ?) / 10, count(deciwatts) FROM stands "
            "WHERE minute <= (SELECT max(window_start) FROM histograms)", [fraction]
        ).fetchall()  # fmt: skip
        assert low <= exact < high
        assert count == of
