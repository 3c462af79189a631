"""Paths: the names of places, devices and meters, `ruh/h1/r04/k17`, checked before they touch anything else."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable
from typing import Annotated

from pydantic import StringConstraints

SEGMENT_PATTERN = r"[a-z0-9][a-z0-9-]{0,31}"
PATH_PATTERN = rf"{SEGMENT_PATTERN}(?:/{SEGMENT_PATTERN}){{0,6}}"
GLOB_PATTERN = r"[a-z0-9*?\[\]!/-]{1,240}"

Segment = Annotated[str, StringConstraints(pattern=rf"^{SEGMENT_PATTERN}$")]
"""One part of a path: lower-case letters, digits and hyphens, at most 32 characters."""

Path = Annotated[str, StringConstraints(pattern=rf"^{PATH_PATTERN}$")]
"""Segments joined by `/`, at most seven."""

Glob = Annotated[str, StringConstraints(pattern=rf"^{GLOB_PATTERN}$")]
"""A path in which `*`, `?` and `[…]` stand for characters of one segment."""

_PATH = re.compile(PATH_PATTERN)


def is_path(text: str) -> bool:
    """Tell whether `text` is an allowed path, so may name a file, a column value or a part of a page."""
    return _PATH.fullmatch(text) is not None


def numbered(prefix: str, number: int) -> str:
    """Return the segment of the `number`-th of its kind: `k07`, `k100`; it never changes when more are added."""
    return f"{prefix}{number:02d}"


def site_of(path: str) -> str:
    """Return the site that a path lies in: its first segment."""
    return path.partition("/")[0]


def matching(glob: str, paths: Iterable[str]) -> list[str]:
    """Return the paths that `glob` matches, in their order; `*` never crosses a `/`."""
    parts = [re.compile(fnmatch.translate(part)) for part in glob.split("/")]
    return [path for path in paths if _matches(parts, path.split("/"))]


def _matches(parts: list[re.Pattern[str]], segments: list[str]) -> bool:
    return len(parts) == len(segments) and all(part.match(text) for part, text in zip(parts, segments, strict=True))
