"""The facility files that come with Wattline: a first one to change, and the simulated campus Halo by scale."""

from __future__ import annotations

from pathlib import Path

FACILITIES = Path(__file__).parent / "facilities"

FIRST = FACILITIES / "first.toml"
"""What `wattline init` writes."""

SCALES: dict[str, str] = {"2MW": "halo-2mw.toml", "35MW": "halo-35mw.toml", "150MW": "halo-150mw.toml"}


def facility_file(scale: str) -> Path:
    """Return the file of the facility at `scale`, one of SCALES."""
    return FACILITIES / SCALES[scale]
