"""The ledger of one table: its Delta log, which says what rows exist and how far Kafka has been read.

Every commit adds files and moves positions in one step. deltalake refuses it when another writer has
moved one of the same positions since the snapshot from which it is made (traps.md 34), and that only
fences where the position was read from this very snapshot: so `reopen` and `commit` are the only ways
to a newer one, and both look at the positions again.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError
from deltalake.transaction import AddAction, CommitProperties, PostCommitHookProperties, RemoveAction, Transaction

from schemas.errors import UnavailableError
from sinks.lake.durable import make_folder, sync_file, sync_folder
from sinks.lake.formats import marks, missing_columns, require_known_format
from sinks.lake.parquet import ParquetFile, Step
from sinks.lake.positions import Position, Source, app_id, since_id
from sinks.lake.tables import Table

LOG = "_delta_log"
COUNTS = "wattline"
"""The key in a commit's own words under which it counts its actions, for the check at start-up."""

APPENDED = "_appended"
HOUR_PREFIX = "hour-"
"""How the names of files begin that compaction made; those of the writer begin with `flush-`."""

REPLACING = "replace"
"""The application transaction that every commit which removes files moves: of two of one snapshot only one is made."""

COLUMNS = "wattline/columns"
"""The application transaction that a commit which adds columns moves."""

CHECKPOINT_COMMITS = 100
_RACES = 15
_ATTEMPTS = 5


Words = Mapping[str, object]
EMPTY: Words = MappingProxyType({})
_NO_MARKS: Mapping[str, int] = MappingProxyType({})


class PositionMovedError(Exception):
    """Tell that another writer has moved a position that this one was about to move."""


class CommitRefusedError(UnavailableError):
    """Report a commit that could not be made; none of its files is in the table."""


class ReplacedError(Exception):
    """Tell that the table has changed since a replacement was prepared; it is to be prepared anew."""


class LiveFile(NamedTuple):
    """Name a file of a snapshot; `path` is relative to the table's folder, `appended` its newest append, UTC."""

    path: str
    size: int
    hour: str
    rows: int
    appended: datetime | None = None

    @property
    def is_of_hour(self) -> bool:
        """Tell whether compaction made it: its rows are by device and time, each identity once."""
        return self.path.rpartition("/")[2].startswith(HOUR_PREFIX)


class Ledger:
    """Hold one snapshot of one table, and commit to the table from it."""

    def __init__(self, table: Table, lake: Path, step: Step = lambda _: None) -> None:
        self.table = table
        self.folder = table.folder(lake)
        self._step = step
        self._delta = _open_or_create(table, self.folder)
        self._read: dict[Source, Position | None] = {}
        self._add_columns()
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
        *,
        marks: Mapping[str, int] = _NO_MARKS,
        words: Words = EMPTY,
    ) -> None:
        """Add `files` and move every position from `start` to `end`, in one durable commit.

        `marks` are further application transactions, `words` what the commit says of itself for people.
        Raises PositionMovedError where another writer was faster (nothing of ours is in the table then,
        or it is and somebody went on from there), CommitRefusedError where the commit cannot be made.
        """
        before = self.version
        refusal: BaseException | None = None
        for _ in range(_ATTEMPTS):
            self._require(start)
            try:
                self._write_entry(files, end, marks, words)
                self._step("entry written")
                self._delta.update_incremental()
                self._read_after(before, end)
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

    def live(self) -> dict[str, LiveFile]:
        """Return the files of the snapshot by path."""
        actions = pa.table(self._delta.get_add_actions(flatten=True))
        appended = f"max.{APPENDED}"
        columns = {
            "path": "path",
            "size_bytes": "size",
            "partition.hour": "hour",
            "num_records": "rows",
            appended: "appended",
        }
        present = [name for name in columns if name in actions.column_names]
        found = actions.select(present).rename_columns([columns[name] for name in present]).to_pylist()
        return {each["path"]: LiveFile(**each) for each in found}

    def transaction(self, app: str) -> int | None:
        """Return the version of an application transaction in the snapshot."""
        return self._delta.transaction_version(app)

    def replace(self, removed: Collection[str], added: Sequence[ParquetFile], app: str, words: Words = EMPTY) -> None:
        """Take `removed` (paths of live files) out and put `added` in, in one durable commit; no position moves.

        It is made from the snapshot as it is, which must be that from which the caller chose what to remove: two of
        one snapshot are not both made. `app` names what is done (`compact/2026-03-01T13`), `words` go into the commit.
        A file that is removed stays on disk. Raises ReplacedError where somebody else was faster, CommitRefusedError
        where the commit cannot be made; nothing of it is in the table then.
        """
        before, after = self.version, self._next_turns(app)
        refusal: BaseException | None = None
        for _ in range(_ATTEMPTS):
            self._require_replaceable(removed, after)
            try:
                self._write_replacement(removed, added, after, words)
                self._step("entry written")
                self._delta.update_incremental()
                self._read.clear()
                break
            except Exception as error:  # what it is decides nothing: the table is asked (traps.md 36)
                refusal = error
                self.reopen()
                if self._is_replaced(removed, added, after):
                    break
        else:
            raise CommitRefusedError(
                f"{self.folder}: the commit of {app} was refused {_ATTEMPTS} times, nothing of it is in the table and "
                f"nothing is lost; it is tried again. Last refusal: {refusal}"
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

    def _write_entry(
        self,
        files: Sequence[ParquetFile],
        end: Mapping[Source, Position],
        marks: Mapping[str, int] = _NO_MARKS,
        words: Words = EMPTY,
    ) -> None:
        apps = {app: value for source, position in end.items() for app, value in position.transactions(source).items()}
        apps |= marks
        self._delta.create_write_transaction(
            [_add_action(self.folder, file) for file in files],
            "append",
            self._delta.schema(),
            partition_by=["hour"],
            commit_properties=CommitProperties(
                app_transactions=[Transaction(app, value) for app, value in apps.items()],
                max_commit_retries=_RACES,
                custom_metadata={**words, COUNTS: counts(adds=len(files), txns=len(apps))},
            ),
            post_commithook_properties=PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False),
        )

    def _add_columns(self) -> None:
        """Give the table the columns that this version knows and its log does not; their old rows are null."""
        before = self.version
        for _ in range(_ATTEMPTS):
            missing = missing_columns(self._delta, self.table, self.folder)
            if not missing:
                break
            turn = (self.transaction(COLUMNS) or 0) + 1
            words: dict[str, Any] = {COUNTS: counts(txns=1) | {"metaData": 1}}
            try:
                self._delta.alter.add_columns(
                    missing,
                    commit_properties=CommitProperties(
                        app_transactions=[Transaction(COLUMNS, turn)], custom_metadata=words
                    ),
                    post_commithook_properties=PostCommitHookProperties(False, False),
                )
            except DeltaError as error:  # another one that knows them started at the same moment: look again
                refusal = error
            self.reopen()
        else:
            raise CommitRefusedError(f"{self.folder}: columns could not be added {_ATTEMPTS} times: {refusal}")
        self._sync_entries(before)

    def _next_turns(self, app: str) -> dict[str, int]:
        """Return the transactions of a commit that replaces: one of its own, and one that all of them share."""
        return {name: (self.transaction(name) or 0) + 1 for name in (app, REPLACING)}

    def _require_replaceable(self, removed: Collection[str], after: Mapping[str, int]) -> None:
        live = self.live()
        gone = [path for path in removed if path not in live]
        moved = [app for app, version in after.items() if (self.transaction(app) or 0) + 1 != version]
        if gone or moved:
            what = f"{gone[0]} is not in it any more" if gone else f"{moved[0]} has been done meanwhile"
            raise ReplacedError(f"{self.folder}: the table has changed since it was looked at: {what}")

    def _is_replaced(self, removed: Collection[str], added: Sequence[ParquetFile], after: Mapping[str, int]) -> bool:
        live = self.live()
        is_turned = all((self.transaction(app) or 0) >= turn for app, turn in after.items())
        return is_turned and all(file.path in live for file in added) and not any(path in live for path in removed)

    def _write_replacement(
        self, removed: Collection[str], added: Sequence[ParquetFile], after: Mapping[str, int], words: Words
    ) -> None:
        live, now = self.live(), time.time_ns() // 1_000_000
        gone = [RemoveAction(path, False, now, live[path].size, {"hour": live[path].hour}) for path in removed]
        numbers = counts(adds=len(added), txns=len(after), removes=len(removed))
        self._delta.create_write_transaction(
            [*gone, *(_add_action(self.folder, file, is_new=False) for file in added)],
            "append",
            self._delta.schema(),
            partition_by=["hour"],
            commit_properties=CommitProperties(
                app_transactions=[Transaction(app, version) for app, version in after.items()],
                max_commit_retries=_RACES,
                custom_metadata={**words, COUNTS: numbers},
            ),
            post_commithook_properties=PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False),
        )

    def _read_after(self, before: int, end: Mapping[Source, Position]) -> None:
        """Forget what was read before a commit, but for what it alone can have moved.

        Reading a position takes a millisecond and more. Where the snapshot is one version further, that one is ours,
        whole or not at all: one of its positions that is read again speaks for the others.
        """
        kept = {**self._read, **end} if self.version == before + 1 else {}
        asked = next(iter(end), None)
        self._read = {source: position for source, position in kept.items() if source != asked}

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


def read_epochs(delta: DeltaTable, source: Source) -> list[int]:
    """Return since when, in milliseconds of append time, each epoch after the first has rows; see `epoch_of`."""
    since: list[int] = []
    while (milliseconds := delta.transaction_version(since_id(source, len(since) + 2))) is not None:
        since.append(milliseconds)
    return since


def counts(*, adds: int = 0, txns: int = 0, removes: int = 0) -> dict[str, int]:
    """Return the count of actions that a commit of ours carries in its own words."""
    return {"add": adds, "txn": txns, "remove": removes}


def _add_action(folder: Path, file: ParquetFile, *, is_new: bool = True) -> AddAction:
    """Return the action that adds a file; `is_new` tells that its rows were in no other file before."""
    modified = int((folder / file.path).stat().st_mtime * 1000)
    return AddAction(file.path, file.size, {"hour": file.hour}, modified, is_new, file.statistics)


def _open_or_create(table: Table, folder: Path) -> DeltaTable:
    if DeltaTable.is_deltatable(str(folder)):
        delta = DeltaTable(str(folder))
        require_known_format(delta, folder)
        return delta
    make_folder(folder / LOG)
    first = marks()
    words: dict[str, Any] = {COUNTS: counts(txns=len(first))}
    try:
        delta = DeltaTable.create(
            str(folder),
            table.delta,
            mode="error",
            partition_by=["hour"],
            # Entries go only below a checkpoint that has been read again; the library would go by age alone.
            configuration={"delta.enableExpiredLogCleanup": "false"},
            commit_properties=CommitProperties(app_transactions=first, custom_metadata=words),
        )
    except DeltaError:  # a second writer that starts at the same moment has made it
        delta = DeltaTable(str(folder))
    sync_file(folder / LOG / f"{0:020d}.json")
    sync_folder(folder / LOG)
    return delta
