"""Kafka's jars: 46, whole, and the ones that were listed."""

from __future__ import annotations

import functools
import http.server
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker import jars
from schemas.errors import SetupError, UnavailableError

ONE = next(jar for jar in jars.listed() if jar.artifact == "slf4j-api")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Return a cache of the jars by links, so that a test can damage one without harm to the others."""
    folder = tmp_path / "jars"
    folder.mkdir()
    for path in jars.verified():
        (folder / path.name).symlink_to(path)
    return folder


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Serve a folder as a Maven repository and name it in WATTLINE_MAVEN_MIRROR; it holds one jar, ONE."""
    repository = tmp_path / "repository"
    jar = repository / ONE.group.replace(".", "/") / ONE.artifact / ONE.version / ONE.file_name
    jar.parent.mkdir(parents=True)
    shutil.copyfile(jars.folder() / ONE.file_name, jar)
    quiet = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(quiet, directory=repository)) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setenv("WATTLINE_MAVEN_MIRROR", f"http://127.0.0.1:{server.server_port}/")
        yield jar
        server.shutdown()


def replace(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)


def test_the_list_names_46_exact_jars_of_one_kafka():
    listed = jars.listed()
    assert len({jar.file_name for jar in listed}) == len(listed) == 46
    assert {jar.version for jar in listed if jar.group == "org.apache.kafka"} == {"4.3.1"}


def test_a_flipped_byte_is_refused_before_a_start(cache):
    content = bytearray((cache / ONE.file_name).read_bytes())
    content[len(content) // 2] ^= 1
    replace(cache / ONE.file_name, bytes(content))
    with pytest.raises(SetupError, match=rf"{ONE.file_name} is damaged: its SHA-256 is .*1 of 46.*make setup"):
        jars.verified(cache)


def test_a_half_fetched_and_a_missing_jar_are_told_apart(cache):
    replace(cache / ONE.file_name, (cache / ONE.file_name).read_bytes()[:1000])
    with pytest.raises(SetupError, match=r"has 1,000 bytes, listed are 41,125"):
        jars.verified(cache)
    (cache / ONE.file_name).unlink()
    with pytest.raises(SetupError, match=rf"{ONE.file_name} is missing in {cache}"):
        jars.verified(cache)


def test_only_what_is_missing_or_damaged_is_fetched(cache, mirror):
    replace(cache / ONE.file_name, b"half")
    lines: list[str] = []
    assert jars.fetch(cache, lines.append) == 1
    assert lines == ["1/1 jars, 0 of 0 MB"]
    assert len(jars.verified(cache)) == 46
    assert not list(cache.glob(".fetch-*"))
    assert jars.fetch(cache) == 0


def test_what_a_mirror_changed_is_refused_and_the_cache_stays_as_it_was(cache, mirror):
    mirror.write_bytes(mirror.read_bytes() + b"\0")
    (cache / ONE.file_name).unlink()
    with pytest.raises(SetupError, match=rf"{ONE.coordinate} was fetched with SHA-256 .*refused"):
        jars.fetch(cache)
    assert [jar.artifact for jar in jars.needed(cache)] == [ONE.artifact]
    assert not list(cache.glob(".fetch-*"))


def test_a_mirror_without_the_jar_is_named(cache, mirror):
    mirror.unlink()
    (cache / ONE.file_name).unlink()
    with pytest.raises(UnavailableError, match=rf"{ONE.coordinate} could not be fetched from http://127.*in 3 tries"):
        jars.fetch(cache)


SETTINGS = """<settings xmlns="http://maven.apache.org/SETTINGS/1.2.0"><mirrors>
<mirror><id>x</id><url>https://other.example/</url><mirrorOf>snapshots</mirrorOf></mirror>
<mirror><id>y</id><url>https://mirror.example/maven/</url><mirrorOf>{of}</mirrorOf></mirror></mirrors></settings>"""


@pytest.mark.parametrize(
    ("of", "mirror"),
    [
        ("central", "https://mirror.example/maven"),
        ("*", "https://mirror.example/maven"),
        ("*,!central", None),
        ("x", None),
    ],
)
def test_the_mirror_of_the_users_maven_settings_is_used(tmp_path, monkeypatch, of, mirror):
    (tmp_path / ".m2").mkdir()
    (tmp_path / ".m2" / "settings.xml").write_text(SETTINGS.format(of=of))
    monkeypatch.setenv("HOME", os.fspath(tmp_path))
    monkeypatch.delenv("WATTLINE_MAVEN_MIRROR", raising=False)
    assert jars._repository() == mirror
