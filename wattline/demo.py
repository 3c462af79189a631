"""The demo: an embedded Kafka, a simulated campus with an incident, the streams and the lake, on one screen."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from broker import facility as published
from broker import ports
from broker.admin import create_topics
from broker.embedded import EmbeddedKafka
from broker.supervisor import Supervisor, Worker
from schemas.facility import load
from schemas.topics import TOPICS, Topic
from wattline import summary
from wattline.demo_folder import DemoFolder
from wattline.lag import measured
from wattline.parts import PARTS, Settings, workers
from wattline.scales import facility_file
from web.live import LiveState, kept_up, state_now
from web.tokens import add

REDRAW_SECS = 0.5
MEASURE_FOLDER_EVERY_SECS = 10.0
PRINT_EVERY_SECS = 10.0
_LINES_AROUND = 20


@dataclass(frozen=True)
class Options:
    """Say what to show; `duration_secs` None = until Ctrl-C."""

    scale: str
    seed: int
    incidents: tuple[str, ...]
    keep: bool
    duration_secs: float | None


def topics() -> list[Topic]:
    """Return the topics as a demo makes them: telemetry and windows are kept for minutes, in small segments."""
    return [
        replace(topic, retention_secs=300, segment_bytes=16_777_216) if topic.retention_secs == 86_400 else topic
        for topic in TOPICS
    ]


def run(options: Options) -> None:
    """Run the demo until Ctrl-C, its duration or its limit of space; leaves nothing behind unless it is to be kept."""
    with DemoFolder(keep=options.keep) as folder:
        _say(f"starting Apache Kafka; data and logs in {folder.path}")
        with EmbeddedKafka(folder.path / "kafka", quick_start=True) as kafka:
            asyncio.run(_prepare(kafka.bootstrap, facility_file(options.scale)))
            tokens = folder.path / "tokens"
            settings = Settings(
                kafka.bootstrap, folder.path / "lake", roll_up_workers=1, web_port=ports.free(1)[0], tokens=tokens
            )
            everyone = [*workers(PARTS, settings), simulator(options, kafka.bootstrap, folder.path)]
            with Supervisor(everyone, folder.path / "logs", report=_say) as supervisor, _interrupted():
                asyncio.run(_show(options, settings, folder, supervisor, add(tokens, "demo", "sql")))
            _say("stopped: streams, lake and simulation")
    _say(f"kept {folder.path}" if options.keep else f"removed {folder.path}")


def simulator(options: Options, bootstrap: str, folder: Path) -> Worker:
    """Return the worker that plays the campus; what goes wrong in it stands in `truth.jsonl`."""
    argv = ["simulate", "--bootstrap", bootstrap, "--seed", str(options.seed), "--truth", str(folder / "truth.jsonl")]
    planned = [word for kind in options.incidents for word in ("--incident", kind)]
    return Worker("simulate-0", (sys.executable, "-m", "wattline", *argv, *planned))


async def _prepare(bootstrap: str, facility: Path) -> None:
    await create_topics(bootstrap, topics=topics())
    await published.publish(bootstrap, load(facility))


@contextlib.contextmanager
def _interrupted() -> Iterator[None]:
    """Let Ctrl-C end the block and nothing else: what follows it stops everything in order."""
    with contextlib.suppress(KeyboardInterrupt, asyncio.CancelledError):
        yield


async def _show(options: Options, settings: Settings, folder: DemoFolder, supervisor: Supervisor, token: str) -> None:
    """Draw until the duration has passed, the folder is full, or a worker cannot run at all."""
    started = datetime.now(UTC)
    state = await state_now(settings.bootstrap, await published.read_registry(settings.bootstrap), started)
    where = _where(settings, folder, token)
    async with kept_up(state, settings.bootstrap, started), measured(settings.lake, settings.bootstrap) as lag:
        with _screen() as draw:
            async for now in _ticks(started, options.duration_secs):
                draw(state, Text(f"{lag.words}\n{where}", style="dim", overflow="fold"), now)
                supervisor.wait(0)
                if await _is_full(folder, now, started):
                    _say("the demo has used up its 2 GB and ends itself; the pipeline is fine")
                    return


async def _ticks(started: datetime, duration_secs: float | None) -> AsyncIterator[datetime]:
    now = started
    while duration_secs is None or (now - started).total_seconds() < duration_secs:
        yield now
        await asyncio.sleep(REDRAW_SECS)
        now = datetime.now(UTC)


async def _is_full(folder: DemoFolder, now: datetime, started: datetime) -> bool:
    """Measure the folder now and then; walking it takes a while, so in a thread."""
    is_due = (now - started).total_seconds() % MEASURE_FOLDER_EVERY_SECS < REDRAW_SECS
    return is_due and await asyncio.to_thread(lambda: folder.is_full)


def _where(settings: Settings, folder: DemoFolder, token: str) -> str:
    """Return where data, logs and Kafka are, and a question to try, at a shell and over HTTP."""
    ask = "SELECT subject, round(power_watts / 1e6, 2) AS megawatts FROM windows WHERE subject_kind = 'site' "
    ask += "ORDER BY window_start DESC LIMIT 4"
    wattline = sys.argv[0] if sys.argv[0].endswith("wattline") else "wattline"
    lines = [
        f"data {folder.path} · logs {folder.path / 'logs'} · truth {folder.path / 'truth.jsonl'}",
        f"Kafka {settings.bootstrap} · metrics http://127.0.0.1:{settings.web_port}/ · Ctrl-C ends it all",
        f'ask: {wattline} sql --lake {settings.lake} "{ask}"',
        f"or: curl -s http://127.0.0.1:{settings.web_port}/api/sql?format=csv -H 'Authorization: Bearer {token}' "
        f"-d 'FROM sites'",
    ]
    return "\n".join(lines)


Draw = Callable[[LiveState, Text, datetime], None]


@contextlib.contextmanager
def _screen() -> Iterator[Draw]:
    """Yield how to draw: over the whole terminal, or as lines where stdout is no terminal."""
    console = Console()
    if not console.is_terminal:
        yield _lines(console)
        return
    with Live(console=console, screen=True, auto_refresh=False, vertical_overflow="crop") as live:
        yield lambda state, foot, now: live.update(_picture(console, state, foot, now), refresh=True)


def _picture(console: Console, state: LiveState, foot: Text, now: datetime) -> RenderableType:
    most = max(1, (console.height - _LINES_AROUND) // 7)
    return Group(summary.picture(state, now, most=most), Text(), foot)


def _lines(console: Console) -> Draw:
    """Return a drawing for logs: each alert's transition once, the sentence now and then."""
    told: set[tuple[str, str, datetime]] = set()
    last = datetime.fromtimestamp(0, UTC)
    console.soft_wrap = True

    def draw(state: LiveState, foot: Text, now: datetime) -> None:
        nonlocal last
        if not told and last.year == 1970:
            console.print(foot)
        for alert in reversed(state.alerts()):
            if alert.fired is not None and alert.identity not in told:
                told.add(alert.identity)
                console.print(summary.alert_line(alert))
        if (now - last).total_seconds() >= PRINT_EVERY_SECS:
            console.print(summary.sentence(state, state.subjects(now), now))
            last = now

    return draw


def _say(sentence: str) -> None:
    click.echo(f"demo: {sentence}", err=True)
