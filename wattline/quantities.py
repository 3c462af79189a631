"""Quantities as people read them: watts, shares, ages; a missing one is a dash and never 0."""

from __future__ import annotations

MISSING = "—"
_STEPS = ((1e9, "GW"), (1e6, "MW"), (1e3, "kW"))


def watts(value: float | None) -> str:
    """Return a power with three or four digits: `0 W`, `118.3 kW`, `9.84 MW`."""
    if value is None:
        return MISSING
    for size, unit in _STEPS:
        if abs(value) >= 0.9995 * size:
            scaled = value / size
            return f"{scaled:.{2 if abs(scaled) < 99.95 else 1}f} {unit}"
    return f"{value:.0f} W"


def share(value: float | None) -> str:
    """Return a fraction as a percentage: `0 %`, `82 %`, `104.6 %`; one decimal from 95 % on, where it matters."""
    if value is None:
        return MISSING
    return f"{100 * value:.{1 if value >= 0.95 else 0}f} %"


def age(seconds: float | None) -> str:
    """Return an age: `0.4 s`, `12 s`, `3 min`, `2 h`, `5 d`."""
    if seconds is None:
        return MISSING
    if seconds < 10:
        return f"{max(seconds, 0.0):.1f} s"
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
