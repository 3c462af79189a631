"""The canary: a rack that stands in no facility, whose alert proves that readings still become alerts.

Its meter is one that no registry knows, so it is kept in the lake and belongs to no sum. Three more things
set it apart: a rule of its own, which is added to those in force; its readings bound nobody's seconds; and
its alerts, those of the site `canary`, are shown only to who asks for them. No facility may have that site.
"""

from __future__ import annotations

import polars as pl

from schemas.metering import MEASURED, SUMS
from schemas.paths import CANARY_SITE
from schemas.place import unregistered_id
from schemas.rule import Rule
from schemas.rules import rule_rows
from schemas.subject import SubjectKind

SITE = CANARY_SITE
RACK = f"{SITE}/h1/r01/k01"
METER = f"{RACK}/meter"
KEY = SITE.encode()
"""The Kafka key of its readings."""

RACK_ID = unregistered_id(RACK)
METER_ID = unregistered_id(METER)
INTERVAL_SECONDS = 1.0
LIMIT_WATTS = 1000.0

RULE = Rule(
    id="canary",
    scope="rack",
    above_watts=LIMIT_WATTS,
    no_data="ok",
    no_data_after_secs=30.0,
    severity="info",
    summary="The canary was heard: readings become alerts",
)

INPUTS = pl.DataFrame(
    {"subject_kind": [SubjectKind.RACK], "subject": [RACK_ID], "meter": [METER_ID], "basis": [MEASURED]}, schema=SUMS
)
"""What measures it, as schemas.registry.Registry.sums says it of others."""


def watched(rule: int) -> pl.DataFrame:
    """Return its row of schemas.rules.RESOLVED with `path` and `site`, RULE being the rule of that index."""
    subject = {"subject": [RACK_ID], "input": ["reading"], "limit": [LIMIT_WATTS], "factor": [1.0]}
    rows = rule_rows(rule, RULE, pl.DataFrame(subject, schema_overrides={"subject": pl.Int32}))
    return rows.with_columns(path=pl.lit(RACK), site=pl.lit(SITE))


def outside(readings: pl.DataFrame) -> pl.DataFrame:
    """Return meter readings without those of the canary."""
    is_canary = readings["meter"] == METER_ID
    return readings.filter(~is_canary) if is_canary.any() else readings
