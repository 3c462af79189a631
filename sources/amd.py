"""AMD's device-metrics-exporter: lower-case names, energy in µJ, and 0 W on every partition but the first.

Where a GPU is split into partitions each is an instance. Its package power stands at partition 0; the
0 W of the others is missing, not measured.
"""

from __future__ import annotations

import polars as pl

from sources.exporter import Exporter, Metric

MIB = 1024.0**2

METRICS = {
    "gpu_package_power": Metric("power_watts"),
    "gpu_average_package_power": Metric("power_watts"),
    "gpu_power_usage": Metric("power_watts"),
    "gpu_gfx_activity": Metric("utilization_fraction", 0.01),
    "gpu_used_vram": Metric("memory_used_bytes", MIB),
    "gpu_junction_temperature": Metric("temperature_celsius"),
    "gpu_edge_temperature": Metric("temperature_celsius"),
    "gpu_memory_temperature": Metric("memory_temperature_celsius"),
    "gpu_clock": Metric("sm_clock_mhz", with_label=("clock_type", "GPU_CLOCK_TYPE_SYSTEM")),
    "gpu_energy_consumed": Metric("energy_joules", 1e-6),
}

_BLANKS = (65_535.0, 4_294_967_295.0)
"""All bits set, in the width of the field that the driver left blank; the widest only as the largest number."""

_BLANK_UINT64 = 2.0**64


def measured(number: pl.Expr, name: pl.Expr) -> pl.Expr:
    """Return the number, null where all its bits are set; a counter of energy passes those on its way up."""
    blank = (number >= _BLANK_UINT64) | (number.is_in(_BLANKS) & (name != "gpu_energy_consumed"))
    return pl.when(~blank).then(number)


def mend(readings: pl.DataFrame) -> pl.DataFrame:
    """Take 0 W of the partitions above 0 for missing, and a GPU that has one partition only for a whole board."""
    is_split = (pl.col("instance") > 0).any().over("answer", "gpu")
    return readings.with_columns(
        power_watts=pl.when(~((pl.col("instance") > 0) & (pl.col("power_watts") == 0))).then("power_watts"),
        instance=pl.when(is_split).then("instance"),
    )


AMD = Exporter(METRICS, gpu_label="gpu_id", instance_label="gpu_partition_id", measured=measured, mend=mend)
