"""The facility of the simulation's tests: two sites, three kinds of racks, feeds in A/B pairs, everything metered."""

from __future__ import annotations

from pathlib import Path

from schemas.facility import load
from schemas.registry import Registry, assign

_HEAD = """\
schema_version = 1
[rack_types.nvl]
nodes = 18
gpus_per_node = 4
vendor = "nvidia"
model = "gb200"
gpu_nameplate_watts = 1200.0
nameplate_watts = 132000.0
budget_watts = 125000.0
[rack_types.amd]
nodes = 8
gpus_per_node = 8
vendor = "amd"
model = "mi355x"
gpu_nameplate_watts = 1400.0
nameplate_watts = 140000.0
budget_watts = 130000.0
[rack_types.box]
nodes = 4
gpus_per_node = 8
vendor = "nvidia"
model = "h200"
gpu_nameplate_watts = 700.0
nameplate_watts = 42000.0
budget_watts = 40000.0
"""

_SITE = """\
[[sites]]
id = "{site}"
name = {{ en = "{site}" }}
time_zone = "{zone}"
[[sites.halls]]
id = "h1"
[[sites.halls.rows]]
id = "r1"
racks = {{ type = "nvl", first = 1, last = 3 }}
[[sites.halls.rows]]
id = "r2"
racks = {{ type = "amd", first = 1, last = 2 }}
[[sites.halls.rows]]
id = "r3"
racks = {{ type = "box", first = 1, last = 4 }}
"""

_POWER = """\
[[utilities]]
id = "{site}/grid"
rated_watts = 5000000.0
[[meters]]
id = "{site}/grid/m"
measures = "{site}"
level = "utility"
[[ups_groups]]
id = "{site}/ups-{side}"
fed_by = "{site}/grid"
redundancy = "n+1"
units = 3
unit_watts = 1000000.0
metered = true
[[panels]]
id = "{site}/panel-{side}"
fed_by = "{site}/ups-{side}"
rated_amps = 4000.0
voltage_volts = 415.0
metered = true
"""

_FEED = """\
[[feeds]]
id = "{site}/{row}-{side}"
fed_by = "{site}/panel-{side}"
twin = "{site}/{row}-{twin}"
side = "{side}"
rated_amps = {amps}
voltage_volts = 415.0
racks = ["{site}/h1/{row}/*"]
metered = true
"""


def toml(*, power: bool = True) -> str:
    """Return the whole file, or only places where there shall be no power tree."""
    sites = {"ruh": "Asia/Riyadh", "lax": "America/Los_Angeles"}
    parts = [_HEAD, *(_SITE.format(site=site, zone=zone) for site, zone in sites.items())]
    rows = (("r1", 620.0), ("r2", 800.0), ("r3", 400.0))
    for site in sites if power else ():
        grid, _, rest = _POWER.partition("[[ups_groups]]")
        parts.append(grid.format(site=site))
        for side, twin in (("a", "b"), ("b", "a")):
            parts.append(("[[ups_groups]]" + rest).format(site=site, side=side))
            parts += [_FEED.format(site=site, side=side, twin=twin, row=row, amps=amps) for row, amps in rows]
    return "\n".join(parts)


def registry(folder: Path, *, power: bool = True, more: str = "") -> Registry:
    """Return the registry of that facility with `more` TOML at its end, read from a file in `folder`."""
    file = folder / "facility.toml"
    file.write_text(toml(power=power) + more, encoding="utf-8")
    return assign(load(file))
