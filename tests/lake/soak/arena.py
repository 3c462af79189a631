"""One lake of a soak with its writers: what a fault acts on."""

from __future__ import annotations

import signal
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

from deltalake import DeltaTable

from sinks.lake.tables import BY_NAME, TABLES
from tests.lake.soak.forked import Writer, Zygote
from tests.lake.soak.tally import Tally

SETTINGS = {"flush_secs": 0.3, "session_timeout_secs": 1.2, "fetch_wait_ms": 50}


class Arena:
    """Keep the writers of one lake, at most one a slot; used by one thread."""

    def __init__(
        self,
        lake: Path,
        bootstrap: Callable[[], str],
        zygote: Zygote,
        tally: Tally,
        chance: Random,
        *,
        is_fenced: bool = True,
        small_disk: Path | None = None,
    ) -> None:
        self.lake, self.chance, self.tally, self.small_disk = lake, chance, tally, small_disk
        self._bootstrap, self._zygote, self._is_fenced = bootstrap, zygote, is_fenced
        self._started = 0
        self.writers: dict[int, Writer] = {}
        self._compactors: list[Writer] = []
        self.is_broker_up = threading.Event()
        self.is_broker_up.set()

    def start(self, slot: int = 0) -> Writer:
        """Return the living writer of a slot, started and assigned where there was none."""
        writer = self.writers.get(slot)
        if writer is not None and writer.is_alive:
            return writer
        self.is_broker_up.wait()
        writer = self._zygote.fork(
            {
                "bootstrap": self._bootstrap(),
                "lake": str(self.lake),
                "trap": str(self._new_trap()),
                "is_fenced": self._is_fenced,
                "settings": {"slot": slot, **SETTINGS},
            }
        )
        self.writers[slot] = writer
        writer.wait(lambda: writer.did("assigned"), "assignment")
        return writer

    def compactor(self, table: str, hour: str, step: str = "", number: signal.Signals = signal.SIGSTOP) -> Writer:
        """Start to compact an hour with no lock at all, as two programs do that know nothing of each other."""
        trap = self._new_trap()
        if step:
            trap.write_text(f"{step}:{number.value}")
        options = {"lake": str(self.lake), "table": table, "hour": hour, "trap": str(trap)}
        self._compactors.append(self._zygote.fork(options))
        return self._compactors[-1]

    def crowded_hour(self, table: str) -> str | None:
        """Return the hour of a table that has most flush files, None where none has two."""
        folder = BY_NAME[table].folder(self.lake)
        names = [uri.rsplit("/", 2)[1:] for uri in DeltaTable(str(folder)).file_uris()]
        flushed = Counter(hour.removeprefix("hour=") for hour, name in names if name.startswith("flush-"))
        flushed.pop("mixed", None)
        hour, files = max(flushed.items(), key=lambda each: each[1], default=("", 0))
        return hour if files >= 2 else None

    def _new_trap(self) -> Path:
        self._started += 1
        return self.lake.parent / f".trap-{self.lake.name}-{self._started}"

    def busy(self, slot: int = 0) -> Writer:
        """Return a writer of the slot that has just begun to hold something, or was about to."""
        writer = self.start(slot)
        since = len(writer.lines)
        writer.wait(lambda: writer.did("gathered", since), "messages")
        return writer

    def end(self, slot: int, number: signal.Signals) -> Writer:
        """End the writer of a slot and return it, its last line read."""
        writer = self.writers.pop(slot)
        writer.end(number)
        return writer

    def end_all(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End every writer, and every compactor by force."""
        for slot in list(self.writers):
            self.end(slot, number)
        while self._compactors:
            self._compactors.pop().end(signal.SIGKILL)

    def orphans(self, since: float) -> list[Path]:
        """Return data files written since a time that no snapshot holds: half-written ones, and those of the killed.

        Older ones may have been compacted: a log that is torn brings these back, and they are durable.
        """
        found = []
        for table in TABLES:
            folder = table.folder(self.lake)
            if DeltaTable.is_deltatable(str(folder)):
                live = {uri.removeprefix("file://") for uri in DeltaTable(str(folder)).file_uris()}
                new = [path for path in folder.rglob("*.parquet") if _is_data(path) and path.stat().st_mtime >= since]
                found += [path for path in new if str(path) not in live]
        return found


def _is_data(path: Path) -> bool:
    return path.parent.name.startswith("hour=") or path.parent.name == "_temporary"
