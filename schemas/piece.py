"""The piece: what one partition says of each GPU in one stretch of ten seconds; minutes are made of pieces.

A worker that restarts reads some ten seconds again and no minute, so it cannot make one. A piece lies within
what is read again, and is the same whenever it is made. It begins at a whole ten seconds of the epoch.
"""

from __future__ import annotations

import pyarrow as pa

from schemas.column import TIME, Column, Record

PIECE_SECONDS = 10
"""Length of a piece; a minute is a whole number of them."""

_START = Column("start", TIME, f"start of the piece `[start, start + {PIECE_SECONDS} s)`", "UTC µs", null=None)
_READINGS = Column("readings", pa.int32(), "number of readings that went in", null=None)
_DIGEST = Column("digest", pa.int64(), "Σ mod 2⁶⁴ of a hash a reading, as signed", null=None)

PIECE = Record(
    name="windows.piece",
    version=1,
    identity=("start", "subject_kind", "subject"),
    columns=(
        _START,
        Column("subject_kind", pa.int8(), "GPU", null=None),
        Column("subject", pa.int32(), "node id × 256 + index of the GPU in its node", null=None),
        Column(
            "power_sum_deciwatts",
            pa.int32(),
            "Σ over the seconds of the reading that stands for each",
            "0.1 W",
            null="no power reported",
        ),
        Column("power_seconds", pa.int8(), "seconds in that sum", null=None),
        Column("power_max_deciwatts", pa.int32(), "largest reading", "0.1 W", null="no power reported"),
        Column("utilization_sum_e4", pa.int32(), "Σ over the seconds of the reading that stands", "10⁻⁴"),
        Column("utilization_seconds", pa.int8(), "seconds in that sum", null=None),
        Column("temperature_max_decicelsius", pa.int32(), "largest reading", "0.1 °C"),
        Column("energy_first_joules", pa.int64(), "the counter in the first second that has one", "J"),
        Column("energy_last_joules", pa.int64(), "the counter in the last second that has one", "J"),
        Column("energy_first_second", pa.int8(), "which second of the piece that was", "s"),
        Column("energy_last_second", pa.int8(), "which second of the piece that was", "s"),
        Column("energy_fell", pa.bool_(), "the counter went down between two of the seconds", null=None),
        Column("last_microseconds", pa.int32(), "time of the last reading, after the start", "µs", null=None),
        _READINGS,
        _DIGEST,
    ),
)

PIECE_HISTOGRAM = Record(
    name="windows.piece-histogram",
    version=1,
    identity=("start", "subject_kind", "subject", "metric", "bin"),
    columns=(
        _START,
        Column("subject_kind", pa.int8(), "RACK", null=None),
        Column("subject", pa.int32(), "registry id within its kind", null=None),
        Column("metric", pa.int8(), "Metric: 2, 3 or 4, those of the rack's GPUs", null=None),
        Column("bin", pa.int16(), "number of the bin (schemas/histogram.py)", null=None),
        Column("count", pa.int32(), "seconds of the rack's GPUs in the bin", null=None),
        _READINGS,
        _DIGEST,
    ),
)
