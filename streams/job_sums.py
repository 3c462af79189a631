"""Windows of jobs: closed seconds and minutes, of what partitions say of jobs and of their records. Pure.

A job's windows are told of every closed second in which any source of its site spoke. They are told again, and only
where they differ, when a partition says more of a second or a record amends it. What a job has no more by
its newest record is withdrawn: told with `expected` 0 and the greater version.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import polars as pl

from schemas.job import Job, Placed
from schemas.job_partial import JOB_PARTIAL
from schemas.registry import Registry
from streams.closings import Stream
from streams.gpu_slots import GpuSlots
from streams.job_book import Amended, JobBook, Plan
from streams.job_windows import SECONDS, minutes_of, seconds_of, windows_of, withdrawn
from streams.minutes import MINUTE
from streams.site_windows import Kind, SiteWindows
from streams.sums import SECOND
from streams.watches import Watches

_SAID = [name for name in SECONDS if name != "record"]
"""A record that changes nothing of a second is no reason to tell it again."""


Silent = Mapping[int, frozenset[str]]
"""By second (UTC µs), the sites of which no source spoke."""
_ALL = frozenset({"all"})
"""Of a second of which nothing is kept: no site spoke in it."""
_MINUTE = (pl.col("second") // MINUTE * MINUTE).alias("minute")


class JobSums:
    """Keep what is said of the seconds of jobs. `heard` is the offset up to which records counted in what was told."""

    def __init__(self, book: JobBook, heard: int, told_through: int) -> None:
        self.book = book
        self._said: dict[int, list[pl.DataFrame]] = {}
        self._kept: dict[int, pl.DataFrame] = {}
        self._silent: dict[int, frozenset[str]] = {}
        """By closed second, the sites of which no source spoke."""
        self._dirty: set[int] = set()
        self._told_before = told_through
        self._late: dict[int, set[int]] = {}
        """By second told in an earlier life, the jobs of which something came after all had closed it."""
        self._again = pl.DataFrame(schema={"minute": pl.Int64, "site": pl.String, "subject": pl.Int64})
        """Of minutes that were told, the jobs of which a second changed and not all is closed yet."""
        self._slots: dict[int, tuple[Registry, GpuSlots]] = {}
        self._amended: list[Amended] = []
        self._unsure = [each for each in book.amended if each.record > heard]
        """Of records that an earlier life may not have heard when it told seconds after its snapshot."""
        self._is_catching_up = True
        self._amend(self._unsure, told_through)

    @property
    def heard(self) -> int:
        """Return the offset up to which records count in all that was told."""
        return min([self.book.heard, *(each.record - 1 for each in (*self._amended, *self._unsure))])

    @property
    def is_catching_up(self) -> bool:
        """Tell whether seconds may still come that an earlier life told after its snapshot."""
        return self._is_catching_up

    def caught_up(self) -> None:
        """Know that the log's end was reached: an earlier life told nothing that was not told again by now."""
        self._is_catching_up = False
        self._unsure.clear()

    def hear(self, records: Iterable[Placed[Job]], through: int, told_through: int) -> None:
        """Take records of jobs in log order and the offset after the last message."""
        amended = self.book.hear(records, through)
        self._unsure += amended if self._is_catching_up else ()
        self._amend(amended, told_through)

    def take(self, rows: pl.DataFrame, kept_from: int, reached: int) -> int:
        """Take rows of JOB_PARTIAL; return the newest second, UTC µs, of which they say something.

        `reached` is the end of the seconds that all had closed at this place of the log.
        """
        second = rows["second"].to_physical()
        for each in second.unique().to_list():
            if each >= kept_from:
                theirs = rows.filter(second == each)
                self._said.setdefault(each, []).append(theirs)
                self._dirty |= {each} & self._kept.keys()
                if each < min(reached, self._told_before):
                    # Whether it was told before the restart nobody knows: it is told again.
                    self._late.setdefault(each, set()).update(theirs["subject"].to_list())
        return int(second.max()) if len(second) else kept_from  # type: ignore[arg-type]

    def close(
        self, silent: Silent, registry: Registry, told_through: int, missing: tuple[Stream, ...]
    ) -> list[SiteWindows]:
        """Close seconds of one facility; return the windows of those from `told_through` on."""
        self._silent |= silent
        new = [second for second in silent if second not in self._kept]
        made = _joined([self._made(new, registry), *self._gone(self._unsure, new)])
        self._kept |= _by_second(made, new)
        return told(made.filter(pl.col("second") >= told_through), "closing", 1, missing)

    def revise(self, silent: Silent) -> list[SiteWindows]:
        """Let `revised` tell of closed seconds in which a site, or all of them, is first heard now."""
        self._dirty.update(second for second, sites in silent.items() if sites != self._silent.get(second))
        self._silent |= silent
        new = [second for second in silent if second not in self._kept]
        gone = _joined(self._gone(self._unsure, new))
        self._kept |= _by_second(gone, new)
        return told(gone, "revision", 1, ())

    def minutes(self, watches: Watches, after: int, end: int, missing: tuple[Stream, ...]) -> list[SiteWindows]:
        """Return the minutes that end in `(after, end]`."""
        minutes = {_minute(second) for second in self._kept if after < _minute(second) + MINUTE <= end}
        return told(minutes_of(self._whole(minutes, watches)), "closing", 60, missing)

    def revised(self, watches: Watches, told_through: int, closed_through: int) -> list[SiteWindows]:
        """Return the windows of told seconds that are others than they were, and of their minutes.

        A minute is told once all of it is closed: after a restart its seconds close one after the other.
        """
        again = list(self._revised_by_records(told_through))
        for second in sorted(self._dirty | self._late.keys() & self._kept.keys()):
            again += self._renewed(second, watches.at(second).registry)
        self._dirty.clear()
        changed = _joined(again)
        minutes = self._revised_minutes(changed, watches, told_through, closed_through)
        return told(changed, "revision", 1, ()) + told(minutes, "revision", 60, ())

    def forget(self, kept_from: int) -> None:
        """Let go of seconds before `kept_from`."""
        kept: dict[int, Any]
        for kept in (self._said, self._kept, self._silent, self._late):
            for second in [second for second in kept if second < kept_from]:
                del kept[second]
        self._dirty = {second for second in self._dirty if second >= kept_from}

    def _amend(self, amended: Iterable[Amended], told_through: int) -> None:
        """Remember what records change of the seconds that were told."""
        end = told_through // SECOND
        self._amended += [each._replace(end=min(each.end, end)) for each in amended if each.first < end]

    def _revised_by_records(self, told_through: int) -> Iterator[pl.DataFrame]:
        """Forget the amended seconds of jobs, so that they are made anew; yield those that are withdrawn."""
        closed = max(self._kept, default=told_through) + SECOND
        for record, subject, first, end in self._amended:
            seconds = [each for each in sorted(self._kept) if first * SECOND <= each < end * SECOND]
            self._dirty.update(seconds)
            for second in seconds:
                kept = self._kept[second]
                self._kept[second] = kept.filter(pl.col("subject") != subject)
            for empty in self._gone([Amended(record, subject, first, end)], seconds):
                for second in seconds:
                    self._kept[second] = _joined([self._kept[second], empty.filter(pl.col("second") == second)])
                yield empty
            self._tell_again(subject, {_minute(second) for second in seconds})
        # After a restart seconds that were told are closed again one after the other.
        self._amended = [each for each in self._amended if closed < told_through]

    def _gone(self, amended: Iterable[Amended], seconds: Iterable[int]) -> Iterator[pl.DataFrame]:
        """Yield as withdrawn the seconds in which a job has nothing any more, of those that a record amends."""
        for record, subject, first, end in amended:
            tenure = self.book.newest(subject)
            inside = [each for each in seconds if first * SECOND <= each < end * SECOND]
            gone = [each for each in inside if tenure and not tenure.coverage(each // SECOND)]
            if tenure and gone:
                yield withdrawn(tenure.name[0], subject, max(record, tenure.record), gone)

    def _renewed(self, second: int, registry: Registry) -> list[pl.DataFrame]:
        """Make a second anew; return its rows that are others than they were."""
        made, kept = self._made([second], registry), self._kept[second]
        stale = kept.join(made.select("subject"), on="subject", how="anti", maintain_order="left")
        self._kept[second] = _joined([made, stale])
        if late := self._late.pop(second, None):
            kept = kept.filter(~pl.col("subject").is_in(list(late)))
        return [made.join(kept, on=_SAID, how="anti", nulls_equal=True, maintain_order="left")]

    def _tell_again(self, subject: int, minutes: set[int]) -> None:
        """Let `revised` tell minutes of a job of which a record may change no second but a silent one."""
        if minutes and (tenure := self.book.newest(subject)):
            said = {"minute": sorted(minutes), "site": tenure.name[0], "subject": subject}
            self._again = pl.concat([self._again, pl.DataFrame(said, schema=self._again.schema)])

    def _whole(self, minutes: set[int], watches: Watches) -> pl.DataFrame:
        """Return all seconds of minutes of the jobs of which one is kept, those too in which their site was silent."""
        kept = _joined(rows for second, rows in sorted(self._kept.items()) if _minute(second) in minutes)
        seconds = (second for each in sorted(minutes) for second in range(each, each + MINUTE, SECOND))
        silent = [second for second in seconds if self._silent.get(second, _ALL)]
        if kept.is_empty() or not silent:
            return kept
        parts = watches.between(silent[0], silent[-1] + SECOND)
        made = _joined(self._every([s for s in silent if low <= s < end], watch.registry) for low, end, watch in parts)
        there = kept.filter(pl.col("expected") > 0).select(_MINUTE, "subject")
        unheard = made.with_columns(_MINUTE).join(there, on=["minute", "subject"], how="semi", maintain_order="left")
        unheard = unheard.join(kept, on=["second", "subject"], how="anti", maintain_order="left")
        return _joined([kept, unheard.drop("minute")])

    def _made(self, seconds: list[int], registry: Registry) -> pl.DataFrame:
        """Return SECONDS of these seconds, as they are said now."""
        return self._of_sites_heard(self._every(seconds, registry), seconds)

    def _every(self, seconds: list[int], registry: Registry) -> pl.DataFrame:
        """Return SECONDS of these seconds of all jobs that have them."""
        slots, made = self._slots_of(registry), []
        by_plan: dict[int, tuple[Plan, list[int]]] = {}
        for second in seconds if self.book else ():
            plan = self.book.plan(second // SECOND, slots)
            by_plan.setdefault(id(plan), (plan, []))[1].append(second)
        for plan, those in by_plan.values():
            if plan.tenures:
                said = [frame for second in those for frame in self._said.get(second, ())]
                made.append(seconds_of(plan, those, pl.concat([JOB_PARTIAL.empty(), *said])))
        return _joined(made)

    def _of_sites_heard(self, made: pl.DataFrame, seconds: list[int]) -> pl.DataFrame:
        """Leave out, in seconds of which its site said nothing, each job of which nothing came."""
        silent = [(second, site) for second in seconds for site in self._silent[second]]
        if not silent:
            return made
        pairs = pl.DataFrame(silent, {"second": pl.Int64, "site": pl.String}, orient="row").with_columns(silent=True)
        marked = made.join(pairs, on=["second", "site"], how="left", maintain_order="left")
        return marked.filter(pl.col("silent").is_null() | (pl.col("readings") > 0)).drop("silent")

    def _revised_minutes(
        self, changed: pl.DataFrame, watches: Watches, told_through: int, closed_through: int
    ) -> pl.DataFrame:
        """Return the minutes that were told of the jobs of which a second changed; what is not closed yet waits."""
        if changed.is_empty() and self._again.is_empty():
            return changed
        again = pl.concat([self._again, changed.select(_MINUTE, "site", "subject")]).unique()
        again = again.filter(pl.col("minute") + MINUTE <= told_through)
        is_ready = pl.col("minute") + MINUTE <= closed_through
        theirs, self._again = again.filter(is_ready), again.filter(~is_ready)
        whole = self._whole(set(theirs["minute"].to_list()), watches).with_columns(_MINUTE)
        chosen = whole.join(theirs, on=["minute", "site", "subject"], how="semi", maintain_order="left")
        return minutes_of(chosen.drop("minute"))

    def _slots_of(self, registry: Registry) -> GpuSlots:
        # By identity: the entry keeps the registry alive.
        if id(registry) not in self._slots:
            self._slots[id(registry)] = registry, GpuSlots.of(registry.slots)
        return self._slots[id(registry)][1]


def told(seconds: pl.DataFrame, kind: Kind, every_seconds: int, missing: tuple[Stream, ...]) -> list[SiteWindows]:
    """Return rows of SECONDS, of seconds or of minutes, as windows by site."""
    windows = []
    for site in seconds["site"].unique().sort().to_list() if len(seconds) else ():
        rows = windows_of(seconds.filter(pl.col("site") == site), every_seconds)
        starts = rows["window_start"].to_physical()
        first, end = int(starts[0]), int(starts[-1]) + every_seconds * SECOND
        windows.append(SiteWindows(site, kind, every_seconds, first, end, missing, rows))
    return windows


def _by_second(rows: pl.DataFrame, seconds: list[int]) -> dict[int, pl.DataFrame]:
    return {second: rows.filter(pl.col("second") == second) if len(rows) else rows for second in seconds}


def _joined(parts: Iterable[pl.DataFrame]) -> pl.DataFrame:
    return pl.concat([pl.DataFrame(schema=SECONDS), *parts])


def _minute(second: int) -> int:
    return second // MINUTE * MINUTE
