"""`wattline sql`: ask the lake."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

import click
import duckdb

from schemas.errors import ConfigurationError
from sinks.sql.aim import aim
from sinks.sql.connection import connect
from sinks.sql.damage import refusing_damage
from sinks.sql.output import BINARY, WRITERS
from sinks.sql.snapshot import Span
from sinks.sql.statement import one_question
from sinks.upkeep.damage import missing_note
from wattline.options import lake_option

_ROWS = 10_000
_QUOTED = 'The columns "at", "limit" and "offset" are words of SQL too: put them in double quotes.\n'
_TIMES = click.DateTime(["%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d"])


@click.command()
@click.argument("query")
@lake_option
@click.option("--format", "form", type=click.Choice(list(WRITERS)), default="table", show_default=True)
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write here instead of to stdout.")
@click.option("--since", type=_TIMES, metavar="TIME", help="Leave out what was before, in UTC; files unread.")
@click.option("--until", type=_TIMES, metavar="TIME", help="Leave out what was at or after this time, in UTC.")
def command(  # noqa: PLR0917
    query: str, lake: Path, form: str, output: Path | None, since: datetime | None, until: datetime | None
) -> None:
    """Ask the lake: QUERY is one SELECT in DuckDB's SQL, or - to read it from stdin.

    Views: power, gpu, jobs, progress, job_energy, job_meter_energy, windows, site_power, campus, alerts, episodes,
    rejected, damage; sites, racks, feeds, meters, limits. Times are UTC.
    """
    if form in BINARY and output is None and sys.stdout.isatty():
        raise click.UsageError(f"--format {form} is not for a terminal: add --output FILE or redirect stdout.")
    connection = connect(lake, Span(since, until))
    if note := missing_note(lake):
        click.echo(f"note: {note}", err=True)
    with _refused_queries(connection), refusing_damage(lake):
        question = one_question(connection, sys.stdin.read() if query == "-" else query)
        aim(connection, question)
        answer = connection.sql(question)
        with _target(output) as out:
            WRITERS[form](answer.to_arrow_reader(_ROWS), out)


@contextlib.contextmanager
def _target(output: Path | None) -> Iterator[BinaryIO]:
    """Open what the answer is written to; a reader that has seen enough (`| head`) is no error.

    A file appears only when it is whole.
    """
    if output is None:
        with contextlib.suppress(BrokenPipeError):
            yield sys.stdout.buffer
            sys.stdout.flush()
        return
    unfinished = output.with_name(f".{output.name}.unfinished")
    try:
        with unfinished.open("wb") as out:
            yield out
        unfinished.replace(output)
    except OSError as error:
        if error.errno is None:
            raise
        raise ConfigurationError(f"sql: {output} cannot be written: {error.strerror}") from error
    finally:
        unfinished.unlink(missing_ok=True)


@contextlib.contextmanager
def _refused_queries(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Turn DuckDB's refusal into one message and exit code 2, with the nearest view where a name is unknown."""
    try:
        yield
    except (duckdb.Error, OSError) as error:
        # What DuckDB refuses while rows are on their way comes through Arrow, as an OSError without a number.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        hint = _QUOTED if isinstance(error, duckdb.ParserException) else ""
        click.echo(f"wattline sql: {error}\n{hint}Views: {', '.join(_views(connection))}.", err=True)
        raise click.exceptions.Exit(2) from error


def _views(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Return what can be asked, for somebody whose query was refused."""
    listed = "SELECT view_name FROM duckdb_views() WHERE schema_name = 'main' AND NOT internal ORDER BY ALL"
    return [name for (name,) in connection.execute(listed).fetchall()]
