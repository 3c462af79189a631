"""The keys of a facility file for the reference page, from the tables that read the file."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from pydantic import BaseModel

from schemas import facility_tables as tables
from schemas import rule

PLACES: dict[str, type[BaseModel]] = {
    "the file": tables.Facility,
    "[rack_types.NAME]": tables.RackType,
    "[feed_types.NAME]": tables.Branch,
    "[[sites]]": tables.Site,
    "[[sites.halls]]": tables.Hall,
    "[[sites.halls.rows]]": tables.Row,
    "racks of a row": tables.RackRange,
    'name = "…" or { en, ar }': tables.Name,
    '[racks."PATH"]': tables.RackException,
    "[[utilities]]": tables.Utility,
    "[[ups_groups]]": tables.UpsGroup,
    "[[panels]]": tables.Panel,
    "[[feeds]]": tables.Feed,
    "[[meters]]": tables.Meter,
    "[[rules]]": rule.Rule,
}
"""Where each table stands in the file."""


def facility_page() -> Iterator[str]:
    """Yield the tables of keys as Markdown lines: key, what it may be, default, meaning."""
    for place, model in PLACES.items():
        yield from (f"### {place}", "", "| key | may be | default | what |", "| --- | --- | --- | --- |")
        abouts = descriptions(model)
        properties = model.model_json_schema()["properties"]
        for key, field in model.model_fields.items():
            default = "needed" if field.is_required() else _default(field.get_default())
            cells = (f"`{key}`", may_be(properties[key]), default, abouts[key])
            yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
        yield ""


def descriptions(model: type[BaseModel]) -> dict[str, str]:
    """Return the line under each key of a model, those of the models it extends too."""
    found: dict[str, str] = {}
    for kind in reversed(model.__mro__):
        if kind is not BaseModel and issubclass(kind, BaseModel):
            body = ast.parse(inspect.getsource(kind).strip()).body[0].body  # type: ignore[attr-defined]
            for statement, below in pairwise(body):
                if isinstance(statement, ast.AnnAssign) and isinstance(below, ast.Expr):
                    found[statement.target.id] = ast.literal_eval(below.value)  # type: ignore[union-attr]
    return found


def may_be(schema: dict[str, Any]) -> str:
    """Return what a JSON schema allows, in words."""
    if "anyOf" in schema:
        return " or ".join(may_be(one) for one in schema["anyOf"] if one.get("type") != "null")
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{one}`" for one in schema.get("enum", [schema.get("const")]))
    if "$ref" in schema:
        return "table"
    if schema.get("type") == "array":
        return f"list of {may_be(schema['items'])}"
    return " ".join([_KINDS.get(str(schema.get("type")), "table"), *_range(schema)])


_KINDS = {"string": "text", "number": "number", "integer": "whole number", "boolean": "true or false"}


def _range(schema: dict[str, Any]) -> Iterator[str]:
    for key, sign in (("exclusiveMinimum", ">"), ("minimum", "≥"), ("maximum", "≤")):
        if key in schema:
            yield f"{sign} {schema[key]:,.15g}"


def _default(value: Any) -> str:
    if value is None or value in ((), {}):
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
