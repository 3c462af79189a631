"""The state of the campus as a person reads it in a terminal: one sentence, tables, the newest alerts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import polars as pl
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from schemas.alert import Alert
from schemas.printable import printable
from wattline.quantities import MISSING, age, share, watts
from wattline.view import View
from web.live import LiveState

EVERYTHING = View()
STALE_SECONDS = 10.0
"""Data older than this is called old in the first sentence."""
NAMED = 5
_BAR = 12
_NEAR, _OVER = 0.95, 1.0
_STATES = {"firing": "bold red", "continued": "bold red", "stale": "magenta", "keeping": "yellow", "resolved": "green"}


def picture(
    state: LiveState,
    now: datetime,
    *,
    most: int = 10,
    alerts: int = 8,
    view: View = EVERYTHING,
    unregistered: Sequence[str] = (),
) -> RenderableType:
    """Return the picture: the sentence, at most `alerts` alerts, at most `most` subjects of each kind in view.

    `unregistered` are the racks and meters that report and are in no facility.
    """
    subjects = state.subjects(now)
    told = [alert for alert in state.alerts() if alert.fired is not None][:alerts]
    parts: list[RenderableType] = [sentence(state, subjects, now), Text()]
    if unregistered:
        parts.insert(1, Text(unknown_line(unregistered), style="yellow"))
    if told:
        parts += [*(alert_line(alert) for alert in told), Text()]
    chosen = subjects if view.kind is None else subjects.filter(pl.col("kind") == view.kind)
    return Group(*parts, _table(chosen.slice(view.first), most))


def sentence(state: LiveState, subjects: pl.DataFrame, now: datetime) -> Text:
    """Return the one sentence that counts: sites against their limits, racks reporting, alerts, age of the data."""
    sites = subjects.filter(pl.col("kind") == "site").sort("path")
    racks = subjects.filter(pl.col("kind") == "rack")
    heard = racks.filter(pl.col("power_watts").is_not_null()).height
    firing = len(state.open_alerts())
    parts = [
        *([f"campus {_of_limit(_campus(sites))}"] if len(sites) > 1 else []),
        *(f"{site['path']} {_of_limit(site)}" for site in sites.iter_rows(named=True)),
        f"{heard:,} of {len(racks):,} racks report",
        _alerting(firing, is_known=not _is_stale(state, now)),
        _freshness(state, now),
    ]
    style = "bold red" if firing else "bold"
    return Text(" · ".join(printable(part) for part in parts), style=style)


def unknown_line(names: Sequence[str]) -> str:
    """Say who reports and is in no facility, the first few by name."""
    shown = ", ".join(printable(name) for name in names[:NAMED])
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    verb = "reports and is" if len(names) == 1 else "report and are"
    return f"{len(names):,} {verb} in no facility, so in no sum: {shown}{more}"


def _campus(sites: pl.DataFrame) -> dict[str, Any]:
    """Return the sum of the sites; missing where a site or its limit is."""
    columns = ("power_watts", "limit_watts")
    power, limit = (None if sites[name].null_count() else sites[name].sum() for name in columns)
    known = power is not None and limit
    return {"power_watts": power, "limit_watts": limit, "fraction_of_limit": power / limit if known else None}


def alert_line(alert: Alert) -> Text:
    """Return one alert on one line: when, what became of it, how severe, and its words."""
    words = alert.summary or f"{alert.rule} on {alert.subject}"
    line = Text(f"{alert.at.astimezone(UTC):%H:%M:%S}  ", style="dim")
    line.append(f"{alert.transition:<9} {alert.severity:<8} ", style=_STATES.get(alert.transition, ""))
    line.append(printable(words, 160))
    line.append(f"  since {alert.start.astimezone(UTC):%H:%M:%S}", style="dim")
    return line


def as_json(state: LiveState, now: datetime, unregistered: Sequence[str] = ()) -> dict[str, Any]:
    """Return everything that is known, for programs: times are ISO 8601 in UTC, missing is null."""
    subjects = state.subjects(now).with_columns(pl.col("window_start").dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ"))
    return {
        "at": now.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "subjects": subjects.to_dicts(),
        "unregistered": list(unregistered),
        "alerts": [
            {
                "id": alert.id,
                "transition": alert.transition,
                "rule": alert.rule,
                "subject_kind": alert.subject_kind,
                "subject": alert.subject,
                "severity": alert.severity,
                "start": alert.start.isoformat().replace("+00:00", "Z"),
                "at": alert.at.isoformat().replace("+00:00", "Z"),
                "value": alert.value,
                "limit": alert.limit,
                "unit": alert.unit,
                "summary": alert.summary,
            }
            for alert in state.alerts()
        ],
    }


def _of_limit(row: dict[str, Any]) -> str:
    if row["limit_watts"] is None:
        return watts(row["power_watts"])
    of_limit = f"{watts(row['power_watts'])} of {watts(row['limit_watts'])}"
    return of_limit if row["power_watts"] is None else f"{of_limit} ({share(row['fraction_of_limit'])})"


def _alerting(firing: int, *, is_known: bool) -> str:
    """Return how many alerts there are; without fresh data their absence says nothing."""
    if firing:
        return f"{firing} alert{'s' if firing > 1 else ''}"
    return "no alerts" if is_known else "no alerts known"


def _freshness(state: LiveState, now: datetime) -> str:
    if state.newest is None:
        return "no data"
    return f"data {age(_age_seconds(state.newest, now))} old" + (" — stale" if _is_stale(state, now) else "")


def _is_stale(state: LiveState, now: datetime) -> bool:
    return state.newest is None or _age_seconds(state.newest, now) > STALE_SECONDS


def _age_seconds(newest: datetime, now: datetime) -> float:
    return (now - newest.replace(tzinfo=UTC)).total_seconds()


def _table(subjects: pl.DataFrame, most: int) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name, justify in (
        ("", "left"),
        ("path", "left"),
        ("power", "right"),
        ("limit", "right"),
        ("", "left"),
        ("of limit", "right"),
        ("reporting", "right"),
        ("age", "right"),
    ):
        table.add_column(name, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    for (kind,), rows in subjects.group_by("kind", maintain_order=True):
        for row in rows.head(most).iter_rows(named=True):
            table.add_row(*_cells(row))
        if len(rows) > most:
            table.add_row("", Text(_rest(rows[most:], str(kind)), style="dim"))
    return table


def _rest(rows: pl.DataFrame, kind: str) -> str:
    silent = rows["power_watts"].null_count()
    return f"… {len(rows):,} more of kind {kind.replace('_', ' ')}" + (f", {silent:,} silent" if silent else "")


def _cells(row: dict[str, Any]) -> tuple[Text, ...]:
    style = _style(row)
    return (
        Text(row["kind"].replace("_", " "), style="dim"),
        Text(printable(row["path"]), style=style),
        Text(watts(row["power_watts"]), style=style),
        Text(watts(row["limit_watts"]), style="dim"),
        Text(_bar(row["fraction_of_limit"]), style=style),
        Text(share(row["fraction_of_limit"]), style=style),
        Text(MISSING if row["expected"] is None else f"{row['reporting']:,}/{row['expected']:,}"),
        Text(age(row["age_seconds"]), style="magenta" if (row["age_seconds"] or 0) > STALE_SECONDS else ""),
    )


def _style(row: dict[str, Any]) -> str:
    fraction = row["fraction_of_limit"]
    if row["power_watts"] is None:
        return "magenta"
    if fraction is None or fraction < _NEAR:
        return ""
    return "bold red" if fraction > _OVER else "yellow"


def _bar(fraction: float | None) -> str:
    """Return a bar of the share: the last cell is filled from the limit on."""
    if fraction is None:
        return ""
    filled = min(_BAR, int(fraction * _BAR))
    return "█" * filled + "░" * (_BAR - filled)
