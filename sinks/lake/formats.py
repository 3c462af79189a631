"""What a table looks like in the log, from one version of Wattline to the next: columns that came, and a format number.

A new column is nullable and changes no number: old files read as null in it, and a writer that does not know it goes on
beside one that does. What old code would misread raises FORMAT; older code then refuses the table with a sentence.
"""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

from deltalake import DeltaTable, Field, Schema
from deltalake.transaction import Transaction

from schemas.errors import ConfigurationError
from sinks.lake.tables import Table

FORMAT = 1
FORMAT_APP = "wattline/format"
"""The application transaction that says a table's format. None in a table is 1."""
VERSION_APP = "wattline/version"
"""The version that made the format, 1.2.3 as 1002003."""


def marks(number: int = FORMAT) -> list[Transaction]:
    """Return what the first commit of a table says of its format."""
    return [Transaction(FORMAT_APP, number), Transaction(VERSION_APP, _version())]


def require_known_format(delta: DeltaTable, folder: Path) -> None:
    """Raise ConfigurationError where a newer Wattline made the table, in a way that this one would misread."""
    found = delta.transaction_version(FORMAT_APP) or 1
    if found > FORMAT:
        major, rest = divmod(delta.transaction_version(VERSION_APP) or 0, 1_000_000)
        raise ConfigurationError(
            f"{folder}: this table has format {found}, which Wattline {major}.{rest // 1000}.{rest % 1000} made, and "
            f"this Wattline ({_said()}) knows formats up to {FORMAT}. Nothing was changed. Run that version or a newer "
            "one on this lake, or restore a backup from before (`wattline lake restore`)"
        )


def missing_columns(delta: DeltaTable, table: Table, folder: Path) -> list[Field]:
    """Return the columns that this version knows and the table does not have yet; those it has more are left alone.

    Raises ConfigurationError where a column is there with another type, or a missing one could not be null.
    """
    there = {field.name: field for field in delta.schema().fields}
    wanted = Schema.from_arrow(table.delta).fields
    for field in wanted:
        found = there.get(field.name)
        if found is not None and found.type != field.type:
            raise ConfigurationError(
                f"{folder}: column {field.name} is {found.type} in the table and {field.type} in this Wattline "
                f"({_said()}). Another engine changed it, or a newer Wattline: run that version, or restore a backup"
            )
    missing = [field for field in wanted if field.name not in there]
    if rigid := [field.name for field in missing if not field.nullable]:
        raise ConfigurationError(
            f"{folder}: column {rigid[0]} is not in the table, and its old rows cannot be null in it. Restore a "
            "backup, or start with another folder"
        )
    return missing


def _said() -> str:
    try:
        return metadata.version("wattline")
    except metadata.PackageNotFoundError:  # run from a checkout
        return "0.0.0"


def _version() -> int:
    parts = [*_said().split("."), "0", "0"][:3]
    major, minor, patch = (int(part) if part.isdigit() else 0 for part in parts)
    return major * 1_000_000 + minor * 1_000 + patch
