"""The check of a table's Delta log before it is opened: what a loss of power may have damaged.

A commit file of no length reads as an empty commit, and one torn at the end of a line opens quietly:
rows vanish while the position stays ahead (traps.md 33). So the newest checkpoint that can be read is
taken as it is, and every later entry is parsed and its actions are counted against the numbers that
our commits carry. From the first damaged entry on the log is set aside: the positions fall back with
it, and Kafka refills. The caller holds the lake's lock alone.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import DataLossError
from sinks.lake.durable import make_folder, sync_folder
from sinks.lake.ledger import COUNTS, LOG

_ENTRY = re.compile(r"\d{20}\.json")
_CHECKPOINT = re.compile(r"(\d{20})\.checkpoint\.parquet")
SET_ASIDE = "_set_aside"
"""The folder in a table where damaged parts of its log are kept for a person to look at."""


def check_log(folder: Path) -> list[str]:
    """Set damaged parts of the log in `folder` (of one table) aside; return a sentence for each thing done.

    Raises DataLossError where the first entry is damaged and later ones exist: they say nothing without it.
    """
    log = folder / LOG
    if not log.is_dir():
        return []
    checkpoint, done = _newest_readable_checkpoint(folder)
    done += _drop_dangling_pointer(folder, checkpoint)
    entries = sorted(path for path in log.iterdir() if _ENTRY.fullmatch(path.name))
    later = [path for path in entries if _version(path) > checkpoint]
    for path, expected in zip(later, _versions_after(checkpoint), strict=False):
        damage = f"entry {expected} is missing" if _version(path) != expected else entry_damage(path)
        if damage:
            return [*done, _cut(folder, expected, later[later.index(path) :], damage)]
    return done


def log_damage(folder: Path) -> str | None:
    """Say what is wrong with the entries after a table's newest checkpoint, or None; nothing is changed.

    An entry that a loss of power emptied reads as one that does nothing: files that it added look unused.
    """
    log = folder / LOG
    checkpoints = (_CHECKPOINT.fullmatch(path.name) for path in log.glob("*.checkpoint.parquet"))
    newest = max((int(match[1]) for match in checkpoints if match), default=-1)
    entries = sorted(path for path in log.glob("*.json") if _ENTRY.fullmatch(path.name) and _version(path) > newest)
    for path, expected in zip(entries, _versions_after(newest), strict=False):
        if damage := f"entry {expected} is missing" if _version(path) != expected else entry_damage(path):
            return damage
    return None


def entry_damage(path: Path) -> str | None:
    """Say what is wrong with one log entry, or None: unreadable lines, or other counts than it claims."""
    try:
        actions = [json.loads(line) for line in path.read_bytes().split(b"\n") if line]
    except ValueError:
        return f"{path.name} has a line that is not JSON"
    if not actions or not all(isinstance(action, dict) for action in actions):
        return f"{path.name} has no actions"
    found = Counter(kind for action in actions for kind in action)
    words: dict[str, Any] = next((action["commitInfo"] for action in actions if "commitInfo" in action), {})
    return _wrong_counts(path.name, found, words.get(COUNTS)) or _incomplete_start(path, found)


def _wrong_counts(name: str, found: Counter[str], claimed: dict[str, Any] | None) -> str | None:
    if claimed is None:  # a commit that another engine made
        return None
    for kind, number in claimed.items():
        if found[kind] != number:
            return f"{name} has {found[kind]} of {number} {kind} actions"
    return None


def _incomplete_start(path: Path, found: Counter[str]) -> str | None:
    if _version(path) == 0 and not (found["protocol"] and found["metaData"]):
        return f"{path.name} does not say what the table is"
    return None


def _newest_readable_checkpoint(folder: Path) -> tuple[int, list[str]]:
    """Return the version of the newest checkpoint that can be read whole, or -1; set newer ones aside."""
    done = []
    for path in sorted((folder / LOG).glob("*.checkpoint.parquet"), reverse=True):
        match = _CHECKPOINT.fullmatch(path.name)
        if match is None:
            continue
        try:
            pq.read_table(path, page_checksum_verification=True)
        except (OSError, pa.ArrowException) as error:
            done.append(f"{folder}: checkpoint {path.name} cannot be read ({error}); set aside")
            _set_aside(folder, [path])
        else:
            return int(match[1]), done
    return -1, done


def _drop_dangling_pointer(folder: Path, checkpoint: int) -> list[str]:
    """Set `_last_checkpoint` aside where it names another checkpoint than the newest readable one."""
    pointer = folder / LOG / "_last_checkpoint"
    if not pointer.exists():
        return []
    try:
        named = json.loads(pointer.read_bytes()).get("version")
    except (ValueError, AttributeError):
        named = None
    if named == checkpoint:
        return []
    _set_aside(folder, [pointer])
    return [f"{folder}: _last_checkpoint names {named}, the newest readable is {checkpoint}; set aside"]


def _cut(folder: Path, version: int, tail: list[Path], damage: str) -> str:
    if version == 0 and _version(tail[-1]) > 0:
        raise DataLossError(
            f"{folder}: {damage}, and there is no checkpoint: the later entries cannot be read without it, so what the "
            "table holds is not known. Restore the folder from a copy, or move it away to refill what Kafka still has."
        )
    _set_aside(folder, tail)
    return f"{folder}: {damage}; versions from {version} on are set aside and refilled from Kafka"


def _set_aside(folder: Path, paths: list[Path]) -> None:
    """Move log files, last first, so that a stop in between never leaves a hole before a later entry."""
    aside = folder / SET_ASIDE
    make_folder(aside)
    for path in reversed(paths):
        path.rename(aside / _free_name(aside, path.name))
    sync_folder(aside)
    sync_folder(folder / LOG)


def _free_name(folder: Path, name: str) -> str:
    number = 0
    while (folder / f"{name}.{number}").exists():
        number += 1
    return f"{name}.{number}"


def _version(entry: Path) -> int:
    return int(entry.name[:20])


def _versions_after(version: int) -> Iterator[int]:
    while True:
        version += 1
        yield version
