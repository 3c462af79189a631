"""The histogram: how the values of one minute are distributed, in bins whose bounds are fixed for ever.

Histograms of parts add up to that of the whole, of minutes to that of any span, and a percentile of the sum
is off by at most half a bin. Power has 64 bins an octave, so that a bin is at most 1/64 of its lower
bound wide (1.6 %; below 6.4 W it is the 0.1 W of the reading); utilization has bins of 0.01, temperature of 1 °C.
All bins are found in integers, so that any maker of a histogram finds the same.
"""

from __future__ import annotations

from enum import IntEnum
from typing import cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from schemas.column import TIME, Column, Record

Int64s = NDArray[np.int64]
Floats = NDArray[np.float64]


class Metric(IntEnum):
    """Name what is counted; the number travels in columns called `metric`."""

    POWER_WATTS = 1
    """Power of the subject, a value a second."""
    GPU_POWER_WATTS = 2
    """Power of each of its GPUs, a value a GPU and second."""
    GPU_UTILIZATION_FRACTION = 3
    GPU_TEMPERATURE_CELSIUS = 4


OCTAVE_BITS = 6
_OCTAVE = 1 << OCTAVE_BITS
"""Bins an octave of power; below this value in 0.1 W each value is a bin of its own."""
LARGEST_BIN = 2_400
"""Of power: beyond a terawatt."""
E4_A_BIN = 100
DECICELSIUS_A_BIN = 10

HISTOGRAM = Record(
    name="windows.histogram",
    version=1,
    identity=("subject_kind", "subject", "every_seconds", "window_start", "metric", "bin"),
    columns=(
        Column("window_start", TIME, "first instant of the window", "UTC µs", null=None),
        Column("every_seconds", pa.int16(), "length of the window", "s", null=None, low=1, high=3600),
        Column("subject_kind", pa.int8(), "SubjectKind", null=None, low=1, high=12),
        Column("subject", pa.int32(), "registry id within its kind", null=None),
        Column(
            "metric",
            pa.int8(),
            "1 = power, a value a second; of its GPUs, a value a GPU and second: 2 = power, 3 = utilization, "
            "4 = temperature",
            null=None,
            low=1,
            high=4,
        ),
        Column("bin", pa.int16(), "number of the bin (schemas/histogram.py)", null=None),
        Column("count", pa.int32(), "values in the bin", null=None, low=1),
        Column("version_admission", pa.int16(), "version of the admission rules", null=None),
        Column("version_facility", pa.int32(), "version of the facility", null=None),
        Column("version_generation", pa.int32(), "0 = live, higher = recomputed from the lake", null=None),
        Column("version_readings", pa.int64(), "number of readings in the window", null=None),
        Column("version_digest", pa.int64(), "Σ mod 2⁶⁴ of a hash a reading, as signed", null=None),
    ),
)


def power_bin(deciwatts: Int64s) -> Int64s:
    """Return the bin of each power in 0.1 W; below zero the bins are those above, mirrored. Pure."""
    is_negative = deciwatts < 0
    size = np.where(is_negative, -1 - deciwatts, deciwatts)
    # The exponent of a float64 is floor(log2): exact below 2⁵³ x 0.1 W.
    shift = np.maximum(np.frexp(size.astype(np.float64))[1] - 1 - OCTAVE_BITS, 0).astype(np.int64)
    number = (shift << OCTAVE_BITS) + (size >> shift)
    signed: Int64s = np.where(is_negative, -1 - number, number)
    return signed


def utilization_bin(e4: Int64s) -> Int64s:
    """Return the bin of each utilization in 10⁻⁴. Pure."""
    return e4 // E4_A_BIN


def temperature_bin(decicelsius: Int64s) -> Int64s:
    """Return the bin of each temperature in 0.1 °C. Pure."""
    return decicelsius // DECICELSIUS_A_BIN


def power_bounds(number: Int64s) -> tuple[Floats, Floats]:
    """Return the bounds `[low, high)` in watts of bins of power. Pure; the inverse of `power_bin`."""
    is_negative = number < 0
    size = np.where(is_negative, -1 - number, number)
    shift = np.maximum(size // _OCTAVE - 1, 0)
    low = (size - (shift << OCTAVE_BITS)) << shift
    high = low + (np.int64(1) << shift)
    watts = (np.where(is_negative, -high, low) / 10, np.where(is_negative, -low, high) / 10)
    return cast(tuple[Floats, Floats], watts)


def bounds(metric: Metric, number: Int64s) -> tuple[Floats, Floats]:
    """Return the bounds `[low, high)` of bins of a metric, in its unit: watts, 0 to 1 or °C. Pure."""
    if metric in {Metric.POWER_WATTS, Metric.GPU_POWER_WATTS}:
        return power_bounds(number)
    low, high = number.astype(np.float64), (number + 1).astype(np.float64)
    return (low / 100, high / 100) if metric == Metric.GPU_UTILIZATION_FRACTION else (low, high)
