"""What of the campus a terminal shows, and how keys change it."""

from __future__ import annotations

from dataclasses import dataclass

KEYS = "f next kind · a all kinds · j k one down, up · space b a page · g G first, last · q end"


@dataclass(frozen=True)
class View:
    """Say what is shown: some of every kind (`kind` None), or one kind from row `first` on."""

    kind: str | None = None
    first: int = 0


def after(view: View, key: str, counts: dict[str, int], page: int) -> View | None:
    """Return the view after a key, None where it ends the watch; an unknown key changes nothing. Pure.

    `counts` is the number of subjects by kind, in the order in which `f` walks through them.
    """
    if key == "q":
        return None
    if key == "a":
        return View()
    if key == "f":
        return View(_next(view.kind, list(counts)))
    if view.kind is None:
        return view
    last = max(counts.get(view.kind, 0) - page, 0)
    moved = {
        "j": view.first + 1,
        "k": view.first - 1,
        " ": view.first + page,
        "b": view.first - page,
        "g": 0,
        "G": last,
    }
    return View(view.kind, min(max(moved.get(key, view.first), 0), last))


def _next(kind: str | None, kinds: list[str]) -> str | None:
    """Return the kind after `kind`; after the last comes all of them."""
    at = kinds.index(kind) + 1 if kind in kinds else 0
    return kinds[at] if at < len(kinds) else None
