"""What the boards draw: power under a cap, heat with its lag, clocks, counters; all GPUs at once.

A board's power is its idle power plus its load's share of the range, held down by the cap in force;
its temperature follows that power with a lag; its energy counter is the sum of that power. What a
reading says carries the sensor's noise on top, the counter does not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sources.simulated.layout import Layout

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
Ints = NDArray[np.int64]

IDLE_FRACTION = 0.11
"""Idle power of a board as a share of its nameplate."""
SENSOR_NOISE = 0.004
"""Standard deviation of a power reading, as a share of the power."""
INLET_CELSIUS = 31.0
_DIE_SECONDS, _MEMORY_SECONDS = 11.0, 24.0
_DIE_RISE, _MEMORY_RISE = 36.0, 44.0
_GIBIBYTE = 1 << 30

NVIDIA_IDLE, NVIDIA_POWER_CAP = 0x1, 0x4
"""NVML's bits: nothing runs, and the software power cap holds the clocks down."""
AMD_POWER_CAP = 0x1
"""The first package power limit of AMD's throttle status; an idle board reports none."""


@dataclass
class Boards:
    """Hold the state of every board; `work`, then `settle`, move it on by one second."""

    nameplate: F32
    cap: F32
    """The cap in force in watts."""
    idle: F32
    gain: F32
    """How much this board draws against its neighbours at the same load."""
    is_amd: NDArray[np.bool_]
    memory_bytes: Ints
    power: F32
    die: F32
    memory: F32
    energy: F64
    demand: F32

    def work(self, load: F32, drift: F32) -> None:
        """Draw power for one second under `load` (0–1 of each board's range).

        `drift` is the control loop's wobble around 0, as a share of the range; a board whose demand
        is above its cap is held at the cap.
        """
        reach = self.nameplate - self.idle
        self.demand = self.idle + reach * load * (self.gain + drift)
        self.power = np.minimum(self.demand, self.cap * (np.float32(1.0) + np.float32(0.25) * drift))

    def settle(self) -> None:
        """Let heat and counters follow `power` by one second."""
        share = self.power / self.nameplate
        self.die += (INLET_CELSIUS + _DIE_RISE * share - self.die) * np.float32(1 - np.exp(-1 / _DIE_SECONDS))
        self.memory += (INLET_CELSIUS + _MEMORY_RISE * share - self.memory) * np.float32(
            1 - np.exp(-1 / _MEMORY_SECONDS)
        )
        self.energy += self.power

    def throttled(self) -> NDArray[np.bool_]:
        """Return which boards are held down by their cap."""
        return np.asarray(self.demand > self.cap)

    def throttle_reasons(self, busy: NDArray[np.bool_]) -> Ints:
        """Return each board's reasons in its vendor's bits."""
        capped = self.throttled()
        nvidia = np.where(capped, NVIDIA_POWER_CAP, 0) | np.where(busy, 0, NVIDIA_IDLE)
        return np.where(self.is_amd, np.where(capped, AMD_POWER_CAP, 0), nvidia).astype(np.int64)

    def clocks(self, busy: NDArray[np.bool_]) -> F32:
        """Return the clock of the compute units: an idle one, or full less what the cap takes (P ~ f³)."""
        full = np.where(self.is_amd, np.float32(2100.0), np.float32(1965.0))
        resting = np.where(self.is_amd, np.float32(135.0), np.float32(345.0))
        held = np.cbrt(np.minimum(self.power / np.maximum(self.demand, np.float32(1.0)), np.float32(1.0)))
        steps = np.float32(15.0)
        return np.where(busy, np.round(full * held / steps) * steps, resting).astype(np.float32)


def boards_of(layout: Layout, cap: F64, is_amd: NDArray[np.bool_], rng: np.random.Generator) -> Boards:
    """Return every board at rest, with some past behind its counter."""
    nameplate = layout.gpu_nameplate_watts.astype(np.float32)
    count = len(nameplate)
    idle = (nameplate * IDLE_FRACTION * rng.uniform(0.92, 1.08, count)).astype(np.float32)
    past_seconds = rng.uniform(1e5, 2e7, count)
    warm = np.full(count, INLET_CELSIUS + _DIE_RISE * IDLE_FRACTION, dtype=np.float32)
    return Boards(
        nameplate=nameplate,
        cap=cap.astype(np.float32),
        idle=idle,
        gain=rng.normal(1.0, 0.012, count).astype(np.float32),
        is_amd=is_amd,
        memory_bytes=_memory_bytes(nameplate, is_amd),
        power=idle.copy(),
        die=warm,
        memory=warm.copy(),
        energy=np.round(past_seconds * 0.55 * nameplate),
        demand=idle.copy(),
    )


def _memory_bytes(nameplate: F32, is_amd: NDArray[np.bool_]) -> Ints:
    """Return the memory of a board of this size: today's boards carry more the more they draw."""
    nvidia = np.select([nameplate >= 1300, nameplate >= 900, nameplate >= 600], [288, 192, 141], 48)
    amd = np.select([nameplate >= 1300, nameplate >= 900], [288, 256], 192)
    return (np.where(is_amd, amd, nvidia) * _GIBIBYTE).astype(np.int64)
