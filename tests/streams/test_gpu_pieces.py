"""Pieces of GPUs and histograms of racks: what polars makes of all readings at once, in any drains and lives."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from schemas.histogram import Metric, bounds, power_bin
from schemas.piece import PIECE, PIECE_HISTOGRAM, PIECE_SECONDS
from schemas.subject import gpu_subject
from streams.roll_up import GPU_TOPIC, RollUp
from tests.streams.log import GPUS, NODES, SECOND, START, Gpu, always, meters, play, slots
from tests.streams.test_roll_up_gpu import logs, rack_second

PHASES = [Phase.explicit, Phase.reuse, Phase.generate]


def pieces(partials, kind="piece"):
    """Return the rows of pieces in the order told, `at` = seconds of their start after START."""
    record = {"piece": PIECE, "histogram": PIECE_HISTOGRAM}[kind]
    frames = [record.empty(), *(partial.rows for partial in partials if partial.envelope.kind == kind)]
    return pl.concat(frames).select((pl.col("start").cast(pl.Int64) // SECOND - START).alias("at"), pl.exclude("start"))


def standing(partials):
    """Return of each piece and GPU the fuller one, of equally full ones the last."""
    rows = pieces(partials).sort("readings", maintain_order=True)
    return rows.unique(("at", "subject"), keep="last").sort("at", "subject")


def standing_histograms(partials):
    """Return of each piece and rack the bins of the fuller one, of equally full ones the last."""
    rows, version = pieces(partials, "histogram"), ["at", "subject", "readings", "digest"]
    greatest = rows.sort("readings", maintain_order=True).unique(("at", "subject"), keep="last").select(version)
    return rows.join(greatest, on=version).unique().sort("at", "subject", "metric", "bin")


def admissible(log):
    """Return (second, reading) of what is admitted in time, as the rule says it, message by message."""
    floor, watermark, found = int(min(each.at for each in log[0])), -1, []
    for message in log:
        for each in message:
            if int(each.at) >= max(floor, watermark // SECOND - 10):
                found.append((int(each.at), each))
        watermark = max([watermark, *(round(each.at * SECOND) for each in message)])
    return found, (watermark - 250_000) // SECOND


def by_the_book(log):
    """Return the pieces that polars makes of all admissible readings at once, `closed` = the seconds that closed."""
    found, closed = admissible(log)
    frame = pl.DataFrame(
        [
            (second, gpu_subject(each.node, each.gpu), round(each.at * SECOND), each.power, each.utilization,
             None if each.temperature is None else round(each.temperature * 10))
            for second, each in found
        ],
        schema=["second", "subject", "micros", "power", "utilization", "temperature"], orient="row",
    ).cast({"power": pl.Int64, "utilization": pl.Int64, "temperature": pl.Int64})  # fmt: skip
    order = [
        pl.col("power").is_not_null(),
        "micros",
        pl.col("power").fill_null(-1),
        pl.col("utilization").fill_null(-1),
    ]
    stands = frame.sort(order).group_by("second", "subject").agg(
        pl.col("micros", "power", "utilization").last(), pl.col("power").max().alias("power_max"),
        pl.col("temperature").max(),
    )  # fmt: skip
    return (
        stands.with_columns(at=pl.col("second") // PIECE_SECONDS * PIECE_SECONDS)
        .group_by("at", "subject")
        .agg(
            power_sum_deciwatts=pl.when(pl.col("power").count() > 0).then(pl.col("power").sum()),
            power_seconds=pl.col("power").count(),
            power_max_deciwatts=pl.col("power_max").max(),
            utilization_sum_e4=pl.when(pl.col("utilization").count() > 0).then(pl.col("utilization").sum()),
            utilization_seconds=pl.col("utilization").count(),
            temperature_max_decicelsius=pl.col("temperature").max(),
            last_microseconds=pl.col("micros").max() - pl.col("at").first() * SECOND,
        )
        .with_columns(closed=pl.lit(closed))
        .sort("at", "subject")
        .cast({name: PIECE.polars[name] for name in (
            "subject", "power_sum_deciwatts", "power_seconds", "power_max_deciwatts", "utilization_sum_e4",
            "utilization_seconds", "temperature_max_decicelsius", "last_microseconds")})
    )  # fmt: skip


@settings(max_examples=80, deadline=None, phases=PHASES)
@given(logs(), st.lists(st.integers(1, 40), max_size=6))
def test_pieces_are_what_polars_makes_of_all_readings_at_once(log, cuts):
    """By the log alone a piece is told before the second after it closes; as soon as it is closed it may be."""
    book, after = by_the_book(log), pl.col("closed") - PIECE_SECONDS - pl.col("at")
    for tells_pieces, by_then in ((False, after > 0), (True, after >= 0)):
        whole = book.filter(by_then).drop("closed")
        for told in (play(log, each, tells_pieces=tells_pieces) for each in ((), cuts, range(len(log)))):
            assert_frame_equal(standing(told).select(whole.columns), whole, check_row_order=True)


@settings(max_examples=40, deadline=None, phases=PHASES)
@given(logs(), st.lists(st.integers(1, 40), max_size=6))
def test_histograms_are_the_same_whether_pieces_were_told_early_or_not(log, cuts):
    by_log, early = play(log), play(log, cuts, tells_pieces=True)
    last = standing(early)["at"].max()
    told = standing_histograms(early), standing_histograms(by_log)
    assert_frame_equal(*(each.filter(pl.col("at") < (0 if last is None else last)) for each in told))


@settings(max_examples=60, deadline=None, phases=PHASES)
@given(logs(), st.integers(1, 40), st.lists(st.integers(1, 40), max_size=4))
def test_a_restart_anywhere_tells_the_same_pieces_from_its_floor_on(log, stop, cuts):
    """Fails where the committed place is not that of a whole piece."""
    roll_up = RollUp(always(slots(), meters()))
    before = play(log[: min(stop, len(log))], cuts, roll_up=roll_up)
    offset, note = roll_up.places()[GPU_TOPIC, 0]
    again = play(log, first=offset, note=note) if offset < len(log) else []
    whole = play(log)
    assert_frame_equal(standing([*before, *again]), standing(whole))
    assert_frame_equal(standing_histograms([*before, *again]), standing_histograms(whole))
    floor = int(note.split("/")[0]) // PIECE_SECONDS * PIECE_SECONDS - START
    assert_frame_equal(standing(again), standing(whole).filter(pl.col("at") >= floor))


@pytest.mark.parametrize("tells_pieces", [False, True])
def test_a_piece_is_told_before_the_second_after_it_closes_and_no_second_waits_for_its_own(tells_pieces):
    """So that a minute lacks none of its pieces a second after its end, and sums do not wait for them."""
    log = [rack_second(s / 2) for s in range(60)]
    told = [(each.envelope.kind, each.envelope.end_second // SECOND - START)
            for each in play(log, range(60), tells_pieces=tells_pieces)]  # fmt: skip
    assert [end for kind, end in told if kind == "piece"] == [10, 20]
    for nth, (kind, end) in enumerate(told):
        if kind == "piece":
            closed = [each for before, each in told[:nth] if before == "closing"]
            assert max(closed, default=end) == end


def test_a_late_reading_tells_again_the_piece_of_its_gpu_and_the_histogram_of_its_rack_only():
    log = [reading for s in range(30) for reading in (rack_second(float(s)), rack_second(s + 0.1, rack=2))]
    late = [Gpu(at=17.5, rack=2, node=20, gpu=1, power=300)]
    before, told = play(log), play([*log[:50], late, *log[50:]])
    revised = [each for each in told if each.envelope.kind == "piece" and len(each.rows) == 1]
    assert [each.rows["subject"].to_list() for each in revised] == [[gpu_subject(20, 1)]]
    histograms = [each.rows for each in told if each.envelope.kind == "histogram"]
    assert sum(set(rows["subject"]) == {2} for rows in histograms) == 1
    assert len(told) == len(before) + 3  # a revision of the second, of the piece, of the histogram


def test_the_counter_of_a_piece_is_known_at_both_ends_and_where_it_went_down():
    log = [[Gpu(float(s), 1, 10, gpu, 100, energy=energy(s)) for gpu, energy in enumerate((
        lambda s: 1_000 + 70 * s, lambda s: 1_000 - s, lambda s: None, lambda s: 5_000 if s == 6 else None,
    ))] for s in range(30)]  # fmt: skip
    counters = pieces(play(log)).filter(at=0)
    names = ("energy_first_joules", "energy_last_joules", "energy_first_second", "energy_last_second", "energy_fell")
    assert counters.sort("subject").select(names).rows() == [
        (1_000, 1_630, 0, 9, False), (1_000, 991, 0, 9, True), (None, None, None, None, False),
        (5_000, 5_000, 6, 6, False),
    ]  # fmt: skip


def test_a_histogram_counts_the_seconds_of_each_gpu_of_a_rack_by_metric():
    log = [rack_second(float(s), power=1_000 + 10 * (s % 10)) for s in range(30)]
    rows = pieces(play(log), "histogram").filter(at=10)
    power = rows.filter(metric=Metric.GPU_POWER_WATTS.value)
    values = np.array([1_000 + 10 * second for second in range(10)])
    numbers, counts = np.unique(power_bin(values), return_counts=True)
    assert power.select("bin", "count").rows() == list(zip(numbers, counts * NODES * GPUS, strict=True))
    for metric, value in ((Metric.GPU_UTILIZATION_FRACTION, 0.5), (Metric.GPU_TEMPERATURE_CELSIUS, 40.0)):
        (number, count), *others = rows.filter(metric=metric.value).select("bin", "count").rows()
        low, high = bounds(metric, np.array([number]))
        assert (low[0] <= value < high[0], count, others) == (True, 10 * NODES * GPUS, [])
