"""Rules of when a second closes, what is told again, and whose word stands: each is shown to fail without its rule."""

from __future__ import annotations

import numpy as np
import polars as pl

from schemas.facility import load
from schemas.partial import PARTIAL, Envelope, Partial
from schemas.registry import assign
from schemas.subject import SubjectKind, gpu_subject
from streams import closing, stream
from streams.closing import Messages, Passage
from streams.closings import ROWS, Closings
from streams.gpu_stream import GpuStream
from streams.members import members_of
from streams.roll_up import GPU_TOPIC, RollUp
from streams.sums import Sources, assemble
from tests.streams.live_equals_lake.campus_log import CAMPUS
from tests.streams.log import SECOND, START, Gpu, always, meters, play, rows, slots
from tests.streams.rules.without import fails_without, told
from tests.streams.test_gpu_pieces import standing as of_pieces

POWERS = ("at", "subject", "power_milliwatts", "readings")


def a_rack(at: float, rack: int = 1, power: int = 1000) -> list[Gpu]:
    return [Gpu(at, rack, 10 * rack, gpu, power) for gpu in range(4)]


def closings(partials: list[Partial]) -> list[tuple[object, ...]]:
    return rows(partials, "closing").select(POWERS).rows()


def everything_first(self: GpuStream, part: object, watermark: int, to_offset: int) -> list[Partial]:
    """Apply all that a drain brought, then close."""
    self._rings.write(part.rows)
    self.watermark = watermark
    return self._close(closing.closed_end(watermark), to_offset)


@fails_without("streams.gpu_stream:GpuStream._take_stretch", everything_first, says="the drain decides")
def test_late_and_on_time_rows_in_one_drain_are_told_apart() -> None:
    """What comes after its second closed is a revision, and never in the closing that alerts are judged by."""
    log = [a_rack(0.0), a_rack(1.5, rack=2), [Gpu(0.9, 1, 10, 0, 4000)]]
    told(closings(play(log)), [(0, 1, 400_000, 4)], "the drain decides")
    told(rows(play(log), "revision").select(POWERS).rows(), [(0, 1, 700_000, 5)], "the late reading is lost")


def late_by_the_drain(cls: type[Passage], messages: Messages, watermark: int) -> Passage:
    """Let the watermark move once a drain, for all its messages."""
    newest = np.full(len(messages.newest), max(watermark, int(messages.newest.max())))
    return cls(messages, np.full(len(newest), watermark), newest)


@fails_without("streams.closing:Passage.of", classmethod(late_by_the_drain), says="drains decide")
def test_one_log_in_small_and_in_very_large_drains_closes_alike() -> None:
    log = [a_rack(second / 2 - (3.0 if second % 7 == 0 else 0.0), power=second + 1) for second in range(6, 120)]
    whole = closings(play(log))
    for cuts in (range(len(log)), range(0, len(log), 9), (50,)):
        told(closings(play(log, cuts)), whole, "drains decide")


def place_of_what_is_closed(self: stream.Stream) -> tuple[int, str] | None:
    return None if self.next_offset is None else (self._from_offset or 0, str(self.closed))


@fails_without("streams.stream:Stream.place", place_of_what_is_closed, says="the first life is forgotten")
def test_a_late_reading_after_a_restart_revises_the_whole_second() -> None:
    """The commit rule: what can no longer be revised is committed, not what is closed."""
    log = [a_rack(second / 2) for second in range(30)]
    first = RollUp(always(slots(), meters()))
    play(log, range(len(log)), roll_up=first)
    offset, note = first.places()[GPU_TOPIC, 0]
    again = play([*log, [Gpu(12.9, 1, 10, 0, 3000)]], first=offset, note=note)
    revised = rows(again, "revision").select(POWERS).rows()
    told(revised[-1:], [(12, 1, 600_000, 9)], "the first life is forgotten")


def second_by_second(self: GpuStream) -> int:
    return 1


@fails_without("streams.gpu_stream:GpuStream.grain_secs", property(second_by_second), says="the late reading is lost")
def test_a_late_reading_after_a_restart_is_in_the_whole_piece_of_its_gpu() -> None:
    """A piece that lacks the seconds before the floor is poorer than the one told before, and cannot stand for it."""
    log, late = [a_rack(float(second)) for second in range(36)], [Gpu(26.5, 1, 10, 0, 3000)]
    first = RollUp(always(slots(), meters()))
    before = play(log, roll_up=first)
    offset, note = first.places()[GPU_TOPIC, 0]
    again = play([*log, late], first=offset, note=note)
    stands = of_pieces([*before, *again]).filter(at=20, subject=gpu_subject(10, 0))
    told(stands.select("readings", "power_sum_deciwatts").rows(), [(11, 9 * 1000 + 3000)], "the late reading is lost")


def below_nothing(self: stream.Stream) -> tuple[int, str] | None:
    """Commit the right offset without the floor: a restart does not know which seconds it reads whole."""
    place = REAL_PLACE(self)
    return place and (place[0], "")


REAL_PLACE = stream.Stream.place


@fails_without("streams.stream:Stream.place", below_nothing, says="a second that was not read whole")
def test_a_restarted_worker_tells_nothing_below_its_floor() -> None:
    log = [a_rack(second / 2, power=second) for second in range(60)]
    log = [
        each for index, message in enumerate(log) for each in ([message[:2], message[2:]] if index % 2 else [message])
    ]
    whole = {row[:2]: row for row in closings(play(log))}
    first = RollUp(always(slots(), meters()))
    play(log[:81], roll_up=first)
    offset, note = first.places()[GPU_TOPIC, 0]
    again = closings(play(log, first=offset + 1 if not note else offset, note=note))
    told([row for row in again if row != whole[row[:2]]], [], "a second that was not read whole")


def a_partial(  # noqa: PLR0917
    partition: int, kind: str, second: int, watts: int | None, readings: int = 1, admission: int = 1
) -> Partial:
    """Return what a partition says of one second of the rack of its own number; None = a closing without rows."""
    first, end = (START + second) * SECOND, (START + second + 1) * SECOND
    envelope = Envelope("telemetry.gpu.v1", partition, 0, 0, kind, first, end, end, admission)
    row = dict.fromkeys(PARTIAL.polars) | {
        "second": first, "subject_kind": int(SubjectKind.RACK), "subject": partition, "power_milliwatts": watts,
        "utilization_count": 0, "expected": 1, "reporting": 1, "readings": readings, "digest": readings,
    }  # fmt: skip
    return Partial(envelope, pl.DataFrame([row] if watts is not None else [], schema=PARTIAL.polars, orient="row"))


def read(partials: list[Partial]) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Let two partitions be closed together; return (second, mW) of what closed and of what was revised."""
    both, closed, revised = Closings([("telemetry.gpu.v1", 1), ("telemetry.gpu.v1", 2)]), [], []
    for offset, (envelope, frame) in enumerate(partials):
        both.take(offset, envelope, frame)
        if (now := both.close()) is not None:
            closed.append(now.rows)
        revised.append(both.revised())
    sums = []
    for frames in (closed, revised):
        frame = pl.concat([each.select("second", "power_milliwatts") for each in frames])
        by_second = frame.group_by("second").agg(pl.col("power_milliwatts").sum()).sort("second")
        sums.append([((s // SECOND) - START, mw) for s, mw in by_second.cast({"second": pl.Int64}).rows()])
    return sums[0], sums[1]


def any_is_enough(self: Closings) -> int:
    return max(bound.end for bound in self._bounds.values())


@fails_without("streams.closings:Closings._end", any_is_enough, says="half of the racks")
def test_of_two_workers_that_hold_disjoint_halves_the_slower_is_waited_for() -> None:
    fast = [a_partial(1, "closing", second, 100) for second in range(4)]
    slow = [a_partial(2, "closing", second, 7) for second in range(4)]
    told(read([*fast, *slow])[0], [(second, 107) for second in range(4)], "half of the racks")


@fails_without("streams.closings:Closings._end", any_is_enough, says="half of the racks")
def test_two_workers_with_disjoint_halves_come_to_what_one_with_both_does() -> None:
    halves = [[a_partial(worker, "closing", second, 10 * worker) for second in range(6)] for worker in (1, 2)]
    one = [partial for pair in zip(*halves, strict=True) for partial in pair]
    for two in ([*halves[0], *halves[1]], [*halves[1], *halves[0]], [*halves[0][:3], *halves[1], *halves[0][3:]]):
        told(read(two)[0], read(one)[0], "half of the racks")


def the_last_in_the_log(self: Closings) -> pl.DataFrame:
    """Return the newest row of each source: what came last, as it once was."""
    frames = [frame for second in sorted(self._revised) for frame in self._later[second]]
    self._revised.clear()
    key = ["second", "stream", "subject_kind", "subject"]
    return pl.concat([pl.DataFrame(schema=ROWS), *frames]).unique(key, keep="last", maintain_order=True)


@fails_without("streams.closings:Closings.revised", the_last_in_the_log, says="arrival decides")
def test_of_what_a_restarted_worker_says_again_the_fuller_stands() -> None:
    """It tells the first of two revisions again, and dies before it tells the second one again."""
    first = [a_partial(number, "closing", second, 100) for second in range(3) for number in (1, 2)]
    revisions = [a_partial(1, "revision", 0, 300, readings=3), a_partial(1, "revision", 0, 200, readings=2)]
    both, latest = Closings([("telemetry.gpu.v1", 1), ("telemetry.gpu.v1", 2)]), []
    for offset, (envelope, frame) in enumerate([*first, *revisions]):
        both.take(offset, envelope, frame)
        both.close()
        if len(now := both.revised()):
            latest = now.filter(subject=1)["power_milliwatts"].to_list()
    told(latest, [300], "arrival decides")


@fails_without("streams.closings:_RANK", pl.col("readings"), says="the refused reading still counts")
def test_a_stricter_admission_that_now_refuses_a_reading_stands_though_it_counts_less() -> None:
    """After an upgrade a second is told again, by the new admission, with a reading less."""
    first = [a_partial(number, "closing", second, 300, readings=3) for second in range(3) for number in (1, 2)]
    again = [a_partial(1, "closing", second, 200, readings=2, admission=2) for second in range(3)]
    told(read([*first, *again])[1], [(second, 500) for second in range(3)], "the refused reading still counts")


def the_admission_of_this_program(self: Sources) -> np.ndarray:
    return np.full((len(self.seconds), len(self.members.subjects)), 2)


@fails_without("streams.sums:Sources.admission", property(the_admission_of_this_program), says="by two admissions")
def test_a_window_of_which_a_part_was_admitted_before_an_upgrade_is_of_the_older_admission() -> None:
    """Else one that still counts what is refused now would be greater than the one that counts none of it."""
    registry = assign(load(CAMPUS))
    members = members_of(registry)
    racks = [(rack, 2 if rack == 5 else 1) for rack in (5, 6, 7)]
    said = [
        a_partial(rack, "closing", 0, 100, admission=by).rows.with_columns(stream=0, admission=by) for rack, by in racks
    ]
    mixed, new = (assemble(members, pl.concat(part)) for part in (said, [said[0]]))
    assert {*new.admission.ravel().tolist()} == {2}
    assert {*mixed.admission.ravel().tolist()} == {1}, "a window made by two admissions is told to be of the newer"


def not_whole(self: stream.Stream) -> tuple[int, str] | None:
    place = REAL_PLACE(self)
    return place and (place[0], "")


@fails_without("streams.stream:Stream.place", not_whole, says="seconds are missing")
def test_a_restart_whose_admission_refuses_the_first_readings_closes_the_same_seconds() -> None:
    """The floor is noted beside the offset: taken from what is admitted first, it would come later."""
    log = [a_rack(second / 2) for second in range(60)]
    first = RollUp(always(slots(), meters()))
    play(log, roll_up=first)
    offset, note = first.places()[GPU_TOPIC, 0]
    stricter = [[] if offset <= at < offset + 5 else message for at, message in enumerate(log)]
    again = [each.envelope for each in play(stricter, first=offset, note=note) if each.envelope.kind == "closing"]
    told(again[0].first_second // SECOND - START, offset // 2, "seconds are missing")
