"""Paths: the names of places, devices and meters, `ruh/h1/r04/k17`, checked before they touch anything else."""

from __future__ import annotations

import fnmatch
import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Annotated

from pydantic import StringConstraints

SEGMENT_PATTERN = r"[a-z0-9][a-z0-9-]{0,31}"
PATH_PATTERN = rf"{SEGMENT_PATTERN}(?:/{SEGMENT_PATTERN}){{0,6}}"
CANARY_SITE = "canary"
"""The site that no facility may have: that of the canary (schemas.canary)."""
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


def parent_of(path: str) -> str:
    """Return the path without its last segment; "" of a single one."""
    return path.rpartition("/")[0]


def site_of(path: str) -> str:
    """Return the site that a path lies in: its first segment."""
    return path.partition("/")[0]


class PathIndex:
    """Find the paths that a glob matches; looks only below the parents that match, so 200 globs are cheap."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._children: defaultdict[str, list[str]] = defaultdict(list)
        for path in paths:
            self._children[parent_of(path)].append(path)

    def matching(self, glob: str) -> list[str]:
        """Return the paths that `glob` matches, by parent in the order given; `*` never crosses a `/`."""
        above, _, last = glob.rpartition("/")
        parent_glob = _Glob(above)
        name = re.compile(fnmatch.translate(last))
        return [
            path
            for parent, paths in self._children.items()
            if parent_glob.matches(parent)
            for path in paths
            if name.match(path.rpartition("/")[2])
        ]


class _Glob:
    def __init__(self, text: str) -> None:
        self._parts = [re.compile(fnmatch.translate(part)) for part in text.split("/")]

    def matches(self, path: str) -> bool:
        segments = path.split("/")
        if len(segments) != len(self._parts):
            return False
        return all(part.match(segment) for part, segment in zip(self._parts, segments, strict=True))
