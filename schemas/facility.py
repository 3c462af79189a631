"""The facility: one TOML, with what it includes, read and held against its tables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path as FilePath
from typing import Any

from schemas import toml
from schemas.facility_tables import (
    Branch,
    Facility,
    Feed,
    Hall,
    Level,
    Meter,
    Name,
    Panel,
    RackException,
    RackRange,
    RackType,
    Row,
    Side,
    Site,
    Table,
    UpsGroup,
    Utility,
)
from schemas.findings import Finding, refuse

__all__ = [
    "Branch",
    "Facility",
    "Feed",
    "Hall",
    "Level",
    "Meter",
    "Name",
    "Panel",
    "RackException",
    "RackRange",
    "RackType",
    "Row",
    "Side",
    "Site",
    "Table",
    "UpsGroup",
    "Utility",
    "load",
    "read",
]


def load(path: FilePath) -> Facility:
    """Read a facility and everything it includes; raise ConfigurationError with all errors at once."""
    facility, findings = read(path)
    refuse(findings)
    assert facility is not None  # read() returns None only beside an error
    return facility


def read(path: FilePath) -> tuple[Facility | None, list[Finding]]:
    """Read a facility and return it with every error found; None where too much is wrong to go on.

    Raises ConfigurationError where the file itself cannot be read as TOML.
    """
    from schemas import references  # it needs the models above

    raw = toml.read(path)
    included, findings = _included(path, raw)
    facility, wrong = toml.validate(Facility, _with_racks(raw, included), str(path))
    findings += [_in_its_file(finding, included, path) for finding in wrong]
    findings += toml.duplicates(raw, "rules", str(path))
    if facility is not None:
        between = references.errors(facility, str(path))
        findings += [_in_its_file(finding, included, path) for finding in between]
    return facility, findings


def _included(path: FilePath, raw: dict[str, Any]) -> tuple[dict[str, tuple[FilePath, Any]], list[Finding]]:
    """Return the racks of every included file by their path, with the file, and what is wrong with the files."""
    racks: dict[str, tuple[FilePath, Any]] = {}
    findings: list[Finding] = []
    own = raw.get("racks") if isinstance(raw.get("racks"), dict) else {}
    for pattern in _patterns(raw):
        files = sorted(path.parent.glob(pattern))
        if not files:
            message = f"{pattern!r} matches no file beside {path.name}"
            findings.append(Finding("error", "unknown-reference", str(path), "include", message))
        for file in files:
            held = toml.read(file)
            for key in held.keys() - {"racks"}:
                message = f'unknown key {key[:80]!r}; an included file may only hold [racks."path"] tables'
                findings.append(Finding("error", "unknown-key", str(file), key, message))
            for name, rack in dict(held.get("racks", {})).items():
                if name in racks or name in (own or {}):
                    message = f"the rack {name!r} is described in {racks[name][0] if name in racks else path} too"
                    findings.append(Finding("error", "duplicate", str(file), f'racks."{name}"', message))
                racks.setdefault(name, (file, rack))
    return racks, findings


def _patterns(raw: dict[str, Any]) -> list[str]:
    include = raw.get("include")
    patterns = include if isinstance(include, list) else []
    return [one for one in patterns if isinstance(one, str) and one and not one.startswith("/")]


def _with_racks(raw: dict[str, Any], included: dict[str, tuple[FilePath, Any]]) -> dict[str, Any]:
    own = raw.get("racks", {})
    if not included or not isinstance(own, dict):
        return raw
    return raw | {"racks": {name: rack for name, (_, rack) in included.items()} | own}


def _in_its_file(finding: Finding, included: dict[str, tuple[FilePath, Any]], path: FilePath) -> Finding:
    """Name the included file where a finding is about a rack that was read from it."""
    for name, (file, _) in included.items():
        if finding.where.startswith(f'racks."{name}"'):
            return replace(finding, file=str(file))
    return finding
