"""Thousands of generated statements in cages: nothing is written, nobody is called, nothing of outside is read."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import msgspec
import pytest

from sinks.sandbox.keeper import Answer
from sinks.sandbox.limits import MEGABYTE, Limits
from tests.sandbox import many_in_one
from tests.sandbox.caged import SECRET, Caged, Ears, tree
from tests.sandbox.generated import Statements

AT_ONCE = 100
LIMITS = Limits(wall_secs=8.0, memory_bytes=512 * MEGABYTE, spill_bytes=64 * MEGABYTE, answer_bytes=MEGABYTE)


@pytest.mark.parametrize("count", [3_000, pytest.param(10_000, marks=pytest.mark.soak)])
def test_generated_statements_get_nothing_out(tmp_path: Path, count: int) -> None:
    made, ears = Statements(seed=count), Ears(tmp_path)
    with Caged(tmp_path, many_in_one.ENTRY) as caged:
        lake, outside = tree(caged.lake), tree(caged.outside)
        left = [_placed(made.make(), caged, ears) for _ in range(count)]
        ends: Counter[str] = Counter()
        while left:
            lines, answer = _ask(caged, left[:AT_ONCE])
            assert [line for line in lines if line.startswith("odd")] == []
            ends.update(line.split()[0] for line in lines)
            if answer.reason != "answered":
                ends[answer.reason] += 1  # the one that ended the cage; the rest go into another
                lines.append(answer.message)
            assert SECRET not in "".join(lines)
            assert "root:" not in "".join(lines)
            assert answer.most_memory_bytes <= LIMITS.memory_bytes
            assert tree(caged.outside) == outside
            assert ears.heard() == []
            assert _ask(caged, ["SELECT 42 AS n"])[0] == ["answered \"[{'n': 42}]\""]
            left = left[len(lines) :]
        assert tree(caged.lake) == lake
        assert list(caged.keeper.spill.iterdir()) == []
    ears.close()
    assert ends.total() == count
    assert ends["answered"] > count // 20, "the generator makes nothing that runs"


def _placed(statement: str, caged: Caged, ears: Ears) -> str:
    for name, place in {"outside": caged.outside, "lake": caged.lake, "unix": ears.path, **ears.ports}.items():
        statement = statement.replace(f"{{{name}}}", str(place))
    return statement


def _ask(caged: Caged, statements: list[str]) -> tuple[list[str], Answer]:
    answer = caged.ask(msgspec.json.encode(statements).decode(), limits=LIMITS)
    return answer.body.decode().splitlines(), answer
