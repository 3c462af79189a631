"""The faults of a soak. Each acts on one lake, and tells the tally what its victim held at that moment."""

from __future__ import annotations

import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path

from sinks.lake.log_check import LOG
from sinks.lake.tables import TABLES
from tests.lake.soak.arena import SETTINGS, Arena
from tests.lake.soak.forked import COMMIT, COMPACTION, FLUSH, REVOKED, STEPS, Writer, held

OTHER_SLOT = 1
COMPACTED_TABLES = ("gpu", "power", "rejected")
"""Those that have no two rows of one identity here: every place is found after compaction, too."""
COMPACTION_STEPS = (*sorted(COMPACTION), *sorted(COMMIT), "files verified", "files verified")
FULL_DISK_WORDS = "nothing is lost, Kafka keeps the rows"


def kill(arena: Arena) -> None:
    """Kill a writer at any moment."""
    writer = arena.busy()
    time.sleep(arena.chance.uniform(0, 0.5))
    writer = arena.end(0, signal.SIGKILL)
    arena.tally.add("SIGKILL", writer.held)


def kill_at_a_step(arena: Arena) -> None:
    """Kill a writer right behind a step of its flush."""
    _kill_at(arena, arena.chance.choice(STEPS))


def terminate(arena: Arena) -> None:
    """Ask a writer to end while it holds something; it has to end cleanly."""
    writer = arena.busy()
    time.sleep(arena.chance.uniform(0, 0.3))
    holding = writer.held
    assert arena.end(0, signal.SIGTERM).said("ended cleanly"), writer.lines[-5:]
    arena.tally.add("SIGTERM", holding)


def stop_past_the_session(arena: Arena) -> None:
    """Stop a writer until another has its partitions and has committed, then let it wake where it was."""
    heir = arena.start(OTHER_SLOT)
    zombie = arena.busy()
    if not _trapped(zombie, arena.chance.choice(STEPS), signal.SIGSTOP):
        return
    holding, since = zombie.held, len(heir.lines)
    # On a busy machine it may have lost its place before it stopped: then the heir has had the partitions since.
    over = time.monotonic() + 3 * SETTINGS["session_timeout_secs"]
    heir.wait(lambda: heir.did("assigned", since) or time.monotonic() > over, "the partitions of a stopped one")
    heir.wait(lambda: heir.did("offsets committed", since, times=2), "two commits of the heir")
    woken = len(zombie.lines)
    zombie.signal(signal.SIGCONT)
    zombie.wait(lambda: zombie.did("assigned", woken), "assignment of one that woke")
    arena.tally.add("SIGSTOP, a zombie that wakes", holding)
    arena.end(OTHER_SLOT, arena.chance.choice((signal.SIGTERM, signal.SIGKILL)))


def rebalance(arena: Arena) -> None:
    """Let a second writer join, and leave again: each takes the first one's partitions away for a moment."""
    writer = arena.busy()
    since = len(writer.lines)
    arena.start(OTHER_SLOT)
    if writer.did(REVOKED, since):  # not where its slot was held a moment ago: Kafka gives that member its share again
        at = _count_revocation(arena, writer, since)
        writer.wait(lambda: writer.did("assigned", at), "an assignment after a rebalance")
    since = len(writer.lines)
    writer.wait(lambda: writer.did("gathered", since), "messages after a rebalance")
    since = len(writer.lines)
    arena.end(OTHER_SLOT, signal.SIGTERM)
    _count_revocation(arena, writer, since)


def tear_an_entry(arena: Arena) -> None:
    """Lose power in the middle of a commit: the newest entries are torn, or empty, and all writers gone."""
    writer = _kill_at(arena, arena.chance.choice(sorted(COMMIT)))
    arena.end_all()
    kind, damage = arena.chance.choice(_DAMAGES)
    newest = [entry for table in TABLES if (entry := _newest_entry(table.folder(arena.lake))) is not None]
    for path in arena.chance.sample(newest, k=min(len(newest), arena.chance.randint(1, 3))):
        damage(path, arena.chance.random())
    mended = arena.start()
    assert mended.said("are set aside and refilled from Kafka"), mended.lines
    arena.tally.add(kind, writer.held)


def fill_the_disk(arena: Arena) -> None:
    """Let a disk take no more while a writer flushes; later there is room again."""
    writer = arena.busy()
    make_room = _really_full(arena) if arena.small_disk else _no_file_may_grow(arena, writer)
    since = len(writer.lines)
    try:
        writer.wait(lambda: writer.said(FULL_DISK_WORDS, since), "a word about the disk")
        at = next(index for index, line in enumerate(writer.lines) if index >= since and FULL_DISK_WORDS in line)
        holding = held(writer.last_step(at))
    finally:
        make_room()
    writer.wait(lambda: writer.did("offsets committed", at), "a commit once there was room")
    arena.tally.add("disk full", holding)


def cut_files(arena: Arena) -> None:
    """Kill a writer that has files which no commit names, and cut them as a loss of power does."""
    arena.busy()
    since = time.time()
    writer = _kill_at(arena, arena.chance.choice(("file written", "file synced", "file named", "files named")))
    arena.end_all()
    orphans = arena.orphans(since)
    for path in orphans[-8:]:
        with path.open("r+b") as file:
            file.truncate(int(path.stat().st_size * arena.chance.random()))
    arena.start()
    if orphans:
        arena.tally.add("cut data file", writer.held)


def compact_twice(arena: Arena) -> None:
    """Stop a compactor somewhere, let another one compact the same hour, then let the first go on or kill it."""
    arena.start()
    table = arena.chance.choice(COMPACTED_TABLES)
    hour = arena.crowded_hour(table)
    if hour is None:
        return
    first = arena.compactor(table, hour, arena.chance.choice(COMPACTION_STEPS))
    first.wait(lambda: first.is_stopped or not first.is_alive, "a stop of a compactor")
    holding = first.held if first.is_stopped else ""
    second = arena.compactor(table, hour)
    second.wait_for_end()
    assert second.said(f"{table} {hour}: ") or second.said("ReplacedError"), second.lines
    first.end(arena.chance.choice((signal.SIGCONT, signal.SIGCONT, signal.SIGKILL)))
    arena.tally.add("two compactors", holding)


FAULTS: dict[Callable[[Arena], None], int] = {
    kill: 25,
    kill_at_a_step: 8,
    terminate: 10,
    stop_past_the_session: 10,
    rebalance: 8,
    tear_an_entry: 8,
    fill_the_disk: 4,
    cut_files: 5,
    compact_twice: 12,
}
"""Each fault and how often it comes beside the others, so that all are wanted for about as long."""


def _kill_at(arena: Arena, step: str) -> Writer:
    writer = arena.busy()
    writer.set_trap(step, signal.SIGKILL)
    if not writer.wait_for_end(within_secs=20):
        writer.drop_trap()
    arena.writers.pop(0)
    arena.tally.add("SIGKILL at a step", writer.held)
    return writer


def _trapped(writer: Writer, step: str, number: signal.Signals) -> bool:
    """Let a writer stop itself at a step; False where it did not come to it."""
    writer.set_trap(step, number)
    writer.wait(lambda: writer.is_stopped, f"a stop at {step}")
    return held(step) in {"flush", "commit"}


def _count_revocation(arena: Arena, writer: Writer, since: int) -> int:
    """Count what the writer held when its partitions were taken away; return after how many lines that was."""
    writer.wait(lambda: writer.did(REVOKED, since), "a revocation", within_secs=20)
    at = writer.lines.index(REVOKED, since)
    arena.tally.add("rebalance", held(writer.last_step(at)))
    return at


def _newest_entry(folder: Path) -> Path | None:
    entries = sorted((folder / LOG).glob(f"{'[0-9]' * 20}.json"))
    checkpoints = sorted((folder / LOG).glob("*.checkpoint.parquet"))
    if len(entries) < 2 or (checkpoints and checkpoints[-1].name[:20] >= entries[-1].name[:20]):
        return None
    return entries[-1]


def _tear_at_a_line(path: Path, share: float) -> None:
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join(lines[: int(len(lines) * share)]) or lines[0][:-2])


def _tear_anywhere(path: Path, share: float) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: 1 + int((len(whole) - 3) * share)])


def _empty(path: Path, share: float) -> None:
    path.write_bytes(b"")


_DAMAGES: tuple[tuple[str, Callable[[Path, float], None]], ...] = (
    ("torn log entry", _tear_at_a_line),
    ("torn log entry", _tear_anywhere),
    ("empty log entry", _empty),
    ("empty log entry", _empty),
)


def _no_file_may_grow(arena: Arena, writer: Writer) -> Callable[[], None]:
    """Limit the size of the writer's files; what makes room again is returned."""
    _, most = resource.prlimit(writer.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(writer.pid, resource.RLIMIT_FSIZE, (arena.chance.choice((0, 700, 8_000)), most))
    return lambda: writer.is_alive and resource.prlimit(writer.pid, resource.RLIMIT_FSIZE, (most, most)) and None


def _really_full(arena: Arena) -> Callable[[], None]:
    """Fill the lake's disk but for a few kilobytes; what makes room again is returned."""
    assert arena.small_disk is not None
    ballast = arena.small_disk / "ballast"
    spare = arena.chance.choice((0, 4_096, 40_960))
    with ballast.open("wb") as file:
        try:
            while True:
                file.write(bytes(65_536))
                file.flush()
        except OSError:
            file.truncate(max(0, file.tell() - spare))
    return lambda: ballast.unlink(missing_ok=True)


assert set(STEPS) >= FLUSH
