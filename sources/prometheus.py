"""Prometheus text, the format that exporters answer with over HTTP: many answers at once become columns.

A parser that makes an object of every sample takes 4 ms of CPU for one node's answer; with thousands of
nodes a second that would be the largest cost of all, so the answers of a moment are parsed together.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

_NAME = r"([a-zA-Z_:][a-zA-Z0-9_:]*)"
_LABELS = r'(?:\{((?:[^"}]|"(?:[^"\\]|\\.)*")*)\})?'
_SAMPLE = rf"^\s*{_NAME}\s*{_LABELS}\s+(\S+)(?:\s+(-?\d+))?\s*$"


def samples(answers: Sequence[str], names: Sequence[str]) -> pl.DataFrame:
    """Return the samples called one of `names` of all answers.

    A last line without line end may be half a number and is left out, as is every line that is no sample.

    **Frame** out: `answer` u32 (index), `name` str, `labels` str (as sent, null = none), `value` str (as
    sent: exporters have words for blanks), `stamp_ms` i64 (the sample's own time, null = not sent); in
    the order of the answers.
    """
    lines = pl.DataFrame(
        {"text": [answer[: answer.rfind("\n") + 1] for answer in answers]}, schema={"text": pl.String}
    ).with_row_index("answer")
    lines = lines.with_columns(pl.col("text").str.split("\n")).explode("text")
    # Cheaper than the whole pattern on every line: most lines are other metrics and comments.
    lines = lines.filter(pl.col("text").str.extract(rf"^\s*{_NAME}").is_in(names))
    parts = pl.col("text").str.extract_groups(_SAMPLE).struct
    return lines.select(
        "answer",
        name=parts.field("1"),
        labels=parts.field("2"),
        value=parts.field("3"),
        stamp_ms=parts.field("4").cast(pl.Int64, strict=False),
    ).filter(pl.col("name").is_not_null())


def label(name: str) -> pl.Expr:
    """Return the value of one label, escapes as they were sent; null where it is not there."""
    return pl.col("labels").str.extract(rf'(?:^|,)\s*{name}\s*=\s*"((?:[^"\\]|\\.)*)"')
