"""The folder of a demo: bounded, gone afterwards, and tidied up after one that was killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from wattline import demo_folder
from wattline.demo_folder import DemoFolder, abandoned

ROOT = Path(__file__).resolve().parents[2]

HOLD = """
import sys
from pathlib import Path
from wattline.demo_folder import DemoFolder
with DemoFolder(keep=False, parent=Path(sys.argv[1])) as folder:
    print(folder.path, flush=True)
    sys.stdin.read()
"""


def holder(parent: Path) -> tuple[subprocess.Popen[str], Path]:
    """Start a process that holds a demo's folder until its stdin closes."""
    command = [sys.executable, "-c", HOLD, str(parent)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_a_folder_is_gone_at_the_end_unless_it_is_to_be_kept(tmp_path: Path) -> None:
    with DemoFolder(keep=False, parent=tmp_path) as gone, DemoFolder(keep=True, parent=tmp_path) as kept:
        assert gone.path != kept.path
    assert list(tmp_path.iterdir()) == [kept.path]
    assert abandoned(tmp_path) == []


def test_the_folder_of_a_killed_demo_is_removed_by_the_next(tmp_path: Path) -> None:
    process, left = holder(tmp_path)
    process.kill()
    process.communicate()
    assert left.is_dir()
    with DemoFolder(keep=False, parent=tmp_path) as next_one:
        assert [path.name for path in tmp_path.iterdir()] == [next_one.path.name]


def test_the_folder_of_a_running_demo_is_left_alone(tmp_path: Path) -> None:
    process, held = holder(tmp_path)
    with DemoFolder(keep=False, parent=tmp_path):
        assert held.is_dir()
    process.communicate("")
    assert process.returncode == 0
    assert not held.exists()


def test_a_full_folder_says_so_before_the_limit(tmp_path: Path) -> None:
    with DemoFolder(keep=False, parent=tmp_path) as folder:
        assert not folder.is_full
        with (folder.path / "big").open("wb") as big:
            os.truncate(big.fileno(), int(demo_folder.LARGEST_BYTES * demo_folder.STOP_AT_FRACTION) + 1)
        assert folder.is_full
