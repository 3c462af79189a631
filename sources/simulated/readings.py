"""What the GPUs' exporters say: one frame of readings from the state of the boards and their jobs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from schemas.gpu import GPU
from sources.simulated.gpus import SENSOR_NOISE, Boards
from sources.simulated.jobs import IDLE, IMAGE, TRAINING, VIDEO, Blocks
from sources.simulated.layout import Layout

F32 = NDArray[np.float32]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_MEBIBYTE = 1 << 20


class Readings:
    """Read every GPU once a second.

    With `jitter` the GPUs of a rack are stamped some 20 to 170 ms after the whole second, as its
    collector comes round; without it on the whole second.
    """

    def __init__(self, layout: Layout, blocks: Blocks, rng: np.random.Generator, jitter: bool) -> None:
        self._rng, self._jitter, self._tenants = rng, jitter, blocks.tenants
        self._rack, self._block = layout.racks.of_gpu(), blocks.of_gpu()
        self._rack_lag_ms = rng.uniform(20.0, 160.0, len(layout.racks.id))
        self._unchanging = _unchanging(layout)

    def frame(self, second: int, boards: Boards, block_load: Floats, silent_racks: Sequence[int]) -> pl.DataFrame:
        """Return the readings of the second that ends at `second`, ordered by rack, node and GPU.

        **Frame** out: the columns of `schemas.gpu.GPU`; no rows for racks in `silent_racks`.
        """
        of, noise = self._block, self._rng.standard_normal(len(self._block), dtype=np.float32)
        busy = (self._tenants.workload != IDLE)[of]
        use, encoding, decoding = _utilizations(self._tenants.workload, block_load)
        power = np.maximum(boards.power * (1.0 + np.float32(SENSOR_NOISE) * noise), 0.0)
        wobble = np.where(busy, np.float32(0.015) * noise, np.float32(0.0))
        frame = self._unchanging.with_columns(
            time=pl.Series(self._times(second)),
            power_watts=pl.Series(np.round(power, 1)),
            power_limit_watts=pl.Series(boards.cap),
            utilization_fraction=pl.Series(_fraction(use[of] + wobble)),
            encoder_fraction=pl.Series(_fraction(encoding[of] * (1.0 + wobble))),
            decoder_fraction=pl.Series(_fraction(decoding[of] * (1.0 + wobble))),
            memory_used_bytes=pl.Series(self._memory_used(boards, busy)),
            temperature_celsius=pl.Series(np.round(boards.die)),
            memory_temperature_celsius=pl.Series(np.round(boards.memory)),
            sm_clock_mhz=pl.Series(boards.clocks(busy)),
            throttle_reasons=pl.Series(boards.throttle_reasons(busy)),
            energy_joules=pl.Series(np.round(boards.energy, 3)),
        ).select(*GPU.polars)
        return frame.filter(pl.Series(~np.isin(self._rack, silent_racks))) if len(silent_racks) else frame

    def _memory_used(self, boards: Boards, busy: NDArray[np.bool_]) -> Ints:
        share = np.where(busy, self._tenants.memory_share[self._block], 0.004)
        return (share * boards.memory_bytes).astype(np.int64) // _MEBIBYTE * _MEBIBYTE

    def _times(self, second: int) -> NDArray[np.datetime64]:
        stamps = np.full(len(self._rack_lag_ms), second * 1_000_000, dtype=np.int64)
        if self._jitter:
            wobble = np.clip(3.0 * self._rng.standard_normal(len(stamps)), -9.0, 9.0)
            stamps += np.rint(self._rack_lag_ms + wobble).astype(np.int64) * 1000
        return stamps[self._rack].astype("datetime64[us]")


def _unchanging(layout: Layout) -> pl.DataFrame:
    """Return the columns of GPU readings that are the same in every second."""
    ids = layout.slots.select("rack", "node", "gpu", "vendor", "model")
    return ids.with_columns(
        instance=pl.lit(None, dtype=pl.Int16),
        interval_seconds=pl.lit(1.0, dtype=pl.Float32),
        averaging=pl.lit(1, dtype=pl.Int8),
    )


def _utilizations(workload: Ints, load: Floats) -> tuple[F32, F32, F32]:
    """Return each block's busy share of compute, encoders and decoders."""
    use = np.select([workload == TRAINING, workload == IDLE], [np.minimum(1.05 * load**0.35, 1.0), 0.0], load**0.6)
    encoding = np.select([workload == VIDEO, workload == IMAGE], [0.85 * load, 0.03 * load], 0.0)
    decoding = np.select([workload == VIDEO, workload == IMAGE], [0.45 * load, 0.06 * load], 0.0)
    return use.astype(np.float32), encoding.astype(np.float32), decoding.astype(np.float32)


def _fraction(values: NDArray[np.floating]) -> F32:
    """Return fractions as boards report them: whole percents."""
    return np.round(np.clip(values, np.float32(0.0), np.float32(1.0)), 2).astype(np.float32)
