"""The ledger of one table: its Delta log, which says what rows exist and how far Kafka has been read.

Every commit adds files and moves positions in one step. deltalake refuses it when another writer has
moved one of the same positions since the snapshot from which it is made (traps.md 34), and that only
fences where the position was read from this very snapshot: so `reopen` and `commit` are the only ways
to a newer one, and both look at the positions again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deltalake import DeltaTable
from deltalake.exceptions import DeltaError
from deltalake.transaction import AddAction, CommitProperties, PostCommitHookProperties, Transaction

from schemas.errors import UnavailableError
from sinks.lake.durable import make_folder, sync_file, sync_folder
from sinks.lake.parquet import ParquetFile, Step
from sinks.lake.positions import Position, Source, app_id
from sinks.lake.tables import Table

LOG = "_delta_log"
COUNTS = "wattline"
"""The key in a commit's own words under which it counts its actions, for the check at start-up."""

CHECKPOINT_COMMITS = 100
_RACES = 15
_ATTEMPTS = 5


class PositionMovedError(Exception):
    """Tell that another writer has moved a position that this one was about to move."""


class CommitRefusedError(UnavailableError):
    """Report a commit that could not be made; none of its files is in the table."""


class Ledger:
    """Hold one snapshot of one table, and commit to the table from it."""

    def __init__(self, table: Table, lake: Path, step: Step = lambda _: None) -> None:
        self.table = table
        self.folder = table.folder(lake)
        self._step = step
        self._delta = _open_or_create(table, self.folder)
        self._read: dict[Source, Position | None] = {}
        self._checkpointed = self.version

    @property
    def version(self) -> int:
        """Return the version of the snapshot."""
        return self._delta.version()

    @property
    def is_checkpoint_due(self) -> bool:
        """Tell whether the snapshot is in another hundred of versions than the last checkpoint (or the start)."""
        return self.version // CHECKPOINT_COMMITS > self._checkpointed // CHECKPOINT_COMMITS

    def reopen(self) -> None:
        """Take the newest snapshot; every position must be read anew after it."""
        self._delta = DeltaTable(str(self.folder))
        self._read.clear()

    def position(self, source: Source) -> Position | None:
        """Return where the snapshot goes on in `source`, in its newest epoch; None before the first commit."""
        if source not in self._read:
            self._read[source] = read_position(self._delta, source)
        return self._read[source]

    def commit(
        self,
        files: Sequence[ParquetFile],
        start: Mapping[Source, Position | None],
        end: Mapping[Source, Position],
    ) -> None:
        """Add `files` and move every position from `start` to `end`, in one durable commit.

        Raises PositionMovedError where another writer was faster (nothing of ours is in the table then,
        or it is and somebody went on from there), CommitRefusedError where the commit cannot be made.
        """
        before = self.version
        refusal: BaseException | None = None
        for _ in range(_ATTEMPTS):
            self._require(start)
            try:
                self._write_entry(files, end)
                self._step("entry written")
                self._delta.update_incremental()
                self._read.clear()
                self._require(end)
                break
            except PositionMovedError:
                raise
            except Exception as error:  # what it is decides nothing: the table is asked (traps.md 36)
                refusal = error
                self.reopen()
                if self._stands_at(end):
                    break
        else:
            self._require(start)
            raise CommitRefusedError(
                f"{self.folder}: the commit was refused {_ATTEMPTS} times, nothing of it is in the table; "
                f"Kafka keeps the rows and the writer tries again. Last refusal: {refusal}"
            )
        self._sync_entries(before)
        self._step("entry synced")

    def checkpoint(self) -> None:
        """Write a durable checkpoint of the snapshot, so that opening reads it and a few entries."""
        self._delta.create_checkpoint()
        self._checkpointed = self.version
        log = self.folder / LOG
        for path in log.glob(f"{self.version:020d}.checkpoint*.parquet"):
            sync_file(path)
        sync_file(log / "_last_checkpoint")
        sync_folder(log)

    def _write_entry(self, files: Sequence[ParquetFile], end: Mapping[Source, Position]) -> None:
        apps = {app: value for source, position in end.items() for app, value in position.transactions(source).items()}
        self._delta.create_write_transaction(
            [_add_action(self.folder, file) for file in files],
            "append",
            self._delta.schema(),
            partition_by=["hour"],
            commit_properties=CommitProperties(
                app_transactions=[Transaction(app, value) for app, value in apps.items()],
                max_commit_retries=_RACES,
                custom_metadata={COUNTS: counts(adds=len(files), txns=len(apps))},
            ),
            post_commithook_properties=PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False),
        )

    def _stands_at(self, positions: Mapping[Source, Position | None]) -> bool:
        return all(self.position(source) == position for source, position in positions.items())

    def _require(self, positions: Mapping[Source, Position | None]) -> None:
        for source, position in positions.items():
            found = self.position(source)
            if found != position:
                raise PositionMovedError(
                    f"table {self.table.name}: another writer has moved {source}: at "
                    f"{'its start' if found is None else found.next}, "
                    f"not at {'its start' if position is None else position.next}"
                )

    def _sync_entries(self, before: int) -> None:
        """Make the log entries after version `before` durable; deltalake never does (traps.md 33)."""
        log = self.folder / LOG
        for version in range(before + 1, self.version + 1):
            sync_file(log / f"{version:020d}.json")
        sync_folder(log)


def read_position(delta: DeltaTable, source: Source) -> Position | None:
    """Return a snapshot's position in `source`, in its newest epoch; None before the first commit."""
    read, found, epoch = delta.transaction_version, None, 1
    while (offset := read(app := app_id(source, epoch))) is not None:
        found = Position(offset, read(f"{app}#w") or 0, read(f"{app}#t") or 0, epoch)
        epoch += 1
    return found


def counts(*, adds: int = 0, txns: int = 0, removes: int = 0) -> dict[str, int]:
    """Return the count of actions that a commit of ours carries in its own words."""
    return {"add": adds, "txn": txns, "remove": removes}


def _add_action(folder: Path, file: ParquetFile) -> AddAction:
    modified = int((folder / file.path).stat().st_mtime * 1000)
    return AddAction(file.path, file.size, {"hour": file.hour}, modified, True, file.statistics)


def _open_or_create(table: Table, folder: Path) -> DeltaTable:
    if DeltaTable.is_deltatable(str(folder)):
        return DeltaTable(str(folder))
    make_folder(folder / LOG)
    words: dict[str, Any] = {COUNTS: counts()}
    try:
        delta = DeltaTable.create(
            str(folder),
            table.delta,
            mode="error",
            partition_by=["hour"],
            # Entries go only below a checkpoint that has been read again; the library would go by age alone.
            configuration={"delta.enableExpiredLogCleanup": "false"},
            commit_properties=CommitProperties(custom_metadata=words),
        )
    except DeltaError:  # a second writer that starts at the same moment has made it
        delta = DeltaTable(str(folder))
    sync_file(folder / LOG / f"{0:020d}.json")
    sync_folder(folder / LOG)
    return delta
