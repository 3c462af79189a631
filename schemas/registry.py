"""The registry: every place, device and meter with the integer id it keeps for ever, as frames.

Ids are int32 from 1, one space a kind of subject, given out once, never reused, and not changed when a
rack is put between two others. A path that leaves keeps its id in `retired` and gets it back on return.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property

import polars as pl

from schemas import metering, numbering, references
from schemas.errors import ConfigurationError
from schemas.facility import Facility
from schemas.findings import refuse
from schemas.site_frames import (
    FEED_RACKS,
    FEEDS,
    FRAMES,
    LIMITS,
    METERS,
    MODELS,
    NODE_RANGES,
    PLACES,
    POWER,
    RACKS,
    RETIRED,
    SITE,
    VENDORS,
    Schema,
    SiteFrames,
)
from schemas.subject import SubjectKind, gpu_place, gpu_subject

__all__ = [
    "FEEDS",
    "FEED_RACKS",
    "LIMITS",
    "METERS",
    "MODELS",
    "NODE_RANGES",
    "PLACES",
    "POWER",
    "RACKS",
    "RETIRED",
    "SITES",
    "SLOTS",
    "SUMS",
    "VENDORS",
    "Registry",
    "assign",
]

EPOCH = datetime(1970, 1, 1)

SITES: Schema = {**SITE, "version": pl.Int32, "effective_from": pl.Datetime("us")}
SLOTS: Schema = {
    "rack": pl.Int32,
    "node": pl.Int32,
    "gpu": pl.Int32,
    "nameplate_watts": pl.Float64,
    "vendor": pl.Int16,
    "model": pl.Int16,
}
SUMS = metering.SUMS


@dataclass(frozen=True, eq=False)
class Registry:
    """Hold the facility of all sites in force; frames are never changed, only replaced.

    `parts` is one SiteFrames a site, ordered by site; every frame below is made of them once, when asked for.
    """

    parts: tuple[SiteFrames, ...]

    @property
    def version(self) -> int:
        """Return the newest version of any site."""
        return max((part.version for part in self.parts), default=0)

    @property
    def effective_from(self) -> datetime:
        """Return the whole second, UTC without zone, from which the newest version is in force."""
        newest = max(self.parts, key=lambda part: part.version, default=None)
        return newest.effective_from if newest else EPOCH

    @cached_property
    def sites(self) -> pl.DataFrame:
        """Return SITES: one row a site; a null is a limit or a factor that nobody set."""
        stamped = [
            part.frames["site"].with_columns(
                version=pl.lit(part.version, pl.Int32), effective_from=pl.lit(part.effective_from, pl.Datetime("us"))
            )
            for part in self.parts
        ]
        return pl.concat([pl.DataFrame(schema=SITES), *stamped])

    @cached_property
    def structure(self) -> pl.DataFrame:
        """Return PLACES of sites, halls, rows and racks, without nodes."""
        return self._together("structure")

    @cached_property
    def racks(self) -> pl.DataFrame:
        """Return RACKS: `budget_watts` null = no budget of its own, `rest_watts` null = not modelled."""
        return self._together("racks")

    @cached_property
    def power(self) -> pl.DataFrame:
        """Return POWER: feed → panel → ups_group → utility; a utility has no parent (null)."""
        return self._together("power")

    @cached_property
    def meters(self) -> pl.DataFrame:
        """Return METERS: what each measures; `feed` and `side` say where a rack_input hangs, else null."""
        return self._together("meters")

    @cached_property
    def feeds(self) -> pl.DataFrame:
        """Return FEEDS: `twin` null = no twin."""
        return self._together("feeds")

    @cached_property
    def feed_racks(self) -> pl.DataFrame:
        """Return FEED_RACKS: which rack hangs on which feed, by side."""
        return self._together("feed_racks")

    @cached_property
    def limits(self) -> pl.DataFrame:
        """Return LIMITS: `limit` is budget, nameplate, contract, rated or usable; no row = no such limit."""
        return self._together("limits")

    @cached_property
    def vendors(self) -> pl.DataFrame:
        """Return VENDORS, ordered by id."""
        return self._together("vendors").unique().sort("vendor")

    @cached_property
    def models(self) -> pl.DataFrame:
        """Return MODELS, ordered by id."""
        return self._together("models").unique().sort("model")

    @cached_property
    def retired(self) -> pl.DataFrame:
        """Return RETIRED: paths no longer in force, with the id that nothing else will get."""
        return self._together("retired")

    @cached_property
    def nodes(self) -> pl.DataFrame:
        """Return frame (rack, node, path, gpus, nameplate_watts of a GPU, vendor, model), ordered by (rack, node)."""
        racks = self.racks.select("rack", "site", rack_path="path")
        spread = self._together("node_ranges").with_columns(step=pl.int_ranges(pl.col("count"), dtype=pl.Int32))
        numbered_nodes = spread.explode("step").join(racks, on="rack", how="inner")
        number = (pl.col("first_number") + pl.col("step")).cast(pl.String).str.zfill(2)
        return numbered_nodes.select(
            "rack",
            node=pl.col("first_node") + pl.col("step"),
            path=pl.col("rack_path") + "/n" + number,
            name=pl.lit("n") + number,
            gpus="gpus",
            nameplate_watts="nameplate_watts",
            vendor="vendor",
            model="model",
            site="site",
        ).sort("rack", "node")

    @cached_property
    def places(self) -> pl.DataFrame:
        """Return PLACES: site, hall, row, rack and node; the parent of a site is null."""
        nodes = self.nodes.select(
            kind=pl.lit(SubjectKind.NODE, pl.Int8),
            id="node",
            path="path",
            parent_kind=pl.lit(SubjectKind.RACK, pl.Int8),
            parent="rack",
            site="site",
            name_en="name",
            name_ar=pl.lit(None, pl.String),
        )
        return pl.concat([self.structure, nodes])

    @cached_property
    def slots(self) -> pl.DataFrame:
        """Return SLOTS: one row a GPU, ordered by (rack, node, gpu)."""
        with_gpus = self.nodes.filter(pl.col("gpus") > 0).with_columns(
            gpu=pl.int_ranges(pl.col("gpus"), dtype=pl.Int32)
        )
        return with_gpus.explode("gpu").select(*SLOTS)

    @cached_property
    def sums(self) -> pl.DataFrame:
        """Return SUMS: the meters whose sum is a subject's power (rack, node, feed, panel, ups_group, utility, site).

        `basis` 1 = its own meters, 2 = derived: a feed from the rack inputs on it, a panel from its feeds, a
        UPS group from its panels, a utility from what it feeds, a rack from its nodes. A site is what its own
        utility meters say, else those of all its utilities. A rack has its rack inputs, else its shelves, else its
        nodes' meters if every node has one. A subject without rows is not metered, or not wholly.
        """
        return metering.sums(self.meters, self.nodes.select("node", "rack"), self.feed_racks, self.power)

    def id_of(self, kind: SubjectKind, path: str) -> int | None:
        """Return the id of a path in force, or None; that of a GPU is `gpu0`, `gpu1`, … below its node's."""
        if kind == SubjectKind.GPU:
            return self._gpu_id(path)
        return self.ids(kind).get(path)

    def path_of(self, kind: SubjectKind, subject: int) -> str | None:
        """Return the path of a subject, retired ones too, or None."""
        if kind == SubjectKind.GPU:
            node, gpu = gpu_place(subject)
            above = self.path_of(SubjectKind.NODE, node)
            return above and f"{above}/gpu{gpu}"
        return self._path_by_kind.get(kind, {}).get(subject)

    def ids(self, kind: SubjectKind) -> Mapping[str, int]:
        """Return path → id of everything of a kind in force (METER too)."""
        return self._id_by_kind.get(kind, {})

    def paths(self, kind: SubjectKind) -> pl.DataFrame:
        """Return frame (id i32, path str) of a kind in force, ordered by id, for joins of columns."""
        return self._subjects.filter(pl.col("kind") == kind).select("id", "path").sort("id")

    def to_json(self) -> dict[str, bytes]:
        """Return the value on `facility.v1` of each site, by the site's path, which is the message's key."""
        return {part.site: part.to_json() for part in self.parts}

    @classmethod
    def from_json(cls, values: Iterable[bytes]) -> Registry:
        """Read values of `facility.v1` together, of each site the greatest version.

        Raises ConfigurationError where a value is not a facility, or where two sites claim one id.
        """
        return cls.of(SiteFrames.from_json(value) for value in values)

    @classmethod
    def of(cls, parts: Iterable[SiteFrames]) -> Registry:
        """Put sites together, of each the greatest version; raise ConfigurationError where ids collide."""
        newest: dict[str, SiteFrames] = {}
        for part in parts:
            if part.site not in newest or part.version >= newest[part.site].version:
                newest[part.site] = part
        registry = cls(tuple(newest[site] for site in sorted(newest)))
        registry._refuse_collisions()
        return registry

    def _gpu_id(self, path: str) -> int | None:
        above, _, number = path.rpartition("/gpu")
        node = self.ids(SubjectKind.NODE).get(above)
        is_slot = number.isdecimal() and number == str(int(number)) and int(number) < self._gpus_by_node.get(node, 0)
        return int(gpu_subject(node, int(number))) if is_slot else None

    def _together(self, name: str) -> pl.DataFrame:
        return pl.concat([pl.DataFrame(schema=FRAMES[name]), *(part.frames[name] for part in self.parts)])

    def _refuse_collisions(self) -> None:
        ever = pl.concat([self._subjects, self.retired.select("kind", "id", "path")])
        double = ever.filter(pl.struct("kind", "id").is_duplicated())
        if not double.is_empty():
            raise ConfigurationError(
                f"facility.v1: one id was given to {double['path'][0]} and to {double['path'][1]}; two files were "
                "published at the same time without reading each other; publish them again, one after the other"
            )

    @cached_property
    def _subjects(self) -> pl.DataFrame:
        meters = self.meters.select(kind=pl.lit(SubjectKind.METER, pl.Int8), id="meter", path="path")
        return pl.concat([self.places.select("kind", "id", "path"), self.power.select("kind", "id", "path"), meters])

    @cached_property
    def _id_by_kind(self) -> dict[int, dict[str, int]]:
        by_kind = self._subjects.partition_by("kind", as_dict=True)
        return {kind: dict(zip(frame["path"], frame["id"], strict=True)) for (kind,), frame in by_kind.items()}

    @cached_property
    def _gpus_by_node(self) -> dict[int | None, int]:
        return dict(self.nodes.select("node", "gpus").iter_rows())

    @cached_property
    def _path_by_kind(self) -> dict[int, dict[int, str]]:
        ever = pl.concat([self.retired, self._subjects]).partition_by("kind", as_dict=True)
        return {kind: dict(zip(frame["id"], frame["path"], strict=True)) for (kind,), frame in ever.items()}


def assign(facility: Facility, previous: Registry | None = None, *, effective_from: datetime | None = None) -> Registry:
    """Give every path of `facility` its id: the one it had in `previous`, else the next one free.

    Sites of `previous` that `facility` does not name stay as they are, and a site in which nothing changed
    keeps its version; the others get the next. Pure; `effective_from` (naive = UTC) is cut to the whole second
    and is the epoch where it is not given. Raises ConfigurationError where `facility` has errors.
    """
    refuse(references.errors(facility, "the facility"))
    previous = previous or Registry(())
    parts = {part.site: part for part in previous.parts}
    moment = _whole_second(effective_from or EPOCH)
    for site, frames in numbering.number(facility, _known(previous)).items():
        part = SiteFrames(site, previous.version + 1, moment, frames)
        if site not in parts or not part.is_same_facility(parts[site]):
            parts[site] = part
    return Registry.of(parts.values())


def _whole_second(moment: datetime) -> datetime:
    utc = moment.astimezone(UTC) if moment.tzinfo else moment
    return utc.replace(microsecond=0, tzinfo=None)


def _known(previous: Registry) -> numbering.Known:
    retired = {kind: frame for (kind,), frame in previous.retired.partition_by("kind", as_dict=True).items()}
    subjects = {kind: dict(previous.ids(kind)) for kind in SubjectKind}
    for kind, frame in retired.items():
        subjects[SubjectKind(kind)] |= dict(zip(frame["path"], frame["id"], strict=True))
    vendors = dict(zip(previous.vendors["name"], previous.vendors["vendor"], strict=True))
    models = previous.models.join(previous.vendors.rename({"name": "vendor_name"}), on="vendor")
    keys = models.select(pl.col("vendor_name") + "\t" + pl.col("name")).to_series()
    return numbering.Known(subjects, vendors, dict(zip(keys, models["model"], strict=True)))
