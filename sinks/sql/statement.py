"""One statement that only asks: what `wattline sql` takes.

This makes a mistake clear; it is no boundary. DuckDB runs with the rights of whoever called it, and the
statement check of a database is not what keeps others out (shared queries get a sandbox of their own).
"""

from __future__ import annotations

import duckdb

from schemas.errors import WattlineError

_ASKING = {duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN, duckdb.StatementType.MULTI}
"""FROM, VALUES, DESCRIBE, SHOW and SUMMARIZE are SELECT; PIVOT is MULTI."""


INSTEAD = "--format and --output write the answer to a file"


class NotAQuestionError(WattlineError):
    """Report a statement that is none, more than one, or would write."""

    exit_code = 2


def one_question(connection: duckdb.DuckDBPyConnection, text: str, instead: str = INSTEAD) -> str:
    """Return `text` where it is one statement that only asks; `instead` says how an answer becomes a file.

    Raises NotAQuestionError, and what DuckDB raises for a text that it cannot parse.
    """
    statements = connection.extract_statements(text)
    if len(statements) != 1:
        found = f"{len(statements)} statements" if statements else "no statement"
        raise NotAQuestionError(f"sql: {found}; one SELECT at a time, as in `wattline sql 'FROM sites'`")
    kind = statements[0].type
    # A WITH may hide a COPY, and EXPLAIN ANALYZE runs one (both are typed as asking).
    if kind not in _ASKING or "copy" in _keywords(text):
        word = "COPY" if kind in _ASKING else kind.name
        raise NotAQuestionError(f"sql: {word} is not answered: the lake is read-only. Ask with SELECT; {instead}")
    return text


def _keywords(text: str) -> set[str]:
    tokens = duckdb.tokenize(text)
    ends = [start for start, _ in tokens[1:]] + [len(text.encode())]
    encoded = text.encode()
    return {
        encoded[start:end].decode().split(maxsplit=1)[0].lower()
        for (start, kind), end in zip(tokens, ends, strict=True)
        if kind == duckdb.token_type.keyword
    }
