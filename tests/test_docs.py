"""What the docs say is so: targets, verbs, rules, queries and the reference exist as printed."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from broker import ports
from schemas.rules import load_rules
from sinks.sql.connection import connect
from wattline.cli import VERBS
from wattline.reference import PAGE, render

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(language: str) -> list[str]:
    """Return the code blocks of the README in one language."""
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_reference_is_what_the_code_says() -> None:
    assert PAGE.read_text(encoding="utf-8") == render(), "run `make docs`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_targets_verbs_and_links_of_a_page_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    lines = re.findall(r"^([a-z -]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    targets = {target for line in lines for target in line.split()}
    named = {
        target for target in re.findall(r"`?make ([a-z][a-z-]+)", text) if re.search(rf"(`|^)make {target}", text, re.M)
    }
    assert named <= targets
    assert {verb for verb in re.findall(r"\bwattline ([a-z]+)\b", text) if f"`wattline {verb}" in text} <= set(VERBS)
    links = re.findall(r"\]\(([^)#:]+)\)", text)
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_rule_of_the_readme_loads(tmp_path: Path) -> None:
    (rule,) = blocks("toml")
    assert tomllib.loads(rule)["schema_version"] == 1
    (tmp_path / "rules.toml").write_text(rule)
    assert [each.id for each in load_rules(tmp_path / "rules.toml")] == ["rack-over-budget"]


def test_query_of_the_readme_runs(tmp_path: Path) -> None:
    (query,) = blocks("sql")
    assert connect(tmp_path).execute(query).fetchall() == []


@pytest.mark.real
def test_a_reading_sent_with_kcat_is_an_answer_in_sql(tmp_path: Path) -> None:
    """Run the four lines of the README as printed, but for the port, and a slow machine may take its time to write."""
    assert shutil.which("kcat"), "kcat is missing: apt-get install kcat"
    (port,) = ports.free(1)
    lines = next(block for block in blocks("sh") if "kcat" in block)
    assert len(lines.strip().splitlines()) == 4
    program = f"{sys.executable} -m wattline"
    script = lines.replace("127.0.0.1:9092", f"127.0.0.1:{port}").replace(".venv/bin/wattline", program)
    script = script.replace("kafka start", f"kafka start --port {port}")
    asked = script.strip().splitlines()[-1]
    script = script.replace("sleep 15 ", f"until {asked} 2>/dev/null | grep -q my/first; do :; done ")
    environ = {
        **os.environ,
        "XDG_DATA_HOME": str(tmp_path),
        "WATTLINE_BOOTSTRAP": f"127.0.0.1:{port}",
        "PYTHONPATH": str(ROOT),
    }
    said = tmp_path / "said"
    with said.open("wb") as out:  # a file: `run` goes on in the background, as the lines say, and holds it open
        shell = subprocess.Popen(
            ["bash", "-e", "-c", script], cwd=ROOT, env=environ, stdout=out, start_new_session=True
        )
    try:
        assert shell.wait(90) == 0, said.read_text()
        assert re.search(r"my/first/meter\s+4200", said.read_text()), said.read_text()
    finally:
        os.killpg(shell.pid, signal.SIGTERM)
        subprocess.run([*program.split(), "kafka", "stop"], cwd=ROOT, env=environ, check=True, capture_output=True)
