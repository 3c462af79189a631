"""What is watched: the rules in force resolved on the facility, as columns that the evaluator indexes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl

from schemas import canary
from schemas.rules import Rule, resolve
from schemas.subject import SubjectKind
from streams.alert_state import A_BREACH, OK, UNKNOWN, Timing
from streams.condition import Bools, Floats, Ints
from streams.gauge import METRICS, Gauges, gauges_of
from streams.lists import Lists
from streams.members import Members, members_of

if TYPE_CHECKING:
    from schemas.registry import Registry

KEY = ("subject_kind", "subject")
_NO_DATA = {"unknown": UNKNOWN, "breach": A_BREACH, "ok": OK}


class Watched(NamedTuple):
    """Name one rule row, as an alert does. `rule` is its index; `limit` and `threshold` in the metric's unit."""

    rule: int
    metric: str
    site: str
    subject_kind: int
    subject: int
    path: str
    limit: float | None
    threshold: float


@dataclass(frozen=True)
class Watch:
    """Hold one version of rules and facility; a rule row is one rule on one subject, by its index in `table`.

    `table`: schemas.rules.RESOLVED with `path` and `site` of the subject, `rows` what alerts say of each, once for
    all: a row of a frame takes as long as an alert · `gauge` of each rule row that reads readings, `subject` (index
    in `members.subjects`) of each that reads partials, else −1 · `rows_of_gauge` the rule rows of each gauge.
    """

    registry: Registry
    rules: tuple[Rule, ...]
    versions: tuple[str, ...]
    table: pl.DataFrame
    rows: tuple[Watched, ...]
    gauges: Gauges
    members: Members
    timing: Timing
    threshold: Floats
    clear: Floats
    is_below: Bools
    gauge: Ints
    subject: Ints
    rows_of_gauge: Lists

    @property
    def keys(self) -> list[tuple[str, int, int]]:
        """Return (rule id, subject kind, subject) of each rule row: what a snapshot knows it by."""
        return [(self.rules[row.rule].id, row.subject_kind, row.subject) for row in self.rows]


def watch(rules: Sequence[Rule], registry: Registry) -> Watch:
    """Return what `rules` watch in `registry`, and the canary's rule after them."""
    table = resolve(rules, registry).join(_paths(registry), on=KEY, how="left", maintain_order="left")
    table = pl.concat([table, canary.watched(rule=len(rules))]).with_row_index("row")
    rules = (*rules, canary.RULE)
    gauges, members = gauges_of(table, registry), members_of(registry)
    gauge = _index(table, "reading", gauges.subjects.rename({"gauge": "index"}))
    reading_rows = np.flatnonzero(gauge >= 0)
    return Watch(
        registry=registry,
        rules=rules,
        versions=tuple(rule_version(rule) for rule in rules),
        table=table,
        rows=tuple(Watched(*row) for row in table.select(Watched._fields).iter_rows()),
        gauges=gauges,
        members=members,
        timing=_timing(table),
        threshold=table["threshold"].to_numpy(),
        clear=table["clear"].to_numpy(),
        is_below=(table["fires"] == "below").to_numpy(),
        gauge=gauge,
        subject=_index(table, "partial", members.subjects.select(*KEY).with_row_index("index")),
        rows_of_gauge=Lists.grouped(gauge[reading_rows], reading_rows),
    )


def rule_version(rule: Rule) -> str:
    """Return a short hash of all that a rule says: another version is another rule under the same id."""
    return blake2b(rule.model_dump_json().encode(), digest_size=4).hexdigest()


def _paths(registry: Registry) -> pl.DataFrame:
    """Return frame (subject_kind, subject, path, site): the site as its path."""
    frames = [frame.select("kind", "id", "path", "site") for frame in (registry.places, registry.power)]
    sites = registry.paths(SubjectKind.SITE).select(site="id", site_path="path")
    known = pl.concat(frames, how="vertical_relaxed").unique(["kind", "id"]).join(sites, on="site", how="left")
    return known.select(subject_kind="kind", subject="id", path="path", site="site_path")


def _index(table: pl.DataFrame, reads: str, known: pl.DataFrame) -> Ints:
    """Return, per rule row, the `index` of the row of `known` that it is about, −1 where it reads something else."""
    keys = [name for name in known.columns if name != "index"]
    rows = table.filter(pl.col("input") == reads)
    rows = rows.with_columns(pl.col("metric").replace_strict(METRICS, default=None, return_dtype=pl.Int64))
    whole = [pl.col(name).cast(pl.Int64) for name in keys]
    found = rows.with_columns(whole).join(known.with_columns(whole), on=keys)
    index = np.full(len(table), -1)
    index[found["row"].to_numpy()] = found["index"].cast(pl.Int64).to_numpy()
    return index


def _timing(table: pl.DataFrame) -> Timing:
    hold, keep, silence = (table[name].to_numpy() for name in ("for_us", "keep_us", "no_data_after_us"))
    return Timing(hold, keep, silence, table["no_data"].replace_strict(_NO_DATA, return_dtype=pl.Int8).to_numpy())
