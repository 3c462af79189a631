"""`wattline recompute`: make windows anew from the lake."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from history.recompute import Span
from schemas.admission import Clock
from schemas.errors import RejectedRecordError, UnavailableError
from schemas.time import parse_time
from wattline.options import bootstrap_option, lake_option

SECOND = 1_000_000
WAIT_SECS = 60.0


class Second(click.ParamType):
    """Read a time with its zone as the start of its second, UTC µs."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the time; fail where it is none."""
        if isinstance(value, int):
            return value
        try:
            return parse_time(self.name, str(value)) // SECOND * SECOND
        except RejectedRecordError as error:
            self.fail(str(error), param, ctx)


@click.command()
@click.argument("since", metavar="FROM", type=Second())
@click.argument("until", metavar="TO", type=Second())
@click.option("--site", help="Of this site only; of every site of the Kafka where left out.")
@bootstrap_option
@lake_option
@click.option("--clock", type=click.Choice(["wall", "event"]), default="wall", show_default=True, help="See replay.")
def command(  # noqa: PLR0917
    since: int, until: int, site: str | None, bootstrap: str, lake: Path, clock: Clock
) -> None:
    """Make the windows of the seconds from FROM to before TO, and of their minutes, anew from the lake's readings.

    They win over those that were told live. Refuses where readings of that time are not in the lake any more.
    Times are ISO 8601 with a zone.
    """
    from wattline.recomputing import is_settled, words

    span = Span(since, until)
    if since >= until:
        raise click.UsageError("TO has to be later than FROM")
    if clock == "wall" and not is_settled(span.minutes.end):
        raise click.UsageError(f"the minutes of {words(span)} are not over long enough: live revisions come first")
    generation, sent = asyncio.run(_recompute(bootstrap, lake, span, clock, site))
    click.echo(f"{words(span)} recomputed: {sent:,} windows of generation {generation}")


async def _recompute(bootstrap: str, lake: Path, span: Span, clock: Clock, site: str | None) -> tuple[int, int]:
    """Wait until the lake has all that Kafka has now, then recompute."""
    from broker.producer import Producer
    from sinks.lake.log_reader import read_ends
    from wattline import recomputing

    ends = await read_ends(bootstrap, recomputing.NEEDED_SOURCES)
    try:
        async with asyncio.timeout(WAIT_SECS):
            while not recomputing.holds(lake, ends):  # noqa: ASYNC110 - a lake on disk has no event
                await asyncio.sleep(recomputing.LOOK_EVERY_SECS)
    except TimeoutError:
        raise UnavailableError(
            f"{lake} has not read all readings that Kafka has within {WAIT_SECS:.0f} s: is its writer running "
            f"(wattline run --only lake)?"
        ) from None
    async with Producer(bootstrap) as producer:
        return await recomputing.send(producer, lake, span, clock, site)
