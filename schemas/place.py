"""Places as JSON carries them: the form of a path, and the id of one that the registry does not know."""

from __future__ import annotations

from typing import Protocol

import xxhash

from schemas.errors import RejectedRecordError
from schemas.paths import SEGMENT_PATTERN, is_path
from schemas.subject import SubjectKind

PLACE_KINDS: dict[str, SubjectKind] = {"rack": SubjectKind.RACK, "node": SubjectKind.NODE, "meter": SubjectKind.METER}
"""The columns that hold the id of a place or device; JSON may give them as a path."""

DEPTH: dict[SubjectKind, tuple[int, str]] = {
    SubjectKind.RACK: (4, "site/hall/row/rack"),
    SubjectKind.NODE: (5, "site/hall/row/rack/node"),
}
"""How many segments the path of a kind has, and what they are; of other kinds any."""


class Places(Protocol):
    """Know the ids of paths; schemas.registry.Registry does."""

    def id_of(self, kind: SubjectKind, path: str) -> int | None:
        """Return the id of a place or device, None where it is not registered."""

    def path_of(self, kind: SubjectKind, subject: int) -> str | None:
        """Return the path of an id, None where it is not registered."""


class NoPlaces:
    """Know no path at all: what decoding works with before any facility is published."""

    def id_of(self, kind: SubjectKind, path: str) -> int | None:
        """Return None."""
        return None

    def path_of(self, kind: SubjectKind, subject: int) -> str | None:
        """Return None."""
        return None


def path_error(kind: SubjectKind, path: str) -> str | None:
    """Say in words what is wrong with the form of `path`, or return None."""
    if not is_path(path):
        return f"is no path: at most 7 segments joined by /, each of the form {SEGMENT_PATTERN}, are allowed"
    depth, form = DEPTH.get(kind, (None, ""))
    if depth is not None and path.count("/") + 1 != depth:
        return f"has {path.count('/') + 1} segments; {form} is asked for"
    return None


def unregistered_id(path: str) -> int:
    """Return the stable negative id of a path that no registry knows: −1 − (xxh32(path) & 0x7ffffffe)."""
    return -1 - (xxhash.xxh32_intdigest(path.encode()) & 0x7FFF_FFFE)


def id_of_place(field: str, kind: SubjectKind, sent: int | str, places: Places) -> tuple[int, str | None]:
    """Return the id of a place sent as id or path, and the path where the registry does not know it.

    Raises RejectedRecordError (`bad_path`) where it can be neither.
    """
    if isinstance(sent, int):
        if not -(2**31) <= sent < 2**31:
            said = f"{field} {str(sent)[:64]} is no id: 32 bits are allowed"
            raise RejectedRecordError("bad_path", said, field=field, value=str(sent)[:64])
        return sent, None
    if wrong := path_error(kind, sent):
        raise RejectedRecordError("bad_path", f"{field} {sent[:200]!r} {wrong}", field=field, value=sent)
    known = places.id_of(kind, sent)
    return (known, None) if known is not None else (unregistered_id(sent), sent)
