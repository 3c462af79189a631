"""Rules: what a rule may say, and the frame that the streams evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pydantic import ValidationError

from schemas.errors import ConfigurationError
from schemas.facility import load
from schemas.registry import Registry, assign
from schemas.rule import Rule, placeholders
from schemas.rules import RESOLVED, default_rules, load_rules, resolve
from schemas.subject import SubjectKind
from tests.schemas.small_facility import facility, powered, site
from wattline.scales import FIRST, facility_file


def rule(**keys: Any) -> Rule:
    """Return a rule on racks above 40 kW, changed by `keys`."""
    given = {"id": "test", "scope": "rack", "severity": "warning", "summary": "{subject}"}
    conditions = {"above_watts", "above_fraction_of_limit", "above_amps", "below_watts"}
    default = {} if conditions & keys.keys() else {"above_watts": 40_000.0}
    return Rule.model_validate(given | default | keys)


def resolved(one: Rule, registry: Registry) -> list[dict[str, Any]]:
    """Return the rows of one rule with the subject as its path."""
    rows = resolve([one], registry).iter_rows(named=True)
    return [row | {"subject": registry.path_of(SubjectKind(row["subject_kind"]), row["subject"])} for row in rows]


def test_a_rule_becomes_one_row_a_subject_with_its_levels_in_watts() -> None:
    over = rule(above_fraction_of_limit=1.0, clear_below_fraction_of_limit=0.9, for_secs=2.5, keep_firing_secs=1)
    first, second = resolved(over, assign(powered()))
    assert first == {
        "rule": 0,
        "subject_kind": SubjectKind.RACK,
        "subject": "ruh/h1/r01/k01",
        "input": "reading",
        "metric": "power_watts",
        "fires": "above",
        "threshold": 20_000.0,
        "clear": 18_000.0,
        "limit": 20_000.0,
        "for_us": 2_500_000,
        "keep_us": 1_000_000,
        "no_data": "unknown",
        "no_data_after_us": 60_000_000,
        "severity": "warning",
    }
    assert second["subject"] == "ruh/h1/r01/k02"


def test_without_a_clear_level_a_rule_clears_where_it_fires() -> None:
    assert resolved(rule(above_watts=6_000.0), assign(powered()))[0]["clear"] == 6_000.0
    assert resolved(rule(below_watts=10.0, clear_above_watts=20.0), assign(powered()))[0]["clear"] == 20.0


def test_a_rule_reads_readings_only_where_its_subject_has_meters_of_its_own() -> None:
    registry = assign(powered())
    inputs = {row["subject"]: row["input"] for row in resolved(rule(scope="feed"), registry)}
    assert inputs == {"ruh/feed-a": "partial", "ruh/feed-b": "reading"}
    assert [row["input"] for row in resolved(rule(scope="site"), registry)] == ["partial"]
    assert [row["input"] for row in resolved(rule(scope="ups_group"), registry)] == ["partial"]


def test_a_rack_without_meters_is_evaluated_on_the_sum_of_its_gpus() -> None:
    bare = facility(site({"r01": {"type": "box", "ids": ["k01"]}}), racks={"ruh/h1/r01/k01": {"meters": []}})
    assert [row["input"] for row in resolved(rule(), assign(bare))] == ["partial"]


def test_what_nothing_measures_has_no_row() -> None:
    bare = facility(
        site({"r01": {"type": "box", "ids": ["k01"]}}), racks={"ruh/h1/r01/k01": {"meters": [], "nodes": 0}}
    )
    registry = assign(bare)
    assert resolved(rule(), registry) == []
    assert resolved(rule(scope="node"), assign(powered())) == []
    assert resolved(rule(scope="row", above_fraction_of_limit=1.0), assign(powered())) == []


def test_current_is_judged_in_amps_and_only_on_a_feed_with_a_meter() -> None:
    amps = rule(scope="feed", metric="current_amps", above_fraction_of_limit=0.9, limit="usable")
    (row,) = resolved(amps, assign(powered()))
    assert (row["subject"], row["limit"], row["threshold"]) == ("ruh/feed-b", 80.0, pytest.approx(72.0))


def test_a_limit_that_is_not_named_is_the_first_that_a_subject_has() -> None:
    with_budget = assign(powered())
    assert resolved(rule(scope="site", above_fraction_of_limit=1.0), with_budget)[0]["limit"] == 50_000.0
    only_contract = assign(facility(site({"r01": {"type": "box", "ids": ["k01"]}}, contract_watts=70_000.0)))
    assert resolved(rule(scope="site", above_fraction_of_limit=1.0), only_contract)[0]["limit"] == 70_000.0


def test_subjects_narrow_a_rule_by_globs() -> None:
    narrowed = rule(subjects=["ruh/h1/*/k02", "ruh/h1/r01/k02"])
    assert [row["subject"] for row in resolved(narrowed, assign(powered()))] == ["ruh/h1/r01/k02"]


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"above_watts": 1.0, "below_watts": 2.0}, "exactly one of"),
        ({"above_watts": 1.0, "clear_below_watts": 2.0}, "lies above above_watts"),
        ({"below_watts": 2.0, "clear_above_watts": 1.0}, "lies below below_watts"),
        ({"above_watts": 2.0, "clear_below_amps": 1.0}, "does not go with above_watts"),
        ({"above_amps": 2.0}, 'needs metric = "current_amps"'),
        ({"scope": "feed", "metric": "current_amps"}, 'needs metric = "power_watts"'),
        ({"metric": "current_amps", "above_amps": 2.0}, "feed"),
        ({"scope": "node", "above_fraction_of_limit": 1.0}, "no limit to take a fraction of"),
        ({"limit": "rated"}, "a rack has no limit 'rated'"),
        ({"summary": "{feed}"}, "placeholder {feed} is not allowed"),
        ({"summary": "{subject.__class__}"}, "is not allowed"),
        ({"summary_ar": "{0}"}, "placeholder {0} is not allowed"),
        ({"summary": "{"}, "braces do not pair"),
        ({"for_secs": float("nan")}, "for_secs"),
        ({"above_watts": float("inf")}, "above_watts"),
        ({"above_watts": "40000"}, "above_watts"),
        ({"for_seconds": 3.0}, "for_seconds"),
    ],
)
def test_a_rule_that_contradicts_itself_is_refused(keys: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as raised:
        rule(**keys)
    assert words in str(raised.value)


def test_default_rules_reach_every_kind_of_subject_of_the_campus() -> None:
    rules = default_rules()
    frame = resolve(rules, assign(load(facility_file("35MW"))))
    assert frame.schema == pl.Schema(RESOLVED)
    assert set(frame["rule"]) == set(range(len(rules)))
    assert set(frame["subject_kind"]) == {SubjectKind[each.scope.upper()] for each in rules}
    assert not frame.select(pl.struct("rule", "subject_kind", "subject").is_duplicated().any()).item()


def test_default_rules_hold_their_alerts_down_and_speak_two_languages() -> None:
    for each in default_rules():
        assert each.clear < each.threshold
        assert each.summary_ar is not None
        assert placeholders(each.summary_ar) == placeholders(each.summary)


def test_rules_come_from_a_file_of_rules_or_from_a_facility(tmp_path: Path) -> None:
    text = '[[rules]]\nid = "mine"\nscope = "rack"\nabove_watts = 1\nseverity = "info"\nsummary = "{rack}"\n'
    alone, inside = tmp_path / "rules.toml", tmp_path / "facility.toml"
    alone.write_text(text)
    inside.write_text(FIRST.read_text() + text)
    assert [each.id for each in load_rules(alone)] == ["mine"]
    assert load_rules(inside) == load_rules(alone)
    assert load_rules(FIRST) == default_rules()


@pytest.mark.parametrize("text", ["", "rules = []", "[[rules]]\nid = 'x'", "schema_version = 2"])
def test_a_file_without_sound_rules_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "rules.toml"
    file.write_text(text)
    with pytest.raises(ConfigurationError, match=r"rules\.toml"):
        load_rules(file)
