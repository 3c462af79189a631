"""docker-compose.yml says what the tables say, is valid, and listens on this machine only."""

from __future__ import annotations

import asyncio
import base64
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
import yaml

from broker import settings
from broker.admin import partitions
from broker.embedded import EmbeddedKafka
from schemas.topics import TOPICS
from wattline.cli import command as wattline

REPOSITORY = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]
KAFKA = SERVICES["kafka"]["environment"]
# What follows from running in a container and not from the table.
OF_THE_CONTAINER = {
    "CLUSTER_ID", "KAFKA_NODE_ID", "KAFKA_PROCESS_ROLES", "KAFKA_LISTENERS", "KAFKA_ADVERTISED_LISTENERS",
    "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP", "KAFKA_INTER_BROKER_LISTENER_NAME", "KAFKA_CONTROLLER_LISTENER_NAMES",
    "KAFKA_CONTROLLER_QUORUM_VOTERS", "KAFKA_LOG_DIRS", "KAFKA_HEAP_OPTS", "KAFKA_JVM_PERFORMANCE_OPTS",
}  # fmt: skip


def test_the_broker_has_the_settings_of_the_table_and_no_others():
    table = {**settings.BROKER, **settings.replicated(1)}
    expected = {f"KAFKA_{name.upper().replace('.', '_')}": value for name, value in table.items()}
    assert {name: value for name, value in KAFKA.items() if name not in OF_THE_CONTAINER} == expected
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{settings.KAFKA_VERSION}"
    java = [*KAFKA["KAFKA_HEAP_OPTS"].split(), *KAFKA["KAFKA_JVM_PERFORMANCE_OPTS"].split()]
    assert tuple(java) == settings.HEAP
    assert len(base64.urlsafe_b64decode(KAFKA["CLUSTER_ID"] + "==")) == 16


def test_every_published_port_is_bound_to_this_machine():
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


@pytest.mark.parametrize(
    "name", [name for name, service in SERVICES.items() if str(service.get("command")).startswith("wattline ")]
)
def test_every_command_is_one_that_our_command_line_takes(name):
    words = shlex.split(SERVICES[name]["command"])[1:]
    words = [os.fspath(REPOSITORY / "wattline/facilities/first.toml") if w.startswith("/etc/") else w for w in words]
    taken = click.Context(wattline)
    group: click.Command = wattline
    while isinstance(group, click.Group):
        _, group, words = group.resolve_command(taken, words)
    group.make_context(name, words)


def test_every_part_that_run_knows_has_a_service():
    from wattline.parts import PARTS

    assert {name for name, service in SERVICES.items() if " run --only " in str(service.get("command"))} == set(PARTS)


def test_the_command_of_its_topics_service_makes_the_topics_of_the_table(tmp_path):
    words = shlex.split(SERVICES["topics"]["command"])
    assert words[0] == "python"
    with EmbeddedKafka(tmp_path / "kafka", quick_start=True) as kafka:
        argv = [sys.executable, *(kafka.bootstrap if word == "kafka:9092" else word for word in words[1:])]
        subprocess.run(argv, cwd=REPOSITORY, check=True)
        assert asyncio.run(partitions(kafka.bootstrap)) == {topic.name: topic.partitions for topic in TOPICS}


@pytest.mark.real
def test_docker_compose_accepts_the_file():
    if not shutil.which("docker-compose"):
        absent = "docker-compose is absent: `apt-get install --no-install-recommends docker-compose`"
        pytest.fail(absent) if os.environ.get("CI") else pytest.skip(absent)
    accepted = subprocess.run(["docker-compose", "config"], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert accepted.returncode == 0, accepted.stderr
    assert yaml.safe_load(accepted.stdout)["services"].keys() == SERVICES.keys()
