"""The facility: sites, halls, rows, racks, meters and the power tree, as one TOML describes them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from schemas import toml
from schemas.findings import Finding, refuse
from schemas.paths import Glob, Path, Segment
from schemas.rule import Rule

Watts = Annotated[float, Field(gt=0, le=1e10, allow_inf_nan=False)]
Fraction = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
Interval = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]
Side = Literal["a", "b"]
Level = Literal["utility", "generator", "ups", "panel", "feed", "rack_input", "shelf", "node", "cooling"]


class Table(BaseModel):
    """Refuse unknown keys and silent conversions in every table of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Name(Table):
    """Name a place for people; a plain string is the English name."""

    en: Annotated[str, Field(min_length=1, max_length=120)]
    ar: Annotated[str, Field(min_length=1, max_length=120)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, value: Any) -> Any:
        return {"en": value} if isinstance(value, str) else value


class RackType(Table):
    """Describe racks that are built alike; GPU keys are needed where `gpus_per_node` is not 0.

    `nameplate_watts` may only be left out where nobody knows it (recorded runs): nothing is absurd then.
    """

    nodes: Annotated[int, Field(ge=0, le=200)]
    gpus_per_node: Annotated[int, Field(ge=0, le=64)]
    nameplate_watts: Watts | None = None
    vendor: str | None = None
    model: str | None = None
    gpu_nameplate_watts: Watts | None = None
    budget_watts: Watts | None = None
    rest_watts: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    meters: Annotated[tuple[Segment, ...], Field(strict=False)] = ("a", "b")
    meter_interval_seconds: Interval = 1.0


class RackRange(Table):
    """Place racks of one type: `first` to `last`, named `prefix` + number, or listed by `ids`."""

    type: Segment
    prefix: Annotated[str, Field(pattern=r"^([a-z0-9][a-z0-9-]{0,19})?$")] = "k"
    first: Annotated[int, Field(ge=0, le=99_999)] | None = None
    last: Annotated[int, Field(ge=0, le=99_999)] | None = None
    ids: Annotated[tuple[Segment, ...], Field(strict=False)] | None = None


class Row(Table):
    """Describe one row of racks."""

    id: Segment
    name: Name | None = None
    budget_watts: Watts | None = None
    racks: Annotated[tuple[RackRange, ...], Field(strict=False)] = ()

    @model_validator(mode="before")
    @classmethod
    def _one_range(cls, value: Any) -> Any:
        if isinstance(value, dict) and isinstance(value.get("racks"), dict):
            return value | {"racks": [value["racks"]]}
        return value


class Hall(Table):
    """Describe one hall."""

    id: Segment
    name: Name | None = None
    budget_watts: Watts | None = None
    rows: Annotated[tuple[Row, ...], Field(strict=False)] = ()


class Site(Table):
    """Describe one site; `contract_watts` is judged by the utility as a mean over `contract_interval_secs`."""

    id: Segment
    name: Name
    time_zone: str
    budget_watts: Watts | None = None
    contract_watts: Watts | None = None
    contract_interval_secs: Literal[900, 1800, 3600] = 1800
    grid_carbon_grams_per_kwh: Annotated[float, Field(ge=0, le=2000)] | None = None
    halls: Annotated[tuple[Hall, ...], Field(strict=False)] = ()


class RackException(Table):
    """Say what differs for one rack, by its path; with `type` it may also add a rack that no range has."""

    type: Segment | None = None
    name: Name | None = None
    nodes: Annotated[int, Field(ge=0, le=200)] | None = None
    nameplate_watts: Watts | None = None
    budget_watts: Watts | None = None
    meters: Annotated[tuple[Segment, ...], Field(strict=False)] | None = None
    absent: bool = False
    note: str | None = None


class Utility(Table):
    """Describe one intake from the grid."""

    id: Path
    rated_watts: Watts | None = None


class UpsGroup(Table):
    """Describe UPS units that work together; of "n+1" one unit may fail, of "2n" the whole twin."""

    id: Path
    fed_by: Path
    redundancy: Literal["n", "n+1", "2n"]
    units: Annotated[int, Field(ge=1, le=64)]
    unit_watts: Watts
    twin: Path | None = None
    metered: bool = False
    meter_interval_seconds: Interval = 1.0


class Branch(Table):
    """Describe a breaker: what it is rated for and what of it a site lets itself use."""

    rated_amps: Annotated[float, Field(gt=0, le=100_000)]
    voltage_volts: Annotated[float, Field(gt=0, le=100_000)]
    phases: Literal[1, 3] = 3
    power_factor: Fraction = 0.95
    usable_fraction: Fraction = 0.8
    curve: Segment | None = None


class Panel(Branch):
    """Describe one panel (switchboard)."""

    id: Path
    fed_by: Path
    metered: bool = False
    meter_interval_seconds: Interval = 1.0


class Feed(Table):
    """Describe one branch to racks; what it does not say itself it takes from its `type`."""

    id: Path
    fed_by: Path
    racks: Annotated[tuple[Glob, ...], Field(strict=False)] = ()
    side: Side = "a"
    twin: Path | None = None
    type: Segment | None = None
    rated_amps: Annotated[float, Field(gt=0, le=100_000)] | None = None
    voltage_volts: Annotated[float, Field(gt=0, le=100_000)] | None = None
    phases: Literal[1, 3] | None = None
    power_factor: Fraction | None = None
    usable_fraction: Fraction | None = None
    curve: Segment | None = None
    metered: bool = False
    meter_interval_seconds: Interval = 1.0


class Meter(Table):
    """Describe one meter and the path it measures."""

    id: Path
    measures: Path
    level: Level
    interval_seconds: Interval = 1.0
    side: Side | None = None


class Facility(Table):
    """Hold the whole file; `include` names further files that may only hold `[racks."path"]` tables."""

    schema_version: Literal[1]
    include: Annotated[tuple[str, ...], Field(strict=False)] = ()
    rack_types: dict[Segment, RackType] = {}
    feed_types: dict[Segment, Branch] = {}
    sites: Annotated[tuple[Site, ...], Field(strict=False)]
    racks: dict[Path, RackException] = {}
    utilities: Annotated[tuple[Utility, ...], Field(strict=False)] = ()
    ups_groups: Annotated[tuple[UpsGroup, ...], Field(strict=False)] = ()
    panels: Annotated[tuple[Panel, ...], Field(strict=False)] = ()
    feeds: Annotated[tuple[Feed, ...], Field(strict=False)] = ()
    meters: Annotated[tuple[Meter, ...], Field(strict=False)] = ()
    rules: Annotated[tuple[Rule, ...], Field(strict=False)] = ()


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
