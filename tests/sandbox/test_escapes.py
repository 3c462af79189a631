"""Nothing gets out of a cage: attempts made by hand, without the statement check, straight in the cage."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sandbox.caged import LIMITS, SECRET, Caged, Ears, tree
from tests.sandbox.escapes import ATTEMPTS, Attempt


@pytest.fixture(scope="module")
def caged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caged]:
    with Caged(tmp_path_factory.mktemp("escapes")) as caged:
        yield caged


@pytest.fixture(scope="module")
def ears(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ears]:
    ears = Ears(tmp_path_factory.mktemp("ears"))
    yield ears
    ears.close()


@pytest.fixture(scope="module")
def undisturbed(caged: Caged) -> float:
    """Return how long a question takes here with nothing before it."""
    return max(_asked_by_another(caged) for _ in range(3))


def _asked_by_another(caged: Caged) -> float:
    started = time.perf_counter()
    answer = caged.ask("SELECT count(*) AS n FROM gpu")
    assert answer.reason == "answered", answer
    assert b"[8]" in answer.body
    return time.perf_counter() - started


@pytest.mark.parametrize("attempt", ATTEMPTS, ids=lambda attempt: attempt.name)
def test_an_attempt_gets_nothing_out_and_holds_up_nobody(
    caged: Caged, ears: Ears, undisturbed: float, attempt: Attempt
) -> None:
    lake, outside = tree(caged.lake), tree(caged.outside)
    answer = caged.ask(told(attempt.query, caged, ears))
    assert answer.reason in attempt.ends, answer
    assert SECRET.encode() not in answer.body
    assert b"root:" not in answer.body
    assert tree(caged.lake) == lake
    assert tree(caged.outside) == outside
    assert not Path("/tmp/wattline-evil.csv").exists()
    assert ears.heard() == []
    assert answer.most_memory_bytes <= LIMITS.memory_bytes
    assert len(answer.body) <= 2 * LIMITS.answer_bytes
    assert list(caged.keeper.spill.iterdir()) == []
    assert _asked_by_another(caged) < max(1.0, 3 * undisturbed)


def told(query: str, caged: Caged, ears: Ears) -> str:
    """Return an attempt's statement with the places of this run."""
    places = {
        "outside": caged.outside,
        "lake": caged.lake,
        "unix": ears.path,
        "spill": caged.keeper.spill,
        **ears.ports,
    }
    for name, place in places.items():
        query = query.replace(f"{{{name}}}", str(place))
    return query.replace("{{", "{").replace("}}", "}")


def test_there_are_enough_attempts_with_names_of_their_own() -> None:
    assert len({attempt.name for attempt in ATTEMPTS}) == len(ATTEMPTS) >= 60
