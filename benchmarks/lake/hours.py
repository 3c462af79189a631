"""Hours of the benchmark campus as rows on disk, made in whole stretches: second by second a day would take hours.

Values move as those of benchmarks/campus.py do (they are made by the same code); stamps may jitter by milliseconds, as
real collectors' do, and rows say where in the log they would lie.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from zlib import crc32

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks.campus import GPU_TOPIC, SECOND, SEED, Gpus
from schemas.gpu import GPU
from schemas.registry import Registry
from schemas.subject import SubjectKind
from schemas.topics import BY_NAME as TOPIC_BY_NAME
from sinks.lake.tables import BY_NAME, on_disk

HOUR_SECONDS = 3_600
PARTITIONS = TOPIC_BY_NAME[GPU_TOPIC].partitions
RACKS_AT_ONCE = 16
_STEP = 618_033
"""µs from one rack's moment in the second to the next one's, as in benchmarks.campus."""
_DELAY_MILLISECONDS = (5, 30)
"""From a reading to its append."""

_SCALES = {
    "power_watts": 10,
    "power_limit_watts": 10,
    **dict.fromkeys(("utilization_fraction", "encoder_fraction", "decoder_fraction"), 10_000),
}

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Stamps:
    """Say of each message (a row a rack, a column a reading) its time, append time and offset; µs."""

    time: Ints
    appended: Ints
    offset: Ints
    partition: Ints
    """Of each rack."""

    def of(self, numbers: list[int]) -> Stamps:
        """Return those of some racks, by their numbers."""
        return Stamps(self.time[numbers], self.appended[numbers], self.offset[numbers], self.partition[numbers])

    def columns(self, number: Ints) -> dict[str, pa.Array]:
        """Return the columns of GPUs that lie in these racks, GPU by GPU."""
        columns = {
            "time": self.time[number],
            "_appended": self.appended[number],
            "_offset": self.offset[number],
            "_partition": np.repeat(self.partition[number], self.time.shape[1]),
        }
        return {name: _array(name, column) for name, column in columns.items()}


class CampusHours:
    """Make the GPU rows of any racks of a campus by the hour.

    `every` is the seconds between two readings of a GPU; `jitter` the milliseconds by which stamps stray. With
    `is_whole_seconds` a collector stamps all readings of a second with its beginning.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        every: int = 1,
        jitter: int = 0,
        seed: int = SEED,
        is_whole_seconds: bool = False,
    ) -> None:
        self._slots = registry.slots.sort("rack", "node", "gpu")
        self._paths = registry.paths(SubjectKind.RACK).sort("id")
        self._every, self._jitter, self._seed = every, jitter, seed
        self._is_whole_seconds = is_whole_seconds
        self.racks: list[int] = self._slots["rack"].unique().sort().to_list()

    @cached_property
    def rows_of_rack(self) -> dict[int, int]:
        """Return how many rows each rack has in an hour."""
        counts = self._slots.group_by("rack").len()
        return {rack: gpus * HOUR_SECONDS // self._every for rack, gpus in counts.iter_rows()}

    def stamps(self, hour: int) -> Stamps:
        """Return the messages of all racks of an hour (since 1970), in the order of `racks`."""
        draw = np.random.default_rng((self._seed, hour))
        moments = np.arange(len(self.racks)) * _STEP % SECOND
        seconds = hour * HOUR_SECONDS + np.arange(0, HOUR_SECONDS, self._every)
        strays = draw.integers(0, self._jitter + 1, (len(self.racks), len(seconds))) * 1_000
        measured = seconds * SECOND + moments[:, None] // 1_000 * 1_000 + strays
        time = measured // SECOND * SECOND if self._is_whole_seconds else measured
        appended = measured + draw.integers(*_DELAY_MILLISECONDS, measured.shape) * 1_000
        keys = dict(self._paths.select("id", "path").iter_rows())
        partition = np.array([crc32(keys[rack].encode()) % PARTITIONS for rack in self.racks])
        return Stamps(time, appended, _offsets(appended, partition, hour), partition)

    def rows(self, hours: Sequence[int], racks: list[int]) -> Iterator[tuple[int, pa.Table]]:
        """Yield (hour, rows of it) of `racks` as `gpu` has them on disk and in its order, a few racks at once.

        Of one rack all `hours` have the same values at other times: making them costs more than writing them.
        """
        stamps = {hour: self.stamps(hour).of([self.racks.index(rack) for rack in racks]) for hour in hours}
        for first in range(0, len(racks), RACKS_AT_ONCE):
            some = racks[first : first + RACKS_AT_ONCE]
            slots = self._slots.filter(pl.col("rack").is_in(some))
            number = np.searchsorted(np.array(racks), slots["rack"].to_numpy())
            values = self._values(hours[0], slots, number)
            for hour in hours:
                yield hour, _table({**values, **stamps[hour].columns(number)}, len(slots) * self._steps)

    @property
    def _steps(self) -> int:
        return HOUR_SECONDS // self._every

    def _values(self, hour: int, slots: pl.DataFrame, number: Ints) -> dict[str, pa.Array]:
        draw = np.random.default_rng((self._seed, hour, int(slots["rack"][0])))
        gpus = Gpus(slots["nameplate_watts"].fill_null(1000).to_numpy(), draw)
        values = _as_on_disk(gpus.stretch(self._steps, draw, self._every))
        values["interval_seconds"] = values["interval_seconds"] * self._every
        row = np.arange(len(slots)) - np.searchsorted(number, number)
        ids = {name: slots[name].to_numpy() for name in ("rack", "node", "gpu", "vendor", "model")}
        repeated = {name: np.repeat(each, self._steps) for name, each in (ids | {"_row": row}).items()}
        return {name: _array(name, column) for name, column in (values | repeated).items()}


def _offsets(appended: Ints, partition: Ints, hour: int) -> Ints:
    """Return the offset of each message in its partition: numbered in the order of append."""
    offsets = np.empty_like(appended)
    for number in range(PARTITIONS):
        members = np.flatnonzero(partition == number)
        order = np.argsort(appended[members].ravel(), kind="stable")
        rank = np.empty(len(order), np.int64)
        rank[order] = np.arange(len(order))
        offsets[members] = hour * len(order) + rank.reshape(len(members), -1)
    return offsets


def _as_on_disk(values: dict[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
    """Return values under the names and in the integers of the table `gpu`."""
    found = {}
    for name, column in values.items():
        scale = _SCALES.get(name, 1)
        found[on_disk(GPU, name)] = np.rint(column * scale) if scale != 1 else column
    return found


def _array(name: str, values: NDArray) -> pa.Array:
    dtype = BY_NAME["gpu"].arrow.field(name).type
    kind = np.int64 if pa.types.is_timestamp(dtype) else dtype.to_pandas_dtype()
    return pa.array(values.reshape(-1).astype(kind)).cast(dtype)


def _table(columns: dict[str, pa.Array], rows: int) -> pa.Table:
    fields = BY_NAME["gpu"].columns
    arrays = [columns[each.name] if each.name in columns else pa.nulls(rows, each.type) for each in fields]
    return pa.table(arrays, schema=BY_NAME["gpu"].arrow)
