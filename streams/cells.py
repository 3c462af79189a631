"""A cell: what one GPU said in one second, and what stands of several readings of it.

Of several readings one with power stands before one without, then the one with the greater time, of equal
times that with the greater power, utilization and energy; the greatest power and temperature are kept over
all. So merging is commutative, and merging a reading twice changes nothing. Each different thing that was
said counts once, so that whatever changes a cell makes its version greater (streams/ring.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Int16s = NDArray[np.int16]
Int32s = NDArray[np.int32]
Int64s = NDArray[np.int64]
Words = NDArray[np.uint64]

SECOND = 1_000_000
TICK = SECOND // 64
"""A reading sets the bit of the 64th of a second in which it was made: one that sets a new bit is a new one."""
BIT = np.left_shift(np.uint64(1), np.arange(64, dtype=np.uint64))
TEMPERATURE_BIAS = 1_000


class Cells(NamedTuple):
    """One array a column, all of one shape; −1 = none, in `micros`: nothing came."""

    micros: Int32s
    """Microsecond of the second of the reading that stands."""
    power: Int32s
    """0.1 W."""
    utilization: Int16s
    """10⁻⁴."""
    temperature: Int32s
    """The greatest of all readings, 0.1 °C + TEMPERATURE_BIAS."""
    energy: Int64s
    """Counter of the reading that stands, J."""
    power_max: Int32s
    """The greatest of all readings, 0.1 W."""
    seen: Words
    """One bit for each TICK in which a reading was made."""
    readings: Int32s
    """How many different readings came."""
    digest: Words
    """Σ mod 2⁶⁴ of their hashes."""

    def pick(self, chosen: NDArray[np.intp]) -> Cells:
        """Return the cells that an index chooses."""
        return Cells._make(column[chosen] for column in self)


DTYPES = dict(zip(Cells._fields, ("i4", "i4", "i2", "i4", "i8", "i4", "u8", "i4", "u8"), strict=True))


def bits_of(micros: Int32s) -> Words:
    """Return the word of `seen` after one reading; 0 where none came."""
    bits: Words = BIT.take(np.maximum(micros, 0) // TICK)
    bits[micros < 0] = 0
    return bits


def one_a_cell(at: Int64s, cells: Cells) -> tuple[Int64s, Cells]:
    """Return the readings, no two of which are the same, with those that fall into one cell merged, by cell."""
    order = np.lexsort((cells.energy, _rank(cells), at))
    at, cells = at[order], cells.pick(order)
    starts = np.flatnonzero(np.diff(at, prepend=at[0] - 1))
    return at[starts], cells.pick(np.append(starts[1:], len(at)) - 1)._replace(
        power_max=np.maximum.reduceat(cells.power_max, starts),
        temperature=np.maximum.reduceat(cells.temperature, starts),
        seen=np.bitwise_or.reduceat(cells.seen, starts),
        readings=np.add.reduceat(cells.readings, starts),
        digest=np.add.reduceat(cells.digest, starts),
    )


def merged(old: Cells, new: Cells) -> Cells:
    """Return each cell with what stands of both; commutative. `new` counts no reading that `old` counts."""
    mine, theirs = _rank(new), _rank(old)
    stands = (mine > theirs) | ((mine == theirs) & (new.energy > old.energy))
    pairs: Iterable[tuple[NDArray[Any], NDArray[Any]]] = zip(new, old, strict=True)
    return Cells._make(np.where(stands, ours, before) for ours, before in pairs)._replace(
        power_max=np.maximum(old.power_max, new.power_max),
        temperature=np.maximum(old.temperature, new.temperature),
        seen=old.seen | new.seen,
        readings=old.readings + new.readings,
        digest=old.digest + new.digest,
    )


def _rank(cells: Cells) -> Int64s:
    """Return which reading stands, the energy left out: has power, time, power, utilization, as one integer."""
    time = np.where(cells.power >= 0, cells.micros + SECOND, cells.micros).astype(np.int64)
    return time << 34 | (cells.power.astype(np.int64) + 1) << 15 | (cells.utilization.astype(np.int64) + 1)
