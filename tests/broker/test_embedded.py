"""Kafka itself, started by us."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from broker.admin import create_topics, partitions
from schemas.errors import ConfigurationError
from schemas.topics import BY_NAME, TOPICS


def test_the_products_topics_are_made_as_the_table_says(fresh_kafka):
    asyncio.run(create_topics(fresh_kafka.bootstrap))
    assert asyncio.run(partitions(fresh_kafka.bootstrap)) == {topic.name: topic.partitions for topic in TOPICS}
    for change, words in (({"partitions": 2}, "partitions = 4"), ({"cleanup": "compact"}, "cleanup.policy = delete")):
        other = replace(BY_NAME["telemetry.power.v1"], **change)
        with pytest.raises(ConfigurationError, match=words):
            asyncio.run(create_topics(fresh_kafka.bootstrap, topics=[other]))
