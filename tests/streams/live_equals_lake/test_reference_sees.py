"""The reference can fail: it sees each of these small damages to bounds, minutes and histograms."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import polars as pl
import pytest

from schemas.facility import load
from schemas.registry import assign
from streams import bounds, gpu_pieces
from streams.condition import Ints
from streams.members import Members
from streams.pieces import Pieces
from streams.watch import Watch, watch
from tests.streams.live_equals_lake.campus_log import CAMPUS, RULES, START, campus_log
from tests.streams.live_equals_lake.in_memory import Logs, Undisturbed, logs_of
from tests.streams.live_equals_lake.reference import Reference
from tests.streams.live_equals_lake.test_live_equals_lake import assert_told, of_logs

SECONDS, SEED = 70, 4


class Campus(NamedTuple):
    """Hold a log and what its raw rows come to."""

    watch: Watch
    logs: Logs
    wanted: Reference


@pytest.fixture(scope="module")
def campus() -> Campus:
    watched = watch(RULES, assign(load(CAMPUS)))
    logs = logs_of(campus_log(watched.registry, SECONDS, SEED))
    return Campus(watched, logs, of_logs(logs, watched.registry))


def unshared(_: Members, nameplate: Ints, drawn: Ints) -> Ints:
    """Leave each side of a rack a whole nameplate."""
    return np.where(nameplate == bounds.MISSING, bounds.BOUNDLESS, np.maximum(nameplate - drawn, 0))


def forgetful(self: Pieces, start: int, rows: pl.DataFrame, partition: int) -> Ints:
    """Lose one GPU's piece in a hundred."""
    return TAKE(self, start, rows.filter(pl.int_range(pl.len()) % 100 != 7), partition)


def one_warmer(temperature: Ints) -> Ints:
    return DEGREES(temperature) + 1


def of_nothing(powered: object, nameplates: Ints, runs: object, shape: tuple[int, ...]) -> Ints:
    return np.zeros(shape, np.int64)


TAKE, DEGREES = Pieces.take, gpu_pieces._degrees

DAMAGES = {
    "a meter above of four seconds ago proves something": ("streams.sums.FRESH_MICROSECONDS", 4_000_000),
    "wires lose a percent more": ("streams.bounds.WIRE_LOSS_PERCENT", 4),
    "two sides share no nameplate": ("streams.sums.left_of_nameplates", unshared),
    "a piece is lost": ("streams.pieces.Pieces.take", forgetful),
    "a minute of 59 seconds": ("streams.device_minutes.SECONDS", 59),
    "a job's GPUs that report leave their nameplates to the silent": ("streams.job_cells._nameplate", of_nothing),
    "a bin off by one": ("streams.gpu_pieces._degrees", one_warmer),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_told_with_a_damage_is_not_what_the_raw_rows_come_to(
    campus: Campus, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(*DAMAGES[damage])
    told = Undisturbed(campus.watch).read(campus.logs, drains=5, seed=SEED).all_told()
    with pytest.raises(AssertionError, match="differ, the first"):
        assert_told(told.windows, told.histograms, campus.wanted, end=START + SECONDS - 4)
