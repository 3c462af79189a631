"""The tables of a facility file: each key with its unit, what it means and what it may be.

The line under a key is its description in docs/reference.md too.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from schemas.paths import Glob, Path, Segment
from schemas.rule import Rule

Watts = Annotated[float, Field(gt=0, le=1e10, allow_inf_nan=False)]
Amps = Annotated[float, Field(gt=0, le=100_000, allow_inf_nan=False)]
Volts = Annotated[float, Field(gt=0, le=100_000, allow_inf_nan=False)]
Fraction = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
Interval = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]
Number = Annotated[int, Field(ge=0, le=99_999)]
Nodes = Annotated[int, Field(ge=0, le=200)]
Words = Annotated[str, Field(min_length=1, max_length=120)]
Segments = Annotated[tuple[Segment, ...], Field(strict=False)]
Side = Literal["a", "b"]
Level = Literal["utility", "generator", "ups", "panel", "feed", "rack_input", "shelf", "node", "cooling"]


class Table(BaseModel):
    """Refuse unknown keys and silent conversions in every table of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Name(Table):
    """Name a place for people; a plain string is the English name."""

    en: Words
    """English name."""
    ar: Words | None = None
    """Arabic name."""

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, value: Any) -> Any:
        return {"en": value} if isinstance(value, str) else value


class RackType(Table):
    """Describe racks that are built alike."""

    nodes: Nodes
    """Nodes in a rack, named n01, n02, …"""
    gpus_per_node: Annotated[int, Field(ge=0, le=64)]
    """GPUs in a node, numbered from 0."""
    nameplate_watts: Watts | None = None
    """What a rack cannot exceed; left out only where nobody knows it (recorded runs): nothing is absurd then."""
    vendor: Words | None = None
    """Who makes the GPUs; needed where gpus_per_node is not 0."""
    model: Words | None = None
    """Which GPUs they are; needed where gpus_per_node is not 0."""
    gpu_nameplate_watts: Watts | None = None
    """What one GPU cannot exceed; needed where gpus_per_node is not 0."""
    budget_watts: Watts | None = None
    """What was agreed for each of these racks."""
    rest_watts: Annotated[float, Field(ge=0, le=1e10, allow_inf_nan=False)] | None = None
    """What a rack draws beside its GPUs at full load: hosts, switches, fans; for estimates."""
    meters: Segments = ("a", "b")
    """Its rack_input meters by name; "a" and "b" are its two sides; [] = it has none."""
    meter_interval_seconds: Interval = 1.0
    """How often these meters report."""


class RackRange(Table):
    """Place racks of one type in a row: first to last, or by name."""

    type: Segment
    """One of rack_types."""
    prefix: Annotated[str, Field(pattern=r"^([a-z0-9][a-z0-9-]{0,19})?$")] = "k"
    """What stands before the number: k01, k02, …, k100."""
    first: Number | None = None
    """Number of the first rack."""
    last: Number | None = None
    """Number of the last rack, which belongs to the range."""
    ids: Segments | None = None
    """Names instead of numbers."""


class Row(Table):
    """Describe one row of racks."""

    id: Segment
    """Last part of its path."""
    name: Name | None = None
    """Name for people; its id where there is none."""
    budget_watts: Watts | None = None
    """What was agreed for its racks together."""
    racks: Annotated[tuple[RackRange, ...], Field(strict=False)] = ()
    """One range of racks, or a list of ranges."""

    @model_validator(mode="before")
    @classmethod
    def _one_range(cls, value: Any) -> Any:
        if isinstance(value, dict) and isinstance(value.get("racks"), dict):
            return value | {"racks": [value["racks"]]}
        return value


class Hall(Table):
    """Describe one hall."""

    id: Segment
    """Last part of its path."""
    name: Name | None = None
    """Name for people; its id where there is none."""
    budget_watts: Watts | None = None
    """What was agreed for its racks together."""
    rows: Annotated[tuple[Row, ...], Field(strict=False)] = ()
    """Its rows."""


class Site(Table):
    """Describe one site."""

    id: Segment
    """Its path; every path of the site begins with it."""
    name: Name
    """Name for people."""
    time_zone: str
    """Such as Asia/Riyadh; for display, times are UTC inside."""
    budget_watts: Watts | None = None
    """What was agreed for the whole site, cooling and all."""
    contract_watts: Watts | None = None
    """What the utility supplies, judged as a mean over contract_interval_secs."""
    contract_interval_secs: Literal[900, 1800, 3600] = 1800
    """The utility's interval."""
    grid_carbon_grams_per_kwh: Annotated[float, Field(ge=0, le=2000, allow_inf_nan=False)] | None = None
    """CO₂ of the grid's electricity."""
    halls: Annotated[tuple[Hall, ...], Field(strict=False)] = ()
    """Its halls."""


class RackException(Table):
    """Say what differs for the rack of this path; with `type` it may add a rack that no range has."""

    type: Segment | None = None
    """Another of rack_types; needed for a rack that no range has."""
    name: Name | None = None
    """Name for people."""
    nodes: Nodes | None = None
    """Another number of nodes."""
    nameplate_watts: Watts | None = None
    """Another nameplate."""
    budget_watts: Watts | None = None
    """Another budget."""
    meters: Segments | None = None
    """Other meters."""
    absent: bool = False
    """True takes the rack out of its range."""
    note: str | None = None
    """Why, for people."""


class Utility(Table):
    """Describe one intake from the grid."""

    id: Path
    """Its path, such as ruh/grid-a."""
    rated_watts: Watts | None = None
    """What the intake may carry."""


class UpsGroup(Table):
    """Describe UPS units that work together."""

    id: Path
    """Its path."""
    fed_by: Path
    """A utility."""
    redundancy: Literal["n", "n+1", "2n"]
    """n: all units are needed; n+1: one may fail; 2n: the twin carries all."""
    units: Annotated[int, Field(ge=1, le=64)]
    """Number of units, the spare one too."""
    unit_watts: Watts
    """What one unit may carry."""
    twin: Path | None = None
    """The group of the other side."""
    metered: bool = False
    """True: it has a meter, whose path is its own and /m."""
    meter_interval_seconds: Interval = 1.0
    """How often that meter reports."""


class Branch(Table):
    """Describe a breaker: what it is rated for and what of it a site lets itself use."""

    rated_amps: Amps
    """Rating of the breaker, a phase."""
    voltage_volts: Volts
    """Between phases; to neutral where phases = 1."""
    phases: Literal[1, 3] = 3
    """Number of phases."""
    power_factor: Fraction = 0.95
    """Turns amps into watts where only one of the two is known."""
    usable_fraction: Fraction = 0.8
    """The share of the rating that the site lets itself use: its own rule, not physics."""
    curve: Segment | None = None
    """Name of the tripping curve."""


class Panel(Branch):
    """Describe one panel (switchboard)."""

    id: Path
    """Its path."""
    fed_by: Path
    """A UPS group or a utility."""
    metered: bool = False
    """True: it has a meter, whose path is its own and /m."""
    meter_interval_seconds: Interval = 1.0
    """How often that meter reports."""


class Feed(Table):
    """Describe one branch to racks; what it does not say itself it takes from its `type`."""

    id: Path
    """Its path, such as ruh/h1/r01-busway-a."""
    fed_by: Path
    """A panel."""
    racks: Annotated[tuple[Glob, ...], Field(strict=False)] = ()
    """Globs of the racks that hang on it; * stays within one part of a path."""
    side: Side = "a"
    """Which input of those racks."""
    twin: Path | None = None
    """The feed of the other side."""
    type: Segment | None = None
    """One of feed_types."""
    rated_amps: Amps | None = None
    """Rating of the breaker, a phase."""
    voltage_volts: Volts | None = None
    """Between phases; to neutral where phases = 1."""
    phases: Literal[1, 3] | None = None
    """Number of phases."""
    power_factor: Fraction | None = None
    """Turns amps into watts where only one of the two is known."""
    usable_fraction: Fraction | None = None
    """The share of the rating that the site lets itself use."""
    curve: Segment | None = None
    """Name of the tripping curve."""
    metered: bool = False
    """True: it has a meter, whose path is its own and /m."""
    meter_interval_seconds: Interval = 1.0
    """How often that meter reports."""


class Meter(Table):
    """Describe one meter that no type implies."""

    id: Path
    """Its path, which is what its readings carry."""
    measures: Path
    """What it measures; of a kind that fits its level."""
    level: Level
    """Where it sits: utility measures one or its site, generator a site, cooling a site or hall, others their kind."""
    interval_seconds: Interval = 1.0
    """How often it reports; a reading is held for three of these."""
    side: Side | None = None
    """Of a rack_input: the side whose feed it hangs on."""


class Facility(Table):
    """Hold the whole file."""

    schema_version: Literal[1]
    """Version of this format."""
    include: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Globs of further files, beside this one, that may only hold [racks."path"] tables."""
    rack_types: dict[Segment, RackType] = {}
    """Racks that are built alike, by name."""
    feed_types: dict[Segment, Branch] = {}
    """Breakers that are alike, by name."""
    sites: Annotated[tuple[Site, ...], Field(strict=False)]
    """Sites with their halls, rows and racks."""
    racks: dict[Path, RackException] = {}
    """Exceptions, by path."""
    utilities: Annotated[tuple[Utility, ...], Field(strict=False)] = ()
    """The power tree: intakes."""
    ups_groups: Annotated[tuple[UpsGroup, ...], Field(strict=False)] = ()
    """The power tree: UPS groups."""
    panels: Annotated[tuple[Panel, ...], Field(strict=False)] = ()
    """The power tree: panels."""
    feeds: Annotated[tuple[Feed, ...], Field(strict=False)] = ()
    """The power tree: branches to racks."""
    meters: Annotated[tuple[Meter, ...], Field(strict=False)] = ()
    """Meters that no type and no `metered` implies."""
    rules: Annotated[tuple[Rule, ...], Field(strict=False)] = ()
    """Rules; without any the built-in ones apply."""
