"""The GPU reading: one row a GPU and instant."""

from __future__ import annotations

import pyarrow as pa

from schemas.column import TIME, Column, Record

GPU = Record(
    name="telemetry.gpu",
    version=1,
    identity=("rack", "node", "gpu", "instance", "time"),
    columns=(
        Column("time", TIME, "when the source measured, or the end of the averaged interval", "UTC µs", null=None),
        Column("rack", pa.int32(), "registry id of the rack; negative where unregistered", null=None),
        Column("node", pa.int32(), "registry id of the node; negative where unregistered", null=None),
        Column("gpu", pa.int32(), "index of the slot in its node, from 0", null=None, low=0, high=1023),
        Column("instance", pa.int16(), "MIG instance", null="the whole board", low=0, high=255),
        Column("vendor", pa.int16(), "registry id of the vendor", null="not said"),
        Column("model", pa.int16(), "registry id of the model", null="not said"),
        Column("power_watts", pa.float32(), "board power", "W", low=0, high=20_000),
        Column("power_limit_watts", pa.float32(), "the cap in force", "W", low=0, high=20_000),
        Column("utilization_fraction", pa.float32(), "busy share of the interval", "1", low=0, high=1),
        Column("encoder_fraction", pa.float32(), "busy share of the video encoders", "1", low=0, high=1),
        Column("decoder_fraction", pa.float32(), "busy share of the video decoders", "1", low=0, high=1),
        Column("memory_used_bytes", pa.int64(), "memory in use", "B", low=0),
        Column("temperature_celsius", pa.float32(), "temperature of the die", "°C", low=-60, high=200),
        Column("memory_temperature_celsius", pa.float32(), "temperature of the memory", "°C", low=-60, high=200),
        Column("sm_clock_mhz", pa.float32(), "clock of the compute units", "MHz", low=0, high=20_000),
        Column("throttle_reasons", pa.int64(), "reasons in force, as the vendor's bits", "bits"),
        Column("energy_joules", pa.float64(), "counter since the driver's start", "J", low=0, high=1e15),
        Column("interval_seconds", pa.float32(), "the interval between or under readings", "s", low=0, high=86_400),
        Column("averaging", pa.int8(), "0 = instant, 1 = mean over the interval", null="not said", low=0, high=1),
    ),
)
