"""The faults of `make soak-lake`, a few of each kind: with the fence no row is lost or doubled, without it some are."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random

import pytest

from broker.embedded import EmbeddedKafka
from tests.conftest import REPOSITORY
from tests.lake.soak.arena import Arena
from tests.lake.soak.compare import compare, read_note
from tests.lake.soak.faults import (
    compact_twice,
    cut_files,
    fill_the_disk,
    rebalance,
    stop_past_the_session,
    tear_an_entry,
    terminate,
)
from tests.lake.soak.feed import NotingFeeder
from tests.lake.soak.finish import finish
from tests.lake.soak.forked import BUFFER, COMMIT, FLUSH, IDLE, REVOKED, LateError, Zygote
from tests.lake.soak.tally import Tally

pytestmark = pytest.mark.kafka

Fault = Callable[[Arena], None]
FAULTS: dict[Fault, int] = {
    stop_past_the_session: 3,
    terminate: 3,
    rebalance: 2,
    tear_an_entry: 3,
    fill_the_disk: 2,
    cut_files: 2,
    compact_twice: 3,
}
COUNTED = 19
"""Of those and of the kills that come with them at least so many; 19 kills more are in test_writer.py."""


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    zygote = Zygote()
    yield zygote
    zygote.close()


def fight(kafka: EmbeddedKafka, zygote: Zygote, folder: Path, faults: Sequence[Fault], *, is_fenced: bool) -> Arena:
    """Make faults one after the other while messages come, then let a writer come to the end of the log."""
    arena = Arena(
        folder / "lake", lambda: kafka.bootstrap, zygote, Tally(folder / "tally"), Random(3), is_fenced=is_fenced
    )
    with NotingFeeder(kafka.bootstrap, folder / "acknowledged-0.parquet", "3"):
        for fault in faults:
            come_about(fault, arena)
    finish(kafka.bootstrap, arena)
    return arena


def come_about(fault: Fault, arena: Arena) -> None:
    """Make a fault; on a machine that is busy with other tests one may need another try."""
    for tries_left in reversed(range(3)):
        try:
            return fault(arena)
        except LateError:
            if not tries_left:
                raise
            arena.end_all()
    return None


def test_no_row_is_lost_or_doubled_by_faults_of_every_kind(
    lake_kafka: EmbeddedKafka, zygote: Zygote, tmp_path: Path
) -> None:
    faults = [fault for fault, times in FAULTS.items() for _ in range(times)]
    Random(2).shuffle(faults)
    arena = fight(lake_kafka, zygote, tmp_path, faults, is_fenced=True)
    for found in compare(arena.lake, read_note(tmp_path)):
        assert found.messages > 0
        assert (found.lost, found.doubled, found.other) == (0, 0, 0), found
    assert arena.tally.total >= COUNTED, arena.tally.made


def test_without_the_fence_the_same_faults_double_rows(
    lake_kafka: EmbeddedKafka, zygote: Zygote, tmp_path: Path
) -> None:
    arena = fight(lake_kafka, zygote, tmp_path, [stop_past_the_session] * 4, is_fenced=False)
    assert sum(found.doubled for found in compare(arena.lake, read_note(tmp_path))) > 0


def test_faults_know_every_step_of_a_flush() -> None:
    """A step that is added is one to be killed at."""
    told = {
        name
        for path in (REPOSITORY / "sinks" / "lake").glob("*.py")
        for name in re.findall(r'step\("([^"]+)"\)', path.read_text())
    }
    assert told == (BUFFER | FLUSH | COMMIT | IDLE) - {REVOKED}
