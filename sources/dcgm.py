"""NVIDIA's dcgm-exporter: DCGM's field names, its units and its many words for blank.

MIG instances repeat the power, temperature and energy of their whole board: each is a reading with
`instance` set, and whoever sums counts the board once. Labels of the host are not read (`Hostname`
became `hostname`): a target's node is what the user says it is. A memory temperature of 0 is passed on.
"""

from __future__ import annotations

import polars as pl

from sources.exporter import Exporter, Metric

MIB = 1024.0**2
ENERGY = "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"

METRICS = {
    "DCGM_FI_DEV_POWER_USAGE": Metric("power_watts"),
    "DCGM_FI_DEV_POWER_USAGE_INSTANT": Metric("power_watts"),
    "DCGM_FI_DEV_ENFORCED_POWER_LIMIT": Metric("power_limit_watts"),
    "DCGM_FI_DEV_POWER_MGMT_LIMIT": Metric("power_limit_watts"),
    "DCGM_FI_DEV_GPU_UTIL": Metric("utilization_fraction", 0.01),
    "DCGM_FI_DEV_ENC_UTIL": Metric("encoder_fraction", 0.01),
    "DCGM_FI_DEV_DEC_UTIL": Metric("decoder_fraction", 0.01),
    "DCGM_FI_DEV_FB_USED": Metric("memory_used_bytes", MIB),
    "DCGM_FI_DEV_GPU_TEMP": Metric("temperature_celsius"),
    "DCGM_FI_DEV_MEMORY_TEMP": Metric("memory_temperature_celsius"),
    "DCGM_FI_DEV_SM_CLOCK": Metric("sm_clock_mhz"),
    "DCGM_FI_DEV_CLOCKS_EVENT_REASONS": Metric("throttle_reasons"),
    "DCGM_FI_DEV_CLOCK_THROTTLE_REASONS": Metric("throttle_reasons"),
    ENERGY: Metric("energy_joules", 1e-3),
}

# Each blank of DCGM stands at the head of a few more (not found, not supported, not permissioned).
_BLANK_INT32 = 2_147_483_632
_BLANK_FLOAT = 140_737_488_355_328.0
_BLANK_INT64 = 9_223_372_036_854_775_792
_KINDS_OF_BLANK = 16


def measured(number: pl.Expr, name: pl.Expr) -> pl.Expr:
    """Return the number, null where it is one of DCGM's blanks; the text `<<<NULL>>>` never was a number.

    An energy counter passes the blanks of 32 bits on its way up (it is a field of 64 bits), so there
    they are numbers.
    """
    blank_float = number.is_between(_BLANK_FLOAT, _BLANK_FLOAT + _KINDS_OF_BLANK, closed="left")
    blank = blank_float | (number >= float(_BLANK_INT64)) | ((number >= _BLANK_INT32) & (name != ENERGY))
    return pl.when(~blank).then(number)


DCGM = Exporter(METRICS, gpu_label="gpu", instance_label="GPU_I_ID", measured=measured)
