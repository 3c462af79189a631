"""Nameplates as admission needs them: the most that a device's reading can mean, looked up by id at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from schemas.column import Record
from schemas.gpu import GPU
from schemas.meter import METER

ABSURD_FACTOR = 2
"""More than this many nameplates are no overload but a broken source."""


class Nameplates(Protocol):
    """Know the devices; schemas.registry.Registry does."""

    @property
    def slots(self) -> pl.DataFrame:
        """Return (rack, node, gpu, nameplate_watts, …), one row a GPU."""

    @property
    def meters(self) -> pl.DataFrame:
        """Return (meter, subject_kind, subject, …), one row a meter."""

    @property
    def limits(self) -> pl.DataFrame:
        """Return (kind, id, limit, watts)."""


class Ceilings(NamedTuple):
    """Hold ABSURD_FACTOR × nameplate of each device, in a table indexed by the ids of `columns`."""

    columns: tuple[str, ...]
    watts: NDArray[np.float64]
    """NaN where no nameplate is known; the last index of each axis is such a place."""
    lowest: float

    def exceeded(self, frame: pl.DataFrame) -> bool:
        """Tell whether any reading lies above the ceiling of its own device; a null or NaN does not."""
        if frame.select((pl.col("power_watts") <= self.lowest).all()).item():
            return False
        return bool((frame["power_watts"].to_numpy() > self._of_frame(frame)).any())

    def of(self, frame: pl.DataFrame) -> pl.Series:
        """Return the ceiling of each row in watts, null where no nameplate is known."""
        return pl.Series("_ceiling_watts", self._of_frame(frame), nan_to_null=True)

    def at(self, ids: Sequence[NDArray[np.integer]]) -> NDArray[np.float64]:
        """Return the ceiling of each device, NaN where no nameplate is known; `ids` as `columns` names them."""
        at = [
            np.where((each >= 0) & (each < size - 1), each, size - 1)
            for each, size in zip(ids, self.watts.shape, strict=True)
        ]
        found: NDArray[np.float64] = self.watts[tuple(at)]
        return found

    def _of_frame(self, frame: pl.DataFrame) -> NDArray[np.float64]:
        return self.at([frame[name].fill_null(-1).to_numpy() for name in self.columns])


_newest: list[tuple[Nameplates, dict[str, Ceilings | None]]] = []
"""The tables of the registries last asked with: building them costs as much as admitting 100,000 rows."""
_KEPT = 3
"""Around a change of the facility two registries are asked with in turn."""


def ceilings(record: Record, registry: Nameplates | None) -> Ceilings | None:
    """Return the ceilings of a record's devices, None where the registry knows no nameplate of them."""
    if registry is None:
        return None
    known = next((tables for of, tables in _newest if of is registry), None)
    if known is None:
        known = {}
        _newest[:] = [(registry, known), *_newest[: _KEPT - 1]]
    if record.name not in known:
        known[record.name] = _build(record, registry)
    return known[record.name]


def _build(record: Record, registry: Nameplates) -> Ceilings | None:
    columns: tuple[str, ...]
    if record.name == GPU.name:
        columns, plates = ("node", "gpu"), registry.slots.select("node", "gpu", watts="nameplate_watts")
    elif record.name == METER.name:
        columns, plates = ("meter",), _meter_plates(registry)
    else:
        return None
    plates = plates.filter((pl.col("watts") > 0) & pl.all_horizontal(pl.col(columns) >= 0))
    if plates.is_empty():
        return None
    axes = [plates[name].to_numpy() for name in columns]
    watts = np.full([int(axis.max()) + 2 for axis in axes], np.nan)
    watts[tuple(axes)] = ABSURD_FACTOR * plates["watts"].to_numpy()
    return Ceilings(columns, watts, float(np.nanmin(watts)))


def _meter_plates(registry: Nameplates) -> pl.DataFrame:
    """Return (meter, watts): the nameplate of what each meter measures."""
    plates = registry.limits.filter(pl.col("limit") == "nameplate")
    subject = plates.select(subject_kind="kind", subject="id", watts="watts")
    return registry.meters.join(subject, on=["subject_kind", "subject"]).select("meter", "watts")
