"""The scales of the simulated campus Halo: the facility files that come with Wattline."""

from __future__ import annotations

from pathlib import Path

SCALES: dict[str, str] = {"2MW": "halo-2mw.toml", "35MW": "halo-35mw.toml", "150MW": "halo-150mw.toml"}


def facility_file(scale: str) -> Path:
    """Return the file of the facility at `scale`, one of SCALES."""
    return Path(__file__).parent / "facilities" / SCALES[scale]
