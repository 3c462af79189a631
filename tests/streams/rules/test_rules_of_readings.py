"""Rules of what a window is made of: each is shown to fail without its rule."""

from __future__ import annotations

from typing import Any

import numpy as np

from streams import cells, meter_readings, meter_seconds
from streams.ring import Ring
from tests.streams.log import Gpu, Meter, play, rows, standing
from tests.streams.rules.without import fails_without, told

LONG_AFTER = 20.0


def one_gpu(*said: tuple[float, int], late: tuple[float, int] | None = None) -> list[list[Gpu]]:
    """Return messages of one GPU of rack 1, time goes on in rack 2; `late` comes after its second closed."""
    log = [[Gpu(at, 1, 10, 0, power)] for at, power in said]
    log.append([Gpu(2.0, 2, 20, 0, 1)])
    if late:
        log.append([Gpu(late[0], 1, 10, 0, late[1])])
    return [*log, [Gpu(LONG_AFTER, 2, 20, 0, 1)]]


def in_the_end(log: list, cuts: tuple[int, ...] = (), column: str = "power_milliwatts") -> list[object]:
    """Return what stands of subject 1, by second."""
    return standing(play(log, cuts)).filter(subject=1)[column].to_list()


def newest_stands(old: cells.Cells, new: cells.Cells) -> cells.Cells:
    return new


@fails_without("streams.ring:merged", newest_stands, says="arrival decides")
def test_of_two_values_of_a_gpu_with_one_identity_the_greater_stands() -> None:
    for pair in ((1000, 3000), (3000, 1000)):
        log = one_gpu(*((0.5, power) for power in pair))
        told(in_the_end(log, (1, 2)), [300_000], "arrival decides")


def first_of_an_identity(self: meter_readings.MeterReadings) -> meter_readings.MeterReadings:
    return self.pick(meter_readings.begins(self.meter, self.time, self.phase))


@fails_without(
    "streams.meter_readings:MeterReadings.one_an_identity", first_of_an_identity, says="the lesser value stands"
)
def test_of_two_values_of_a_meter_with_one_identity_the_greater_stands() -> None:
    for pair in ((1000, 3000), (3000, 1000)):
        log = [[Meter(0.0, 1, power)] for power in pair] + [[Meter(9.0, 2, 0)]]
        told(in_the_end(log, (1,))[0], 3000, "the lesser value stands")


def by_the_64th(self: Ring, flat: cells.Cells, at: np.ndarray, new: cells.Cells) -> np.ndarray:
    """Count a reading where no other came in its 64th of a second, as the ring once did."""
    return np.flatnonzero((flat.seen[at] & new.seen) == 0)


@fails_without("streams.ring:Ring._not_heard", by_the_64th, says="the version did not grow")
def test_a_late_correction_of_a_gpu_makes_the_version_greater() -> None:
    """Else the digest, which is a hash, decides between the two by chance."""
    partials = play(one_gpu((0.5, 1000), late=(0.5, 3000)))
    counts = [rows(partials, kind).filter(subject=1)["readings"].to_list() for kind in ("closing", "revision")]
    told(counts, [[1], [2]], "the version did not grow")


def used_only(said: meter_readings.MeterReadings, first: int, end: int) -> meter_seconds._Seconds:
    """Count the readings that a second is made of, as it once was."""
    covered = meter_seconds._covered(said.one_an_identity(), first, end)
    meter, second = said.meter[covered.of], covered.second
    starts = np.flatnonzero(meter_readings.begins(meter, second))
    count = np.diff(np.append(starts, len(meter)))
    return meter_seconds._Seconds(meter[starts], second[starts], {"readings": count, "digest": count})


@fails_without("streams.meter_seconds:_versions", used_only, says="the version did not grow")
def test_a_late_reading_of_a_meter_makes_the_version_of_what_was_held_in_its_place_greater() -> None:
    partials = play([[Meter(0.0, 1, 1000)], [Meter(5.0, 2, 0)], [Meter(1.0, 1, 3000)], [Meter(9.0, 2, 0)]])
    before, after = (rows(partials, kind).filter(subject=1, at=1) for kind in ("closing", "revision"))
    told(after["power_milliwatts"].to_list(), [3000], "the late reading is in no revision")
    assert after["readings"][0] > before["readings"][0], "the version did not grow"


def all_are_new(self: Ring, flat: cells.Cells, at: np.ndarray, new: cells.Cells) -> np.ndarray:
    return np.arange(len(at))


@fails_without("streams.ring:Ring._not_heard", all_are_new, says="counted twice")
def test_a_message_of_gpus_twice_changes_nothing() -> None:
    once = one_gpu((0.5, 1000), (0.75, 800))
    for cuts in ((), (1, 2, 3)):
        for column in ("power_milliwatts", "readings", "digest"):
            twice = in_the_end([*once[:2], *once[:2], *once[2:]], cuts, column)
            told(twice, in_the_end(once, cuts, column), "counted twice")


def unordered(readings: meter_readings.MeterReadings) -> meter_readings.MeterReadings:
    order = np.lexsort((readings.phase, readings.time, readings.meter))
    kept = readings.pick(order)
    return kept._replace(until=meter_readings._running_max(kept.until, kept.number))


@fails_without("streams.meter_readings:_ordered", unordered, says="counted twice")
def test_a_message_of_meters_twice_changes_nothing() -> None:
    once = [[Meter(float(second), 1, 1000 + second)] for second in range(4)] + [[Meter(9.0, 2, 0)]]
    for column in ("power_milliwatts", "readings", "digest"):
        twice = in_the_end([each for each in once for _ in range(2)], (1, 2, 5), column)
        told(twice, in_the_end(once, (), column), "counted twice")


def only_times(self: Ring, seconds: np.ndarray) -> None:
    self._second[seconds % self.seconds] = seconds


@fails_without("streams.ring:Ring._recycle", only_times, says="power of an earlier second")
def test_a_ring_slot_used_again_is_clear() -> None:
    log = [[Gpu(float(second), 1, 10, 0, 5000)] for second in range(8)]
    log += [[Gpu(float(second), 2, 20, 0, 1000)] for second in range(8, 70)]
    found = rows(play(log, range(len(log))), "closing")
    told(found.filter(subject=1)["at"].to_list(), list(range(8)), "power of an earlier second")


def within_the_second(readings: meter_readings.MeterReadings, first: int, *_: Any) -> meter_seconds._Seconds:
    """Take the difference of the first and the last counter value inside each second."""
    second = readings.time // meter_seconds.SECOND
    heads = np.flatnonzero(meter_readings.begins(readings.meter, second))
    lasts = np.append(heads[1:], len(second)) - 1
    rose = np.flatnonzero((readings.energy[lasts] > readings.energy[heads]) & (second[heads] >= first))
    counted = (readings.energy[lasts] - readings.energy[heads])[rose]
    return meter_seconds._Seconds(readings.meter[heads][rose], second[heads][rose], {"counted": counted})


@fails_without("streams.meter_seconds:_counted", within_the_second, says="energy is lost at the edges")
def test_a_counter_across_the_edge_of_a_window_loses_no_energy() -> None:
    """2 readings a second of a counter in steps of 1 mJ: what the seconds hold adds up to what the counter did."""
    log = [[Meter(half / 2 + 0.2, 1, 1_000_000, 0.5, energy=1 + 497_003 * half)] for half in range(20)]
    found = rows(play([*log, [Meter(30.0, 2, 0)]]), "closing").filter(subject=1, energy_method=1)
    told(found["energy_millijoules"].sum(), 497_003 * 18, "energy is lost at the edges")


@fails_without("streams.meter_log:HOLD_INTERVALS", 0.5, says="every other second")
def test_a_meter_of_2_s_reports_its_load_in_every_second() -> None:
    log = [[Meter(float(second), 2, 1000, 2.0)] for second in range(0, 20, 2)] + [[Meter(30.0, 3, 0)]]
    found = rows(play(log), "closing").filter(subject=2)
    told(found.filter(found["at"] < 20)["power_milliwatts"].to_list(), [1000] * 20, "every other second is missing")


@fails_without("streams.meter_log:HOLD_INTERVALS", 10, says="silence is told as load")
def test_of_a_gap_of_18_s_only_three_intervals_are_held() -> None:
    log = [[Meter(0.0, 2, 1000, 2.0)], [Meter(18.0, 2, 3000, 2.0)], [Meter(40.0, 3, 0)]]
    found = rows(play(log), "closing").filter(subject=2)
    told(found.filter(found["at"] < 18)["at"].to_list(), [0, 1, 2, 3, 4, 5], "silence is told as load")
