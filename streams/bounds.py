"""The bounds of a sum: the least and the most that the silent parts of each subject may draw. Pure.

What a nameplate and the meters above prove (schemas.md 6), all in integers. A meter above carries its
parts together, so that what all silent ones draw is at most what the others leave of it. Where it says
less than its parts report, or more than they can draw, it proves nothing, and the nameplates stand.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from streams.condition import Bools, Ints
from streams.lists import MISSING, zeroed
from streams.members import Members

BOUNDLESS = 10**14
"""mW that stand for "nobody knows": more than any campus draws, and ten thousand of them still add up."""
FRESH_MICROSECONDS = 3_000_000
"""A meter above proves what flows now where it is read every two seconds or faster; a held reading is of before."""
WIRE_LOSS_PERCENT = 3
"""What wires between a feed or panel and its loads may lose of it: the drop of voltage that wiring codes allow."""


class Known(NamedTuple):
    """Hold what is known of each source: int64 and bool arrays [second, source], powers in mW.

    `drawn`: what is known to flow, 0 where silent · `alone`: the most that its silent part draws by
    nameplate, 0 where all of it reports, BOUNDLESS where nobody knows · `ceiling`: by how much it may draw
    more than `drawn` · `proves`: whether its reading is whole and fresh · `is_metered`: per source, not ΣGPU ·
    `left`: per source, what its nameplate leaves of what it shares with others.
    """

    drawn: Ints
    alone: Ints
    ceiling: Ints
    left: Ints
    proves: Bools
    is_metered: Bools


class Extra(NamedTuple):
    """Hold what subjects draw at least and at most beyond what reports: [second, subject]; `most` ≥ BOUNDLESS = ?."""

    least: Ints
    most: Ints


def extra(members: Members, known: Known) -> Extra:
    """Return what the silent parts of every subject draw at least and at most."""
    shape = (len(known.drawn), len(members.subjects))
    if not known.alone.any():
        return Extra(np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64))
    groups = _groups(members, known)
    sources = _sources(members, known, groups)
    least, most = _behind_meters(members, known, groups, sources)
    shared = np.where(members.has_all_sides, _by_nameplate(members, known, sources.most), most)
    most = np.minimum(most, shared)
    is_conflict = least > most
    if is_conflict.any():
        by_nameplate = np.where(
            members.has_all_sides,
            _by_nameplate(members, known, known.alone),
            members.power.total(known.alone, shape[1]),
        )
        least, most = np.where(is_conflict, 0, least), np.where(is_conflict, by_nameplate, most)
    return Extra(least, most)


class _Groups(NamedTuple):
    """Hold, as [second, group]: what a group's meters leave for its silent parts, and whether they prove it.

    `floor`: what they leave beyond all that the parts could draw, at most 0: add the ceiling of some parts to
    get what these draw at least. `has_floor`: whether that is proven.
    """

    room: Ints
    proves: Bools
    floor: Ints
    has_floor: Bools


def _groups(members: Members, known: Known) -> _Groups:
    above = members.above
    count = len(above.is_whole)
    income = above.meters.total(known.drawn, count)
    drawn = above.parts.total(known.drawn, count)
    room = income - drawn
    proves = ~above.meters.any(~known.proves, count) & (room >= 0)
    lost = -(-income * WIRE_LOSS_PERCENT // 100)
    floor = room - lost - above.parts.total(known.ceiling, count) - above.unmetered
    return _Groups(room, proves, floor, proves & above.is_whole & (floor <= 0))


def _sources(members: Members, known: Known, groups: _Groups) -> Extra:
    """Return what each silent source draws at least and at most by its nameplate and the meters above it."""
    above, group = members.above, members.above.group
    if not len(above.is_whole):
        return Extra(np.zeros_like(known.alone), known.alone)
    is_silent = (known.alone > 0) & (group >= 0)
    has_floor = groups.has_floor[:, group] & is_silent & known.is_metered
    least = np.where(has_floor, np.maximum(groups.floor[:, group] + known.ceiling, 0), 0)
    of_others = above.parts.total(least, len(above.is_whole))[:, group] - least
    room = np.where(groups.proves[:, group] & is_silent, groups.room[:, group] - of_others, BOUNDLESS)
    return Extra(least, np.minimum(known.alone, room))


def _behind_meters(members: Members, known: Known, groups: _Groups, sources: Extra) -> Extra:
    """Add up by subject what its silent sources draw, those behind the same meters together."""
    behind, width = members.behind, len(members.subjects)
    most = behind.alone.total(sources.most, width)
    if not len(behind.group):
        return Extra(np.zeros_like(most), most)
    pairs, group, above = len(behind.group), behind.group, members.above
    least = behind.pairs.total(sources.least, pairs)
    of_others = above.parts.total(sources.least, len(above.is_whole))[:, group] - least
    room = np.where(groups.proves[:, group], groups.room[:, group] - of_others, BOUNDLESS)
    together = np.minimum(
        behind.pairs.total(sources.most, pairs), np.where(room >= BOUNDLESS, np.iinfo(np.int64).max, room)
    )
    ceiling = behind.pairs.total(np.where(known.is_metered, known.ceiling, 0), pairs)
    floor = np.where(groups.has_floor[:, group], groups.floor[:, group] + ceiling, 0)
    return Extra(
        behind.of_subject.total(np.maximum(least, floor), width), most + behind.of_subject.total(together, width)
    )


def _by_nameplate(members: Members, known: Known, most: Ints) -> Ints:
    """Add up by subject what its silent sources draw, those that share a nameplate at most what it leaves."""
    owners = members.owners
    first = owners.of[owners.first]
    together = np.zeros_like(most)
    together[:, first] = np.minimum(owners.total(most, int(owners.some[-1]) + 1)[:, owners.some], known.left[:, first])
    return members.power.total(together, len(members.subjects))


def left_of_nameplates(members: Members, nameplate: Ints, drawn: Ints) -> Ints:
    """Return, as [second, source], what a nameplate leaves of what its sources draw; BOUNDLESS without one."""
    owners = members.owners
    if not len(owners.of):
        return np.zeros_like(drawn)
    by_owner = owners.total(zeroed(drawn), int(owners.some[-1]) + 1)
    of_source = np.zeros_like(drawn)
    of_source[:, owners.of] = by_owner[:, owners.whose]
    return np.where(nameplate == MISSING, BOUNDLESS, np.maximum(nameplate - of_source, 0))
