"""Readings of meters as columns: each different one once, in the order in which they are summed."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streams.digest import hashed
from streams.lists import begins
from streams.meter_log import NULL, MeterLog

Int64s = NDArray[np.int64]
Bools = NDArray[np.bool_]


class MeterReadings(NamedTuple):
    """Hold readings ordered by meter, time, phase and then value; units as in MeterLog, NULL = null.

    `until`: when the reading can matter no longer, which is as long as it or any reading of its meter before it
    holds: it ends what they said, also beyond its own hold. `hash` as streams.digest.
    """

    meter: Int64s
    time: Int64s
    phase: Int64s
    power: Int64s
    energy: Int64s
    current: Int64s
    hold: Int64s
    hash: Int64s
    until: Int64s

    @classmethod
    def of(cls, log: MeterLog) -> MeterReadings:
        """Return the readings of registered meters in a log, in any order, duplicates allowed."""
        meter, time, phase, power, energy, current, hold = log[:7]
        fields = (np.where(column == NULL, -1, column) for column in (power, current, energy))
        hashes = hashed(meter, phase, time, *fields, hold).view(np.int64)
        return _ordered(cls(meter, time, phase, power, energy, current, hold, hashes, time + hold))

    def pick(self, chosen: Bools | Int64s) -> MeterReadings:
        """Return the readings that a mask or an index chooses."""
        return MeterReadings._make(column[chosen] for column in self)

    def then(self, more: MeterReadings) -> MeterReadings:
        """Return these and `more`."""
        if not len(self.time):
            return more
        return _ordered(MeterReadings._make(np.concatenate(pair) for pair in zip(self, more, strict=True)))

    def since(self, moment: int) -> MeterReadings:
        """Return what can still matter from a moment on, µs."""
        matters = self.until > moment
        return self if matters.all() else self.pick(matters)

    def before(self, moment: int) -> MeterReadings:
        """Return what was measured before a moment, µs."""
        earlier = self.time < moment
        return self if earlier.all() else self.pick(earlier)

    @property
    def number(self) -> Int64s:
        """Return the ordinal of each reading's meter."""
        return np.cumsum(begins(self.meter)) - 1

    def one_an_identity(self) -> MeterReadings:
        """Return, of each (meter, phase, time), the reading that stands: the greatest."""
        is_last = np.append(begins(self.meter, self.time, self.phase)[1:], True)[: len(self.time)]
        return self if is_last.all() else self.pick(is_last)


def _ordered(readings: MeterReadings) -> MeterReadings:
    """Put readings in order, drop what was said before, and let `until` reach on."""
    moment = readings.time * 4 + readings.phase
    order = np.lexsort((moment, readings.meter))
    ordered, moment = readings.pick(order), moment[order]
    if not begins(ordered.meter, moment).all():
        values = (ordered.hold, ordered.current, ordered.energy, ordered.power)
        ordered = ordered.pick(np.lexsort((*values, moment, ordered.meter)))
        ordered = ordered.pick(begins(*ordered[:7]))
    return ordered._replace(until=_running_max(ordered.until, ordered.number))


def _running_max(values: Int64s, number: Int64s) -> Int64s:
    """Return the running maximum of each run of equal `number`, which ascends."""
    if not len(values):
        return values
    least = values.min()
    span = values.max() - least + 1
    running: Int64s = np.maximum.accumulate(number * span + values - least) - number * span + least
    return running
