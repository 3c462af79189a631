"""Facilities that are published at the same moment by programs that do not know of each other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from broker.embedded import EmbeddedKafka
from broker.facility import publish, read_registry, read_timeline
from schemas.facility import Facility, Hall, Name, RackRange, RackType, Row, Site
from schemas.registry import Registry
from schemas.subject import SubjectKind


def facility(site: str, racks: int) -> Facility:
    kind = RackType(nodes=1, gpus_per_node=0, meters=("a",))
    rows = (Row(id="r1", racks=(RackRange(type="box", first=1, last=racks),)),)
    halls = (Hall(id="h1", rows=rows),)
    return Facility(
        schema_version=1,
        rack_types={"box": kind},
        sites=(Site(id=site, name=Name(en=site), time_zone="UTC", halls=halls),),
    )


def test_four_that_publish_at_once_all_end_with_ids_of_their_own(
    kafka: EmbeddedKafka, new_topic: Callable[..., str]
) -> None:
    async def publish_all(topic: str, racks: int) -> list[Registry]:
        sites = ("ruh", "dmm", "jed", "tuu")
        return await asyncio.gather(*(publish(kafka.bootstrap, facility(site, racks), topic=topic) for site in sites))

    topic = new_topic("facility", cleanup="compact", max_message_bytes=8_388_608)
    asyncio.run(publish_all(topic, 3))
    first = asyncio.run(read_registry(kafka.bootstrap, topic=topic))
    assert len(first.ids(SubjectKind.RACK)) == 12
    asyncio.run(publish_all(topic, 5))
    second = asyncio.run(read_registry(kafka.bootstrap, topic=topic))
    assert len(second.ids(SubjectKind.RACK)) == 20
    assert first.ids(SubjectKind.RACK).items() <= second.ids(SubjectKind.RACK).items()


def test_two_that_publish_the_same_site_at_once_are_two_versions_and_no_id_is_given_twice(
    kafka: EmbeddedKafka, new_topic: Callable[..., str]
) -> None:
    """Fails where the later in the log wins under the same number: the other's new racks lose their ids to its own."""
    topic = new_topic("facility", cleanup="compact", max_message_bytes=8_388_608)
    asyncio.run(publish(kafka.bootstrap, facility("ruh", 2), topic=topic))

    async def publish_both() -> None:
        more = [facility("ruh", 3), renamed(facility("ruh", 3))]
        await asyncio.gather(*(publish(kafka.bootstrap, each, topic=topic) for each in more))

    asyncio.run(publish_both())
    timeline = asyncio.run(read_timeline(kafka.bootstrap, "wall", topic=topic))
    numbers = [each.part.version for each in timeline.versions]
    assert numbers == [1, 2, 3]
    given: dict[int, set[str]] = {}
    for version in timeline.versions:
        for kind, number, path in version.part.frames["structure"].select("kind", "id", "path").rows():
            if kind == SubjectKind.RACK:
                given.setdefault(number, set()).add(path)
    assert {len(paths) for paths in given.values()} == {1}


def renamed(before: Facility) -> Facility:
    """Return the facility with its racks in another row."""
    (site,), (hall,) = before.sites, before.sites[0].halls
    rows = (hall.rows[0].model_copy(update={"id": "r2"}),)
    halls = (hall.model_copy(update={"rows": rows}),)
    return before.model_copy(update={"sites": (site.model_copy(update={"halls": halls}),)})
