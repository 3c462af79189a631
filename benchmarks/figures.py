"""How a benchmark tells its figures: one JSON line each, with its bar, and what ran beside it."""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Sequence


def tell(
    name: str,
    values: float | Sequence[float],
    unit: str,
    *,
    least: float | None = None,
    most: float | None = None,
    peer: float | None = None,
    **more: object,
) -> float:
    """Print the median of `values` and return it.

    `least` or `most` is the bar. `peer` is what was run beside it in the same unit; `ratio` is value ÷ peer.
    """
    values = [values] if isinstance(values, int | float) else list(values)
    value = statistics.median(values)
    line: dict[str, object] = {"name": name, "value": _short(value), "unit": unit}
    if least is not None:
        line |= {"bar": least, "pass": value >= least}
    if most is not None:
        line |= {"bar": most, "pass": value <= most}
    if peer:
        line |= {"peer": _short(peer), "ratio": round(value / peer, 3)}
    if len(values) > 1:
        line |= {"runs": [_short(each) for each in values]}
    print(json.dumps(line | more | {"load_average": round(os.getloadavg()[0], 2)}), flush=True)
    return value


def _short(value: float) -> float:
    return round(value) if abs(value) >= 1000 else float(f"{value:.4g}")
