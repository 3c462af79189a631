"""GPU readings of one partition: a ring of cells, seconds of racks, pieces of the minutes of GPUs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from schemas.partial import Kind, Partial
from schemas.piece import PIECE_SECONDS
from schemas.subject import SubjectKind
from streams.cells import TEMPERATURE_BIAS
from streams.closing import LATENESS_SECS, NO_TIME, SECOND, STRETCH_SECS, Passage, closed_end, final_end
from streams.gpu_pieces import Piece, piece_start, pieces_of, touched
from streams.gpu_rows import GpuRows
from streams.in_force import InForce
from streams.job_book import Amended, JobBook
from streams.job_note import JobNote, beyond
from streams.job_telling import JobTelling
from streams.partial_rows import Nullable, partial_rows
from streams.rack_seconds import RackSeconds
from streams.rings import Rings
from streams.stream import ROWS_A_PARTIAL, Stream

Int64s = NDArray[np.int64]

RING_SECONDS = 32
INTEGRAL = 3
BINS_A_PARTIAL = 30_000
"""About 900 kB of Arrow."""


class GpuStream(Stream[GpuRows]):
    """Keep the latest reading of each GPU in each second and sum it by rack."""

    def __init__(
        self, topic: str, partition: int, in_force: InForce, *, note: str, now: int, jobs: JobBook | None = None
    ) -> None:
        book = JobBook() if jobs is None else jobs
        self._noted = JobNote.of(note, book)
        super().__init__(topic, partition, floor=self._noted.floor, now=now)
        self._rings = Rings(in_force, RING_SECONDS)
        self._pieces_told: int | None = None
        self.jobs = JobTelling(book)

    @property
    def grain_secs(self) -> int:
        """Return PIECE_SECONDS: a late reading tells its piece again, with all that was told of it before."""
        return PIECE_SECONDS

    def place(self) -> tuple[int, str] | None:
        """Return the place as every stream does; the note says of jobs, too, what was told of them."""
        place = super().place()
        return place and (place[0], self._noted.now(place[1], self.floor, self.jobs.book))

    def amend(self, amended: Iterable[Amended]) -> list[tuple[int, int]]:
        """Tell again what records of jobs change; return the seconds `[first, end)` that only the lake can mend."""
        if self.floor is None or self.closed is None:
            return []
        is_read = self.watermark != NO_TIME
        final = max(self.floor, final_end(self.watermark)) if is_read else self.floor + PIECE_SECONDS
        self.jobs.amended(self._rings, amended, final, max(self.closed, self._told or self.closed))
        return beyond(amended, self._noted.since_or(self.floor), final)

    def resumed(self) -> list[tuple[int, int]]:
        """Return the seconds `[first, end)` told before this life that records heard since then change."""
        if self.floor is None:
            return []
        # What is read again begins at the floor; what can be revised no more ends at most a piece after it.
        return beyond(self._noted.unheard(self.jobs.book), self._noted.since_or(self.floor), self.floor + PIECE_SECONDS)

    def _seconds(self, first: int, end: int) -> pl.DataFrame:
        self.jobs.closed(self._rings, first, end)
        return rack_rows(self._rings.close(first, end))

    def _take(self, rows: GpuRows, passing: Passage) -> list[Partial]:
        assert self.floor is not None
        partials: list[Partial] = []
        readings = self._admissible(rows, passing, self.floor)
        for first, end, fits in stretches(passing, self.watermark, self.floor):
            part = readings.of_messages(first, end)
            to_offset = int(passing.messages.offset[end - 1]) + 1
            take = self._take_stretch if fits else self._take_long_message
            partials += take(part, int(passing.after[end - 1]), to_offset)
        return partials

    def _admissible(self, rows: GpuRows, passing: Passage, floor: int) -> _Readings:
        """Leave out what no facility knew in its second and what comes too late; mark what is late."""
        message = passing.by_row(np.arange(len(passing)))
        known = rows.slot >= 0
        if passing.is_on_time(floor):
            return _Readings(message, np.zeros(len(message), np.bool_), rows).where(known)
        late = rows.second < closed_end(passing.before)[message]
        too_late = rows.second < final_end(passing.before)[message]
        # What a restart reads again right below its floor was counted before; what is older was too late then, too.
        lost = known & np.where(rows.second >= floor, too_late, rows.second < floor - LATENESS_SECS)
        self.too_late += int(np.count_nonzero(lost))
        self.late.note(rows.second[lost], rows.second[lost] + 1)
        known &= rows.second >= floor
        return _Readings(message, late, rows).where(known & ~too_late)

    def _take_stretch(self, part: _Readings, watermark: int, to_offset: int) -> list[Partial]:
        """On time, closings, late, revisions: in this order the drain's boundaries leave no trace."""
        self._rings.write(part.where(~part.late).rows)
        self.watermark = watermark
        partials = self._close(closed_end(watermark), to_offset)
        partials += self._apply_late(part.where(part.late).rows, to_offset)
        self._rings.forget(piece_start(final_end(watermark)))
        return partials

    def _take_long_message(self, part: _Readings, watermark: int, to_offset: int) -> list[Partial]:
        """One message spans more than the ring: its late rows first, then block by block of seconds."""
        partials = self._apply_late(part.where(part.late).rows, to_offset)
        part, self.watermark = part.where(~part.late), watermark
        end = closed_end(watermark)
        while len(part.late):
            block = int(part.rows.second.min())
            partials += self._close(min(block, end), to_offset)
            limit = piece_start(block) + piece_start(RING_SECONDS) - PIECE_SECONDS  # the last one is still to be told
            self._rings.write(part.where(part.rows.second < limit).rows)
            partials += self._close(min(limit, end), to_offset)
            part = part.where(part.rows.second >= limit)
        return partials + self._close(end, to_offset)

    def _apply_late(self, late: GpuRows, to_offset: int) -> list[Partial]:
        if not len(late.second):
            return []
        self._rings.write(late)
        self.jobs.touched(self._rings, late.second, late.slot)
        revised = self._revise(rack_rows(self._rings.touched(late.second, late.slot)), to_offset)
        return revised + self._touched_pieces(late, to_offset)

    def _before(self, first: int, end: int, to_offset: int) -> list[Partial]:
        """Return the pieces that end in `[first, end)` and were not told: before the second after them closes."""
        return self._pieces_between(first - 1, end - 1, to_offset)

    def _close(self, end: int, to_offset: int) -> list[Partial]:
        partials = super()._close(end, to_offset)
        self._pieces_told = max(self._pieces_end, piece_start(end - 1))
        return partials

    def pieces(self) -> list[Partial]:
        """Return the pieces all of whose seconds are closed and that were not told: a second need not wait for them."""
        if self.closed is None:
            return []
        partials = self._pieces_between(self._pieces_end, self.closed, self.next_offset or 0)
        self._pieces_told = max(self._pieces_end, piece_start(self.closed))
        return partials

    @property
    def _pieces_end(self) -> int:
        """Return the end of the pieces that the log let this worker tell; its floor where there is none."""
        assert self.floor is not None
        return self.floor if self._pieces_told is None else self._pieces_told

    def _pieces_between(self, first: int, end: int, to_offset: int) -> list[Partial]:
        """Return the pieces that end in `(first, end]` and were not told."""
        if self.floor is None:
            return []
        low, high = max(piece_start(first), self._pieces_end), piece_start(end)
        if low >= high:
            return []
        slots, view = self._rings.view(low, high)
        return [partial for each in pieces_of(view, slots) for partial in self._of_piece(each, to_offset)]

    def _touched_pieces(self, late: GpuRows, to_offset: int) -> list[Partial]:
        """Return of each piece that was told what late readings changed."""
        assert self.floor is not None
        partials = []
        for start in np.unique(piece_start(late.second)).tolist():
            low, high = max(start, self.floor), start + PIECE_SECONDS
            if high <= self._pieces_end:
                slots, view = self._rings.view(low, high)
                theirs = self._rings.subjects(late.where((late.second >= low) & (late.second < high)))
                partials += self._of_piece(touched(view, slots, start, theirs), to_offset)
        return partials

    def _of_piece(self, piece: Piece, to_offset: int) -> list[Partial]:
        """Return the messages of a piece, none too large; the histogram of a rack is never cut."""
        told: list[tuple[Kind, pl.DataFrame, int]] = [
            ("piece", piece.gpus, ROWS_A_PARTIAL),
            ("histogram", piece.histogram, BINS_A_PARTIAL),
        ]
        return [
            Partial(self._envelope(kind, piece.start, piece.end, to_offset), part)
            for kind, rows, most in told
            for part in whole_subjects(rows, most)
        ]


class _Readings(NamedTuple):
    """Rows of one drain with the number of each row's message, and whether its second had closed before it."""

    message: Int64s
    late: NDArray[np.bool_]
    rows: GpuRows

    def where(self, chosen: NDArray[np.bool_]) -> _Readings:
        if chosen.all():
            return self
        return _Readings(self.message[chosen], self.late[chosen], self.rows.where(chosen))

    def of_messages(self, first: int, end: int) -> _Readings:
        low, high = (int(each) for each in np.searchsorted(self.message, (first, end)))
        if (low, high) == (0, len(self.message)):
            return self
        return _Readings(self.message[low:high], self.late[low:high], self.rows.part(low, high))


def whole_subjects(rows: pl.DataFrame, most: int) -> Iterator[pl.DataFrame]:
    """Yield rows, ordered by subject, by whole subjects: at most `most` where one subject has no more."""
    ends = np.append(np.flatnonzero(np.diff(rows["subject"].to_numpy())) + 1, len(rows))
    first = 0
    while first < len(rows):
        end = int(ends[max(np.searchsorted(ends, first + most, side="right") - 1, np.searchsorted(ends, first + 1))])
        yield rows[first:end]
        first = end


def stretches(passing: Passage, watermark: int, floor: int) -> Iterator[tuple[int, int, bool]]:
    """Split a drain into stretches of messages `[first, end)` that pass over at most STRETCH_SECS.

    Late rows are told after all closings of their stretch: in a longer one, after closings of seconds so much later
    that the evaluator would have let go of theirs. The ring has room from the piece that may still be revised to
    the end of a stretch. A message that passes over more is a stretch of its own, the third of its tuple False.
    """
    first, newest = 0, np.maximum.accumulate(passing.messages.newest) // SECOND
    while first < len(passing):
        before = watermark if first == 0 else int(passing.after[first - 1])
        if before == NO_TIME:
            horizon = max(floor, min(int(passing.messages.oldest[first]) // SECOND, int(newest[first]) - LATENESS_SECS))
        else:
            horizon = final_end(before)
        end = int(np.searchsorted(newest, horizon + LATENESS_SECS + STRETCH_SECS))
        yield first, max(end, first + 1), end > first
        first = max(end, first + 1)


def rack_rows(racks: RackSeconds) -> pl.DataFrame:
    """Return PARTIAL rows of kind RACK; energy is power over the second, since a GPU has one slot a second."""
    power = racks.power_deciwatts * 100
    return partial_rows(
        {
            "second": racks.second * SECOND,
            "subject_kind": np.full(len(power), SubjectKind.RACK),
            "subject": racks.rack,
            "power_milliwatts": Nullable(power, power < 0),
            "power_max_milliwatts": Nullable(racks.power_max_deciwatts * 100, power < 0),
            "silent_nameplate_milliwatts": Nullable(
                racks.silent_nameplate_milliwatts, racks.silent_nameplate_milliwatts < 0
            ),
            "energy_millijoules": Nullable(power, power < 0),
            "energy_method": Nullable(np.full(len(power), INTEGRAL), power < 0),
            "utilization_sum_e4": racks.utilization_sum_e4,
            "utilization_count": racks.utilization_count,
            "temperature_max_decicelsius": Nullable(racks.temperature - TEMPERATURE_BIAS, racks.temperature < 0),
            "expected": racks.expected,
            "reporting": racks.reporting,
            "oldest_age_microseconds": racks.oldest_age_microseconds,
            "readings": racks.readings,
            "digest": racks.digest,
        }
    )
