"""Which Java runs Kafka."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from broker import java
from schemas.errors import SetupError


def program(folder: Path, said: str, code: int = 0) -> Path:
    """Write a `java` that says a version and ends with a code."""
    path = folder / "bin" / "java"
    path.parent.mkdir(parents=True)
    path.write_text(f"#!/bin/sh\necho '{said}' >&2\nexit {code}\n")
    path.chmod(0o755)
    return path


def test_java_home_comes_before_the_path_and_an_old_one_is_passed_over(tmp_path):
    old = program(tmp_path / "old", 'openjdk version "11.0.2" 2019-01-15')
    new = program(tmp_path / "new", 'openjdk version "21.0.1" 2023-10-17')
    found = java.find({"JAVA_HOME": os.fspath(old.parent.parent), "PATH": os.fspath(new.parent)})
    assert found == java.Java(new, "21.0.1", "PATH")
    found = java.find({"JAVA_HOME": os.fspath(new.parent.parent), "PATH": os.fspath(old.parent)})
    assert found == java.Java(new, "21.0.1", "JAVA_HOME")


def test_without_any_the_sentence_names_what_was_seen_and_the_fix(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [])  # no wheel either
    old = program(tmp_path / "old", 'java version "1.8.0_202"')
    stub = program(tmp_path / "stub", "The operation couldn't be completed. Unable to locate a Java Runtime.", 1)
    with pytest.raises(SetupError) as refused:
        java.find({"JAVA_HOME": os.fspath(stub.parent.parent), "PATH": os.fspath(old.parent)})
    for words in (
        "Java 17 or newer",
        "JAVA_HOME has no Java that runs",
        "PATH has Java 1.8.0_202",
        "apt-get install",
        "WATTLINE_JAVA",
    ):
        assert words in str(refused.value)
    with pytest.raises(SetupError, match="no java on this machine"):
        java.find({"PATH": ""})


def test_one_named_outright_is_the_only_one_tried(tmp_path):
    with pytest.raises(SetupError, match="WATTLINE_JAVA has no Java that runs"):
        java.find({"WATTLINE_JAVA": os.fspath(tmp_path / "nothing"), "PATH": os.environ["PATH"]})
