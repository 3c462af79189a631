"""The reference pages, rendered from the declarations that the code itself runs on.

`python -m wattline.reference` writes docs/reference.md; a test holds the file and the code together.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path

import click

from schemas.column import Column, Record
from schemas.partial import PARTIAL
from schemas.piece import PIECE, PIECE_HISTOGRAM
from schemas.rejected import REASONS
from schemas.topics import TOPICS
from wattline.cli import VERBS
from wattline.facility_reference import facility_page
from web.metrics import METRICS

METRICS_WORDS = """\
`wattline run` answers `/metrics` and `/health` on 127.0.0.1:8420. What is not known has no sample: a missing value
is never 0. Counters count since the worker's start. Subjects are sites, halls, rows, UPS groups, panels and feeds by
their paths; with `/metrics?racks=1` racks too."""

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference.md"


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    """Return a Markdown table as lines."""
    lines = [head, tuple("---" for _ in head), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]


def allowed(column: Column) -> str:
    """Return the allowed range of a column as text, empty where anything goes."""
    if column.low is None and column.high is None:
        return ""
    low = "" if column.low is None else f"{column.low:g}"
    high = "" if column.high is None else f"{column.high:g}"
    return f"{low} … {high}"


def record_page(record: Record) -> Iterator[str]:
    """Yield the section of one record: identity and columns."""
    yield f"### {record.schema_header}"
    yield f"Two rows with the same ({', '.join(record.identity)}) are one reading."
    yield ""
    yield from table(
        ("column", "type", "unit", "allowed", "null means", "what"),
        [(c.name, str(c.dtype), c.unit, allowed(c), c.null or "refused", c.about) for c in record.columns],
    )
    yield ""


def topics_page() -> list[str]:
    """Return the table of topics as lines."""
    rows = [
        (
            topic.name,
            str(topic.partitions),
            topic.key,
            topic.cleanup,
            "for ever" if topic.retention_secs is None else f"{topic.retention_secs // 3600} h",
            topic.record.schema_header if topic.record else "JSON",
            topic.carries,
        )
        for topic in TOPICS
    ]
    return table(("topic", "partitions", "key", "cleanup", "kept", "schema", "carries"), rows)


def metrics_page() -> list[str]:
    """Return the table of metrics as lines."""
    rows = [
        (name, "counter" if name.endswith("_total") else "gauge", ", ".join(metric.labels), metric.about)
        for name, metric in METRICS.items()
    ]
    return table(("metric", "type", "labels", "what"), rows)


def verb_page(verb: str) -> Iterator[str]:
    """Yield the section of one verb: its help as the command line prints it."""
    command: click.Command = importlib.import_module(f"wattline.commands.{verb}").command
    context = click.Context(command, info_name=f"wattline {verb}", terminal_width=100, max_content_width=100)
    yield from (f"### wattline {verb}", "```text", command.get_help(context), "```", "")


def render() -> str:
    """Return docs/reference.md as text."""
    of_topics = (topic.record for topic in TOPICS if topic.record)
    records = {record.name: record for record in (*of_topics, PARTIAL, PIECE, PIECE_HISTOGRAM)}
    lines = ["# Reference", "", "Written by `make docs` from the code; a test holds the two together.", ""]
    lines += ["## Topics", "", *topics_page(), "", "## Records", ""]
    for record in records.values():
        lines += record_page(record)
    lines += ["## The facility file", "", *facility_page()]
    lines += ["## Metrics", "", METRICS_WORDS, "", *metrics_page(), ""]
    lines += ["## Reasons for a refusal", "", *table(("reason", "meaning"), list(REASONS.items())), "", "## Verbs", ""]
    for verb in VERBS:
        lines += verb_page(verb)
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
