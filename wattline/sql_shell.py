"""The shell of `wattline sql`: history, completion, one question after the other, each on a fresh snapshot.

Ctrl-C stops the question that runs, or clears the line; Ctrl-D leaves.
"""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import click
import duckdb
import pyarrow as pa
from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.history import FileHistory
from prompt_toolkit.input import Input
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.output import Output

from broker.folders import state_folder
from schemas.errors import WattlineError
from sinks.sql.at import read_at
from sinks.sql.damage import refusing_damage
from sinks.sql.output import BINARY, WRITERS
from sinks.sql.question import UNPLANNED, Asked, Lake, explained, views

MOST_ROWS = 1_000
"""So many rows of an answer are shown."""

HELP = """\
A question ends with ; and may have several lines. Ctrl-C stops it, Ctrl-D leaves.
.views            what can be asked
.columns VIEW     the columns of a view and their types
.format NAME      table, csv or json
.at TIME          ask the lake as it was, as in .at 2026-03-01T12:00 or .at gpu=12; .at alone: the newest again
.explain on|off   say which files a question reads instead of answering it
.quit             leave"""


_AFTER_FROM = re.compile(r"\b(from|join)\s+\w*$", re.IGNORECASE)


class Words(Completer):
    """Complete views, their columns and words of SQL."""

    def __init__(self, lake: Lake) -> None:
        connection = lake.connection
        self._views = views(connection)
        told = "SELECT table_name, column_name FROM duckdb_columns() WHERE schema_name = 'main' AND NOT internal"
        self._columns: dict[str, list[str]] = {}
        for view, column in connection.execute(told).fetchall():
            self._columns.setdefault(view, []).append(column)
        keywords = "SELECT keyword_name FROM duckdb_keywords() WHERE keyword_category = 'reserved' ORDER BY ALL"
        self._keywords = [word.upper() for (word,) in connection.execute(keywords).fetchall()]

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterator[Completion]:
        """Yield what the word before the cursor may become; columns of the views that the text names come first."""
        word = document.get_word_before_cursor()
        if not word:
            return
        if _AFTER_FROM.search(document.text_before_cursor):
            yield from _completed(word, self._views)
            return
        named = [view for view in self._views if view in document.text.split()]
        columns = [column for view in named or self._columns for column in self._columns.get(view, ())]
        yield from _completed(word, [*columns, *self._views, *self._keywords])


def _completed(word: str, texts: Iterable[str]) -> Iterator[Completion]:
    for text in dict.fromkeys(texts):
        if text.lower().startswith(word.lower()) and text != word:
            yield Completion(text, start_position=-len(word))


class Shell:
    """Read questions from a terminal and answer them until the person leaves."""

    def __init__(
        self,
        lake: Lake,
        form: str = "table",
        *,
        is_explaining: bool = False,
        keys: Input | None = None,
        screen: Output | None = None,
    ) -> None:
        self._lake, self._form, self._is_explaining = lake, form, is_explaining
        self._session: PromptSession[str] = PromptSession(
            history=FileHistory(str(history_file())),
            completer=Words(lake),
            complete_while_typing=False,
            multiline=True,
            key_bindings=_bindings(),
            input=keys,
            output=screen,
        )

    def run(self) -> None:
        """Read and answer until the end of the input or `.quit`."""
        click.echo(f"{self._lake.folder}: .help tells what there is, ; ends a question.")
        while True:
            try:
                text = self._session.prompt("wattline> ", prompt_continuation="     ...> ").strip()
            except KeyboardInterrupt:
                continue
            except EOFError:
                return
            if text in (".quit", ".exit", "\\q"):
                return
            self._turn(text)

    def _turn(self, text: str) -> None:
        """Answer one line; whatever is wrong with it is said, and the shell goes on."""
        try:
            if text.startswith((".", "\\")):
                self._command(*text.split(maxsplit=1))
            elif text.strip("; \n"):
                self._question(text)
        except (WattlineError, duckdb.Error, OSError, click.UsageError) as error:
            click.echo(str(error), err=True)
        except KeyboardInterrupt:
            # A connection that was stopped in the middle may refuse what comes next.
            self._lake = Lake(self._lake.folder, self._lake.span, self._lake.at)
            click.echo("stopped", err=True)

    def _command(self, name: str, argument: str = "") -> None:
        match name, argument:
            case ".views", "":
                click.echo("\n".join(views(self._lake.connection)))
            case ".columns", view if view in views(self._lake.connection):
                self._write(self._lake.connection.sql(f"DESCRIBE {view}").to_arrow_reader())
            case ".format", form if form in WRITERS and form not in BINARY:
                self._form = form
            case ".explain", "on" | "off":
                self._is_explaining = argument == "on"
            case ".at", _:
                self._lake = Lake(self._lake.folder, self._lake.span, read_at(argument.split()))
            case _:
                click.echo(HELP)

    def _question(self, text: str) -> None:
        if self._lake.is_old:
            self._lake.refresh()
        began = time.perf_counter()
        with refusing_damage(self._lake.folder):
            asked = self._lake.ask(text)
            if self._is_explaining:
                click.echo(UNPLANNED) if asked.files is None else self._write(explained(asked))
                return
            if note := self._lake.note(asked):
                click.echo(f"note: {note}", err=True)
            answer, is_whole = stoppable(self._lake.connection, lambda: _first(self._lake, asked))
        self._write(answer.to_reader())
        click.echo(self._told(asked, answer.num_rows, time.perf_counter() - began, is_whole=is_whole))

    def _write(self, answer: pa.RecordBatchReader) -> None:
        sys.stdout.flush()
        WRITERS[self._form](answer, sys.stdout.buffer)
        sys.stdout.buffer.flush()

    def _told(self, asked: Asked, rows: int, seconds: float, *, is_whole: bool) -> str:
        """Return what is said below an answer: how many rows, how long it took, of which versions."""
        count = f"{rows:,} rows" if is_whole else f"the first {rows:,} rows (wattline sql --output writes all)"
        tables = dict.fromkeys(file.table for file in asked.files or ())
        versions = ", ".join(f"{table} {self._lake.versions[table]}" for table in tables)
        files = f"{len(asked.read):,} of {len(asked.files):,} files" if asked.files is not None else "all files"
        return " · ".join(
            filter(None, (count, f"{seconds * 1000:,.0f} ms", files, f"versions: {versions}" * bool(versions)))
        )


def _first(lake: Lake, asked: Asked) -> tuple[pa.Table, bool]:
    """Return the first rows of an answer and whether they are all."""
    reader = lake.answer(asked).to_arrow_reader(MOST_ROWS + 1)
    batches, rows = [], 0
    for batch in reader:
        batches.append(batch)
        rows += batch.num_rows
        if rows > MOST_ROWS:
            break
    return pa.Table.from_batches(batches, reader.schema).slice(0, MOST_ROWS), rows <= MOST_ROWS


def stoppable(
    connection: duckdb.DuckDBPyConnection, work: Callable[[], tuple[pa.Table, bool]]
) -> tuple[pa.Table, bool]:
    """Do work in a thread; Ctrl-C interrupts DuckDB there and is raised here once it has stopped."""
    results: list[tuple[pa.Table, bool]] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(0.1)
    except KeyboardInterrupt:
        while thread.is_alive():  # it may not have begun when it was told first
            connection.interrupt()
            thread.join(0.05)
        raise
    if failures:
        raise failures[0]
    return results[0]


def history_file() -> Path:
    """Return the file of what was asked, which only its owner can read."""
    path = state_folder() / "sql_history"
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.close(os.open(path, os.O_CREAT | os.O_APPEND, 0o600))
    path.chmod(0o600)
    return path


def _bindings() -> KeyBindings:
    """Let Enter end what is whole, a question by ; or a command, and begin a new line otherwise."""
    keys = KeyBindings()

    @keys.add("enter")
    def _(event: KeyPressEvent) -> None:
        text = event.current_buffer.text.strip()
        if not text or text.endswith(";") or text.startswith((".", "\\")):
            event.current_buffer.validate_and_handle()
        else:
            event.current_buffer.insert_text("\n")

    return keys
