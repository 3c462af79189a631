"""The meter reading: one row a meter, phase and instant."""

from __future__ import annotations

import pyarrow as pa

from schemas.column import TIME, Column, Record

METER = Record(
    name="telemetry.power",
    version=1,
    identity=("meter", "phase", "time"),
    columns=(
        Column("time", TIME, "when the source measured, or the end of the averaged interval", "UTC µs", null=None),
        Column("meter", pa.int32(), "registry id of the meter; negative where unregistered", null=None),
        Column("level", pa.int8(), "where the meter sits, MeterLevel", null="not said", low=1, high=9),
        Column("phase", pa.int8(), "0 = total, 1 to 3 = one phase", null=None, low=0, high=3),
        Column("power_watts", pa.float64(), "active power", "W", low=0, high=1e9),
        Column("apparent_va", pa.float64(), "apparent power", "VA", low=0, high=1e9),
        Column("current_amps", pa.float64(), "RMS current", "A", low=0, high=1e6),
        Column("voltage_volts", pa.float64(), "RMS voltage", "V", low=0, high=1e6),
        Column("energy_joules", pa.float64(), "counter", "J", low=0, high=9e15),
        Column("interval_seconds", pa.float32(), "the interval between or under readings", "s", low=0, high=86_400),
        Column("averaging", pa.int8(), "0 = instant, 1 = mean over the interval", null="not said", low=0, high=1),
        Column("quality", pa.int8(), "0 = good, 1 = suspect by the source's own word", null="good", low=0, high=1),
    ),
)
