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
import pyarrow as pa

from schemas.errors import ConfigurationError
from sinks.sql.at import read_at
from sinks.sql.damage import refusing_damage
from sinks.sql.output import BINARY, WRITERS
from sinks.sql.question import UNPLANNED, Asked, Lake, explained, planned, views
from sinks.sql.snapshot import Span
from sinks.upkeep.damage import missing_note
from wattline.options import lake_option

_ROWS = 10_000
_QUOTED = 'The columns "at", "limit" and "offset" are words of SQL too: put them in double quotes.\n'
_TIMES = click.DateTime(["%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d"])


@click.command()
@click.argument("query", required=False)
@lake_option
@click.option("--format", "form", type=click.Choice(list(WRITERS)), default="table", show_default=True)
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write here instead of to stdout.")
@click.option("--since", type=_TIMES, metavar="TIME", help="Leave out what was before, in UTC; files unread.")
@click.option("--until", type=_TIMES, metavar="TIME", help="Leave out what was at or after this time, in UTC.")
@click.option(
    "--at",
    multiple=True,
    metavar="TIME|TABLE=VERSION",
    help="Ask the lake as it was at this time (UTC), or a table in this version. May be repeated.",
)
@click.option("--explain", is_flag=True, help="Say which files would be read, and why the others not.")
@click.option("--plan", is_flag=True, help="The same, and DuckDB's plan.")
def command(  # noqa: PLR0917
    query: str | None,
    lake: Path,
    form: str,
    output: Path | None,
    since: datetime | None,
    until: datetime | None,
    at: tuple[str, ...],
    explain: bool,
    plan: bool,
) -> None:
    """Ask the lake: QUERY is one SELECT in DuckDB's SQL, or - to read it from stdin. Without it, a shell.

    Views: power, gpu, jobs, progress, job_energy, job_meter_energy, windows, site_power, campus, alerts, episodes,
    rejected, damage; sites, racks, feeds, meters, limits. Times are UTC.
    """
    if form in BINARY and output is None and sys.stdout.isatty():
        raise click.UsageError(f"--format {form} is not for a terminal: add --output FILE or redirect stdout.")
    if query is None and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise click.UsageError("the shell needs a terminal: give a QUERY, or - to read it from stdin.")
    asking = Lake(lake, Span(since, until), read_at(at))
    if note := missing_note(lake):
        click.echo(f"note: {note}", err=True)
    if query is None:
        from wattline.sql_shell import Shell

        Shell(asking, form, is_explaining=explain).run()
        return
    with _refused_queries(asking.connection), refusing_damage(lake):
        asked = asking.ask(sys.stdin.read() if query == "-" else query)
        answer = _answer(asking, asked, explain=explain or plan)
        with _target(output) as out:
            WRITERS[form](answer, out)
            if plan:
                out.write(f"\n{planned(asking, asked)}\n".encode())


def _answer(asking: Lake, asked: Asked, *, explain: bool) -> pa.RecordBatchReader:
    if explain:
        if asked.files is None:
            click.echo(f"note: {UNPLANNED}", err=True)
        return explained(asked)
    if note := asking.note(asked):
        click.echo(f"note: {note}", err=True)
    return asking.answer(asked).to_arrow_reader(_ROWS)


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
        click.echo(f"wattline sql: {error}\n{hint}Views: {', '.join(views(connection))}.", err=True)
        raise click.exceptions.Exit(2) from error
