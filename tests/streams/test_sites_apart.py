"""A site's windows follow from its own readings: what the other sites of a campus say, and when, changes none."""

from __future__ import annotations

import random
from itertools import count
from typing import NamedTuple

import polars as pl
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from schemas.job import Allocation, Job, Placed
from schemas.message import Message
from schemas.partial import PARTIAL, Envelope, Partial
from schemas.registry import assign
from schemas.rejection import ADMISSION_VERSION
from schemas.subject import SubjectKind
from schemas.time import moment
from schemas.window import WINDOW
from streams.evaluate import Evaluator
from streams.job_book import JobBook
from streams.roll_up import GPU_TOPIC, METER_TOPIC, RollUp
from streams.watch import watch
from streams.watches import Watches
from tests.schemas.small_facility import BOX, facility, site
from tests.streams.log import SECOND, START, Gpu, always, gpu_frame, meters

SITES = ("ruh", "dmm")
STREAMS = [(topic, partition) for topic in (GPU_TOPIC, METER_TOPIC) for partition in range(len(SITES))]
"""Each site has its own partition of each topic."""
SECONDS = 165
"""The minutes that end in them are those from 40 and from 100 s on; the last one is open to revisions."""
MINUTE_AT = 100
RACKS = {"r01": [{"type": "box", "ids": ["k01"]}]}
CAMPUS = assign(facility(
    *(site(RACKS, name) for name in SITES),
    rack_types={"box": BOX | {"nodes": 2, "gpus_per_node": 2, "meters": ["a"]}},
    meters=[{"id": f"{node}/m", "measures": node, "level": "node"} for node in (f"{n}/h1/r01/k01/n01" for n in SITES)],
))  # fmt: skip
"""Of each site a rack of two nodes of two GPUs, the rack and its first node metered."""


class Said(NamedTuple):
    """The seconds in which a site's meters and three of its GPUs spoke, and those told late."""

    metered: set[int]
    gpus: set[int]
    late: set[int]
    admission: int = ADMISSION_VERSION

    def partials(self, nth: int) -> list[Partial | pl.DataFrame]:
        """Return what is told in time by the partitions of the nth site; frames are seconds of jobs."""
        return [*metered(nth, self.metered, "closing", self.admission), *of_gpus(nth, self.gpus)]

    def revisions(self, nth: int) -> list[Partial]:
        return metered(nth, self.late, "revision", self.admission)


NOTHING = Said(set(), set(), set())


def metered(nth: int, seconds: set[int], kind: str, admission: int) -> list[Partial]:
    of_site = CAMPUS.meters.filter(pl.col("path").str.starts_with(SITES[nth]))["meter"].to_list()
    said = []
    for second in sorted(seconds):
        start, readings = (START + second) * SECOND, 1 + (kind == "revision")
        rows = [dict.fromkeys(PARTIAL.polars) | {
            "second": start, "subject_kind": int(SubjectKind.METER), "subject": meter,
            "power_milliwatts": 900_000 + second, "power_max_milliwatts": 950_000, "energy_millijoules": 900_000,
            "energy_method": 3, "utilization_count": 0, "expected": 1, "reporting": 1,
            "oldest_age_microseconds": 250_000, "readings": readings, "digest": second * 7 + meter + readings,
        } for meter in of_site]  # fmt: skip
        envelope = Envelope(METER_TOPIC, nth, 0, 0, kind, start, start + SECOND, start + SECOND, admission)
        said.append(Partial(envelope, pl.DataFrame(rows, schema=PARTIAL.polars, orient="row")))
    return said


def jobs() -> JobBook:
    """Return a job a site on its second node, from before the first second for ever."""
    book, started = JobBook(), moment((START - 1_000) * SECOND)
    for nth, name in enumerate(SITES):
        node = CAMPUS.nodes.filter(path=f"{name}/h1/r01/k01/n02")["node"].item()
        job = Job(job="train", site=name, started=started, allocations=[Allocation(node, path=f"{name}/n02")])
        book.hear([Placed(Message("telemetry.jobs.v1", 0, nth, 0, b"train", None, ()), 0, job)], nth + 1)
    return book


def of_gpus(nth: int, seconds: set[int]) -> list[Partial | pl.DataFrame]:
    of_site = CAMPUS.racks.filter(pl.col("path").str.starts_with(SITES[nth])).select("rack")
    slots = CAMPUS.slots.join(of_site, on="rack").select("rack", "node", "gpu").rows(named=True)[:3]
    log = [[Gpu(second + 0.5, **slot, power=5_000 + second) for slot in slots] for second in sorted(seconds)]
    roll_up = RollUp(always(CAMPUS.slots, meters()), jobs=jobs())
    roll_up.assign((GPU_TOPIC, nth), "", 0)
    partials = roll_up.feed(GPU_TOPIC, gpu_frame(list(enumerate(log)), nth), {nth: len(log)}, 0) if log else []
    of_jobs = roll_up.job_rows()
    return [*partials] if of_jobs is None else [of_jobs, *partials]


def told(*sites: Said) -> dict[str, pl.DataFrame]:
    """Return, by site, the greatest version of each window told of what sites say, at once and late."""
    evaluator, offsets = Evaluator(Watches.always(watch([], CAMPUS)), STREAMS, book=jobs()), count()
    windows = {name: [WINDOW.empty()] for name in SITES}
    idle = [Partial(Envelope(*each, 0, 0, "idle", 0, (START + SECONDS) * SECOND, 0), PARTIAL.empty())
            for each in STREAMS]  # fmt: skip
    in_time = [partial for nth, said in enumerate(sites) for partial in said.partials(nth)]
    for drain in ([*in_time, *idle], [partial for nth, said in enumerate(sites) for partial in said.revisions(nth)]):
        for said in drain:
            if isinstance(said, pl.DataFrame):
                evaluator.take_jobs(next(offsets), said)
            else:
                evaluator.take(next(offsets), *said)
        output = evaluator.close()
        while output.windows or output.minutes or evaluator.is_behind:
            for each in [*output.windows, *(each for each in output.minutes if each.table == "windows")]:
                windows[each.site].append(each.rows)
            output = evaluator.close()
    key = ["every_seconds", "window_start", "subject_kind", "subject"]
    by_version = [*key, *(name for name in WINDOW.polars if name.startswith("version_"))]
    return {name: pl.concat(each).sort(by_version).unique(key, keep="last", maintain_order=True)
            for name, each in windows.items()}  # fmt: skip


def minute(windows: pl.DataFrame, kind: SubjectKind) -> list[tuple[int, int]]:
    """Return (expected, reporting) of the subjects of a kind in the minute from MINUTE_AT on."""
    start = pl.lit((START + MINUTE_AT) * SECOND).cast(pl.Datetime("us"))
    theirs = windows.filter((pl.col("window_start") == start) & (pl.col("every_seconds") == 60))
    return theirs.filter(subject_kind=kind.value).select("expected", "reporting").rows()


@settings(max_examples=25, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(st.integers(0, 10**6))
def test_what_is_told_of_a_site_is_what_is_told_of_it_alone(seed: int) -> None:
    """Sites speak and fall silent for seconds and minutes, and are rolled up by different admissions."""
    draw = random.Random(seed)
    sites = [Said(*(random_seconds(draw) for _ in range(2)), {s for s in range(150, 160) if draw.random() < 0.1},
                  ADMISSION_VERSION - draw.randrange(2)) for _ in SITES]  # fmt: skip
    both = told(*sites)
    for nth, name in enumerate(SITES):
        alone = told(*(said if nth == at else NOTHING for at, said in enumerate(sites)))
        assert_frame_equal(both[name], alone[name])


def random_seconds(draw: random.Random) -> set[int]:
    first, end, share = draw.randrange(SECONDS), draw.randrange(SECONDS), draw.choice((0.0, 0.5, 0.9, 1.0))
    return {second for second in range(SECONDS) if not first <= second < end and draw.random() < share}


@pytest.mark.parametrize("other", [NOTHING, Said(set(range(SECONDS)), set(), set())], ids=["nobody", "another site"])
def test_a_second_in_which_a_site_said_nothing_is_a_silent_one_of_its_minute(other: Said) -> None:
    """Whoever else spoke in it; a minute of which a collector was away for 20 s is not told as whole."""
    gap = set(range(MINUTE_AT + 20, MINUTE_AT + 40))
    windows = told(Said(set(range(SECONDS)) - gap, set(range(SECONDS)) - gap, set()), other)["ruh"]
    reporting = {kind.name: [part for _, part in minute(windows, kind)] for kind in (
        SubjectKind.SITE, SubjectKind.RACK, SubjectKind.NODE, SubjectKind.GPU, SubjectKind.JOB)}  # fmt: skip
    assert reporting == {"SITE": [0], "RACK": [0], "NODE": [0, 0], "GPU": [0] * 4, "JOB": [0]}
    at = pl.lit((START + MINUTE_AT) * SECOND).cast(pl.Datetime("us"))
    rack = windows.filter(subject_kind=SubjectKind.RACK.value, window_start=at)
    bounds = "power_low_watts", "power_watts", "power_high_watts"
    low, power, high = rack.filter(every_seconds=1).select(bounds).row(0)
    assert low == power == high
    low, power, high = rack.filter(every_seconds=60).select(bounds).row(0)
    assert low == pytest.approx(power * 40 / 60, abs=0.001)
    assert high > power


def test_a_job_has_the_seconds_of_its_own_site_only() -> None:
    half = set(range(0, SECONDS - 10, 2))
    windows = told(Said(half, half | {SECONDS - 1}, set()), Said(set(range(SECONDS)), set(), set()))["ruh"]
    assert minute(windows, SubjectKind.JOB) == [(2, 0)]
    assert len(windows.filter(subject_kind=SubjectKind.JOB.value, every_seconds=1)) == len(half)


def test_a_second_in_which_a_site_is_first_heard_late_is_in_the_minute_of_its_job() -> None:
    windows = told(Said(set(), {*range(MINUTE_AT, 150), SECONDS - 1}, {155}), NOTHING)["ruh"]
    assert minute(windows, SubjectKind.JOB) == [(2, 0)]


def test_the_silent_gpus_of_a_site_that_spoke_are_told_as_its_silent_racks_are() -> None:
    """Zero of one expected; of a site that said nothing there is nothing, though its neighbour spoke."""
    both = told(Said(set(range(SECONDS)), set(), set()), NOTHING)
    assert minute(both["ruh"], SubjectKind.GPU) == [(1, 0)] * 4
    assert minute(both["ruh"], SubjectKind.NODE) == [(1, 1), (2, 0)]
    assert both["dmm"].is_empty()


def test_a_site_first_heard_late_is_told_with_all_of_its_devices() -> None:
    before = set(range(MINUTE_AT))
    windows = told(Said(before, before, {155}), Said(set(range(SECONDS)), set(), set()))["ruh"]
    assert minute(windows, SubjectKind.GPU) == [(1, 0)] * 4
    assert minute(windows, SubjectKind.NODE) == [(1, 0), (2, 0)]
