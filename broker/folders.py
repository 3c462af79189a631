"""Where Wattline keeps what it fetches and what it writes for one user (XDG folders)."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return the folder of fetched parts, shared by all checkouts: `$XDG_CACHE_HOME/wattline`."""
    return _xdg("XDG_CACHE_HOME", ".cache")


def user_folder() -> Path:
    """Return the folder of what is kept between runs: `$XDG_DATA_HOME/wattline`."""
    return _xdg("XDG_DATA_HOME", ".local/share")


def state_folder() -> Path:
    """Return the folder of what is remembered of a person's work, as a shell's history: `$XDG_STATE_HOME/wattline`."""
    return _xdg("XDG_STATE_HOME", ".local/state")


def _xdg(variable: str, default: str) -> Path:
    # The XDG specification tells to ignore a relative path in these variables.
    chosen = os.environ.get(variable, "")
    root = Path(chosen) if Path(chosen).is_absolute() else Path.home() / default
    return root / "wattline"
