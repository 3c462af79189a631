"""A simulated campus obeys the physics and the relations that the rest of Wattline is built on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from simulated_facility import registry

from schemas.gpu import GPU
from schemas.meter import METER
from schemas.registry import Registry
from schemas.subject import MeterLevel, SubjectKind
from sources.simulated.campus import Campus, Second
from sources.simulated.gpus import AMD_POWER_CAP, NVIDIA_IDLE, NVIDIA_POWER_CAP
from sources.simulated.meters import METER_NOISE

START = 1_772_355_600
"""2026-03-01T09:00:00Z, noon in Riyadh and one in the morning in Los Angeles."""


@pytest.fixture(scope="module")
def facility(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    return registry(tmp_path_factory.mktemp("facility"))


def run(facility: Registry, seconds: int, *, seed: int = 7, start: int = START) -> tuple[Campus, list[Second]]:
    campus = Campus(facility, seed=seed, start=start)
    return campus, [campus.second(start + second) for second in range(seconds)]


@pytest.fixture(scope="module")
def two_minutes(facility: Registry) -> tuple[Campus, list[Second]]:
    return run(facility, 120)


def by_meter(second: Second, facility: Registry, level: MeterLevel) -> pl.DataFrame:
    meters = facility.meters.select("meter", "subject_kind", "subject", "feed")
    return second.power.filter((pl.col("level") == level) & (pl.col("phase") == 0)).join(meters, on="meter")


def rack_inputs(second: Second, facility: Registry) -> dict[int, float]:
    inputs = by_meter(second, facility, MeterLevel.RACK_INPUT).group_by("subject").agg(pl.col("power_watts").sum())
    return dict(inputs.iter_rows())


def powers(seconds: Sequence[Second]) -> np.ndarray:
    """Return power as [second, GPU]."""
    return np.stack([second.gpu["power_watts"].to_numpy() for second in seconds])


def test_the_same_seed_gives_the_same_frames_and_another_seed_others(facility: Registry) -> None:
    _, first = run(facility, 5)
    _, again = run(facility, 5)
    _, other = run(facility, 5, seed=8)
    for one, two in zip(first, again, strict=True):
        assert one.gpu.equals(two.gpu, null_equal=True)
        assert one.power.equals(two.power, null_equal=True)
        assert (one.jobs, one.progress) == (two.jobs, two.progress)
    assert not first[0].gpu.equals(other[0].gpu, null_equal=True)


def test_frames_are_the_records_of_the_topics_and_leave_nothing_unmeasured(
    two_minutes: tuple[Campus, list[Second]], facility: Registry
) -> None:
    second = two_minutes[1][3]
    assert dict(second.gpu.schema) == GPU.polars
    assert dict(second.power.schema) == METER.polars
    assert second.gpu.drop("instance").null_count().sum_horizontal().item() == 0
    assert second.power.null_count().sum_horizontal().item() == 0
    slots = second.gpu.select("rack", "node", "gpu")
    assert slots.equals(facility.slots.select("rack", "node", "gpu"))
    assert set(second.power["meter"]) == set(facility.meters["meter"])


def test_a_second_out_of_turn_is_refused(facility: Registry) -> None:
    campus, _ = run(facility, 2)
    with pytest.raises(ValueError, match="the next second is"):
        campus.second(START + 5)


def test_readings_lie_in_their_second_and_on_it_without_jitter(facility: Registry) -> None:
    _, (second, *_) = run(facility, 1)
    start = datetime.fromtimestamp(START, UTC).replace(tzinfo=None)
    age = (second.gpu["time"] - start).dt.total_milliseconds()
    assert age.min() > 0
    assert age.max() < 200
    assert second.gpu.group_by("rack").agg(pl.col("time").n_unique())["time"].max() == 1
    inputs = by_meter(second, facility, MeterLevel.RACK_INPUT)
    assert inputs.group_by("subject").agg(pl.col("time").n_unique())["time"].max() == 1
    assert inputs["time"].n_unique() > 5
    exact = Campus(facility, seed=7, start=START, jitter=False).second(START)
    assert exact.gpu["time"].unique().to_list() == exact.power["time"].unique().to_list() == [start]


def test_both_inputs_of_a_rack_carry_its_gpus_and_a_plausible_rest(
    two_minutes: tuple[Campus, list[Second]], facility: Registry
) -> None:
    for second in two_minutes[1][::30]:
        gpus = dict(second.gpu.group_by("rack").agg(pl.col("power_watts").sum()).iter_rows())
        inputs = rack_inputs(second, facility)
        for rack in facility.racks.iter_rows(named=True):
            rest = inputs[rack["rack"]] - gpus[rack["rack"]]
            assert 0 < rest < rack["nameplate_watts"] - gpus[rack["rack"]]


def test_meters_agree_with_the_rack_within_their_noise(
    two_minutes: tuple[Campus, list[Second]], facility: Registry
) -> None:
    """A + B read what flows; a flow that the readings missed or doubled would show far above the noise."""
    campus, seconds = two_minutes
    truth = campus.plant.flow(START + 119, campus.demand.hours(START + 119)).racks
    inputs = rack_inputs(seconds[-1], facility)
    for rack, watts in zip(campus.layout.racks.id, truth, strict=True):
        assert inputs[int(rack)] == pytest.approx(watts, rel=5 * METER_NOISE)


def test_a_and_b_share_a_rack_unevenly_but_neither_carries_it_alone(
    two_minutes: tuple[Campus, list[Second]], facility: Registry
) -> None:
    inputs = by_meter(two_minutes[1][0], facility, MeterLevel.RACK_INPUT)
    share = inputs.select(
        share=pl.col("power_watts").max().over("subject") / pl.col("power_watts").sum().over("subject")
    )
    assert share["share"].max() < 0.75
    assert (share["share"] > 0.52).mean() > 0.5


def test_feeds_carry_their_racks_and_every_stage_above_loses_a_little(
    two_minutes: tuple[Campus, list[Second]], facility: Registry
) -> None:
    for second in two_minutes[1][::40]:
        inputs = by_meter(second, facility, MeterLevel.RACK_INPUT).group_by("feed").agg(pl.col("power_watts").sum())
        feeds = by_meter(second, facility, MeterLevel.FEED).join(inputs, left_on="subject", right_on="feed")
        assert len(feeds) == len(facility.feeds)
        loss = feeds["power_watts"] / feeds["power_watts_right"] - 1.0
        assert 0.0 < loss.min() <= loss.max() < 0.02
        totals = [by_meter(second, facility, level)["power_watts"].sum() for level in (5, 4, 3)]
        assert totals[0] < totals[1] < totals[2] < 1.1 * totals[0]
        utility = by_meter(second, facility, MeterLevel.UTILITY)["power_watts"].sum()
        assert 1.1 < utility / inputs["power_watts"].sum() < 1.4


def test_phases_of_a_feed_add_up_to_its_total_and_are_not_balanced(
    two_minutes: tuple[Campus, list[Second]],
) -> None:
    feeds = two_minutes[1][0].power.filter(pl.col("level") == MeterLevel.FEED)
    total = feeds.filter(pl.col("phase") == 0).select("meter", "power_watts", "current_amps", "voltage_volts")
    phases = (
        feeds.filter(pl.col("phase") > 0)
        .group_by("meter")
        .agg(
            pl.len(),
            pl.col("power_watts").sum(),
            pl.col("current_amps").max().alias("worst"),
            pl.col("voltage_volts").mean(),
        )
    )
    both = total.join(phases, on="meter", suffix="_by_phase")
    assert both["len"].unique().to_list() == [3]
    assert ((both["power_watts_by_phase"] / both["power_watts"] - 1).abs() < 5 * METER_NOISE).all()
    assert (both["worst"] > both["current_amps"] * 0.995).all()
    assert both["worst"].sum() > 1.003 * both["current_amps"].sum()
    assert ((both["voltage_volts"] / both["voltage_volts_by_phase"] - 3**0.5).abs() < 0.02).all()


def test_energy_counters_never_fall_and_their_slope_is_the_power(two_minutes: tuple[Campus, list[Second]]) -> None:
    _, seconds = two_minutes
    energy = np.stack([second.gpu["energy_joules"].to_numpy() for second in seconds])
    assert (np.diff(energy, axis=0) > 0).all()
    assert (energy[-1] - energy[0]) / 119 == pytest.approx(powers(seconds[1:]).mean(axis=0), rel=0.005)
    meters = np.stack([second.power["energy_joules"].to_numpy() for second in seconds])
    watts = np.stack([second.power["power_watts"].to_numpy() for second in seconds])
    assert (np.diff(meters, axis=0) >= 0).all()
    assert (meters[-1] - meters[0]) / 119 == pytest.approx(watts[1:].mean(axis=0), rel=0.005, abs=1.0)


def test_the_gpus_of_a_training_job_swing_together_and_apart_from_other_jobs(facility: Registry) -> None:
    campus, seconds = run(facility, 120)
    watts, block = powers(seconds), campus.blocks.of_gpu()
    training = np.flatnonzero(campus.blocks.tenants.workload == 0)
    assert len(training) >= 2
    means = []
    for job in training:
        mine = watts[:, block == job]
        among = np.corrcoef(mine[20:, ::7].T)
        assert np.median(among) > 0.8
        means.append(mine.mean(axis=1))
    assert abs(np.corrcoef(np.stack(means))[0, 1]) < 0.6


def test_inference_follows_the_day_of_its_own_site(facility: Registry) -> None:
    """At nine UTC Riyadh is at noon and Los Angeles at one in the morning; twelve hours later it is the other way."""
    loads = {}
    for start in (START, START + 43_200):
        campus = Campus(facility, seed=7, start=start)
        demand, interactive = campus.demand.of_blocks(start + 600), campus.blocks.tenants.workload == 3
        sites = np.array([campus.blocks.site_of(block) for block in range(len(campus.blocks))])
        for site in range(2):
            mine = interactive & (sites == site)
            assert mine.any()
            loads[campus.layout.site_paths[site], start] = (demand[mine] / campus.blocks.tenants.intensity[mine]).mean()
    assert loads["ruh", START] > 1.5 * loads["lax", START]
    assert loads["lax", START + 43_200] > 1.5 * loads["ruh", START + 43_200]


def test_video_jobs_use_encoders_and_idle_boards_rest(facility: Registry) -> None:
    campus, seconds = run(facility, 30)
    workload = campus.blocks.tenants.workload[campus.blocks.of_gpu()]
    gpu = seconds[-1].gpu.with_columns(workload=pl.Series(workload))
    video, idle = gpu.filter(pl.col("workload") == 2), gpu.filter(pl.col("workload") == 5)
    assert video["encoder_fraction"].min() > 0.05
    assert video["decoder_fraction"].min() > 0.03
    assert gpu.filter(pl.col("workload") == 0)["encoder_fraction"].max() == 0
    assert len(idle) > 0
    assert idle["utilization_fraction"].max() == 0
    share = idle["power_watts"] / campus.plant.boards.nameplate[workload == 5]
    assert 0.08 < share.min() <= share.max() < 0.14


def test_boards_above_their_cap_are_held_there_and_say_so_in_their_vendors_bits(facility: Registry) -> None:
    campus, seconds = run(facility, 60)
    capped = campus.plant.boards.throttled()
    gpu = seconds[-1].gpu.with_columns(capped=pl.Series(capped), amd=pl.Series(campus.plant.boards.is_amd))
    assert gpu.filter("capped").height > 0
    assert (gpu["power_watts"] <= gpu["power_limit_watts"] * 1.03).all()
    says = pl.when("amd").then(AMD_POWER_CAP).otherwise(NVIDIA_POWER_CAP)
    assert gpu.filter(((pl.col("throttle_reasons") & says) != 0) != pl.col("capped")).is_empty()
    idle = gpu.filter(pl.col("utilization_fraction") == 0)
    assert set(idle.filter(~pl.col("amd"))["throttle_reasons"]) <= {NVIDIA_IDLE}
    slower = gpu.filter(pl.col("capped") & ~pl.col("amd"))["sm_clock_mhz"].mean()
    busy = gpu.filter(~pl.col("capped") & ~pl.col("amd") & (pl.col("utilization_fraction") > 0.9))
    assert slower < busy["sm_clock_mhz"].mean()


def test_temperature_follows_power_with_a_lag(facility: Registry) -> None:
    campus = Campus(facility, seed=7, start=START)
    boards = campus.plant.boards
    load, drift = np.ones(len(boards.power), np.float32), np.zeros(len(boards.power), np.float32)
    die = []
    for _ in range(60):
        boards.work(load, drift)
        boards.settle()
        die.append(float(boards.die.mean()))
    settled = die[-1]
    assert die[0] < settled - 10
    assert die[10] < settled - 4
    assert abs(die[-1] - die[-2]) < 0.1
    assert 50 < settled < 90


def test_nothing_is_over_its_limit_while_nothing_goes_wrong(facility: Registry) -> None:
    """Caps keep racks, feeds and all above them within what is agreed, in every second of ten minutes."""
    campus, seconds = run(facility, 600)
    limits = dict(zip(campus.layout.racks.id, campus.layout.racks.limit_watts, strict=True))
    usable = dict(
        facility.limits.filter((pl.col("kind") == SubjectKind.FEED) & (pl.col("limit") == "usable"))
        .select("id", "watts")
        .iter_rows()
    )
    for second in seconds[::20]:
        assert all(watts < 0.94 * limits[rack] for rack, watts in rack_inputs(second, facility).items())
        feeds = by_meter(second, facility, MeterLevel.FEED).select("subject", "power_watts")
        assert all(watts < 0.95 * usable[feed] for feed, watts in feeds.iter_rows())


def test_the_first_second_names_every_running_job_and_later_ones_only_changes(
    two_minutes: tuple[Campus, list[Second]],
) -> None:
    campus, seconds = two_minutes
    first = {job.job: job for job in seconds[0].jobs}
    assert all(job.state == "running" and job.started.timestamp() <= START for job in first.values())
    ended = [job for second in seconds[1:] for job in second.jobs if job.state == "completed"]
    began = [job for second in seconds[1:] for job in second.jobs if job.state == "running"]
    assert all(job.ended is not None for job in ended)
    running = set(first) | {job.job for job in began}
    assert {job.job for job in campus.blocks.running().values()} == running - {job.job for job in ended}
    nodes = [allocation.node for job in campus.blocks.running().values() for allocation in job.allocations]
    assert len(nodes) == len(set(nodes))


def test_progress_counts_up_and_each_workload_counts_its_own(facility: Registry) -> None:
    _, seconds = run(facility, 60)
    reports = [report for second in seconds for report in second.progress]
    by_job: dict[str, list] = {}
    for report in reports:
        by_job.setdefault(report.job, []).append(report)
    counters = {"training": "steps", "image": "images", "video": "video_seconds", "interactive": "tokens"}
    workloads = {job.job: job.workload for second in seconds for job in second.jobs}
    assert {workloads[job] for job in by_job} == set(counters)
    for job, own in by_job.items():
        counted = [getattr(report, counters[workloads[job]]) for report in own]
        assert counted == sorted(counted)
        assert counted[-1] > 0
        assert [report.time for report in own] == sorted({report.time for report in own})


def test_a_site_without_a_power_tree_still_feeds_both_inputs_of_its_racks(tmp_path: Path) -> None:
    """A first facility has racks and nothing else; its GPUs and its rack inputs report all the same."""
    bare = registry(tmp_path, power=False)
    _, seconds = run(bare, 3)
    assert len(seconds[-1].gpu) == len(bare.slots)
    assert set(seconds[-1].power["level"]) == {MeterLevel.RACK_INPUT}
    assert seconds[-1].power["power_watts"].min() > 0


_MORE_METERS = """
[[meters]]
id = "ruh/chillers"
measures = "ruh"
level = "cooling"
[[meters]]
id = "ruh/standby"
measures = "ruh"
level = "generator"
[[meters]]
id = "lax/h1/crah"
measures = "lax/h1"
level = "cooling"
[[meters]]
id = "ruh/h1/r1/k01/shelf-1"
measures = "ruh/h1/r1/k01"
level = "shelf"
[[meters]]
id = "ruh/h1/r1/k01/shelf-2"
measures = "ruh/h1/r1/k01"
level = "shelf"
[[meters]]
id = "ruh/h1/r1/k01/n01/board"
measures = "ruh/h1/r1/k01/n01"
level = "node"
interval_seconds = 5.0
"""


def test_every_level_of_meter_shows_what_it_measures(tmp_path: Path) -> None:
    metered = registry(tmp_path, more=_MORE_METERS)
    _, seconds = run(metered, 11)
    readings = seconds[-1].power.filter(pl.col("phase") == 0).join(metered.meters, on="meter")
    watts = dict(readings.select("path", "power_watts").iter_rows())
    site = {name: watts[f"{name}/grid/m"] for name in ("ruh", "lax")}
    racks = readings.filter(pl.col("level") == MeterLevel.RACK_INPUT).group_by(pl.col("path").str.slice(0, 3))
    it = dict(racks.agg(pl.col("power_watts").sum()).iter_rows())
    assert 0.05 * it["ruh"] < watts["ruh/chillers"] < site["ruh"] - it["ruh"]
    assert 0.05 * it["lax"] < watts["lax/h1/crah"] < site["lax"] - it["lax"]
    assert watts["ruh/standby"] == 0.0
    inputs = watts["ruh/h1/r1/k01/a"] + watts["ruh/h1/r1/k01/b"]
    assert watts["ruh/h1/r1/k01/shelf-1"] + watts["ruh/h1/r1/k01/shelf-2"] == pytest.approx(inputs, rel=0.01)
    gpus = seconds[-1].gpu.filter(pl.col("node") == metered.id_of(SubjectKind.NODE, "ruh/h1/r1/k01/n01"))
    assert gpus["power_watts"].sum() < watts["ruh/h1/r1/k01/n01/board"] < inputs / 5


def test_a_slow_meter_reads_only_at_its_interval(tmp_path: Path) -> None:
    metered = registry(tmp_path, more=_MORE_METERS)
    _, seconds = run(metered, 11)
    node = metered.id_of(SubjectKind.METER, "ruh/h1/r1/k01/n01/board")
    heard = [second.time for second in seconds if node in second.power["meter"]]
    assert [time - START for time in heard] == [0, 5, 10]
