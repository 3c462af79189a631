"""The scraper against real HTTP servers: whole seconds, the dead and the slow, bounds, places of the GPUs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from itertools import pairwise

import polars as pl
import pytest
from aiohttp import web

from schemas.errors import ConfigurationError
from schemas.facility import Facility, Hall, Name, RackRange, RackType, Row, Site
from schemas.gpu import GPU
from schemas.registry import Registry, assign
from schemas.subject import SubjectKind
from sources import targets
from sources.clock import Clock
from sources.scrape import LARGEST_ANSWER_BYTES, TOGETHER_SECS, Scraper
from sources.targets import Target

NODES = 4
Answer = Callable[[web.Request], Awaitable[web.Response]]


def text(watts: float, gpus: int = 2, stamp: str = "") -> str:
    return "".join(f'DCGM_FI_DEV_POWER_USAGE{{gpu="{gpu}"}} {watts + gpu}{stamp}\n' for gpu in range(gpus))


def answering(body: str, after_secs: float = 0.0) -> Answer:
    async def answer(request: web.Request) -> web.Response:
        await asyncio.sleep(after_secs)
        return web.Response(text=body)

    return answer


@pytest.fixture(scope="module")
def registry() -> Registry:
    kind = RackType(
        nodes=2, gpus_per_node=2, nameplate_watts=9000.0, vendor="nvidia", model="h100", gpu_nameplate_watts=700.0
    )
    row = Row(id="r1", racks=(RackRange(type="box", first=1, last=NODES // 2),))
    site = Site(id="ruh", name=Name(en="Riyadh"), time_zone="Asia/Riyadh", halls=(Hall(id="h1", rows=(row,)),))
    return assign(Facility(schema_version=1, rack_types={"box": kind}, sites=(site,)))


def node(number: int) -> str:
    return f"ruh/h1/r1/k{1 + number // 2:02d}/n{1 + number % 2:02d}"


@contextlib.asynccontextmanager
async def exporter(answer: Answer) -> AsyncIterator[str]:
    """Serve one exporter on a free port; give its address."""
    app = web.Application()
    app.router.add_get("/metrics", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    server = web.TCPSite(runner, "127.0.0.1", 0)
    await server.start()
    try:
        yield f"127.0.0.1:{server._server.sockets[0].getsockname()[1]}"
    finally:
        await runner.cleanup()


class Scraped:
    """Keep the frames that were published and the sentences that were said."""

    def __init__(self) -> None:
        self.frames: list[pl.DataFrame] = []
        self.said: list[str] = []
        self.published = asyncio.Event()

    async def publish(self, frame: pl.DataFrame) -> None:
        self.frames.append(frame)
        self.published.set()

    def rows(self) -> pl.DataFrame:
        return pl.concat(self.frames) if self.frames else GPU.empty()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something published or said makes the condition true."""
        while not condition():
            await asyncio.sleep(0.01)


async def scrape(
    registry: Registry, answers: list[Answer], condition: Callable[[Scraped], bool], every_secs: float = 0.1, **more
) -> Scraped:
    """Scrape one exporter an answer until the condition holds, 10 s at most."""
    scraped = Scraped()
    async with contextlib.AsyncExitStack() as stack:
        addresses = [await stack.enter_async_context(exporter(answer)) for answer in answers]
        asked = [Target(address=address, node=node(number)) for number, address in enumerate(addresses)]
        scraper = Scraper(asked, registry, scraped.publish, every_secs=every_secs, say=scraped.said.append, **more)
        running = asyncio.ensure_future(scraper.run())
        try:
            await asyncio.wait_for(scraped.until(lambda: condition(scraped)), 10)
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running
    return scraped


def test_readings_of_many_targets_carry_their_place_and_the_time_of_the_answer(registry: Registry) -> None:
    before = datetime.now(UTC).replace(tzinfo=None)
    answers = [answering(text(100 * number)) for number in range(NODES)]
    scraped = asyncio.run(scrape(registry, answers, lambda it: it.rows()["node"].n_unique() == NODES))
    rows = scraped.rows()
    assert rows.schema == pl.Schema(GPU.polars)
    first = rows.unique(["node", "gpu"], keep="first", maintain_order=True).sort("node", "gpu")
    assert first["power_watts"].to_list() == [0, 1, 100, 101, 200, 201, 300, 301]
    assert first["rack"].to_list() == [registry.id_of(SubjectKind.RACK, node(n)[:-4]) for n in (0, 0, 0, 0, 2, 2, 2, 2)]
    assert first["interval_seconds"].to_list() == pytest.approx([0.1] * 8)
    assert first["vendor"].null_count() == first["model"].null_count() == 0
    assert before <= rows["time"].min() <= rows["time"].max() <= datetime.now(UTC).replace(tzinfo=None)


def test_a_sample_that_brings_its_own_time_keeps_it(registry: Registry) -> None:
    stamped = [answering(text(5, stamp=" 1715874513845"))]
    scraped = asyncio.run(scrape(registry, stamped, lambda it: not it.rows().is_empty()))
    assert {str(time) for time in scraped.rows()["time"]} == {"2024-05-16 15:48:33.845000"}


def test_a_dead_target_is_silence_and_said_once_until_it_answers_again(registry: Registry) -> None:
    alive = False

    async def sometimes(request: web.Request) -> web.Response:
        return web.Response(text=text(50)) if alive else web.Response(status=503)

    def revive(it: Scraped) -> bool:
        nonlocal alive
        alive = alive or it.rows().filter(pl.col("power_watts") < 50).height >= 10
        return any("answers again" in sentence for sentence in it.said)

    scraped = asyncio.run(scrape(registry, [answering(text(10)), sometimes], revive))
    assert [sentence.split(" at ")[0] for sentence in scraped.said] == [node(1), node(1)]
    assert "is silent: HTTP status 503" in scraped.said[0]
    assert scraped.rows().filter(pl.col("power_watts").is_null() | (pl.col("power_watts") == 0)).is_empty()


def test_a_target_that_nobody_listens_at_is_said_and_the_others_go_on(registry: Registry) -> None:
    scraped = Scraped()

    async def run() -> None:
        async with exporter(answering(text(10))) as address:
            asked = [Target(address="127.0.0.1:1", node=node(0)), Target(address=address, node=node(1))]
            scraper = Scraper(asked, registry, scraped.publish, every_secs=0.1, say=scraped.said.append)
            running = asyncio.ensure_future(scraper.run())
            await asyncio.wait_for(scraped.until(lambda: len(scraped.frames) >= 3), 10)
            running.cancel()

    asyncio.run(run())
    assert len(scraped.said) == 1
    assert scraped.said[0].startswith(f"{node(0)} at 127.0.0.1:1 is silent: ")
    assert scraped.rows()["node"].n_unique() == 1


def test_a_slow_target_holds_nobody_up_and_has_one_request_under_way(registry: Registry) -> None:
    under_way = most = 0

    async def slow(request: web.Request) -> web.Response:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.5)
        under_way -= 1
        return web.Response(text=text(90))

    answers = [slow, answering(text(10))]
    scraped = asyncio.run(scrape(registry, answers, lambda it: (it.rows()["power_watts"] >= 90).sum() >= 4))
    counts = scraped.rows().group_by("node").len().sort("len")["len"].to_list()
    assert counts[1] >= 3 * counts[0]
    assert most == 1
    assert scraped.said == []


def test_a_target_slower_than_the_longest_answer_is_silent(registry: Registry) -> None:
    answers = [answering(text(1), after_secs=2.0)]
    scraped = asyncio.run(scrape(registry, answers, lambda it: bool(it.said), timeout_secs=0.2))
    assert "is silent: no answer in time" in scraped.said[0]


@pytest.mark.parametrize(
    ("body", "reason"),
    [("x" * (LARGEST_ANSWER_BYTES + 1), "larger than 4,194,304 bytes"), ("up 1\n", "with no metric of a GPU")],
    ids=["too large", "no GPU in it"],
)
def test_an_answer_that_cannot_be_used_is_said(registry: Registry, body: str, reason: str) -> None:
    scraped = asyncio.run(scrape(registry, [answering(body)], lambda it: bool(it.said)))
    assert reason in scraped.said[0]
    assert scraped.rows().is_empty()


def test_scrapes_fall_on_whole_multiples_and_do_not_drift(registry: Registry) -> None:
    """Every answer takes 0.3 s, and still no second is skipped and none begins late."""
    asked: list[float] = []
    now = 1_000_000.25

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += 0 if seconds == TOGETHER_SECS else seconds
        await asyncio.sleep(0)

    async def note(request: web.Request) -> web.Response:
        nonlocal now
        asked.append(now)
        now += 0.3
        return web.Response(text=text(1))

    clock = Clock(lambda: now, sleep)
    asyncio.run(scrape(registry, [note], lambda it: len(asked) >= 20, every_secs=1.0, clock=clock))
    assert [round(time % 1, 6) for time in asked] == [0.0] * len(asked)
    assert {round(second - first) for first, second in pairwise(asked)} == {1}


def test_sixty_targets_at_once_are_one_frame_of_rows_by_rack(registry: Registry) -> None:
    """As many as 60 nodes answer within a moment; they are parsed and sent together."""
    many = RackType(nodes=30, gpus_per_node=8, nameplate_watts=1.0, gpu_nameplate_watts=1.0, vendor="v", model="m")
    row = Row(id="r1", racks=(RackRange(type="box", first=1, last=2),))
    site = Site(id="ruh", name=Name(en="Riyadh"), time_zone="Asia/Riyadh", halls=(Hall(id="h1", rows=(row,)),))
    large = assign(Facility(schema_version=1, rack_types={"box": many}, sites=(site,)))
    paths = large.nodes["path"].to_list()
    scraped = Scraped()

    async def run() -> None:
        async with exporter(answering(text(10, gpus=8))) as address:
            asked = [Target(address=address, node=path) for path in paths]
            scraper = Scraper(asked, large, scraped.publish, every_secs=0.5, say=scraped.said.append)
            running = asyncio.ensure_future(scraper.run())
            await asyncio.wait_for(scraped.until(lambda: scraped.rows()["node"].n_unique() == 60), 20)
            running.cancel()

    asyncio.run(run())
    assert max(frame.height for frame in scraped.frames) >= 240
    assert all(frame["rack"].is_sorted() for frame in scraped.frames)


def test_targets_come_from_one_file_with_all_errors_at_once(tmp_path) -> None:
    path = tmp_path / "targets.toml"
    path.write_text(f'[[targets]]\naddress = "10.0.0.7:9400"\nnode = "{node(0)}"\nmetrics_path = "/dcgm"\n')
    (target,) = targets.load(path)
    assert (target.url, str(target)) == ("http://10.0.0.7:9400/dcgm", f"{node(0)} at 10.0.0.7:9400")
    path.write_text('[[targets]]\naddress = "10.0.0.7"\nnode = "RUH"\n[[targets]]\nadress = "a:1"\nnode = "ruh"\n')
    with pytest.raises(ConfigurationError) as error:
        targets.load(path)
    assert all(word in str(error.value) for word in ("10.0.0.7", "RUH", "adress"))


@pytest.mark.parametrize("given", ["a:1", "a:1=", "a=ruh/h1", "a:1=Ruh", "a b:1=ruh", "http://a:1=ruh", "a:1:2=ruh"])
def test_a_target_of_another_form_is_refused_with_an_example(given: str) -> None:
    with pytest.raises(ValueError, match="HOST:PORT=NODE_PATH, such as"):
        targets.parse(given)


def test_targets_whose_node_is_unknown_or_given_twice_are_named_all_at_once(registry: Registry) -> None:
    given = [targets.parse(f"a:1={node(0)}"), targets.parse(f"b:1={node(0)}"), targets.parse("c:1=ruh/h1/r1/k01/n07")]
    with pytest.raises(ConfigurationError) as error:
        targets.check(given, registry)
    assert f"node {node(0)} is given 2 times" in str(error.value)
    assert "ruh/h1/r1/k01/n07 at c:1: no such node in the facility in force, did you mean ruh/h1/r1/k01/n0" in str(
        error.value
    )
