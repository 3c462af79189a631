"""What jobs produce: images, seconds of video, tokens and steps, as counters that only grow."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from schemas.job import Progress
from sources.simulated.jobs import IMAGE, INTERACTIVE, TRAINING, VIDEO, Blocks

EVERY_SECONDS = 10
IMAGES_PER_GPU_SECOND = 1.6
VIDEO_SECONDS_PER_GPU_SECOND = 0.12
TOKENS_PER_GPU_SECOND = 2_300.0
TOKENS_PER_GPU_STEP = 16_384


class Output:
    """Count what the job on each block has produced; each reports every `EVERY_SECONDS`, in turn."""

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        self._gpus = blocks.gpu_count()
        self._job = np.zeros(len(blocks), dtype=np.int64)
        self._made = np.zeros(len(blocks))

    def advance(self, second: int, load: NDArray[np.float64]) -> list[Progress]:
        """Count the second of work at `load` that ends at `second` and return the reports that are due."""
        tenants = self._blocks.tenants
        self._made[self._job != tenants.number] = 0.0
        self._job[:] = tenants.number
        self._made += self._gpus * load
        turn = np.arange(len(self._made)) % EVERY_SECONDS == second % EVERY_SECONDS
        due = np.flatnonzero(turn & (tenants.workload <= INTERACTIVE))
        return [self._report(int(block), second) for block in due]

    def _report(self, block: int, second: int) -> Progress:
        tenants, made = self._blocks.tenants, float(self._made[block])
        workload = int(tenants.workload[block])
        steps = int((second - tenants.started[block]) // tenants.step[block]) if workload == TRAINING else None
        tokens = made * TOKENS_PER_GPU_SECOND if workload == INTERACTIVE else None
        if steps is not None:
            tokens = float(steps) * TOKENS_PER_GPU_STEP * int(self._gpus[block])
        return Progress(
            time=datetime.fromtimestamp(second, UTC),
            job=self._blocks.running()[block].job,
            images=int(made * IMAGES_PER_GPU_SECOND) if workload == IMAGE else None,
            video_seconds=round(made * VIDEO_SECONDS_PER_GPU_SECOND, 3) if workload == VIDEO else None,
            tokens=None if tokens is None else int(tokens),
            steps=steps,
        )
