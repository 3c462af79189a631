"""Exporters' answers become GPU readings: golden answers, blanks, labels, and text that is no answer at all."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from sources.amd import AMD
from sources.dcgm import DCGM
from sources.exporter import readings
from sources.prometheus import label, samples

GOLDEN = Path(__file__).parent / "golden"
POWER = 'DCGM_FI_DEV_POWER_USAGE{{gpu="{}"}} {}\n'


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.prom")), ids=lambda path: path.stem)
def test_a_golden_answer_gives_exactly_its_rows(path: Path) -> None:
    exporter = AMD if path.stem.startswith("amd") else DCGM
    found = readings([path.read_text()], exporter).drop("answer")
    expected = pl.DataFrame(json.loads(path.with_suffix(".json").read_text()), schema=found.schema)
    assert_frame_equal(found, expected, rel_tol=1e-6)


def test_answers_parsed_together_give_what_each_gives_alone() -> None:
    texts = [path.read_text() for path in sorted(GOLDEN.glob("dcgm*.prom"))] * 3
    together = readings(texts, DCGM)
    alone = [readings([text], DCGM).with_columns(answer=pl.lit(index, pl.UInt32)) for index, text in enumerate(texts)]
    assert together.equals(pl.concat(alone))


def test_a_last_line_that_is_cut_off_is_not_read_as_a_smaller_number() -> None:
    whole = POWER.format(0, 683.2) + POWER.format(1, 412.7)
    for cut in range(1, len(POWER.format(1, 412.7))):
        assert readings([whole[:-cut]], DCGM)["power_watts"].to_list() == [pytest.approx(683.2)]


def test_the_first_of_two_samples_of_one_gpu_stands() -> None:
    assert readings([POWER.format(0, 100) + POWER.format(0, 200)], DCGM)["power_watts"].to_list() == [100]


@pytest.mark.parametrize(
    "text", ["", "\n", "<html><body>502 Bad Gateway</body></html>\n", "\0" * 100, "{" * 1000 + "\n"]
)
def test_text_that_is_no_answer_gives_no_row(text: str) -> None:
    for exporter in (DCGM, AMD):
        assert readings([text], exporter).is_empty()


@given(st.text())
def test_no_text_makes_the_parser_fail(text: str) -> None:
    readings([text, POWER.format(0, 1) + text, f'DCGM_FI_DEV_POWER_USAGE{{gpu="0",pod="{text}"}} 1\n'], DCGM)


@given(st.text(alphabet=st.characters(exclude_characters="\n\r", exclude_categories=["Cs"])))
def test_a_label_may_hold_anything_once_it_is_escaped(value: str) -> None:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    text = f'DCGM_FI_DEV_POWER_USAGE{{pod="{escaped}",gpu="3",a="{escaped}"}} 7\n'
    found = samples([text], ["DCGM_FI_DEV_POWER_USAGE"]).with_columns(gpu=label("gpu"), pod=label("pod"))
    assert found.select("gpu", "value", "pod").rows() == [("3", "7", escaped)]


@given(st.lists(st.tuples(st.integers(0, 63), st.floats(0, 2000)), unique_by=lambda each: each[0], max_size=64))
def test_power_comes_out_as_it_went_in(powers: list[tuple[int, float]]) -> None:
    text = "".join(POWER.format(gpu, watts) for gpu, watts in powers)
    found = readings([text], DCGM)
    assert found["gpu"].to_list() == sorted(gpu for gpu, _ in powers)
    assert found["power_watts"].to_list() == [pytest.approx(watts, rel=1e-6) for _, watts in sorted(powers)]
