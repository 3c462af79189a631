"""How hard a job works: means over one second of training steps, checkpoints and the day's demand.

Everything here is a pure function of arrays, one element a job or site; loads are fractions 0–1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

COMMUNICATION_LOAD = 0.55
"""Load of a training GPU while it waits for gradients at the end of a step."""
CHECKPOINT_LOAD = 0.12
"""Load of a training GPU while its job writes a checkpoint."""
RAMP_SECONDS = 20.0
"""A job reads its model and warms up before it works at full load."""


def pause_share(age: Floats, period: Floats, pause: Floats) -> Floats:
    """Return which part of `[age, age + 1 s)` lies in the pause that ends each period.

    Period k is `[k·period, (k+1)·period)` and its last `pause` seconds are the pause; the share is
    exact, so the mean over many seconds is `pause / period` whatever the period.
    """
    return np.asarray(_paused(age + 1.0, period, pause) - _paused(age, period, pause))


def _paused(age: Floats, period: Floats, pause: Floats) -> Floats:
    periods, rest = np.divmod(age, period)
    return np.asarray(periods * pause + np.clip(rest - (period - pause), 0.0, None))


def training_load(age: Floats, step: Floats, communication: Floats, checkpoint: Floats, writing: Floats) -> Floats:
    """Return the mean load of training jobs over `[age, age + 1 s)`; all GPUs of a job share it.

    Each step of `step` seconds ends with `communication` seconds of waiting, each `checkpoint`
    seconds with `writing` seconds of writing: the dips that make a whole hall swing at once.
    """
    waiting = pause_share(age, step, communication)
    saving = pause_share(age, checkpoint, writing)
    working = 1.0 - waiting * (1.0 - COMMUNICATION_LOAD)
    return np.asarray((1.0 - saving) * working + saving * CHECKPOINT_LOAD)


def ramp(age: Floats) -> Floats:
    """Return the share of its load that a job has reached `age` seconds after its start."""
    return np.clip(0.15 + 0.85 * age / RAMP_SECONDS, 0.15, 1.0)


_DAY = {
    "interactive": ((11.0, 2.8, 0.75), (20.5, 2.4, 0.65)),
    "image": ((14.5, 3.5, 0.6), (21.5, 2.6, 0.8)),
    "video": ((18.0, 4.0, 0.55), (23.0, 3.0, 0.6)),
}
_NIGHT = 0.22


def day_demand(workload: str, hour: Floats | float) -> Floats:
    """Return the demand for an inference workload at a local hour of day (0–24), 0–1.

    Interactive work peaks before noon and in the evening, images in the evening, video late;
    the curve is periodic, with its trough around 5 in the morning.
    """
    demand = np.full_like(np.asarray(hour, dtype=np.float64), _NIGHT)
    for peak, width, height in _DAY[workload]:
        distance = np.abs((np.asarray(hour) - peak + 12.0) % 24.0 - 12.0)
        demand = demand + height * np.exp(-0.5 * (distance / width) ** 2)
    return np.clip(demand, 0.0, 1.0)
