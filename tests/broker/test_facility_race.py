"""Facilities that are published at the same moment by programs that do not know of each other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from broker.embedded import EmbeddedKafka
from broker.facility import publish, read_registry
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
