"""Which of sorted rows stand, by the rule of sinks.lake.identity: what the views show, and what compaction keeps."""

from __future__ import annotations

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from sinks.lake.identity import IDENTITIES, PLACE_ORDER, Identity
from sinks.lake.tables import Table
from sinks.upkeep.merge import Sorted


def standing(piece: Sorted, table: Table) -> NDArray[np.bool_] | None:
    """Return which rows of a piece of an hour stand, None where all do. Pure.

    All rows of the hour that have the same values of the identity's `cut` are in the piece.
    """
    identity = IDENTITIES[table.name]
    if not identity.is_within_hour or identity.key == PLACE_ORDER:
        return None
    # Rows that are no neighbours by sort and time differ in an identity that has both.
    is_apart = {*table.sort, table.hour_of} <= set(identity.key) and not identity.whole
    if is_apart and not piece.is_tied.any():
        return None
    at = np.flatnonzero(piece.is_tied) if is_apart else np.arange(piece.rows.num_rows)
    stands = np.ones(piece.rows.num_rows, dtype=np.bool_)
    stands[at] = _stands(_frame(piece.rows, identity, at), identity)
    return None if stands.all() else stands


def _frame(rows: pa.Table, identity: Identity, at: NDArray[np.int64]) -> pl.DataFrame:
    names = dict.fromkeys((*identity.key, *identity.greatest, *PLACE_ORDER))
    chosen = rows.select(list(names))
    frame = pl.from_arrow(chosen if len(at) == rows.num_rows else chosen.take(pa.array(at)))
    assert isinstance(frame, pl.DataFrame)
    return frame


def _stands(frame: pl.DataFrame, identity: Identity) -> NDArray[np.bool_]:
    """Return which rows stand; the frame holds key, greatest and place."""
    by = [*identity.greatest, *PLACE_ORDER]
    newest = [False, identity.newest, identity.newest]
    ranked = frame.with_row_index("_at").sort(
        by, descending=[*(True for _ in identity.greatest), *newest], nulls_last=True
    )
    if identity.whole:
        apart = [] if identity.apart is None else [pl.col(identity.apart.column) == identity.apart.value]
        of_whole = [*(pl.col(name) for name in identity.whole), *(each.alias("_apart") for each in apart)]
        is_greatest = [pl.col(name).eq_missing(pl.col(name).first().over(of_whole)) for name in identity.greatest]
        ranked = ranked.filter(pl.all_horizontal(is_greatest))
    kept = ranked.filter(pl.struct(identity.key).is_first_distinct())["_at"].to_numpy()
    stands = np.zeros(len(frame), dtype=np.bool_)
    stands[kept] = True
    return stands
