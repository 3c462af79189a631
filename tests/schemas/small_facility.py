"""Small facilities that tests of several files are about."""

from __future__ import annotations

from typing import Any

from schemas.facility import Facility

BOX: dict[str, Any] = {
    "vendor": "nvidia",
    "model": "h200",
    "nodes": 2,
    "gpus_per_node": 8,
    "gpu_nameplate_watts": 700.0,
    "nameplate_watts": 24_000.0,
    "budget_watts": 20_000.0,
}


def site(rows: dict[str, Any], name: str = "ruh", **keys: Any) -> dict[str, Any]:
    """Return a site of one hall, h1, whose rows hold the given racks."""
    halls = [{"id": "h1", "rows": [{"id": row, "racks": racks} for row, racks in rows.items()]}]
    return {"id": name, "name": name.upper(), "time_zone": "Asia/Riyadh", "halls": halls} | keys


def facility(*sites: dict[str, Any], **keys: Any) -> Facility:
    """Return a facility of sites, with the rack type `box` unless others are given."""
    return Facility.model_validate({"schema_version": 1, "rack_types": {"box": BOX}, "sites": list(sites)} | keys)


def powered() -> Facility:
    """Return two racks on a pair of feeds, panels of their own and one UPS group; feed B alone is metered."""
    branch = {"rated_amps": 100.0, "voltage_volts": 400.0, "power_factor": 1.0}
    return facility(
        site({"r01": {"type": "box", "first": 1, "last": 2}}, budget_watts=50_000.0, contract_watts=60_000.0),
        utilities=[{"id": "ruh/grid", "rated_watts": 90_000.0}],
        ups_groups=[{"id": "ruh/ups", "fed_by": "ruh/grid", "redundancy": "n+1", "units": 3, "unit_watts": 30_000.0}],
        panels=[{"id": f"ruh/panel-{side}", "fed_by": "ruh/ups"} | branch for side in "ab"],
        feeds=[
            {
                "id": f"ruh/feed-{side}",
                "fed_by": f"ruh/panel-{side}",
                "side": side,
                "twin": f"ruh/feed-{twin}",
                "metered": side == "b",
                "racks": ["ruh/h1/r01/*"],
            }
            | branch
            for side, twin in ("ab", "ba")
        ],
        meters=[{"id": "ruh/grid-meter", "measures": "ruh", "level": "utility"}],
    )
