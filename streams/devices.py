"""Minutes of GPUs, nodes and histograms as they close: what is due is made a message at a time. Pure.

A campus has 74,000 rows a minute; made at once they would hold the loop for a fifth of a second, in which no
rule could fire. So a closed minute is put on a list, and each call of `told` makes some messages of it.
What a late piece changes is told again of the GPUs, nodes and racks that it touched.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import polars as pl

from schemas.partial import Envelope
from schemas.subject import SubjectKind
from streams.closings import PIECES, Stream
from streams.condition import Ints
from streams.device_minutes import Devices, Minute, devices_of, gpu_minutes, node_minutes
from streams.histograms import EVERY_SECONDS, gpu_histograms, power_histograms
from streams.late_spans import LateSpans
from streams.members import Members
from streams.minutes import MINUTE, rows_of
from streams.pieces import Pieces
from streams.sums import Block

if TYPE_CHECKING:
    from schemas.registry import Registry

ROWS_A_MESSAGE = 6_000
"""WINDOW rows in one message: about 1 MB of Arrow, made in some 10 ms."""
RACKS_A_MESSAGE = 50
"""Racks whose histograms make one message: about 10,000 rows."""
SUBJECTS_A_MESSAGE = 1_000

Kind = Literal["closing", "revision"]
Table = Literal["windows", "histograms"]


class SiteMinute(NamedTuple):
    """Hold rows of one minute and one site: WINDOW rows of GPUs and nodes, or HISTOGRAM rows."""

    table: Table
    site: str
    kind: Kind
    minute: int
    missing: tuple[Stream, ...]
    rows: pl.DataFrame


class Telling(NamedTuple):
    """Say of which minute (µs) something is told, and why."""

    minute: int
    kind: Kind
    missing: tuple[Stream, ...] = ()


@dataclass(frozen=True)
class Facility:
    """Hold what minutes need of a registry: its devices, its racks (subject, site, facility), its sites."""

    members: Members
    devices: Devices
    racks: pl.DataFrame
    sites: dict[int, str]

    @classmethod
    def of(cls, registry: Registry, members: Members) -> Facility:
        """Return the facility of a registry whose subjects are `members`."""
        versions = registry.sites.select("site", facility="version")
        racks = registry.racks.filter(pl.col("gpus") > 0).select("site", subject="rack")
        return cls(
            members,
            devices_of(registry, members),
            racks.join(versions, on="site", maintain_order="left"),
            dict(registry.sites.select("site", "path").iter_rows()),
        )

    def split(self, table: Table, telling: Telling, rows: pl.DataFrame, whose: pl.DataFrame) -> list[SiteMinute]:
        """Return rows by site; `whose` is a frame (subject_kind, subject, site)."""
        key, sites = ["subject_kind", "subject"], whose["site"].unique().to_list()
        if len(sites) > 1:
            rows = rows.join(whose.select(*key, "site"), on=key, maintain_order="left")
        parts = {site: rows.filter(pl.col("site") == site).drop("site") if len(sites) > 1 else rows for site in sites}
        when = (telling.kind, telling.minute, telling.missing)
        return [SiteMinute(table, self.sites[site], *when, each) for site, each in parts.items() if len(each)]


class _Closed(NamedTuple):
    """Hold what a closed minute was told with: the facility, and the minute of the subjects of its members."""

    facility: Facility
    block: Block

    @property
    def heard(self) -> Ints:
        """Return the sites any of whose sources spoke in the minute."""
        sites: Ints = np.unique(self.facility.members.site[self.block.readings[0] > 0])
        return sites


class _Due(NamedTuple):
    minute: int
    make: Callable[[], list[SiteMinute]]


class DeviceMinutes:
    """Keep the pieces of open minutes and what is due of closed ones; nobody else changes the state."""

    def __init__(self) -> None:
        self._pieces = Pieces()
        self._facility: Facility | None = None
        self._told: dict[int, _Closed] = {}
        self._due: deque[_Due] = deque()
        self._touched: dict[int, list[Ints]] = {}
        self._touched_racks: dict[int, list[Ints]] = {}

    def is_behind(self, pieces_through: int) -> bool:
        """Tell whether `told` has more to tell."""
        return bool(self._due) and self._due[0].minute + MINUTE <= pieces_through

    @property
    def is_waiting(self) -> bool:
        """Tell whether there is a closed minute of which not all is told."""
        return bool(self._due)

    @property
    def torn(self) -> LateSpans:
        """Return the seconds of which partitions tell different things of one GPU."""
        return self._pieces.torn

    def take(self, envelope: Envelope, rows: pl.DataFrame, open_from: int, pieces_through: int) -> None:
        """Take a piece or a histogram of one.

        `open_from` is the oldest minute that may still be changed at this place of the log, `pieces_through` the end
        of what all pieces were told of there: what comes later of a minute is a revision, whether the minute was told
        yet or not.
        """
        start = envelope.first_second
        minute = start // MINUTE * MINUTE
        if start < open_from or envelope.kind not in PIECES:
            return
        is_piece = envelope.kind == "piece"
        changed = (self._pieces.take if is_piece else self._pieces.take_histogram)(start, rows, envelope.partition)
        if minute + MINUTE <= pieces_through and len(changed):
            (self._touched if is_piece else self._touched_racks).setdefault(minute, []).append(changed)

    def know(self, registry: Registry, members: Members) -> Facility:
        """Return the facility of a registry, made once: that takes as long as several seconds' sums."""
        if self._facility is None or self._facility.members is not members:
            self._facility = Facility.of(registry, members)
        return self._facility

    def close(self, registry: Registry, members: Members, seconds: Block, minutes: Block, why: Telling) -> None:
        """Put closed or revised minutes of the subjects of `members` on the list; `seconds` are those they are of."""
        facility = self.know(registry, members)
        for nth, minute in enumerate(minutes.seconds.tolist()):
            closed, telling = _Closed(facility, minutes.at(nth)), why._replace(minute=minute)
            before = self._told.get(minute)
            self._told[minute] = closed
            inside = (seconds.seconds >= minute) & (seconds.seconds < minute + MINUTE)
            self._put_subjects(telling, closed, seconds.power[inside], before)
            self._put_sites(telling, closed, before)
            if why.kind == "closing":
                self._put_racks(telling, facility, facility.racks)

    def told(self, at_most: int, pieces_through: int) -> list[SiteMinute]:
        """Return what is due: at least one message's worth, and no more once there are `at_most` rows."""
        self._put_touched()
        told: list[SiteMinute] = []
        while self.is_behind(pieces_through) and sum(len(each.rows) for each in told) < at_most:
            told += self._due.popleft().make()
        return told

    def forget(self, kept_from: int) -> None:
        """Let go of what no minute from `kept_from` on needs: a minute needs the counters of the one before."""
        needed = min([kept_from, *(due.minute for due in self._due)])
        self._pieces.forget(needed - MINUTE)
        self._told = {minute: closed for minute, closed in self._told.items() if minute >= needed}
        for touched in (self._touched, self._touched_racks):
            for minute in [minute for minute in touched if minute < needed]:
                del touched[minute]

    def _put_sites(self, telling: Telling, closed: _Closed, before: _Closed | None) -> None:
        """Put all devices of the sites that spoke on the list, the silent ones too, as of racks and all else.

        Of a site that was told before only the meters of nodes are revised; its GPUs are by their pieces.
        """
        devices = closed.facility.devices
        site, told = devices.nodes["site"].to_numpy(), before.heard if before is not None else np.empty(0, np.int64)
        is_told = np.isin(site, told) if telling.kind == "revision" else np.zeros(len(site), np.bool_)
        is_heard = np.isin(site, closed.heard)
        self._put_devices(telling, closed, np.flatnonzero(is_heard & ~is_told))
        metered = np.flatnonzero(is_heard & is_told & (devices.meter >= 0))
        self._put_devices(telling, closed, metered, np.empty(0, np.int64))

    def _put_touched(self) -> None:
        """Put what late pieces changed on the list; of a minute that was never told, when its seconds are."""
        for minute in sorted(self._touched.keys() & self._told.keys()):
            closed, parts = self._told[minute], self._touched.pop(minute)
            devices = closed.facility.devices
            only = np.flatnonzero(np.isin(devices.gpu_subject, np.concatenate(parts)))
            nodes = np.unique(devices.node_of_gpu[only])
            self._put_devices(Telling(minute, "revision"), closed, nodes, devices.gpu_subject[only])
        for minute in sorted(self._touched_racks.keys() & self._told.keys()):
            facility, parts = self._told[minute].facility, self._touched_racks.pop(minute)
            chosen = pl.Series(np.unique(np.concatenate(parts)), dtype=pl.Int32)
            racks = facility.racks.filter(pl.col("subject").is_in(chosen.implode()))
            self._put_racks(Telling(minute, "revision"), facility, racks)

    def _put_devices(self, telling: Telling, closed: _Closed, nodes: Ints, only: Ints | None = None) -> None:
        """Put nodes, and of their GPUs all or `only` those, on the list."""
        devices = closed.facility.devices
        chosen = devices if len(nodes) == len(devices.nodes) else devices.pick(nodes)
        for some in chosen.stretches(ROWS_A_MESSAGE):
            # Picked when its turn comes: all at once would hold the loop for longer than any message.
            self._put(telling, lambda some=some: self._of_devices(telling, closed, chosen.pick(some), only))  # type: ignore[misc]

    def _put_racks(self, telling: Telling, facility: Facility, racks: pl.DataFrame) -> None:
        for first in range(0, len(racks), RACKS_A_MESSAGE):
            some = racks[first : first + RACKS_A_MESSAGE]
            self._put(telling, lambda some=some: self._of_racks(telling, facility, some))  # type: ignore[misc]

    def _put_subjects(self, telling: Telling, closed: _Closed, power: Ints, before: _Closed | None) -> None:
        """Put the histograms of those subjects on the list whose minute is another than when it was told."""
        facility, minute = closed
        is_new = minute.readings[0] > 0
        if before is not None and before.facility is facility:
            is_new &= (minute.readings[0] != before.block.readings[0]) | (minute.digest[0] != before.block.digest[0])
        new = np.flatnonzero(is_new)
        for first in range(0, len(new), SUBJECTS_A_MESSAGE):
            some = new[first : first + SUBJECTS_A_MESSAGE]
            self._put(telling, lambda some=some: self._of_subjects(telling, closed, some, power[:, some]))  # type: ignore[misc]

    def _put(self, telling: Telling, make: Callable[[], list[SiteMinute]]) -> None:
        self._due.append(_Due(telling.minute, make))

    def _of_subjects(self, telling: Telling, closed: _Closed, some: Ints, power: Ints) -> list[SiteMinute]:
        whose, minute = closed.facility.members.subjects[some], closed.block
        versions = minute.readings[0, some], minute.digest[0, some]
        rows = power_histograms(whose, power, versions, telling.minute)
        return closed.facility.split("histograms", telling, rows, whose)

    def _of_racks(self, telling: Telling, facility: Facility, racks: pl.DataFrame) -> list[SiteMinute]:
        pieces = self._pieces.histograms(telling.minute, racks["subject"].to_numpy())
        rows = gpu_histograms(racks.select("subject", "facility"), pieces, telling.minute)
        whose = racks.select(pl.lit(SubjectKind.RACK, pl.Int8).alias("subject_kind"), "subject", "site")
        return facility.split("histograms", telling, rows, whose)

    def _of_devices(self, telling: Telling, closed: _Closed, devices: Devices, only: Ints | None) -> list[SiteMinute]:
        pieces = [self._pieces.of_minute(at, devices.gpu_subject) for at in (telling.minute, telling.minute - MINUTE)]
        block = gpu_minutes(Minute(telling.minute, *pieces), devices.nameplate)
        nodes = rows_of(devices.nodes, node_minutes(block, devices, closed.block), every_seconds=EVERY_SECONDS)
        gpus = rows_of(devices.gpus, block, every_seconds=EVERY_SECONDS)
        if only is not None:
            gpus = gpus.filter(pl.Series(np.isin(devices.gpu_subject, only), dtype=pl.Boolean))
        whose = pl.concat([devices.nodes, devices.gpus])
        return closed.facility.split("windows", telling, pl.concat([nodes, gpus]), whose)
